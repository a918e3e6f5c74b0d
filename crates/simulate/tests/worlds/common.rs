//! What the models of these tests have in common.

use std::time::Duration;

use seaworthy_policy::Time;
use seaworthy_simulate::{BackendConfig, Client, PolicyConfig, WorldConfig};

pub(crate) fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A quiet world of this many backends of a kind, behind one gateway with the defaults.
pub(crate) fn world(backends: usize, backend: &BackendConfig, rate: f64, seconds: u64) -> WorldConfig {
    WorldConfig {
        seed: 1,
        gateways: 1,
        backends: vec![backend.clone(); backends],
        network: Duration::ZERO,
        client: Client::Policy(Box::<PolicyConfig>::default()),
        rates: vec![(Time::ZERO, rate)],
        changes: Vec::new(),
        ends: at(seconds),
    }
}
