//! What can go wrong, and whose doing it is.

use std::fmt;
use std::time::Duration;

/// What a protected call fails with.
///
/// Only [`Error::Inner`] is the backend's word. A [`Rejection`] is ours: nothing was sent, so no layer counts it
/// as a failure of the backend or tries it again at once. A [`Timeout`] is ours as well, but the backend's silence
/// caused it, so it counts against the backend, and whether the request was executed is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The service's own error.
    Inner(E),
    /// Not attempted.
    Rejected(Rejection),
    /// Given up.
    Timeout(Timeout),
}

/// Why a call was not attempted, and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which policy decided.
    pub by: By,
    /// Its reason, in a few words.
    pub reason: &'static str,
    /// When to try again, from now.
    pub retry_after: Duration,
}

/// The policy that rejected a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum By {
    /// The circuit is not closed.
    CircuitBreaker,
    /// Too many calls are under way.
    ConcurrencyLimit,
    /// The queue in front of the limit is full, or the wait would be too long.
    AdmissionQueue,
    /// Too many calls in this period.
    RateLimit,
    /// The backend rejects so much that we reject a share ourselves.
    Throttle,
    /// There is no time left to do it.
    Deadline,
    /// A machine that this crate does not know.
    Other(&'static str),
}

impl By {
    /// The name as it stands in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            By::CircuitBreaker => "circuit_breaker",
            By::ConcurrencyLimit => "concurrency_limit",
            By::AdmissionQueue => "admission_queue",
            By::RateLimit => "rate_limit",
            By::Throttle => "throttle",
            By::Deadline => "deadline",
            By::Other(name) => name,
        }
    }
}

/// A timer that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// Which one.
    pub which: Which,
    /// How long it allowed.
    pub after: Duration,
}

/// The timers of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// The whole call, with all its attempts and waits.
    Total,
    /// One attempt.
    Attempt,
}

impl Which {
    /// The name as it stands in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Which::Total => "total_timeout",
            Which::Attempt => "attempt_timeout",
        }
    }
}

impl<E> Error<E> {
    /// When to try again, where a policy of ours knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Rejected(rejection) => Some(rejection.retry_after),
            Error::Inner(_) | Error::Timeout(_) => None,
        }
    }

    /// Whether we decided this, and sent nothing.
    pub fn is_rejected(&self) -> bool {
        matches!(self, Error::Rejected(_))
    }

    /// Whether nobody can say if the request was executed.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Error::Timeout(_))
    }

    /// The service's own error, if it is one.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Error::Inner(error) => Some(error),
            Error::Rejected(_) | Error::Timeout(_) => None,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rejection { by, reason, retry_after } = self;
        write!(formatter, "rejected by {}: {reason}; try again in {retry_after:?}", by.as_str())
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no answer within the {} of {:?}", self.which.as_str(), self.after)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Inner(error) => error.fmt(formatter),
            Error::Rejected(rejection) => rejection.fmt(formatter),
            Error::Timeout(timeout) => timeout.fmt(formatter),
        }
    }
}

impl<E: std::error::Error> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Inner(error) => error.source(),
            Error::Rejected(_) | Error::Timeout(_) => None,
        }
    }
}
