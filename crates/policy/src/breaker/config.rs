//! When a circuit opens, for how long, and how it comes back.

use std::time::Duration;

use crate::ConfigError;
use crate::error::{require, require_positive, require_share};

/// The most probes a configuration may permit at once.
pub const PROBES_MAX: u32 = 100;

/// The most calls that a window by count may hold; one byte each.
pub const SLIDING_WINDOW_SIZE_MAX: u32 = 65_536;

/// What rates look back over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowType {
    /// The calls of the last `sliding_window`.
    #[default]
    TimeBased,
    /// The last `sliding_window_size` calls, however old.
    CountBased,
}

/// Who decides: the breaker, or a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The breaker.
    #[default]
    Automatic,
    /// Nothing passes, until told otherwise.
    ForceOpen,
    /// Everything passes and is counted; nothing opens the circuit.
    ForceClosed,
    /// Everything passes and nothing is counted.
    Disabled,
    /// Everything passes; the breaker decides and tells its transitions, and is not obeyed.
    MetricsOnly,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 5] =
        [Mode::Automatic, Mode::ForceOpen, Mode::ForceClosed, Mode::Disabled, Mode::MetricsOnly];

    /// The word in the spec, for people and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Automatic => "automatic",
            Mode::ForceOpen => "force_open",
            Mode::ForceClosed => "force_closed",
            Mode::Disabled => "disabled",
            Mode::MetricsOnly => "metrics_only",
        }
    }

    /// The mode of this word.
    pub fn of(word: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// When to open, for how long, and how to come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Failures in a row that open the circuit, provided that `quiet` has passed as well.
    pub consecutive_failures: u32,
    /// How long there must have been no success before a run of failures opens the circuit: one burst of
    /// failures among good answers is no outage.
    pub quiet: Duration,
    /// The share of failed calls that opens the circuit; above 0, up to 1.
    pub failure_rate_threshold: f64,
    /// Calls that the window must hold before a rate means anything.
    pub minimum_number_of_calls: u32,
    /// What rates look back over.
    pub sliding_window_type: WindowType,
    /// How far back rates look, by time.
    pub sliding_window: Duration,
    /// Over how many calls rates look back, by count; 1 to [`SLIDING_WINDOW_SIZE_MAX`].
    pub sliding_window_size: u32,
    /// From when on a call is slow; without it, no call is, and cancelled calls never count.
    pub slow_call_duration: Option<Duration>,
    /// The share of slow calls that opens the circuit; above 0, up to 1.
    pub slow_call_rate_threshold: f64,
    /// The first wait.
    pub wait_duration_in_open_state: Duration,
    /// Where the doubling of the wait ends, before jitter (`max_wait_duration_in_open_state`).
    pub max_wait: Duration,
    /// The share by which a wait is spread to either side, from 0 to 1.
    pub wait_jitter: f64,
    /// Probes per half-open state, outstanding and decided ones together; 1 to [`PROBES_MAX`].
    pub permitted_number_of_calls_in_half_open_state: u32,
    /// When a probe that has not returned counts as failed (`max_wait_duration_in_half_open_state`).
    pub probe_timeout: Duration,
    /// How long traffic takes to grow back; zero closes the circuit at once.
    pub recovery_ramp: Duration,
    /// Who decides at the beginning.
    pub mode: Mode,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            consecutive_failures: 5,
            quiet: Duration::from_millis(500),
            failure_rate_threshold: 0.5,
            minimum_number_of_calls: 20,
            sliding_window_type: WindowType::TimeBased,
            sliding_window: Duration::from_secs(10),
            sliding_window_size: 100,
            slow_call_duration: None,
            slow_call_rate_threshold: 0.8,
            wait_duration_in_open_state: Duration::from_secs(1),
            max_wait: Duration::from_mins(1),
            wait_jitter: 0.2,
            permitted_number_of_calls_in_half_open_state: 3,
            probe_timeout: Duration::from_secs(10),
            recovery_ramp: Duration::from_secs(10),
            mode: Mode::Automatic,
        }
    }
}

impl BreakerConfig {
    /// Whether the circuit can open, and having opened, can close.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rate = |value: f64| value > 0.0 && value <= 1.0;
        require(self.consecutive_failures > 0, "consecutive_failures", "be at least 1")?;
        require(rate(self.failure_rate_threshold), "failure_rate_threshold", "be above 0 and at most 1")?;
        require(self.minimum_number_of_calls > 0, "minimum_number_of_calls", "be at least 1")?;
        require_positive(self.sliding_window, "sliding_window")?;
        let size = 1..=SLIDING_WINDOW_SIZE_MAX;
        require(size.contains(&self.sliding_window_size), "sliding_window_size", "be from 1 to 65536")?;
        let reachable = self.sliding_window_type == WindowType::TimeBased
            || self.minimum_number_of_calls <= self.sliding_window_size;
        require(reachable, "minimum_number_of_calls", "be at most `sliding_window_size`")?;
        require_positive(self.slow_call_duration.unwrap_or(Duration::MAX), "slow_call_duration")?;
        require(rate(self.slow_call_rate_threshold), "slow_call_rate_threshold", "be above 0 and at most 1")?;
        require_positive(self.wait_duration_in_open_state, "wait_duration_in_open_state")?;
        let grows = self.max_wait >= self.wait_duration_in_open_state;
        require(grows, "max_wait", "be at least `wait_duration_in_open_state`")?;
        require_share(self.wait_jitter, "wait_jitter")?;
        let probes = self.permitted_number_of_calls_in_half_open_state;
        let field = "permitted_number_of_calls_in_half_open_state";
        require((1..=PROBES_MAX).contains(&probes), field, "be from 1 to 100")?;
        require_positive(self.probe_timeout, "probe_timeout")
    }

    /// Whether a call that took this long is slow.
    pub(super) fn is_slow(&self, elapsed: Duration) -> bool {
        self.slow_call_duration.is_some_and(|limit| elapsed >= limit)
    }
}
