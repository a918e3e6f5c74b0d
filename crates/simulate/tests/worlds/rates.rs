//! How many events the engine, and the engine with policies, get through per second of the machine's time.

use std::time::{Duration, Instant};

use seaworthy_policy::Rng;
use seaworthy_simulate::distribution::exponential;
use seaworthy_simulate::engine::{Engine, Payload};
use seaworthy_simulate::{BackendConfig, Client, PolicyConfig, Table, World, WorldConfig};

use crate::common::{at, world};

fn per_second(events: u64, since: Instant) -> String {
    format!("{:.2} M/s", events as f64 / since.elapsed().as_secs_f64() / 1e6)
}

#[test]
#[ignore = "a measurement; for optimized builds on a quiet machine"]
fn events_per_second() {
    const EVENTS: u64 = 5_000_000;
    let mut table = Table::new(&["model", "events per second"]);
    for pending in [1_000, 10_000, 100_000, 1_000_000] {
        let mut engine = Engine::new();
        let mut rng = Rng::seeded(1);
        let mean = Duration::from_secs(1);
        let payload = Payload { kind: 0, id: 0, generation: 0, small: 0 };
        for _ in 0..pending {
            let due = engine.now().after(exponential(&mut rng, mean));
            engine.schedule(due, payload);
        }
        let start = Instant::now();
        while engine.happened() < EVENTS {
            let event = engine.next(at(u64::MAX / 2_000)).expect("as many come as go");
            engine.schedule(engine.now().after(exponential(&mut rng, mean)), event);
        }
        table.row(&[format!("hold model, {pending} pending"), per_second(EVENTS, start)]);
    }
    for backends in [3, 10, 50, 200] {
        let backend = BackendConfig::default();
        let client = PolicyConfig { probes: None, ..PolicyConfig::default() };
        let start = Instant::now();
        let report = World::run(WorldConfig {
            client: Client::Policy(Box::new(client)),
            ..world(backends, &backend, 14.0 * backends as f64, 10_000 / backends as u64)
        });
        table.row(&[format!("defaults, {backends} backends at 0.7"), per_second(report.events, start)]);
    }
    println!("{table}");
}
