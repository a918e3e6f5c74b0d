//! How a call ended, in the one vocabulary that every machine of this crate is told in.
//!
//! **Problem.** Machines ask different questions of the same ending. To a breaker, an error answer, a full backend and
//! silence are one thing: a failure. To a throttle, an error answer is a request that was *taken on*, and only refusal
//! and silence are signs of overload. **Model.** The shell says what happened; each machine reads from it what it
//! needs. **Rejected:** one machine's outcomes for all of them (a throttle behind a breaker's would brake on every
//! bug of the backend).
//!
//! | how it ended | breaker | throttle | admission |
//! |---|---|---|---|
//! | success | success | accepted | a latency |
//! | failed: an error answer | failure | accepted | throughput |
//! | overloaded (503) | failure | refused | a loss |
//! | throttled (429) | failure, but none in a row | refused | a loss |
//! | unexecuted: not reached | failure | refused | throughput |
//! | timed out | failure | refused | a loss |
//! | panicked, in the service's own code | failure | ignored | nothing |
//! | ignored: the request was at fault | ignored | accepted | throughput |
//! | not sent: another policy of ours | ignored | ignored | nothing |
//! | cancelled by its caller | slow, or nothing | ignored | nothing |

use std::time::Duration;

use seaworthy_policy::breaker;

use crate::ambient::Ambient;
use crate::classify::{Meaning, Verdict};
use crate::clock::Moment;

/// A deadline that passes sooner than this says more about the caller than about the backend.
pub(crate) const FAIR_CHANCE: Duration = Duration::from_millis(200);

/// How a call ended, and after how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// From the moment it was let in.
    pub elapsed: Duration,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The backend answered well.
    Success,
    /// The backend took it on and answered with a failure.
    Failed,
    /// The backend said that it is overloaded ([`Failure::is_overloaded`](crate::Failure::is_overloaded)).
    Overloaded,
    /// The backend asked for less ([`Failure::is_throttled`](crate::Failure::is_throttled)).
    Throttled,
    /// The backend was not reached ([`Failure::is_unexecuted`](crate::Failure::is_unexecuted)).
    Unexecuted,
    /// The backend was silent for too long.
    TimedOut,
    /// The service's own code panicked.
    Panicked,
    /// The backend answered that the request itself was at fault.
    Ignored,
    /// A policy of ours further in rejected it.
    NotSent,
    /// The caller gave up.
    Cancelled,
}

impl Outcome {
    pub(crate) fn of(meaning: &Meaning) -> Outcome {
        match meaning {
            Meaning::Backend(Verdict::Success) => Outcome::Success,
            Meaning::Backend(Verdict::Failure(failure)) if failure.is_throttled => Outcome::Throttled,
            Meaning::Backend(Verdict::Failure(failure)) if failure.is_overloaded => Outcome::Overloaded,
            Meaning::Backend(Verdict::Failure(failure)) if failure.is_unexecuted => Outcome::Unexecuted,
            Meaning::Backend(Verdict::Failure(_)) => Outcome::Failed,
            Meaning::Backend(Verdict::Ignored) => Outcome::Ignored,
            Meaning::TimedOut => Outcome::TimedOut,
            Meaning::Rejected => Outcome::NotSent,
        }
    }
}

impl From<Ended> for breaker::Outcome {
    fn from(Ended { outcome, elapsed }: Ended) -> Self {
        match outcome {
            Outcome::Success => breaker::Outcome::Success { elapsed },
            Outcome::Throttled => breaker::Outcome::Throttled { elapsed },
            Outcome::Failed
            | Outcome::Overloaded
            | Outcome::Unexecuted
            | Outcome::TimedOut
            | Outcome::Panicked => breaker::Outcome::Failure { elapsed },
            Outcome::Ignored | Outcome::NotSent => breaker::Outcome::Ignored,
            Outcome::Cancelled => breaker::Outcome::Cancelled { elapsed },
        }
    }
}

/// What a permit has to know so that its being dropped is an outcome too.
#[derive(Debug)]
pub(crate) struct Course {
    started: Moment,
    deadline: Option<Moment>,
    /// While code of the inner service runs; still set in `drop` when that code panicked.
    pub(crate) inside: bool,
}

impl Course {
    pub(crate) fn begin(started: Moment) -> Self {
        Course { started, deadline: Ambient::get().deadline, inside: false }
    }

    pub(crate) fn ended(&self, now: Moment, outcome: Outcome) -> Ended {
        Ended { outcome, elapsed: now.since(self.started) }
    }

    /// It was dropped: its caller gave up, unless its deadline had passed after a fair chance, or its code panicked.
    pub(crate) fn dropped(&self, now: Moment) -> Ended {
        let ended = self.ended(now, Outcome::Cancelled);
        let overdue = self.deadline.is_some_and(|deadline| deadline <= now);
        let outcome = match (self.inside, overdue && ended.elapsed >= FAIR_CHANCE) {
            (true, _) => Outcome::Panicked,
            (false, true) => Outcome::TimedOut,
            (false, false) => Outcome::Cancelled,
        };
        Ended { outcome, ..ended }
    }
}
