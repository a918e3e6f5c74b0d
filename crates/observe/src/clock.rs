//! The clocks of the shells. The pure machines read none: they get [`Time`] as an argument.

use rustix::time::{ClockId, clock_gettime};
use seaworthy_policy::time::Time;

/// Reads the machine's clocks.
///
/// Monotonic times are `CLOCK_MONOTONIC`, whose origin all processes of a host share: a driver can subtract a time
/// that a node reported. `std::time::Instant` was rejected because it cannot leave its process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// Monotonic time.
    pub fn now(self) -> Time {
        let read = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(read.tv_sec).expect("the monotonic clock starts at zero");
        let nanos = u64::try_from(read.tv_nsec).expect("nanoseconds are never negative");
        Time::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Wall clock time in UTC, RFC 3339 with milliseconds: `2026-11-02T12:03:04.123Z`.
    pub fn wall(self) -> String {
        format!("{:.3}", jiff::Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn monotonic_time_advances_like_the_standard_clock() {
        let (standard, ours) = (Instant::now(), Clock.now());
        while standard.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        let passed = Clock.now().saturating_since(ours);
        assert!(passed >= Duration::from_millis(4), "{passed:?}");
        assert!(passed <= standard.elapsed() + Duration::from_millis(1), "{passed:?}");
    }

    #[test]
    fn wall_time_has_milliseconds_and_zulu() {
        let wall = Clock.wall();
        assert_eq!(wall.len(), "2026-11-02T12:03:04.123Z".len(), "{wall}");
        assert!(wall.ends_with('Z') && wall.as_bytes()[10] == b'T' && wall.as_bytes()[19] == b'.', "{wall}");
        assert!(wall.parse::<jiff::Timestamp>().is_ok(), "{wall}");
    }
}
