//! The metastable retry storm: backends with one worker, exponential service of 50 ms and a time-out of 1 s; abandoned work
//! is served all the same; for ten seconds everything takes 4.5 times as long (the setting of Huang et al., OSDI 2022).
//! Who recovers, and how fast?

use std::time::Duration;

use seaworthy_policy::BackoffConfig;
use seaworthy_policy::backoff::Jitter;
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::pool::{EjectionConfig, Guard, PoolConfig};
use seaworthy_simulate::fluid::Storm;
use seaworthy_simulate::report::seconds;
use seaworthy_simulate::{
    Abandoned, BackendConfig, Cap, CapCounts, Change, Client, Condition, ControlConfig, Expired,
    PolicyConfig, Refill, Report, Table, World, WorldConfig,
};

use crate::common::{at, ms, world};

/// Half the published size: one core, without optimization.
const BACKENDS: usize = 100;
const BACKENDS_FULL: usize = 200;
const TIMEOUT: Duration = Duration::from_secs(1);
const SLOWNESS: f64 = 4.5;
const TRIGGER: (u64, u64) = (20, 30);
/// What one backend serves per second.
const PER_BACKEND: f64 = 20.0;
/// Who has not recovered so many seconds after the trigger never will.
const NEVER: u64 = 150;
const LOADS: [f64; 3] = [0.70, 0.80, 0.88];

/// With the retry budget, recovery takes at most this many times as long as without retries.
const BUDGET_FACTOR: f64 = 1.2;
/// With a cap on the work at a backend, recovery takes at most this long, though cap × service time exceeds the time-out while
/// service is slow (10 × 225 ms): the pool keeps the places of those who gave up.
const CAP_RECOVERY: Duration = Duration::from_secs(5);
/// With ejection switched on, a storm at 0.6 must end as it does without (10 to 12 s), give or take an ejection.
const EJECTION_RECOVERY: Duration = Duration::from_secs(20);
/// How far the fluid law may be off.
const FLUID_TOLERANCE: f64 = 0.25;

fn backoff() -> BackoffConfig {
    BackoffConfig {
        initial: ms(100),
        multiplier: 2.0,
        max: ms(1_000),
        jitter: Jitter::Full,
        ..BackoffConfig::default()
    }
}

fn control(attempts: u8, refill: Refill, cap: Option<Cap>) -> Client {
    let backoff = Some(backoff());
    Client::Control(ControlConfig { attempts, timeout: TIMEOUT, backoff, refill, tokens_max: 100.0, cap })
}

/// Our machines under the same rules: four attempts of 1 s each, no hedges, and nothing is ejected, since all are equally slow.
fn policy(max_in_flight: Option<u32>) -> PolicyConfig {
    PolicyConfig {
        pool: PoolConfig { guard: Guard::Off, max_in_flight, ..PoolConfig::default() },
        call: CallConfig {
            total_timeout: 5 * TIMEOUT,
            attempt_timeout: TIMEOUT,
            max_attempts: 4,
            backoff: backoff(),
            hedge_percentile: None,
            ..CallConfig::default()
        },
        probes: None,
        ..PolicyConfig::default()
    }
}

fn ours(max_in_flight: Option<u32>) -> Client {
    Client::Policy(Box::new(policy(max_in_flight)))
}

fn storm(client: Client, backends: usize, load: f64, watch: u64) -> WorldConfig {
    let slow = Condition { slowness: SLOWNESS, ..Condition::default() };
    let change = |second, condition| Change { at: at(second), backends: 0..backends, condition };
    WorldConfig {
        client,
        changes: vec![change(TRIGGER.0, slow), change(TRIGGER.1, Condition::default())],
        ..world(backends, &BackendConfig::default(), load * PER_BACKEND * backends as f64, TRIGGER.1 + watch)
    }
}

fn recovery(report: &Report) -> Option<Duration> {
    report.recovery(at(TRIGGER.1))
}

fn fluid(load: f64, extra: f64) -> Option<Duration> {
    let trigger = at(TRIGGER.1).saturating_since(at(TRIGGER.0));
    Storm { load, extra, trigger, capacity_left: 1.0 / SLOWNESS }.recovery()
}

#[test]
fn naive_retries_never_recover() {
    let report = World::run(storm(control(4, Refill::Unlimited, None), BACKENDS, 0.70, NEVER));
    assert_eq!(recovery(&report), None);
    // Every request is sent four times, and none is answered in time.
    let (from, until) = ((TRIGGER.1 + NEVER - 20) as usize, (TRIGGER.1 + NEVER - 10) as usize);
    assert!(report.total(from..until).goodput() < 0.01, "{:?}", report.total(from..until));
    assert!((3.9..4.1).contains(&report.amplification(from..until)), "{}", report.amplification(from..until));
}

