//! How quickly the queue moves: what a wait will cost, and when to try again.

use std::time::Duration;

use crate::Time;
use crate::time::{nanos, scaled};

/// No answer says "try again" sooner than this.
pub const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
/// No answer says "try again" later than this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// What is said while nothing is known.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(1);
/// The weight of one departure in the average.
const WEIGHT: f64 = 1.0 / 16.0;

/// The average time between two departures from a queue that was not empty in between.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    gap: Option<Duration>,
    last: Option<Time>,
}

impl Pace {
    /// Somebody was let go from the queue.
    pub(super) fn on_departure(&mut self, now: Time) {
        if let Some(last) = self.last {
            let sample = now.saturating_since(last);
            let gap = self.gap.unwrap_or(sample);
            self.gap = Some(scaled(gap, 1.0 - WEIGHT).saturating_add(scaled(sample, WEIGHT)));
        }
        self.last = Some(now);
    }

    /// Nobody waits any more: the next departure says nothing about how long the one before it took.
    pub(super) fn on_empty(&mut self) {
        self.last = None;
    }

    /// How long somebody waits who has `ahead` others before him; nothing while nothing is known.
    pub(super) fn wait(&self, now: Time, ahead: u64) -> Duration {
        let Some(gap) = self.gap else { return Duration::ZERO };
        // Since the last departure the next one has come nearer, unless the queue stands still.
        let since = self.last.map_or(Duration::ZERO, |last| now.saturating_since(last));
        let next = nanos(gap).saturating_sub(nanos(since));
        Duration::from_nanos(next.saturating_add(nanos(gap).saturating_mul(ahead)))
    }

    /// When to try again, with so many waiting.
    pub(super) fn retry_after(&self, waiting: u32) -> Duration {
        let known = self.gap.map(|gap| scaled(gap, f64::from(waiting) + 1.0));
        known.unwrap_or(RETRY_AFTER_UNKNOWN).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}
