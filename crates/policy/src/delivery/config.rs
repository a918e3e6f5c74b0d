//! How the jobs of a queue are delivered.

use std::sync::Arc;
use std::time::Duration;

use super::schedule::Schedule;
use crate::error::{require, require_positive};
use crate::{BreakerConfig, ConfigError, RateLimitConfig};

/// The most attempts that may be under way at once, and the most jobs held beyond them.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// The shortest lease; a shorter one would be over before its extension is on disk.
pub const LEASE_MIN: Duration = Duration::from_secs(1);
/// The most jobs that a configuration may have remembered for the sake of their order.
pub const ORDER_JOBS_LIMIT: u32 = 1_000_000;
/// The longest `Retry-After` that a configuration may obey.
pub const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(31 * 24);

/// What to do when nobody knows whether a job was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// Deliver it again, under the same id, by which the receiver can tell.
    #[default]
    AtLeastOnce,
    /// Do not: it is a dead letter, and a person decides.
    AtMostOnce,
}

/// How the jobs of a queue, or of one subscriber of a topic, are delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryConfig {
    /// How many attempts there are, and when.
    pub schedule: Schedule,
    /// How long an attempt may take, up to the end of its answer's head.
    pub timeout: Duration,
    /// How long a claim lasts unless it is extended; at least [`LEASE_MIN`].
    pub lease: Duration,
    /// Attempts under way at once, 1 to [`CONCURRENCY_MAX`].
    pub concurrency: u32,
    /// Jobs held beyond those under way, so that none waits for the store; 1 to [`CONCURRENCY_MAX`].
    pub prefetch: u32,
    /// Attempts per period. Its own `timeout_duration` has no meaning here.
    pub rate: Option<RateLimitConfig>,
    /// Spares a receiver that is down.
    pub breaker: Option<Arc<BreakerConfig>>,
    /// Statuses that no later attempt would mend, ascending.
    pub final_statuses: Arc<[u16]>,
    /// The longest `Retry-After` that is obeyed; a longer one counts as this one.
    pub max_retry_after: Duration,
    /// What to do when nobody knows whether a job was executed.
    pub guarantee: Guarantee,
    /// How much earlier a job counts as due for each level of priority.
    pub priority_patience: Duration,
    /// Jobs with an order key that were given back and are remembered, 1 to [`ORDER_JOBS_LIMIT`]. Beyond it, their order
    /// is the store's affair alone.
    pub order_jobs_max: u32,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        let timeout = Duration::from_secs(30);
        // A probe may take as long as any attempt, and as long again to be reported.
        let breaker = BreakerConfig { probe_timeout: 2 * timeout, ..BreakerConfig::default() };
        DeliveryConfig {
            schedule: Schedule::default(),
            timeout,
            lease: Duration::from_mins(1),
            concurrency: 10,
            prefetch: 10,
            rate: None,
            breaker: Some(Arc::new(breaker)),
            final_statuses: Arc::new([400, 413, 414, 415, 422, 431]),
            max_retry_after: Duration::from_hours(24),
            guarantee: Guarantee::AtLeastOnce,
            priority_patience: Duration::from_hours(1),
            order_jobs_max: 100_000,
        }
    }
}

impl DeliveryConfig {
    /// Whether a job can be delivered under it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.schedule.validate()?;
        require_positive(self.timeout, "timeout")?;
        require(self.lease >= LEASE_MIN, "lease", "be at least 1 s")?;
        let places = 1..=CONCURRENCY_MAX;
        require(places.contains(&self.concurrency), "concurrency", "be from 1 to 10000")?;
        require(places.contains(&self.prefetch), "prefetch", "be from 1 to 10000")?;
        if let Some(rate) = &self.rate {
            rate.validate()?;
        }
        if let Some(breaker) = &self.breaker {
            breaker.validate()?;
        }
        let ascending = self.final_statuses.windows(2).all(|pair| pair[0] < pair[1]);
        require(ascending, "final_statuses", "ascend")?;
        let are_errors =
            self.final_statuses.iter().all(|status| (300..=599).contains(status) && *status != 410);
        require(are_errors, "final_statuses", "be from 300 to 599, and not 410")?;
        require_positive(self.max_retry_after, "max_retry_after")?;
        let bounded = self.max_retry_after <= RETRY_AFTER_LIMIT;
        require(bounded, "max_retry_after", "be at most 31 days")?;
        let jobs = 1..=ORDER_JOBS_LIMIT;
        require(jobs.contains(&self.order_jobs_max), "order_jobs_max", "be from 1 to 1000000")
    }

    /// Jobs held at once.
    pub fn held_max(&self) -> u32 {
        self.concurrency + self.prefetch
    }

    /// Jobs held behind others of their order key, so that enough places remain for other keys.
    pub(super) fn behind_max(&self) -> u32 {
        (self.prefetch / 2).max(1)
    }
}