#[test]
fn our_budget_recovers_as_if_there_were_no_retries() {
    let none = World::run(storm(control(1, Refill::Unlimited, None), BACKENDS, 0.80, 50));
    let ours = World::run(storm(ours(None), BACKENDS, 0.80, 50));
    let (none, with_budget) = (recovery(&none).unwrap(), recovery(&ours).unwrap());
    assert!(with_budget <= none.mul_f64(BUDGET_FACTOR), "{with_budget:?}, without retries {none:?}");
    // What was stored when it began may be spent; after that, nothing succeeds and nothing is sent again.
    let stuck = ours.amplification(35..45);
    assert!(stuck < 1.01, "amplification {stuck} while nothing succeeds");
}

/// How long recovery takes with a cap, the slowest of all loads and seeds; and the least share that is good before the trigger.
fn with_cap(cap: u32, backends: usize, seeds: std::ops::Range<u64>) -> (Option<Duration>, f64) {
    let (mut slowest, mut good) = (Some(Duration::ZERO), 1.0_f64);
    for (seed, load) in seeds.flat_map(|seed| LOADS.map(|load| (seed, load))) {
        let report = World::run(WorldConfig {
            seed,
            ..storm(ours(Some(cap)), backends, load, 2 * CAP_RECOVERY.as_secs())
        });
        slowest = slowest.zip(recovery(&report)).map(|(slowest, took)| slowest.max(took));
        good = good.min(report.total(5..TRIGGER.0 as usize).goodput());
    }
    (slowest, good)
}

#[test]
fn a_cap_of_attempts_in_flight_recovers_at_once() {
    for cap in [10, 4] {
        let (took, before) = with_cap(cap, BACKENDS, 1..2);
        println!("cap {cap}: {}", seconds(took));
        assert!(took.is_some_and(|took| took <= CAP_RECOVERY), "cap {cap}: {took:?}");
        // The cap costs little while all is well.
        assert!(before > 0.99, "cap {cap}: {before} good before");
    }
}

#[test]
#[ignore = "the full size; for optimized builds"]
fn a_cap_recovers_at_once_at_full_size() {
    for cap in [4, 6, 8, 10, 12] {
        let (took, before) = with_cap(cap, BACKENDS_FULL, 1..6);
        println!("cap {cap}: {}, {before:.4} good before", seconds(took));
        assert!(took.is_some_and(|took| took <= CAP_RECOVERY), "cap {cap}: {took:?}");
    }
}

/// What all endpoints suffer alike is nobody's fault, and each one that is put out burdens the others.
#[test]
fn what_ejection_makes_of_a_storm() {
    let mut table = Table::new(&["backends", "guard", "recovery", "ejections"]);
    let mut survives = true;
    for backends in [3, 10] {
        for (name, guard) in [("off", Guard::Off), ("ejection", Guard::Ejection(EjectionConfig::default()))] {
            let ejects = matches!(guard, Guard::Ejection(_));
            let pool = PoolConfig { guard, ..PoolConfig::default() };
            let client = PolicyConfig { pool, ..policy(None) };
            let report = World::run(storm(Client::Policy(Box::new(client)), backends, 0.60, 60));
            let took = recovery(&report);
            let ejections = report.ejections.len();
            table.row(&[backends.to_string(), name.to_owned(), seconds(took), ejections.to_string()]);
            survives &= !ejects || took.is_some_and(|took| took <= EJECTION_RECOVERY);
            assert!(ejects || took.is_some_and(|took| took <= EJECTION_RECOVERY), "{table}");
        }
    }
    println!("{table}");
    assert!(survives, "{table}");
}

/// The fluid law knows nothing of queues, chance or time-outs, and still says how long it takes.
#[test]
fn the_fluid_law_holds() {
    for (refill, load, extra) in [
        (None, 0.70, 0.0),
        (None, 0.80, 0.0),
        (Some(Refill::PerRequest(0.1)), 0.70, 0.1),
        (Some(Refill::PerRequest(0.2)), 0.70, 0.2),
        (Some(Refill::PerRequest(0.1)), 0.80, 0.1),
        (Some(Refill::PerRequest(0.2)), 0.88, 0.2),
    ] {
        let attempts = if refill.is_some() { 4 } else { 1 };
        let client = control(attempts, refill.unwrap_or(Refill::Unlimited), None);
        let simulated = recovery(&World::run(storm(client, BACKENDS, load, NEVER)));
        let predicted = fluid(load, extra);
        let agree = match (simulated, predicted) {
            (Some(simulated), Some(predicted)) => {
                (simulated.as_secs_f64() / predicted.as_secs_f64() - 1.0).abs() < FLUID_TOLERANCE
            }
            (simulated, predicted) => simulated == predicted,
        };
        assert!(agree, "load {load}, {refill:?}: simulated {simulated:?}, predicted {predicted:?}");
    }
}

