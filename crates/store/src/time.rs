//! Points in time that outlive the process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in time: milliseconds since 1970 (UTC).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// So much later; stops at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_add(milliseconds(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// Rounded up, so that a wait is never shorter than asked for; at most what the files can hold.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    let rounded = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(rounded).unwrap_or(u64::MAX).min(u64::MAX / 4)
}

/// Where a store takes the time from.
///
/// The clock of the system may be set back; a lease or a delay must not become longer by that. So the time since
/// the start counts on the monotonic clock, and only steps forward are followed.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System { begin: Timestamp, since: Instant },
    Manual(Arc<AtomicU64>),
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::system()
    }
}

impl Clock {
    /// The clock of this machine.
    pub fn system() -> Self {
        Clock(Source::System { begin: wall(), since: Instant::now() })
    }

    /// A clock that the caller moves, in milliseconds since 1970.
    pub fn manual(time: Arc<AtomicU64>) -> Self {
        Clock(Source::Manual(time))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { begin, since } => begin.after(since.elapsed()).max(wall()),
            Source::Manual(time) => Timestamp(time.load(Ordering::SeqCst)),
        }
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 4))
}
