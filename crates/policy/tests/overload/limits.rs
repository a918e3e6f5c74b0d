//! The limit algorithms side by side: 40 workers of 50 ms are 800 calls per second.

use seaworthy_policy::limit::Algorithm;
use seaworthy_policy::{AdmissionConfig, LimitConfig};

use crate::world::{SERVICE, Weather, World, calm, no_queue, unloaded_p99};

const WORKERS: u32 = 40;

fn with(algorithm: Algorithm, initial_limit: u32) -> AdmissionConfig {
    let limit = LimitConfig { algorithm, initial_limit, timeout: std::time::Duration::from_secs(1), ..LimitConfig::default() };
    no_queue(AdmissionConfig { limit, ..AdmissionConfig::default() })
}

fn capacity(workers: u32) -> f64 {
    f64::from(workers) / SERVICE
}

const ALGORITHMS: [Algorithm; 4] = [Algorithm::Fixed, Algorithm::Aimd, Algorithm::Vegas, Algorithm::Gradient2];

#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub goodput: f64,
    pub p99: f64,
    pub limit: u32,
}

/// Goodput as a share of `most`, p99 as a multiple of the unloaded one, the limit at the end.
fn row(world: &World, from: f64, to: f64, most: f64, slowness: f64) -> Row {
    Row {
        goodput: world.goodput(from, to) / most,
        p99: world.latency(0.99, from, to - 1.0, |record| record.admitted) / (unloaded_p99() * slowness),
        limit: world.limit_at(to as usize - 1),
    }
}

fn print(name: &str, algorithm: Algorithm, row: Row) {
    let (goodput, p99) = (row.goodput * 100.0, row.p99);
    println!("| {name} | {algorithm:?} | {goodput:.1} % | {p99:.2} x | {} |", row.limit);
}

#[test]
fn table_of_limits() {
    let full = capacity(WORKERS);
    for algorithm in ALGORITHMS {
        let world = World::run(with(algorithm, 20), &[calm(0.0, WORKERS, 1.2 * full)], 200.0, 1);
        print("1.2 x, 20..60 s", algorithm, row(&world, 20.0, 60.0, full, 1.0));
        print("1.2 x, 160..200 s", algorithm, row(&world, 160.0, 200.0, full, 1.0));
        if algorithm == Algorithm::Vegas { println!("{:?}", world.limits.iter().step_by(5).collect::<Vec<_>>());}
    }
    for algorithm in ALGORITHMS {
        let weather = [calm(0.0, WORKERS, 0.9 * full), calm(60.0, WORKERS / 4, 0.9 * full), calm(120.0, WORKERS, 0.9 * full)];
        let world = World::run(with(algorithm, WORKERS), &weather, 180.0, 2);
        print("before", algorithm, row(&world, 30.0, 60.0, 0.9 * full, 1.0));
        print("workers / 4, first 10 s", algorithm, row(&world, 60.0, 70.0, full / 4.0, 1.0));
        print("workers / 4, later", algorithm, row(&world, 70.0, 120.0, full / 4.0, 1.0));
        print("workers x 4, first 10 s", algorithm, row(&world, 120.0, 130.0, 0.9 * full, 1.0));
        print("workers x 4, later", algorithm, row(&world, 130.0, 180.0, 0.9 * full, 1.0));
        if algorithm == Algorithm::Vegas { println!("{:?}", &world.limits[55..150]);}
    }
    for algorithm in ALGORITHMS {
        let slow = Weather { from: 60.0, slowness: 4.0, ..calm(60.0, WORKERS, 0.9 * full) };
        let world = World::run(with(algorithm, WORKERS), &[calm(0.0, WORKERS, 0.9 * full), slow], 150.0, 3);
        print("4 x slower, first 10 s", algorithm, row(&world, 60.0, 70.0, full / 4.0, 4.0));
        print("4 x slower, later", algorithm, row(&world, 90.0, 150.0, full / 4.0, 4.0));
        if algorithm == Algorithm::Vegas { println!("{:?}", &world.limits[55..]);}
    }
}
