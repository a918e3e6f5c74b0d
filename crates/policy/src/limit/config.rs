//! Which algorithm finds the limit, and between which bounds.

use std::time::Duration;

use crate::ConfigError;
use crate::error::{require, require_positive};

/// The highest limit that a configuration may allow: beyond it, in-flight calls are no longer the bottleneck.
pub const LIMIT_MAX: u32 = 1_000_000;

/// How the limit is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Not at all: it stays at `initial_limit`.
    Fixed,
    /// Grows by one per round trip, shrinks when calls are lost. Sees no queue before it costs a timeout.
    Aimd,
    /// Estimates the queue in front of the backend and keeps it small; experiments tell a queue from slowness.
    #[default]
    Vegas,
    /// Compares latency with its own long average (Netflix's Gradient2).
    Gradient2,
}

/// How many calls may be under way, and what changes that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitConfig {
    /// How the limit is found.
    pub algorithm: Algorithm,
    /// The limit to begin with; the limit itself for [`Algorithm::Fixed`].
    pub initial_limit: u32,
    /// The lowest limit; at least 1, so that there is always something to learn from.
    pub min_limit: u32,
    /// The highest limit; up to [`LIMIT_MAX`].
    pub max_limit: u32,
    /// By what factor latency may exceed its baseline before that alone means congestion; at least 1.
    pub rtt_tolerance: f64,
    /// How long samples are gathered before a decision.
    pub sample_window: Duration,
    /// How long a window is prolonged, at most, while it has fewer than `samples_min` samples.
    pub sample_window_max: Duration,
    /// Samples that a decision wants.
    pub samples_min: u32,
    /// Which percentile of a window's latencies stands for it; above 0, up to 1.
    pub percentile: f64,
    /// A call that takes this long counts as lost, whatever it says: a timeout is no latency (Netflix's
    /// concurrency-limits#137).
    pub timeout: Duration,
}

impl Default for LimitConfig {
    fn default() -> Self {
        LimitConfig {
            algorithm: Algorithm::default(),
            initial_limit: 20,
            min_limit: 1,
            max_limit: 1_000,
            rtt_tolerance: 1.5,
            sample_window: Duration::from_secs(1),
            sample_window_max: Duration::from_secs(30),
            samples_min: 50,
            percentile: 0.9,
            timeout: Duration::from_secs(5),
        }
    }
}

impl LimitConfig {
    /// A limit that stays what it is (`max_concurrent_calls`).
    pub fn fixed(limit: u32) -> Self {
        LimitConfig {
            algorithm: Algorithm::Fixed,
            initial_limit: limit,
            max_limit: limit,
            ..LimitConfig::default()
        }
    }

    /// Whether there is a way from the lowest limit to the highest.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require(self.min_limit > 0, "min_limit", "be at least 1")?;
        let ordered = (self.min_limit..=LIMIT_MAX).contains(&self.max_limit);
        require(ordered, "max_limit", "be from `min_limit` to 1000000")?;
        let inside = (self.min_limit..=self.max_limit).contains(&self.initial_limit);
        require(inside, "initial_limit", "be from `min_limit` to `max_limit`")?;
        let tolerant = self.rtt_tolerance.is_finite() && self.rtt_tolerance >= 1.0;
        require(tolerant, "rtt_tolerance", "be at least 1")?;
        require_positive(self.sample_window, "sample_window")?;
        let longer = self.sample_window_max >= self.sample_window;
        require(longer, "sample_window_max", "be at least `sample_window`")?;
        require(self.samples_min > 0, "samples_min", "be at least 1")?;
        let percentile = self.percentile > 0.0 && self.percentile <= 1.0;
        require(percentile, "percentile", "be above 0 and at most 1")?;
        require_positive(self.timeout, "timeout")
    }

    /// The nearest limit that is allowed.
    pub(super) fn clamp(&self, limit: f64) -> f64 {
        limit.clamp(f64::from(self.min_limit), f64::from(self.max_limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_names_the_field() {
        let good = LimitConfig::default();
        assert_eq!(good.validate(), Ok(()));
        assert_eq!(LimitConfig::fixed(7).validate(), Ok(()));
        for (config, field) in [
            (LimitConfig { min_limit: 0, ..good }, "min_limit"),
            (LimitConfig { min_limit: 1_001, ..good }, "max_limit"),
            (LimitConfig { max_limit: LIMIT_MAX + 1, ..good }, "max_limit"),
            (LimitConfig { initial_limit: 1_001, ..good }, "initial_limit"),
            (LimitConfig { min_limit: 21, ..good }, "initial_limit"),
            (LimitConfig { rtt_tolerance: 0.9, ..good }, "rtt_tolerance"),
            (LimitConfig { rtt_tolerance: f64::NAN, ..good }, "rtt_tolerance"),
            (LimitConfig { sample_window: Duration::ZERO, ..good }, "sample_window"),
            (LimitConfig { sample_window_max: Duration::from_millis(999), ..good }, "sample_window_max"),
            (LimitConfig { samples_min: 0, ..good }, "samples_min"),
            (LimitConfig { percentile: 0.0, ..good }, "percentile"),
            (LimitConfig { percentile: f64::NAN, ..good }, "percentile"),
            (LimitConfig { timeout: Duration::ZERO, ..good }, "timeout"),
        ] {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
