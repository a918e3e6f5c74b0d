//! Failures that outlive their cause, as others have described them, and what becomes of them under our policies.

use std::time::Duration;

use seaworthy_policy::backoff::Jitter;
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::pool::{Guard, PoolConfig};
use seaworthy_policy::{BackoffConfig, Time};
use seaworthy_simulate::report::percent;
use seaworthy_simulate::{
    BackendConfig, Change, Client, Condition, ControlConfig, Distribution, PolicyConfig, Refill, Report,
    Table, World, WorldConfig,
};

use crate::common::{at, ms, world};

fn naive(attempts: u8, timeout: Duration, backoff: Option<BackoffConfig>) -> Client {
    let refill = Refill::Unlimited;
    Client::Control(ControlConfig { attempts, timeout, backoff, refill, tokens_max: 0.0, cap: None })
}

fn ours(attempts: u8, timeout: Duration, cap: Option<u32>) -> Client {
    Client::Policy(Box::new(PolicyConfig {
        pool: PoolConfig { guard: Guard::Off, max_in_flight: cap, ..PoolConfig::default() },
        call: CallConfig {
            total_timeout: timeout * u32::from(attempts) + timeout / 2,
            attempt_timeout: timeout,
            max_attempts: attempts,
            park: false,
            ..CallConfig::default()
        },
        probes: None,
        ..PolicyConfig::default()
    }))
}

fn goodput(report: &Report, seconds: std::ops::Range<usize>) -> f64 {
    report.total(seconds).goodput()
}

/// Bronson et al., "Metastable failures in distributed systems" (HotOS 2021): a database that does 300 queries per second, an
/// application that asks 280 and tries twice, and a short outage. Twice 280 is more than 300, so it stays down until the
/// load falls below 150.
fn database(client: Client) -> Report {
    let service = Distribution::Constant(Duration::from_secs(1) / 300);
    let backend = BackendConfig { service, queue_max: 600, ..BackendConfig::default() };
    // What it has in hand takes 3 s longer; everything else queues up behind that.
    let paused = Condition { slowness: 900.0, ..Condition::default() };
    let change = |from: Duration, condition| Change { at: at(20).after(from), backends: 0..1, condition };
    World::run(WorldConfig {
        client,
        changes: vec![change(Duration::ZERO, paused), change(ms(100), Condition::default())],
        rates: vec![(at(0), 280.0), (at(60), 170.0), (at(100), 130.0)],
        ..world(1, &backend, 0.0, 140)
    })
}

#[test]
fn a_database_that_is_asked_twice_stays_down_until_the_load_halves() {
    let timeout = Duration::from_secs(1);
    let report = database(naive(2, timeout, None));
    assert!(goodput(&report, 5..18) > 0.99, "well before");
    assert!(goodput(&report, 30..60) < 0.05, "down at 280/s: {}", goodput(&report, 30..60));
    assert!(goodput(&report, 70..100) < 0.05, "down at 170/s: {}", goodput(&report, 70..100));
    assert!(goodput(&report, 130..140) > 0.99, "up again below 150/s: {}", goodput(&report, 130..140));
}

#[test]
fn with_a_budget_the_database_comes_back_by_itself() {
    let report = database(ours(2, Duration::from_secs(1), Some(200)));
    assert!(goodput(&report, 50..60) > 0.99, "{:?}", &report.seconds[18..60]);
}

/// Brooker's model of collapse: a call takes 1 s and 10 ms more for each call at work; three tries of 3 s.
fn collapse(client: Client, rates: Vec<(Time, f64)>) -> Report {
    let service = Distribution::Contended { base: Duration::from_secs(1), per_request: ms(10) };
    let backend = BackendConfig { workers: u32::MAX, service, ..BackendConfig::default() };
    World::run(WorldConfig { client, rates, ..world(1, &backend, 0.0, 120) })
}

fn spike(lasts: u64) -> Vec<(Time, f64)> {
    vec![(at(0), 40.0), (at(20), 80.0), (at(20 + lasts), 40.0)]
}

fn ramp() -> Vec<(Time, f64)> {
    (0..=8).map(|step| (at(step * 10), 40.0 + 5.0 * step as f64)).collect()
}

/// A spike of 5 s ends just before calls take longer than the time-out (202 at work, 3.02 s), one of 12 s after that. Backoff
/// does not help: clients that come from outside do not wait for each other. Doubling the load slowly collapses whoever
/// waits for answers that take longer than the time-out; only a cap leaves out what cannot be served.
#[test]
fn brookers_collapse() {
    let timeout = Duration::from_secs(3);
    let jitter = BackoffConfig {
        initial: Duration::from_secs(1),
        multiplier: 2.0,
        max: Duration::from_secs(20),
        jitter: Jitter::Full,
        ..BackoffConfig::default()
    };
    let mut table = Table::new(&[
        "client",
        "5 s: 30-40",
        "50-60",
        "100-110",
        "12 s: 30-40",
        "50-60",
        "100-110",
        "ramp: 60-70",
        "100-110",
    ]);
    for (name, client, after_spike, after_ramp) in [
        ("naive", naive(3, timeout, None), 0.0..0.05, 0.0..0.05),
        ("backoff and jitter", naive(3, timeout, Some(jitter)), 0.0..1.01, 0.0..0.05),
        ("ours", ours(3, timeout, None), 0.99..1.01, 0.0..0.05),
        // 150 calls take 2.5 s, so 60 per second are served in time.
        ("ours, cap 150", ours(3, timeout, Some(150)), 0.99..1.01, 0.70..1.01),
    ] {
        let [short, long] = [5, 12].map(|lasts| collapse(client.clone(), spike(lasts)));
        let ramped = collapse(client, ramp());
        let mut cells = vec![name.to_owned()];
        for report in [&short, &long] {
            cells.extend([30..40, 50..60, 100..110].map(|range| percent(goodput(report, range))));
        }
        cells.extend([60..70, 100..110].map(|range| percent(goodput(&ramped, range))));
        table.row(&cells);
        let (spiked, ramped) = (goodput(&long, 100..110), goodput(&ramped, 100..110));
        assert!(after_spike.contains(&spiked), "{name}: {spiked} after the spike\n{table}");
        assert!(after_ramp.contains(&ramped), "{name}: {ramped} after the ramp\n{table}");
    }
    println!("{table}");
}
