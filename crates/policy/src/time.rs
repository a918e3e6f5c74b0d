//! A point on a monotonic clock, as plain data.
//!
//! Nothing in this crate may read a clock, so the caller reads one, once per event, and passes it in. The
//! origin is the caller's affair (process start, start of a simulation): only differences mean anything.
//! The standard library's own instant was rejected: neither a test nor a simulator can make one up.
//!
//! 2^64 nanoseconds are 584 years, so the arithmetic saturates instead of failing.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds since an origin that the caller chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Time = Time(0);

    /// The point `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Time(nanos)
    }

    /// The point `millis` milliseconds after the origin; saturates after 584 years.
    pub const fn from_millis(millis: u64) -> Self {
        Time(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it is in fact later.
    pub fn saturating_since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `duration` after this one; saturates at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(nanos(duration)))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        self.after(duration)
    }
}

/// A duration in nanoseconds; what exceeds 584 years counts as 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `duration * factor`, where nonsense and overflow end at the longest duration, and negatives at zero.
pub(crate) fn scaled(duration: Duration, factor: f64) -> Duration {
    if factor <= 0.0 || duration.is_zero() {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate_instead_of_failing() {
        let (early, late) = (Time::from_millis(5), Time::from_millis(8));
        assert_eq!(late.saturating_since(early), Duration::from_millis(3));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(early + Duration::from_millis(3), late);
        assert_eq!(late + Duration::MAX, Time::from_nanos(u64::MAX));
        assert_eq!(Time::from_millis(u64::MAX), Time::from_nanos(u64::MAX));
    }

    #[test]
    fn scaling_never_fails() {
        let second = Duration::from_secs(1);
        for (duration, factor, expected) in [
            (second, 0.25, Duration::from_millis(250)),
            (second, -1.0, Duration::ZERO),
            (second, f64::INFINITY, Duration::MAX),
            (second, f64::NAN, Duration::MAX),
            (Duration::ZERO, f64::INFINITY, Duration::ZERO),
            (Duration::MAX, 2.0, Duration::MAX),
        ] {
            assert_eq!(scaled(duration, factor), expected, "{duration:?} * {factor}");
        }
    }
}
