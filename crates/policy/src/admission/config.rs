//! How many, how long, in which order.

use std::time::Duration;

use crate::error::{require, require_positive};
use crate::{ConfigError, LimitConfig};

/// The longest queue that a configuration may allow.
pub const MAX_QUEUE_MAX: u32 = 1_000_000;

/// In which order those of one priority and one fairness key are let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discipline {
    /// The oldest first.
    Fifo,
    /// The oldest first, but the newest first while the queue has not been empty for `codel_interval`: then the
    /// oldest have mostly been given up already, and the newest can still be answered in time.
    #[default]
    AdaptiveLifo,
}

/// Who decides that waiting has become pointless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RejectorKind {
    /// Nobody: only bounds and deadlines do.
    None,
    /// Those who have waited `codel_target` are dropped while the queue has not been empty for `codel_interval`.
    #[default]
    Codel,
    /// A share of arrivals, the lowest priorities first, is refused, so that the wait settles at `codel_target`.
    Pid,
}

/// How calls are let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdmissionConfig {
    /// How many calls may be under way (`max_concurrent_calls` is [`LimitConfig::fixed`]).
    pub limit: LimitConfig,
    /// How many may wait; 0 refuses at once. Up to [`MAX_QUEUE_MAX`].
    pub max_queue: u32,
    /// How long one may wait; 0 refuses at once.
    pub max_wait_duration: Duration,
    /// In which order they are let go.
    pub queue_discipline: Discipline,
    /// Who decides that waiting has become pointless.
    pub rejector: RejectorKind,
    /// The wait that is acceptable for long.
    pub codel_target: Duration,
    /// For how long a queue may stand before that is a state and no burst.
    pub codel_interval: Duration,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        AdmissionConfig {
            limit: LimitConfig::default(),
            max_queue: 100,
            max_wait_duration: Duration::from_secs(1),
            queue_discipline: Discipline::default(),
            rejector: RejectorKind::default(),
            codel_target: Duration::from_millis(5),
            codel_interval: Duration::from_millis(100),
        }
    }
}

impl AdmissionConfig {
    /// Whether somebody can get in, and a queue can drain.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.limit.validate()?;
        require(self.max_queue <= MAX_QUEUE_MAX, "max_queue", "be at most 1000000")?;
        require_positive(self.codel_target, "codel_target")?;
        require(self.codel_interval >= self.codel_target, "codel_interval", "be at least `codel_target`")
    }

    /// Whether anybody waits at all.
    pub(super) fn queues(&self) -> bool {
        self.max_queue > 0 && !self.max_wait_duration.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_names_the_field() {
        let good = AdmissionConfig::default();
        assert_eq!(good.validate(), Ok(()));
        assert_eq!(AdmissionConfig { max_wait_duration: Duration::ZERO, ..good }.validate(), Ok(()));
        for (config, field) in [
            (AdmissionConfig { limit: LimitConfig::fixed(0), ..good }, "max_limit"),
            (AdmissionConfig { max_queue: MAX_QUEUE_MAX + 1, ..good }, "max_queue"),
            (AdmissionConfig { codel_target: Duration::ZERO, ..good }, "codel_target"),
            (AdmissionConfig { codel_interval: Duration::from_millis(4), ..good }, "codel_interval"),
        ] {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
