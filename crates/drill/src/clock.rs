//! The one clock of a drill: `CLOCK_MONOTONIC` in nanoseconds, the same that the node stamps its events with,
//! so that times of both compare without any synchronisation as long as they share a host.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Monotonic nanoseconds now.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).expect("the monotonic clock starts at zero");
    let nanos = u64::try_from(time.tv_nsec).expect("nanoseconds are never negative");
    seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos)
}

/// A number that differs between runs, for ids that must not repeat in state that outlives a run.
pub(crate) fn nonce() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    (time.tv_sec as u64).wrapping_mul(NANOS_PER_SECOND).wrapping_add(time.tv_nsec as u64)
}

/// A duration in nanoseconds; what exceeds 584 years counts as 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as milliseconds, to the microsecond.
pub(crate) fn millis(nanos: u64) -> f64 {
    (nanos as f64 / 1_000.0).round() / 1_000.0
}

/// How long from now until `at`; zero when that has passed.
pub(crate) fn until(at: u64) -> Duration {
    Duration::from_nanos(at.saturating_sub(now()))
}