/// Published recoveries in seconds at the loads 0.70, 0.80 and 0.88.
struct Row {
    name: &'static str,
    client: Client,
    expired: Expired,
    extra: Option<f64>,
    published: [&'static str; 3],
}

fn rows() -> Vec<Row> {
    let row =
        |name, client, extra, published| Row { name, client, expired: Expired::Served, extra, published };
    let unlimited = |attempts, cap| control(attempts, Refill::Unlimited, cap);
    let budget = |refill| control(4, refill, None);
    let ejecting = PolicyConfig { pool: PoolConfig::default(), ..policy(None) };
    let defaults = PolicyConfig { probes: None, ..PolicyConfig::default() };
    let work = Some(Cap { per_backend: 10, counts: CapCounts::Work });
    vec![
        row("no retry", unlimited(1, None), Some(0.0), ["15", "28", "53"]),
        row("3 retries, exp + jitter", unlimited(4, None), Some(3.0), ["never", "never", "never"]),
        row("+ 20 % per request", budget(Refill::PerRequest(0.2)), Some(0.2), ["45", "211", "never"]),
        row("+ 10 % per request", budget(Refill::PerRequest(0.1)), Some(0.1), ["28", "65", "290"]),
        row("+ 10 % per success", budget(Refill::PerSuccess(0.1)), Some(0.0), ["15", "29", "55-60"]),
        Row {
            expired: Expired::Skipped,
            ..row("3 retries, expired dropped", unlimited(4, None), None, ["19", "never", "never"])
        },
        row("3 retries, cap 10 (work)", unlimited(4, work), None, ["1", "1", "1"]),
        row("ours", ours(None), Some(0.0), ["15", "29", "55-60"]),
        row("ours, cap 10", ours(Some(10)), None, ["1", "1", "1"]),
        row("ours, cap 4", ours(Some(4)), None, ["", "", ""]),
        row("ours, with ejection", Client::Policy(Box::new(ejecting)), None, ["", "", ""]),
        row("ours, all defaults", Client::Policy(Box::new(defaults)), None, ["", "", ""]),
    ]
}

#[test]
#[ignore = "the full size; for optimized builds"]
fn the_whole_table() {
    let mut table =
        Table::new(&["policy", "load", "recovery", "published", "fluid law", "amplification", "ejections"]);
    let mut events = 0;
    for row in rows() {
        for (index, load) in LOADS.into_iter().enumerate() {
            let mut config = storm(row.client.clone(), BACKENDS_FULL, load, NEVER);
            config.backends.iter_mut().for_each(|backend| backend.expired = row.expired);
            let report = World::run(config);
            events += report.events;
            table.row(&[
                row.name.to_owned(),
                format!("{load:.2}"),
                seconds(recovery(&report)),
                row.published[index].to_owned(),
                row.extra.map_or(String::new(), |extra| seconds(fluid(load, extra))),
                format!("{:.2}", report.amplification(35..45)),
                report.ejections.len().to_string(),
            ]);
        }
    }
    println!("{table}\n{events} events");
}

/// The published storm has one gateway, and backends that hear nothing of who gave up. What if either is otherwise?
#[test]
#[ignore = "a table; for optimized builds"]
fn gateways_and_cancellation() {
    let mut table = Table::new(&["gateways", "abandoned work", "client", "recovery of each seed"]);
    for gateways in [1, 10] {
        for abandoned in [Abandoned::Served, Abandoned::Skipped] {
            for (name, client) in [
                ("no retry", control(1, Refill::Unlimited, None)),
                ("3 retries", control(4, Refill::Unlimited, None)),
                ("ours", ours(None)),
                ("ours, cap 10", ours(Some(10))),
            ] {
                let recoveries = (1..=5).map(|seed| {
                    let mut config = WorldConfig { seed, gateways, ..storm(client.clone(), 20, 0.80, 100) };
                    config.backends.iter_mut().for_each(|backend| backend.abandoned = abandoned);
                    seconds(recovery(&World::run(config)))
                });
                let recoveries: Vec<String> = recoveries.collect();
                table.row(&[
                    gateways.to_string(),
                    format!("{abandoned:?}"),
                    name.to_owned(),
                    recoveries.join(", "),
                ]);
            }
        }
    }
    println!("{table}");
}
