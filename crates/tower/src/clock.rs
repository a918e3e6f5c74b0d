//! Where the layers get their time from.
//!
//! There is one source, tokio's clock, so that a test that pauses it rules every timer and every window here.
//! A trait for clocks was rejected: two sources in one stack would disagree. Between layers a point in time
//! travels as an [`Instant`]; each machine turns it into a [`Time`] with the origin it began at.

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

    /// The machines' time of a reading made now.
    pub fn now(&self) -> Time {
        self.time_of(now())
    }
}

/// One reading.
pub(crate) fn now() -> Instant {
    Instant::now()
}
