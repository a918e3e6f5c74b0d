//! Hedged requests ("The Tail at Scale", Dean and Barroso 2013): what they save, what they cost, and that they end when there
//! is no capacity for them.

use std::time::Duration;

use seaworthy_policy::call::CallConfig;
use seaworthy_policy::pool::{Guard, PoolConfig};
use seaworthy_simulate::report::{millis, percent};
use seaworthy_simulate::{
    BackendConfig, Client, Distribution, PolicyConfig, Report, Table, World, WorldConfig,
};

use crate::common::{ms, world};

const BACKENDS: usize = 5;
const WORKERS: u32 = 4;
const SECONDS: usize = 40;
/// Seeds of the first table.
const SEEDS: usize = 8;
/// Until the percentiles are known and the store of tokens is what it usually is.
const WARM_UP: usize = 20;
const PAUSING: Distribution =
    Distribution::Pausing { usual: Duration::from_millis(10), share: 0.01, pause: Duration::from_secs(1) };
/// The hedges' share of requests, and what chance adds.
const HEDGES_MAX: f64 = 0.021;
/// What the floor of a token per second leaves, at 1300 requests per second and more.
const NO_HEDGES: f64 = 0.001;

fn client(hedge_percentile: Option<f64>) -> Client {
    // Nothing is to be ejected: all backends are alike, and the table is about hedges.
    let pool = PoolConfig { guard: Guard::Off, ..PoolConfig::default() };
    let call = CallConfig {
        hedge_percentile,
        attempt_timeout: Duration::from_secs(2),
        total_timeout: Duration::from_secs(4),
        ..CallConfig::default()
    };
    Client::Policy(Box::new(PolicyConfig { pool, call, probes: None, ..PolicyConfig::default() }))
}

fn hedged(service: Distribution, load: f64, hedge_percentile: Option<f64>, seed: u64) -> Report {
    let backend = BackendConfig { workers: WORKERS, service, ..BackendConfig::default() };
    let rate = load * f64::from(WORKERS) * BACKENDS as f64 / service.mean().as_secs_f64();
    World::run(WorldConfig {
        seed,
        client: client(hedge_percentile),
        ..world(BACKENDS, &backend, rate, SECONDS as u64)
    })
}

fn extra(report: &Report) -> f64 {
    let total = report.total(WARM_UP..SECONDS);
    total.hedges as f64 / total.offered as f64
}

/// One request in a hundred is paused for a second, wherever it goes.
///
/// What is left of the p99.9 depends on the seed, so the median of the seeds is compared. At a load of 0.3, it is 88 to 285 ms. At 0.6, six of the
/// twenty workers are paused at a time: all four of one backend for 0.8 % of the time (0.3⁴), and so many that the rest cannot
/// serve what comes for 0.14 % of it (15 and more, by Poisson's distribution). That is more than the 0.1 % that a p99.9 leaves out: it is
/// 129 to 950 ms, and no hedge mends it.
#[test]
fn hedges_cut_the_tail_for_two_percent() {
    let mut table = Table::new(&["load", "hedge", "p50", "p99", "p99.9", "p99.9 of all seeds", "hedges"]);
    for (load, p999_max) in [(0.3, ms(100)), (0.6, ms(550))] {
        let reports = [None, Some(0.95)].map(|hedge| {
            (1..=SEEDS as u64).map(|seed| hedged(PAUSING, load, hedge, seed)).collect::<Vec<_>>()
        });
        let p999 = |report: &Report| report.latencies(WARM_UP..SECONDS).quantile(0.999);
        for (name, reports) in [("never", &reports[0]), ("p95", &reports[1])] {
            let latencies = reports[0].latencies(WARM_UP..SECONDS);
            let quantiles = [0.5, 0.99, 0.999].map(|q| millis(latencies.quantile(q)));
            let all = reports.iter().map(|report| millis(p999(report))).collect::<Vec<_>>().join(", ");
            let most = reports.iter().map(extra).fold(0.0, f64::max);
            table
                .row(&[&[load.to_string(), name.to_owned()], &quantiles[..], &[all, percent(most)]].concat());
        }
        assert!(reports[0].iter().all(|report| p999(report) > Duration::from_secs(1)), "{table}");
        let mut with: Vec<_> = reports[1].iter().map(p999).collect();
        with.sort_unstable();
        assert!(with[SEEDS / 2] < p999_max, "{table}");
        // From the beginning: what was stored in the warm-up may be spent after it.
        let all = reports[1].iter().map(|report| report.total(0..SECONDS));
        let most = all.map(|all| all.hedges as f64 / all.offered as f64).fold(0.0, f64::max);
        assert!(most <= HEDGES_MAX, "{most}\n{table}");
    }
    println!("{table}");
}

/// Above capacity nothing succeeds in time, so nothing pays for hedges.
#[test]
fn hedges_end_where_capacity_ends() {
    let mut table = Table::new(&["load", "hedges", "retries", "good", "p50"]);
    for (load, limit) in
        [(0.9, HEDGES_MAX), (1.0, HEDGES_MAX), (1.1, HEDGES_MAX), (1.3, NO_HEDGES), (2.0, NO_HEDGES)]
    {
        let report = hedged(Distribution::Exponential(ms(20)), load, Some(0.95), 1);
        let total = report.total(WARM_UP..SECONDS);
        table.row(&[
            load.to_string(),
            percent(extra(&report)),
            percent(total.retries as f64 / total.offered as f64),
            percent(total.goodput()),
            millis(report.latencies(WARM_UP..SECONDS).quantile(0.5)),
        ]);
        assert!(extra(&report) <= limit, "at {load}\n{table}");
    }
    println!("{table}");
}

/// Why tails matter: of a hundred answers that a page needs, each slow once in a hundred times, one is slow more often than not.
#[test]
fn a_tail_grows_with_the_fan_out() {
    let report = hedged(PAUSING, 0.3, None, 1);
    let slow = report.outcomes.iter().filter(|outcome| outcome.took >= Duration::from_secs(1)).count();
    let share = slow as f64 / report.outcomes.len() as f64;
    let pages = report.outcomes.chunks_exact(100);
    let (all, slow_pages) = pages.fold((0, 0), |(all, slow), page| {
        let any = page.iter().any(|outcome| outcome.took >= Duration::from_secs(1));
        (all + 1, slow + u32::from(any))
    });
    let pages_share = f64::from(slow_pages) / f64::from(all);
    assert!((share - 0.01).abs() < 0.002, "{share}");
    assert!((pages_share - 0.63).abs() < 0.10, "{pages_share} of {all} pages");
}
