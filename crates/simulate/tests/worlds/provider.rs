//! A provider behind one address that answers a share of requests with 503: three attempts, and what they may cost.

use seaworthy_policy::budget::BudgetConfig;
use seaworthy_policy::call::{CallConfig, Class};
use seaworthy_policy::pool::{Guard, PoolConfig};
use seaworthy_policy::{BreakerConfig, Time};
use seaworthy_simulate::report::percent;
use seaworthy_simulate::{
    BackendConfig, Change, Client, Condition, Distribution, PolicyConfig, Table, World, WorldConfig,
};

use crate::common::{ms, world};

const RATE: f64 = 200.0;
const SECONDS: usize = 60;
const SEEDS: [u64; 3] = [1, 2, 3];

fn provider(seed: u64, errors: f64, error: Class, budget: BudgetConfig) -> WorldConfig {
    let service = Distribution::LogNormal { median: ms(50), sigma: 0.5 };
    let backend = BackendConfig { workers: 1_000, service, ..BackendConfig::default() };
    let condition = Condition { errors, error, ..Condition::default() };
    let guard = Guard::Breaker(BreakerConfig::default());
    let pool = PoolConfig { guard, budget, ..PoolConfig::default() };
    let call = CallConfig { park: false, ..CallConfig::default() };
    let client = PolicyConfig { pool, call, probes: None, ..PolicyConfig::default() };
    WorldConfig {
        seed,
        client: Client::Policy(Box::new(client)),
        changes: vec![Change { at: Time::ZERO, backends: 0..1, condition }],
        ..world(1, &backend, RATE, SECONDS as u64)
    }
}

/// With three attempts and no limit, 97.3 % (30 % errors) and 99.2 % (20 %) are good at 1.39 and 1.24 attempts per request:
/// a budget of 0.4 per success pays for that, the default of 0.1 for a part.
#[test]
fn the_budget_decides_what_retries_may_save_and_cost() {
    let mut table = Table::new(&["errors", "retry_ratio", "good", "at least", "amplification"]);
    for (errors, retry_ratio, least) in
        [(0.2, 0.4, 0.98), (0.3, 0.4, 0.95), (0.2, 0.1, 0.86), (0.3, 0.1, 0.74)]
    {
        for seed in SEEDS {
            let budget = BudgetConfig { retry_ratio, ..BudgetConfig::default() };
            let report = World::run(provider(seed, errors, Class::Unavailable, budget));
            let total = report.total(0..SECONDS + 1);
            table.row(&[
                percent(errors),
                retry_ratio.to_string(),
                percent(total.goodput()),
                percent(least),
                format!("{:.3}", report.amplification(0..SECONDS + 1)),
            ]);
            assert!(total.goodput() >= least, "{errors} {retry_ratio} seed {seed}: {total:?}");
            // What successes brought, the burst, and a token per second.
            let earned = retry_ratio * total.good as f64;
            let stored = f64::from(budget.burst) + budget.floor_per_second * (SECONDS + 1) as f64;
            let extra = (total.attempts - total.offered) as f64;
            assert!(extra <= earned + stored, "{errors} {retry_ratio} seed {seed}: {extra} extra attempts");
            assert!(total.retries > 500, "the retries are what is tested: {total:?}");
        }
    }
    println!("{table}");
}

/// A 500 is sent again only where another endpoint does better, so where there is only one, it never is.
#[test]
fn a_bug_of_the_only_endpoint_is_not_hammered() {
    let report = World::run(provider(1, 0.3, Class::Error, BudgetConfig::default()));
    assert_eq!(report.total(0..SECONDS + 1).retries, 0);
}
