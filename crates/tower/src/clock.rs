//! Where the layers get their time from.
//!
//! There is one source, tokio's clock, so that a test that pauses it rules every timer and every window here.
//! A trait for clocks was rejected: two sources in one stack would disagree. Between layers a point in time
//! travels as a [`Moment`]; each machine turns it into a [`Time`] with the origin it began at.
//!
//! Reading a clock costs as much as a breaker's whole decision, so a stack reads it twice per attempt and not twice per
//! layer: once on the way in (the outermost layer reads, the inner ones find the reading in a thread-local cell), and
//! once on the way out (the innermost one reads). Between two such readings nothing runs but layers. The service itself
//! never sees a reading from before it ran: [`Inner`](crate::Inner) takes it away, and every poll begins without one.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::OnceLock;
use std::time::Duration;

use seaworthy_policy::Time;
use tokio::time::Instant;

/// Farther ahead than anybody waits; a timer can still be set to it.
const FAR: Duration = Duration::from_hours(24 * 365 * 30);

/// A reading of the clock: nanoseconds since a moment before the first reading of this process.
///
/// Every call carries a handful of readings from layer to layer. An [`Instant`] is two numbers of different widths: to
/// copy one that was just made stalls the processor, and the difference of two takes thirty instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZero<u64>);

/// What moments are counted from: a day before the first reading, where the system's clock goes back that far, so that
/// clocks that were paused before it are not cut off.
static ANCHOR: OnceLock<Instant> = OnceLock::new();

fn anchor() -> Instant {
    *ANCHOR.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(Duration::from_hours(24)).unwrap_or(now)
    })
}

impl Moment {
    fn of(instant: Instant) -> Self {
        Moment::at(instant.saturating_duration_since(anchor()).as_nanos() as u64)
    }

    fn at(nanos: u64) -> Self {
        Moment(NonZero::new(nanos).unwrap_or(NonZero::<u64>::MIN))
    }

    /// As tokio's timers want it.
    pub(crate) fn instant(self) -> Instant {
        anchor() + Duration::from_nanos(self.0.get())
    }

    /// So much later, or as late as a timer can be set.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Moment(self.0.saturating_add(wait.min(FAR).as_nanos() as u64))
    }

    /// How long after that one; zero if it is before.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// Turns readings of tokio's clock into the machines' time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Moment,
}

impl Clock {
    /// A clock whose time begins now.
    pub fn starting_now() -> Self {
        Clock { origin: now() }
    }

    /// The machines' time at that reading; readings before the origin count as the origin.
    pub fn time_of(&self, instant: Instant) -> Time {
        self.time_at(Moment::of(instant))
    }

    /// The same for a reading of ours.
    pub(crate) fn time_at(self, moment: Moment) -> Time {
        Time::from_nanos(moment.0.get().saturating_sub(self.origin.0.get()))
    }

    /// The reading at which it is that time; the inverse of [`Clock::time_at`].
    pub(crate) fn moment_of(self, time: Time) -> Moment {
        self.origin.after(Duration::from_nanos(time.as_nanos()))
    }

    /// The machines' time of a reading made now.
    pub fn now(&self) -> Time {
        self.time_at(now())
    }
}

/// One reading.
pub(crate) fn now() -> Moment {
    Moment::of(Instant::now())
}

thread_local! {
    /// The reading of the outermost layer whose `call` runs.
    static ON_THE_WAY_IN: Cell<Option<Moment>> = const { Cell::new(None) };
    /// The reading of the innermost layer that answered in this poll.
    static ON_THE_WAY_OUT: Cell<Option<Moment>> = const { Cell::new(None) };
}

/// One reading for a layer's `call` and those of the layers inside of it, as long as this lives.
pub(crate) struct Entry {
    pub(crate) now: Moment,
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
pub(crate) fn answered() -> Moment {
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
    async fn moments_are_instants() {
        let (instant, moment) = (Instant::now(), now());
        assert_eq!(moment.instant(), instant);
        let wait = Duration::from_nanos(1_500_000_001);
        assert_eq!(moment.after(wait).instant(), instant + wait);
        assert_eq!(
            (moment.after(wait).since(moment), moment.since(moment.after(wait))),
            (wait, Duration::ZERO)
        );
        assert!(moment.after(Duration::MAX).instant() > instant + Duration::from_hours(1_000));
        let clock = Clock::starting_now();
        let later = clock.time_of(instant + wait);
        assert_eq!((later, clock.moment_of(later)), (Time::ZERO + wait, moment.after(wait)));
        assert_eq!(clock.time_of(instant - wait), Time::ZERO, "before the origin");
    }

    #[tokio::test(start_paused = true)]
    async fn readings_last_exactly_as_long_as_they_are_right() {
        let second = Duration::from_secs(1);
        let began = now();
        let outer = entering();
        tokio::time::advance(second).await;
        assert_eq!(entering().now, began, "an inner layer finds the outer one's reading");
        assert_eq!(
            without_reading(|| entering().now),
            began.after(second),
            "the service's own code does not"
        );
        drop(outer);
        assert_eq!(entering().now, began.after(second));
        polling();
        assert_eq!(answered(), began.after(second));
        tokio::time::advance(second).await;
        assert_eq!(answered(), began.after(second), "an outer layer finds the inner one's reading");
        polling();
        assert_eq!(answered(), began.after(2 * second), "the next poll does not");
    }
}
