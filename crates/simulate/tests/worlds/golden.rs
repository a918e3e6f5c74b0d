//! Published results of others, reproduced: if the engine and the models are right, the numbers must come out.

use std::time::Duration;

use seaworthy_policy::breaker::{Outcome, State};
use seaworthy_policy::{Breaker, BreakerConfig, Budget, BudgetConfig, Rng, Time};
use seaworthy_simulate::distribution::exponential;
use seaworthy_simulate::engine::Payload;
use seaworthy_simulate::{Engine, Table};

use crate::common::at;

/// The published numbers are one seed; ours are the mean of these.
const SEEDS: std::ops::Range<u64> = 0..5;

/// What a client does when an attempt failed.
#[derive(Debug)]
enum Strategy {
    Never,
    Always,
    /// A token bucket of five, a tenth of a token per call, whatever becomes of it.
    PerCall(f64),
    /// Our budget, a tenth of a token per success, five in store.
    Ours(Box<Budget>),
    /// Our breaker at 10 % failures, asked before a retry only.
    Breaker(Box<Breaker>),
}

impl Strategy {
    fn budget() -> Self {
        let config = BudgetConfig { burst: 5, floor_per_second: 0.0, ..BudgetConfig::default() };
        Self::Ours(Box::new(Budget::new(config)))
    }

    fn breaker() -> Self {
        let config = BreakerConfig {
            failure_rate_threshold: 0.1,
            minimum_number_of_calls: 10,
            consecutive_failures: u32::MAX,
            recovery_ramp: Duration::ZERO,
            ..BreakerConfig::default()
        };
        Self::Breaker(Box::new(Breaker::new(config, Time::ZERO)))
    }

    fn on_call(&mut self) {
        if let Self::PerCall(tokens) = self {
            *tokens = (*tokens + 0.1).min(5.0);
        }
    }

    fn on_result(&mut self, now: Time, rng: &mut Rng, good: bool) {
        match self {
            Self::Ours(budget) if good => budget.on_success(now),
            Self::Breaker(breaker) => {
                let elapsed = Duration::ZERO;
                let outcome = if good { Outcome::Success { elapsed } } else { Outcome::Failure { elapsed } };
                if let Ok(permit) = breaker.admit(now, rng) {
                    breaker.complete(now, rng, permit, outcome);
                }
            }
            _ => {}
        }
    }

    fn may_retry(&mut self, now: Time) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::PerCall(tokens) => {
                let paid = *tokens >= 1.0;
                *tokens -= f64::from(u8::from(paid));
                paid
            }
            Self::Ours(budget) => {
                let paid = budget.try_retry(now);
                if paid {
                    budget.release();
                }
                paid
            }
            Self::Breaker(breaker) => breaker.state(now) == State::Closed,
        }
    }
}

/// `clients` that share 1,000 calls per second for 10 s; attempts fail independently of each other. Success and load.
fn brooker(failures: f64, clients: u32, strategy: fn() -> Strategy) -> (f64, f64) {
    let runs = SEEDS.map(|seed| run(failures, clients, strategy, seed));
    let (success, load) = runs.fold((0.0, 0.0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
    (success / SEEDS.count() as f64, load / SEEDS.count() as f64)
}

fn run(failures: f64, clients: u32, strategy: fn() -> Strategy, seed: u64) -> (f64, f64) {
    const RETRIES: u32 = 3;
    let mut engine = Engine::new();
    let mut rng = Rng::seeded(seed);
    let mut all: Vec<Strategy> = (0..clients).map(|_| strategy()).collect();
    let mean = Duration::from_secs(1) * clients / 1_000;
    for id in 0..clients {
        let first = Time::ZERO.after(exponential(&mut rng, mean));
        engine.schedule(first, Payload { kind: 0, id, generation: 0, small: 0 });
    }
    let (mut calls, mut attempts, mut good) = (0_u32, 0_u32, 0_u32);
    while let Some(event) = engine.next(at(10)) {
        let now = engine.now();
        engine.schedule(now.after(exponential(&mut rng, mean)), event);
        let client = &mut all[event.id as usize];
        calls += 1;
        client.on_call();
        for retry in 0..=RETRIES {
            if retry > 0 && !client.may_retry(now) {
                break;
            }
            attempts += 1;
            let answered = !rng.chance(failures);
            client.on_result(now, &mut rng, answered);
            if answered {
                good += 1;
                break;
            }
        }
    }
    (f64::from(good) / f64::from(calls), f64::from(attempts) / f64::from(calls))
}

fn cell((success, load): (f64, f64)) -> String {
    format!("{success:.4} / {load:.3}")
}

/// Brooker, "Fixing retries with token buckets and circuit breakers" (2022): 100 clients of 10 calls per second. Success
/// and amplification per failure rate; his token bucket refills per call.
#[test]
fn brookers_table() {
    const TOLERANCE: f64 = 0.015;
    let mut table = Table::new(&[
        "failures",
        "none",
        "3 retries",
        "10 % per call",
        "ours per success",
        "breaker at 10 %",
    ]);
    for (failures, none, three, bucket) in [
        (0.01, (0.9903, 1.000), (1.0000, 1.011), (1.0000, 1.010)),
        (0.05, (0.9525, 1.000), (1.0000, 1.055), (0.9999, 1.053)),
        (0.10, (0.9077, 1.000), (1.0000, 1.111), (0.9924, 1.100)),
        (0.20, (0.8011, 1.000), (0.9978, 1.258), (0.9021, 1.135)),
        (0.50, (0.4896, 1.000), (0.9340, 1.881), (0.5705, 1.141)),
    ] {
        let run = |strategy| brooker(failures, 100, strategy);
        let got = [run(|| Strategy::Never), run(|| Strategy::Always), run(|| Strategy::PerCall(5.0))];
        for (name, got, published) in
            [("none", got[0], none), ("three", got[1], three), ("bucket", got[2], bucket)]
        {
            let close = |got: f64, published: f64| (got - published).abs() < TOLERANCE;
            assert!(
                close(got.0, published.0) && close(got.1, published.1),
                "{name} at {failures}: {got:?}, not {published:?}"
            );
        }
        let (ours, breaker) = (run(Strategy::budget), run(Strategy::breaker));
        // No more load than what succeeded allows (and five stored tokens for about 100 calls), and no less success.
        assert!(ours.1 <= 1.0 + 0.1 * ours.0 + 0.05 + 0.01, "at {failures}: {ours:?}");
        assert!(ours.0 >= none.0 - TOLERANCE, "at {failures}: {ours:?}");
        assert!(breaker.1 <= three.1 + TOLERANCE, "at {failures}: {breaker:?}");
        let cells = [got[0], got[1], got[2], ours, breaker].map(cell);
        table.row(&[&[format!("{failures}")], cells.as_slice()].concat());
    }
    println!("{table}");
}

/// The same load from more and smaller clients: what each stores adds up, so only a shared budget keeps its word.
#[test]
fn many_small_budgets_are_no_budget() {
    let load = |clients| brooker(0.5, clients, Strategy::budget).1;
    let (few, many) = (load(10), load(1_000));
    println!("amplification at 50 % failures: 10 clients {few:.3}, 100 {:.3}, 1000 {many:.3}", load(100));
    assert!(few < 1.10 && many > 1.30, "{few} {many}");
}
