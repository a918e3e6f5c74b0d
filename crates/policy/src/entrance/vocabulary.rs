//! The words in which gates, passages and their shell talk.

use std::time::Duration;

use crate::admission::{Priority, Ticket};
use crate::call::{Class, FailureKind};
use crate::limit::{self, Permit};
use crate::rate_limit::Reservation;
use crate::{Deadline, admission, throttle};

/// A request in front of a gate.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    /// How much it matters.
    pub priority: Priority,
    /// Whose it is, as this gate tells people apart: a hash, spread over all bits, with a secret that they do not know.
    /// Zero for everybody where a gate tells nobody apart.
    pub key: u64,
    /// When its answer stops being of use.
    pub deadline: Deadline,
}

/// What a gate says.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was given has to be given back"]
pub enum Said {
    /// Go on, and hold this meanwhile.
    Pass(Hold),
    /// Not yet.
    Wait(Waiting),
    /// No.
    No(Reason, Duration),
}

/// What somebody waits for in front of a gate.
#[derive(Debug, PartialEq, Eq)]
pub enum Waiting {
    /// For a moment that is known.
    Until {
        /// The place in line, with that moment.
        reservation: Reservation,
        /// Whose place it is.
        key: u64,
    },
    /// For a turn: the gate will name this ticket.
    Turn(Ticket),
}

/// What a request holds of a gate that it has passed.
#[derive(Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nothing to give back; what is left of the quota.
    Counted(Quote),
    /// An outcome is to be told, of this rank.
    Outcome(usize),
    /// A place.
    Place(Permit),
}

/// How a quota stands, for whoever wants to keep within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Requests that could come at once now.
    pub remaining: u32,
    /// Until it is whole again; after a refusal, until there is room for one.
    pub reset: Duration,
}

/// A request that may not pass. Ours, not the service's: never to be counted as its failure, never sent again here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The index of the gate.
    pub gate: usize,
    /// Why.
    pub reason: Reason,
    /// When to try again; more than nothing.
    pub retry_after: Duration,
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The quota is used up.
    RateLimited,
    /// The service refuses most of what it is asked.
    Throttled,
    /// The limit of what may be under way.
    Crowded(admission::Reason),
}

impl Reason {
    /// Each of them, in the order of [`Reason::index`].
    pub const ALL: [Reason; 9] = [
        Reason::RateLimited,
        Reason::Throttled,
        Reason::Crowded(admission::Reason::LimitReached),
        Reason::Crowded(admission::Reason::QueueFull),
        Reason::Crowded(admission::Reason::Evicted),
        Reason::Crowded(admission::Reason::Overloaded),
        Reason::Crowded(admission::Reason::WaitedTooLong),
        Reason::Crowded(admission::Reason::DeadlineTooShort),
        Reason::Crowded(admission::Reason::DeadlineExpired),
    ];

    /// Its place in [`Reason::ALL`].
    pub fn index(self) -> usize {
        Reason::ALL.iter().position(|reason| *reason == self).unwrap_or_default()
    }

    /// The word for logs, metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::RateLimited => "rate_limited",
            Reason::Throttled => "throttled",
            Reason::Crowded(reason) => match reason {
                admission::Reason::LimitReached => "limit_reached",
                admission::Reason::QueueFull => "queue_full",
                admission::Reason::Evicted => "evicted",
                admission::Reason::Overloaded => "overloaded",
                admission::Reason::WaitedTooLong => "waited_too_long",
                admission::Reason::DeadlineTooShort => "deadline_too_short",
                admission::Reason::DeadlineExpired => "deadline_expired",
            },
        }
    }

    /// 429 when the client asks for more than its share, 503 when there is not enough for all.
    pub fn status(self) -> u16 {
        match self {
            Reason::RateLimited => 429,
            Reason::Throttled | Reason::Crowded(_) => 503,
        }
    }
}

/// What became of a request that had passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was answered.
    Answered(Class),
    /// Its call gave up.
    Failed(FailureKind),
    /// The service was not asked: a later gate refused, or the client left before.
    NotCalled,
    /// The client left before the end.
    Left,
}

impl Ending {
    /// What a limit learns. `in_time` is false when the body took longer than the head.
    pub(super) fn of_place(self, in_time: bool) -> limit::Outcome {
        match self {
            Ending::Answered(Class::Throttled | Class::Unavailable) => limit::Outcome::Overloaded,
            Ending::Answered(Class::Error | Class::BadGateway) => limit::Outcome::Failed,
            Ending::Answered(Class::Answered | Class::Degraded) if in_time => limit::Outcome::Success,
            Ending::Answered(_) | Ending::NotCalled | Ending::Left => limit::Outcome::Cancelled,
            Ending::Failed(kind) => match kind {
                FailureKind::ConnectTimeout | FailureKind::AttemptTimeout | FailureKind::TotalTimeout => {
                    limit::Outcome::TimedOut
                }
                FailureKind::Connect | FailureKind::Reset | FailureKind::Protocol => limit::Outcome::Failed,
                FailureKind::NoEndpoint
                | FailureKind::Full
                | FailureKind::BreakerOpen
                | FailureKind::DeadlineInsufficient
                | FailureKind::RequestBody => limit::Outcome::Cancelled,
            },
        }
    }

    /// What the throttle learns.
    pub(super) fn of_throttle(self) -> throttle::Outcome {
        match self {
            Ending::Answered(Class::Throttled | Class::Unavailable) => throttle::Outcome::Refused,
            // An error in the answer is no overload.
            Ending::Answered(_) => throttle::Outcome::Accepted,
            Ending::NotCalled | Ending::Left => throttle::Outcome::Ignored,
            Ending::Failed(kind) => match kind {
                FailureKind::ConnectTimeout
                | FailureKind::AttemptTimeout
                | FailureKind::TotalTimeout
                | FailureKind::Connect
                | FailureKind::Reset
                | FailureKind::Protocol => throttle::Outcome::Refused,
                // Said by ourselves, or the client's doing.
                FailureKind::NoEndpoint
                | FailureKind::Full
                | FailureKind::BreakerOpen
                | FailureKind::DeadlineInsufficient
                | FailureKind::RequestBody => throttle::Outcome::Ignored,
            },
        }
    }
}
