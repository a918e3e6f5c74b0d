//! The words in which the admission queue and its caller talk.

use std::time::Duration;

use crate::Deadline;
use crate::limit::Permit;

/// How much a call matters. A lower one never makes a higher one wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Can go at any time; nobody will notice.
    Sheddable,
    /// Can go under pressure; somebody will try again later.
    SheddablePlus,
    /// What users came for.
    #[default]
    Critical,
    /// What must not fail as long as anything works.
    CriticalPlus,
}

impl Priority {
    /// All of them, the highest first.
    pub const ALL: [Priority; 4] =
        [Priority::CriticalPlus, Priority::Critical, Priority::SheddablePlus, Priority::Sheddable];

    /// The word in the spec and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::CriticalPlus => "critical_plus",
            Priority::Critical => "critical",
            Priority::SheddablePlus => "sheddable_plus",
            Priority::Sheddable => "sheddable",
        }
    }

    /// The priority of this word.
    pub fn of(word: &str) -> Option<Priority> {
        Priority::ALL.into_iter().find(|priority| priority.as_str() == word)
    }

    /// Its place in [`Priority::ALL`].
    pub(super) fn rank(self) -> usize {
        match self {
            Priority::CriticalPlus => 0,
            Priority::Critical => 1,
            Priority::SheddablePlus => 2,
            Priority::Sheddable => 3,
        }
    }
}

/// A call that wants in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    /// How much it matters.
    pub priority: Priority,
    /// Whose it is: a hash of the user or tenant, spread over all bits. Within a priority, keys take turns. Zero for
    /// everybody means: no turns, plain order.
    pub fairness_key: u64,
    /// When it must have *started* at the latest: the caller's deadline less the time its work needs.
    pub deadline: Option<Deadline>,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Arrivals are numbered; a number is never used again.
    pub(super) number: u64,
    pub(super) slot: u32,
}

/// What a call is told on arrival.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go.
    Admitted(Permit),
    /// Wait: [`take_decision`](super::Admission::take_decision) will name this ticket.
    Queued(Ticket),
    /// No.
    Rejected(Rejected),
}

/// What became of a ticket.
#[derive(Debug, PartialEq, Eq)]
pub struct Decided {
    /// Which one.
    pub ticket: Ticket,
    /// Go, or no.
    pub verdict: Result<Permit, Rejected>,
}

/// Why a call may not go. Ours, not the backend's: never to be counted as its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub reason: Reason,
    /// When to try again; always more than nothing.
    pub retry_after: Duration,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// As many as allowed are under way, and nobody may wait.
    LimitReached,
    /// As many as allowed are waiting, and none of them matters less.
    QueueFull,
    /// It was waiting, and somebody who matters more, or whose turn it was, took the place.
    Evicted,
    /// Waiting had become pointless (the rejector).
    Overloaded,
    /// It waited as long as anybody may.
    WaitedTooLong,
    /// It could not have started before its deadline, and was refused at once.
    DeadlineTooShort,
    /// Its deadline passed.
    DeadlineExpired,
}
