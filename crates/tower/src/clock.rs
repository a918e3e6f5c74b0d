//! Where the layers get their time from.
//!
//! There is one source, tokio's clock, so that a test that pauses it rules every timer and every window here.
//! A trait for clocks was rejected: two sources in one stack would disagree. Between layers a point in time
//! travels as an [`Instant`]; each machine turns it into a [`Time`] with the origin it began at.
//!
//! Reading a clock costs as much as a breaker's whole decision, so a stack reads it twice per attempt and not twice per
//! layer: once on the way in (the outermost layer reads, the inner ones find the reading in a thread-local cell), and
//! once on the way out (the innermost one reads). Between two such readings nothing runs but layers. The service itself
//! never sees a reading from before it ran: [`Inner`](crate::Inner) takes it away, and every poll begins without one.

use std::cell::Cell;
use std::time::Duration;

use seaworthy_policy::Time;
use tokio::time::Instant;

/// Turns readings of tokio's clock into the machines' time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose time begins now.
    pub fn starting_now() -> Self {
        Clock { origin: now() }
    }

    /// The machines' time at that reading; readings before the origin count as the origin.
    pub fn time_of(&self, instant: Instant) -> Time {
        Time::ZERO + instant.saturating_duration_since(self.origin)
    }

    /// The reading at which it is that time; the inverse of [`Clock::time_of`].
    pub(crate) fn instant_of(&self, time: Time) -> Instant {
        let far = Duration::from_hours(24 * 365 * 30);
        self.origin + time.saturating_since(Time::ZERO).min(far)
    }

    /// The machines' time of a reading made now.
    pub fn now(&self) -> Time {
        self.time_of(now())
    }
}

/// One reading.
pub(crate) fn now() -> Instant {
    Instant::now()
}

thread_local! {
    /// The reading of the outermost layer whose `call` runs.
    static ON_THE_WAY_IN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The reading of the innermost layer that answered in this poll.
    static ON_THE_WAY_OUT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// One reading for a layer's `call` and those of the layers inside of it, as long as this lives.
pub(crate) struct Entry {
    pub(crate) now: Instant,
    is_outermost: bool,
}

pub(crate) fn entering() -> Entry {
    if let Some(now) = ON_THE_WAY_IN.get() {
        return Entry { now, is_outermost: false };
    }
    let now = now();
    ON_THE_WAY_IN.set(Some(now));
    Entry { now, is_outermost: true }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_outermost {
            ON_THE_WAY_IN.set(None);
        }
    }
}

/// Runs the service's own `call`, which may take its time, without a reading; those after it have none either.
pub(crate) fn without_reading<T>(work: impl FnOnce() -> T) -> T {
    ON_THE_WAY_IN.set(None);
    work()
}

/// Begins a poll: no reading from before it counts.
pub(crate) fn polling() {
    ON_THE_WAY_OUT.set(None);
}

/// The reading for an answer that an inner layer has just given.
pub(crate) fn answered() -> Instant {
    ON_THE_WAY_OUT.get().unwrap_or_else(|| {
        let now = now();
        ON_THE_WAY_OUT.set(Some(now));
        now
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn readings_last_exactly_as_long_as_they_are_right() {
        let second = Duration::from_secs(1);
        let began = now();
        let outer = entering();
        tokio::time::advance(second).await;
        assert_eq!(entering().now, began, "an inner layer finds the outer one's reading");
        assert_eq!(without_reading(|| entering().now), began + second, "the service's own code does not");
        drop(outer);
        assert_eq!(entering().now, began + second);
        polling();
        assert_eq!(answered(), began + second);
        tokio::time::advance(second).await;
        assert_eq!(answered(), began + second, "an outer layer finds the inner one's reading");
        polling();
        assert_eq!(answered(), began + 2 * second, "the next poll does not");
    }
}
