//! When an answer stops being of use to anybody.
//!
//! A deadline is a point, not a duration: it is fixed once, at the edge, and handed down through attempts,
//! queues and hedges, each of which asks what is left. Handing down a timeout instead was rejected: three
//! nested timeouts of 5 s add up to 15 s, while three looks at one deadline never add up to anything.
//! Whoever holds one may only bring it forward.
//!
//! Worked number: a deadline 2 s away allows an attempt of 600 ms now, and again at 1.4 s, but not at 1.401 s.

use std::time::Duration;

use crate::Time;

pub mod wire;

pub use wire::{DeadlineConfig, DeadlineInsufficient, WireFormat};

/// The point in time after which no work for this call makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Time);

impl Deadline {
    /// The deadline at that point.
    pub const fn at(time: Time) -> Self {
        Deadline(time)
    }

    /// The deadline that lies `allowance` after `now`.
    pub fn after(now: Time, allowance: Duration) -> Self {
        Deadline(now.after(allowance))
    }

    /// The point itself.
    pub const fn time(self) -> Time {
        self.0
    }

    /// How long there is left; zero when it is past.
    pub fn remaining(self, now: Time) -> Duration {
        self.0.saturating_since(now)
    }

    /// Whether work that takes `needed` can end in time; never once the deadline is past.
    pub fn allows(self, now: Time, needed: Duration) -> bool {
        !self.is_past(now) && self.remaining(now) >= needed
    }

    /// The earlier of the two; a deadline is never extended.
    #[must_use]
    pub fn shorten(self, other: Deadline) -> Deadline {
        self.min(other)
    }

    /// Whether the point has been reached.
    pub fn is_past(self, now: Time) -> bool {
        now >= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_only_what_can_end_in_time() {
        let deadline = Deadline::after(Time::from_millis(1_000), Duration::from_secs(2));
        for (now, needed, allowed) in [
            (1_000, 600, true),
            (2_400, 600, true),
            (2_401, 600, false),
            (2_999, 0, true),
            (3_000, 0, false),
            (9_000, 0, false),
            (0, 3_000, true),
            (0, 3_001, false),
        ] {
            let now = Time::from_millis(now);
            assert_eq!(deadline.allows(now, Duration::from_millis(needed)), allowed, "{now:?} {needed}");
        }
        assert_eq!(deadline.remaining(Time::from_millis(9_000)), Duration::ZERO);
    }

    #[test]
    fn can_only_be_brought_forward() {
        let (near, far) = (Deadline::at(Time::from_millis(1)), Deadline::at(Time::from_millis(2)));
        assert_eq!((near.shorten(far), far.shorten(near)), (near, near));
    }

    #[test]
    fn a_far_allowance_saturates() {
        let deadline = Deadline::after(Time::from_millis(1), Duration::MAX);
        assert!(deadline.allows(Time::from_millis(2), Duration::from_secs(1 << 30)));
    }
}
