//! What the strategies make of a fleet in which some are slower, without ejection to help them.

use std::time::Duration;

use seaworthy_policy::pool::{BalanceConfig, Guard, PoolConfig, Strategy};

use crate::model::{Fleet, Nature, Outcome, WELL, run};

/// A quarter of twelve servers becomes 2.5 times as slow; `load` is of the capacity that is left.
fn outcome(strategy: Strategy, load: f64) -> Outcome {
    let balance = BalanceConfig { strategy, ..BalanceConfig::default() };
    let pool = PoolConfig { balance, guard: Guard::Off, ..PoolConfig::default() };
    let slow = Nature { slowness: 2.5, ..WELL };
    let fleet = Fleet { pool, ..Fleet::of(12, &[(0, slow), (1, slow), (2, slow)]) };
    let left = (9.0 + 3.0 / 2.5) / 12.0;
    run(&Fleet { ends_at: Duration::from_secs(6), ..fleet }.loaded(load * left), 1)
}

#[test]
fn whoever_looks_at_load_bears_a_slow_quarter_that_taking_turns_does_not() {
    let [turns, least, p2c] =
        [Strategy::RoundRobin, Strategy::LeastInFlight, Strategy::P2c].map(|strategy| outcome(strategy, 0.8));
    let p99 = |outcome: &Outcome| outcome.quantile_ms(0.99);
    assert!(p99(&p2c) < 120.0 && p99(&least) < 120.0, "{} and {} ms", p99(&p2c), p99(&least));
    assert!(p99(&turns) > 5.0 * p99(&p2c), "{} ms", p99(&turns));
}
