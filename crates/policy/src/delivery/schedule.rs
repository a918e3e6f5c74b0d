//! When a job is attempted again.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{require, require_share};
use crate::{ConfigError, Rng};

/// The most attempts that a schedule may have.
pub const ATTEMPTS_MAX: u32 = 100;
/// The longest wait between two attempts.
pub const WAIT_MAX: Duration = Duration::from_hours(31 * 24);

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// The waits before each attempt, the first one included, and so how many attempts there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The wait before each attempt; the first one counts from when the job is due.
    pub waits: Arc<[Duration]>,
    /// The share by which a wait is spread to either side, from 0 to 1.
    pub jitter: f64,
}

impl Default for Schedule {
    /// That of the Standard Webhooks specification: ten attempts over three days.
    fn default() -> Self {
        let waits = [
            Duration::ZERO,
            5 * SECOND,
            5 * MINUTE,
            30 * MINUTE,
            2 * HOUR,
            5 * HOUR,
            10 * HOUR,
            14 * HOUR,
            20 * HOUR,
            24 * HOUR,
        ];
        Schedule { waits: Arc::new(waits), jitter: 0.2 }
    }
}

impl Schedule {
    /// The same waits for another number of attempts: fewer are cut off, more repeat the last wait.
    #[must_use]
    pub fn with_attempts(&self, attempts: u32) -> Self {
        let last = self.waits.last().copied().unwrap_or_default();
        let waits = self.waits.iter().copied().chain(std::iter::repeat(last));
        Schedule { waits: waits.take(attempts.min(ATTEMPTS_MAX) as usize).collect(), jitter: self.jitter }
    }

    /// Whether there is an attempt, and none is out of reach.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let attempts = 1..=ATTEMPTS_MAX as usize;
        require(attempts.contains(&self.waits.len()), "schedule", "have 1 to 100 attempts")?;
        require(
            self.waits.iter().all(|wait| *wait <= WAIT_MAX),
            "schedule",
            "have waits of at most 31 days",
        )?;
        require_share(self.jitter, "jitter")
    }

    /// How many attempts there are.
    pub fn attempts(&self) -> u32 {
        self.waits.len() as u32
    }

    /// The wait before the next attempt after so many; `None` when none is left.
    pub fn wait(&self, rng: &mut Rng, attempts: u32) -> Option<Duration> {
        self.waits.get(attempts as usize).map(|wait| rng.jitter(*wait, self.jitter))
    }

    /// All waits together, without jitter.
    pub fn span(&self) -> Duration {
        self.waits.iter().fold(Duration::ZERO, |sum, wait| sum.saturating_add(*wait))
    }
}
