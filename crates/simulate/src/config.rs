//! What a world is made of, before anything happens in it.

use std::ops::Range;
use std::time::Duration;

use seaworthy_policy::call::MAX_ATTEMPTS;
use seaworthy_policy::{ConfigError, HealthConfig, Time};

use crate::backend::{BackendConfig, Condition};
use crate::client::Client;

/// The most pairs of a gateway and a backend; each has a state of its own.
pub const PAIRS_MAX: usize = 1 << 24;
/// The highest rate of requests per second: one per nanosecond.
const RATE_MAX: f64 = 1e9;

/// From `at` on, `backends` are in this condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// When.
    pub at: Time,
    /// Whose.
    pub backends: Range<usize>,
    /// Which.
    pub condition: Condition,
}

/// A model, completely; with its seed, a run.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Determines everything that is left to chance.
    pub seed: u64,
    /// Gateways, each with its own state; at least 1.
    pub gateways: usize,
    /// Backends; at least 1.
    pub backends: Vec<BackendConfig>,
    /// How long a message travels, one way.
    pub network: Duration,
    /// Who sends.
    pub client: Client,
    /// Requests per second, from each of these times on.
    pub rates: Vec<(Time, f64)>,
    /// What goes wrong, and when it is well again.
    pub changes: Vec<Change>,
    /// No request comes later; those under way end.
    pub ends: Time,
}

impl WorldConfig {
    /// Whether there is somebody to send and somebody to send to, and whether what happens happens in order.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let must = |holds: bool, field, must| if holds { Ok(()) } else { Err(ConfigError { field, must }) };
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let within = self.gateways.saturating_mul(self.backends.len()) <= PAIRS_MAX;
        must(self.gateways > 0, "gateways", "be at least 1")?;
        must(!self.backends.is_empty(), "backends", "name at least one")?;
        must(within, "backends", "be at most 2^24, times `gateways`")?;
        let works = self.backends.iter().all(|backend| backend.workers > 0);
        must(works, "backends.workers", "be at least 1")?;
        must(self.rates.is_sorted_by_key(|(from, _)| *from), "rates", "be in the order of their times")?;
        let rates = self.rates.iter().all(|(_, rate)| (0.0..=RATE_MAX).contains(rate));
        must(rates, "rates", "be from 0 to 10^9 per second")?;
        for Change { backends, condition, .. } in &self.changes {
            must(backends.end <= self.backends.len(), "changes.backends", "exist")?;
            must(
                condition.slowness > 0.0 && condition.slowness.is_finite(),
                "changes.slowness",
                "be above 0",
            )?;
            must(share(condition.unanswered), "changes.unanswered", "be from 0 to 1")?;
            must(share(condition.errors), "changes.errors", "be from 0 to 1")?;
            must(condition.error.is_failure(), "changes.error", "be an error")?;
        }
        match &self.client {
            Client::Control(control) => {
                must((1..=MAX_ATTEMPTS).contains(&control.attempts), "client.attempts", "be from 1 to 5")?;
                must(control.timeout > Duration::ZERO, "client.timeout", "be longer than 0")
            }
            Client::Policy(policy) => policy.probes.as_ref().map_or(Ok(()), HealthConfig::validate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaworthy_policy::call::Class;

    use crate::client::{ControlConfig, Refill};

    fn good() -> WorldConfig {
        WorldConfig {
            seed: 1,
            gateways: 1,
            backends: vec![BackendConfig::default()],
            network: Duration::ZERO,
            client: Client::Policy(Box::default()),
            rates: vec![(Time::ZERO, 1.0)],
            changes: Vec::new(),
            ends: Time::from_millis(1),
        }
    }

    #[test]
    fn validation_names_the_field() {
        assert_eq!(good().validate(), Ok(()));
        let control = |attempts, timeout| {
            let (backoff, refill) = (None, Refill::Unlimited);
            Client::Control(ControlConfig { attempts, timeout, backoff, refill, tokens_max: 0.0, cap: None })
        };
        let change = |backends, condition| vec![Change { at: Time::ZERO, backends, condition }];
        let well = Condition::default();
        let idle = BackendConfig { workers: 0, ..BackendConfig::default() };
        let (late, second) = (Time::from_millis(9), Duration::from_secs(1));
        for (config, field) in [
            (WorldConfig { gateways: 0, ..good() }, "gateways"),
            (WorldConfig { gateways: PAIRS_MAX + 1, ..good() }, "backends"),
            (WorldConfig { backends: Vec::new(), ..good() }, "backends"),
            (WorldConfig { backends: vec![idle], ..good() }, "backends.workers"),
            (WorldConfig { rates: vec![(late, 1.0), (Time::ZERO, 1.0)], ..good() }, "rates"),
            (WorldConfig { rates: vec![(late, f64::NAN)], ..good() }, "rates"),
            (WorldConfig { changes: change(0..2, well), ..good() }, "changes.backends"),
            (
                WorldConfig { changes: change(0..1, Condition { slowness: 0.0, ..well }), ..good() },
                "changes.slowness",
            ),
            (
                WorldConfig { changes: change(0..1, Condition { unanswered: 1.1, ..well }), ..good() },
                "changes.unanswered",
            ),
            (
                WorldConfig { changes: change(0..1, Condition { errors: -0.1, ..well }), ..good() },
                "changes.errors",
            ),
            (
                WorldConfig { changes: change(0..1, Condition { error: Class::Answered, ..well }), ..good() },
                "changes.error",
            ),
            (WorldConfig { client: control(0, second), ..good() }, "client.attempts"),
            (WorldConfig { client: control(6, second), ..good() }, "client.attempts"),
            (WorldConfig { client: control(1, Duration::ZERO), ..good() }, "client.timeout"),
        ] {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
