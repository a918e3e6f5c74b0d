//! The rejectors side by side: two priorities, offered load from half to four times what 40 workers bear.

use seaworthy_policy::admission::{Discipline, Priority, RejectorKind};
use seaworthy_policy::limit::Algorithm;
use seaworthy_policy::{AdmissionConfig, LimitConfig};

use crate::world::{SERVICE, Weather, World, unloaded_p99};

const WORKERS: u32 = 40;
const CAPACITY: f64 = WORKERS as f64 / SERVICE;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) goodput: f64,
    pub(crate) critical: f64,
    pub(crate) sheddable: f64,
    pub(crate) p99: f64,
}

fn config(rejector: RejectorKind, queue_discipline: Discipline, algorithm: Algorithm) -> AdmissionConfig {
    let limit = LimitConfig { algorithm, initial_limit: WORKERS, ..LimitConfig::default() };
    AdmissionConfig { limit, rejector, queue_discipline, ..AdmissionConfig::default() }
}

/// `critical` and `offered` are multiples of the capacity.
fn row(config: AdmissionConfig, critical: f64, offered: f64) -> Row {
    row_of(config, critical, offered, 7)
}

fn row_of(config: AdmissionConfig, critical: f64, offered: f64, seed: u64) -> Row {
    let (critical, sheddable) = (critical * CAPACITY, (offered - critical) * CAPACITY);
    let weather = Weather { from: 0.0, workers: WORKERS, slowness: 1.0, critical, sheddable };
    let world = World::run(config, &[weather], 40.0, seed);
    let (from, to) = (15.0, 40.0);
    Row {
        goodput: world.goodput(from, to) / CAPACITY.min(critical + sheddable),
        critical: world.success(Priority::Critical, from, to - 2.0),
        sheddable: world.success(Priority::Sheddable, from, to - 2.0),
        p99: world.latency(0.99, from, to - 2.0, |record| Some(record.arrived)) / unloaded_p99(),
    }
}

#[expect(clippy::print_stdout, reason = "a table for people, printed on demand")]
fn print(name: &str, offered: f64, row: Row) {
    let Row { goodput, critical, sheddable, p99 } = row;
    let (goodput, critical, sheddable) = (goodput * 100.0, critical * 100.0, sheddable * 100.0);
    println!(
        "| {name} | {offered:.1} x | {goodput:.1} % | {critical:.2} % | {sheddable:.1} % | {p99:.2} x |"
    );
}

#[test]
#[ignore = "prints the table that the choice rests on; a minute"]
fn table_of_rejectors() {
    for algorithm in [Algorithm::Fixed, Algorithm::Vegas] {
        for (rejector, discipline) in [
            (RejectorKind::None, Discipline::Fifo),
            (RejectorKind::Codel, Discipline::Fifo),
            (RejectorKind::Codel, Discipline::AdaptiveLifo),
            (RejectorKind::Pid, Discipline::Fifo),
            (RejectorKind::Pid, Discipline::AdaptiveLifo),
        ] {
            let name = format!("{algorithm:?}, {rejector:?}, {discipline:?}");
            for offered in [0.5, 1.2, 2.0, 4.0] {
                print(&name, offered, row(config(rejector, discipline, algorithm), 0.5, offered));
            }
            for (critical, offered) in [(0.9, 2.0), (1.5, 2.0)] {
                let name = format!("{name}, critical {critical}");
                print(&name, offered, row(config(rejector, discipline, algorithm), critical, offered));
            }
        }
    }
}

/// What is promised of the defaults, whatever is offered. Critical calls are never more than half the capacity.
#[test]
fn the_defaults_keep_goodput_critical_calls_and_latency() {
    let AdmissionConfig { rejector, queue_discipline, limit, .. } = AdmissionConfig::default();
    for algorithm in [Algorithm::Fixed, limit.algorithm] {
        for offered in [0.6, 1.2, 4.0] {
            let row = row(config(rejector, queue_discipline, algorithm), 0.5, offered);
            assert!(row.goodput >= 0.95, "{algorithm:?} at {offered}: {row:?}");
            assert!(row.critical >= 0.999, "{algorithm:?} at {offered}: {row:?}");
            assert!(row.p99 <= 1.5, "{algorithm:?} at {offered}: {row:?}");
        }
    }
}

/// Bursts of critical calls drain by themselves; dropping from them costs what was to be protected.
#[test]
fn critical_calls_at_nine_tenths_of_the_capacity_are_not_dropped() {
    let AdmissionConfig { rejector, queue_discipline, .. } = AdmissionConfig::default();
    for algorithm in [Algorithm::Fixed, Algorithm::Vegas] {
        for seed in [9, 10] {
            let row = row_of(config(rejector, queue_discipline, algorithm), 0.9, 2.0, seed);
            assert!(row.critical >= 0.999 && row.goodput >= 0.95, "{algorithm:?}, seed {seed}: {row:?}");
        }
    }
}
