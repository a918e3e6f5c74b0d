//! The words in which deliveries and their shell talk: what goes in, what comes out.

use std::time::Duration;

use crate::Time;
use crate::admission::Priority;
use crate::call::Proof;

/// A job by its number in the store. Later jobs have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// A job that was claimed: what is to be known about it, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Attempts that count so far.
    pub attempts: u32,
    /// Its last attempt was begun by somebody who never said what became of it.
    pub interrupted: bool,
    /// When its first attempt was due.
    pub born: Time,
    /// When its present attempt was due: where it stood in the store before it was claimed.
    pub due: Time,
    /// No attempt begins at or after this moment.
    pub deadline: Option<Time>,
    /// How much it matters.
    pub priority: Priority,
    /// Jobs with the same key go one at a time; a number or a hash that the shell gives to the key. Keys that share a
    /// hash share their order, which does no harm.
    pub order_key: Option<u64>,
    /// Until when the claim holds.
    pub lease_until: Time,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An answer's head.
    Status {
        /// Its status.
        status: u16,
        /// How long to stay away, if it says so.
        retry_after: Option<Duration>,
    },
    /// No answer in time, after the request was sent at least in part.
    TimedOut,
    /// No answer at all.
    Failed {
        /// How far the request got.
        proof: Proof,
    },
    /// We gave the attempt up ourselves, because we are stopping.
    Abandoned {
        /// How far the request got.
        proof: Proof,
    },
}

/// What to do. Steps are to be carried out in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send it. The attempt may take until then; whatever becomes of it is an answer.
    Attempt {
        /// Which job.
        job: JobId,
        /// The number of the attempt, from 1.
        number: u32,
        /// When to give it up as timed out.
        until: Time,
    },
    /// It is delivered.
    Ack {
        /// Which job.
        job: JobId,
    },
    /// An attempt failed; the next one is due then.
    Retry {
        /// Which job.
        job: JobId,
        /// When it is due.
        until: Time,
        /// Attempts that count by now.
        attempts: u32,
    },
    /// Give it back until then; nothing was attempted that counts.
    Defer {
        /// Which job.
        job: JobId,
        /// When it is due; where that is in the past, as if it had never been claimed.
        until: Time,
        /// Attempts that count, as before.
        attempts: u32,
        /// Why.
        because: Because,
    },
    /// It becomes a dead letter.
    Dead {
        /// Which job.
        job: JobId,
        /// Attempts that count.
        attempts: u32,
        /// Why.
        reason: Reason,
    },
    /// Ask the store to hold the claim until then, and report what it says.
    Extend {
        /// Which job.
        job: JobId,
        /// Until when.
        until: Time,
    },
    /// The claim is over: give up its attempt if there is one, and tell the store nothing.
    Lost {
        /// Which job.
        job: JobId,
    },
    /// The receiver answered 410: nothing is sent to it until somebody enables it.
    Disabled {
        /// The job that was answered so.
        job: JobId,
    },
}

/// Why a job is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Because {
    /// The rate limit.
    Rate,
    /// The circuit breaker.
    Breaker,
    /// The receiver asked for a pause.
    Asked,
    /// Another job of its order key comes first.
    Order,
    /// More is held than may be.
    Full,
    /// Somebody paused the queue.
    Paused,
    /// The receiver is disabled.
    Disabled,
    /// We are stopping.
    Draining,
}

/// Why a job is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// All attempts are spent.
    Exhausted,
    /// The receiver refused these bytes.
    Rejected {
        /// Its answer.
        status: u16,
    },
    /// The next attempt would have come too late.
    Expired,
    /// Nobody knows whether it was executed, and it must not be twice.
    OutcomeUnknown,
    /// The receiver asked for patience for longer than the whole schedule.
    Throttled,
}

impl Reason {
    /// The word in events, metrics and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Exhausted => "exhausted",
            Reason::Rejected { .. } => "rejected",
            Reason::Expired => "expired",
            Reason::OutcomeUnknown => "outcome-unknown",
            Reason::Throttled => "throttled",
        }
    }
}

impl Because {
    /// The word in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Because::Rate => "rate",
            Because::Breaker => "breaker",
            Because::Asked => "asked",
            Because::Order => "order",
            Because::Full => "full",
            Because::Paused => "paused",
            Because::Disabled => "disabled",
            Because::Draining => "draining",
        }
    }
}

/// Whether anything is attempted, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Jobs are attempted.
    Running,
    /// Somebody paused the queue.
    Paused,
    /// The receiver answered 410, or somebody disabled it.
    Disabled,
    /// We are stopping, for good.
    Draining,
}

/// The moment by which jobs take turns: when it is due, and later by one patience for each level below the highest
/// priority. A store that hands out jobs in this order starves nobody either.
pub fn turn(due: Time, priority: Priority, patience: Duration) -> Time {
    let levels = match priority {
        Priority::CriticalPlus => 0,
        Priority::Critical => 1,
        Priority::SheddablePlus => 2,
        Priority::Sheddable => 3,
    };
    due + patience.saturating_mul(levels)
}
