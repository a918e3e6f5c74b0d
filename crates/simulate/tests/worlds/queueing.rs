//! The engine and its backends beside queueing theory, and beside themselves.

use std::time::Duration;

use seaworthy_policy::Time;
use seaworthy_simulate::{
    BackendConfig, Client, ControlConfig, Distribution, Refill, Report, World, WorldConfig,
};

use crate::common::{at, ms, world};

/// Requests that are sent once and wait for ever.
fn patient() -> Client {
    Client::Control(ControlConfig {
        attempts: 1,
        timeout: Duration::from_hours(1),
        backoff: None,
        refill: Refill::Unlimited,
        tokens_max: 0.0,
        cap: None,
    })
}

fn mean_wait_ms(report: &Report, service: Duration) -> f64 {
    let sum: f64 = report.outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    (sum / report.outcomes.len() as f64 - service.as_secs_f64()) * 1e3
}

/// The mean wait in a queue with `workers` servers at `load`, in units of the mean service time, by Erlang's C formula.
fn erlang_c(workers: u32, load: f64) -> f64 {
    let offered = load * f64::from(workers);
    // Erlang's B by its recursion, then C from B.
    let blocked = (1..=workers)
        .fold(1.0, |blocked, servers| offered * blocked / (f64::from(servers) + offered * blocked));
    let waits = blocked / (1.0 - load * (1.0 - blocked));
    waits / (f64::from(workers) * (1.0 - load))
}

#[test]
fn waits_are_those_of_queueing_theory() {
    let service = ms(10);
    // (workers, load, distribution, the factor of Pollaczek and Khinchine: (1 + variation squared) / 2, tolerance)
    let exponential = Distribution::Exponential(service);
    for (workers, load, distribution, factor, tolerance) in [
        (1, 0.5, exponential, 1.0, 0.03),
        (1, 0.8, exponential, 1.0, 0.06),
        (10, 0.8, exponential, 1.0, 0.06),
        (1, 0.8, Distribution::Constant(service), 0.5, 0.05),
    ] {
        let backend = BackendConfig { workers, service: distribution, ..BackendConfig::default() };
        let rate = load * f64::from(workers) / service.as_secs_f64();
        // 200,000 requests.
        let config = WorldConfig { client: patient(), ..world(1, &backend, rate, (200_000.0 / rate) as u64) };
        let wait = mean_wait_ms(&World::run(config), service);
        let expected = erlang_c(workers, load) * factor * service.as_secs_f64() * 1e3;
        let off = wait / expected - 1.0;
        assert!(
            off.abs() < tolerance,
            "{workers} workers at {load}: {wait:.3} ms, not {expected:.3} ({off:+.3})"
        );
    }
}

#[test]
fn a_seed_is_a_run() {
    let run = |seed| {
        let backend = BackendConfig { workers: 2, ..BackendConfig::default() };
        let config = WorldConfig { seed, gateways: 3, network: ms(1), ..world(5, &backend, 100.0, 20) };
        let report = World::run(config);
        (report.trace, report.events, report.outcomes)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn two_policies_meet_the_same_requests() {
    let backend = BackendConfig::default();
    let arrivals = |client: Client| {
        let config = WorldConfig { client, ..world(3, &backend, 20.0, 30) };
        let mut arrived: Vec<Time> =
            World::run(config).outcomes.iter().map(|outcome| outcome.arrived).collect();
        arrived.sort_unstable();
        arrived
    };
    let ours = world(3, &backend, 20.0, 30).client;
    assert_eq!(arrivals(patient()), arrivals(ours));
}

#[test]
fn rates_change_when_they_should() {
    let backend =
        BackendConfig { workers: 100, service: Distribution::Constant(ms(1)), ..BackendConfig::default() };
    let config = WorldConfig {
        client: patient(),
        rates: vec![(at(1), 1_000.0), (at(2), 0.0), (at(4), 3_000.0)],
        ..world(1, &backend, 0.0, 5)
    };
    let report = World::run(config);
    let offered = |second: usize| report.total(second..second + 1).offered;
    assert_eq!((offered(0), offered(2), offered(3)), (0, 0, 0));
    assert!(offered(1).abs_diff(1_000) < 150 && offered(4).abs_diff(3_000) < 250, "{:?}", report.seconds);
    assert_eq!(report.total(0..5).good, report.total(0..5).offered);
}
