//! The words in which a breaker and its caller talk: what goes in, what comes out, what people see.

use std::time::Duration;

use crate::breaker::BreakerConfig;
use crate::{Ratio, Sample, Time};

/// The right to make one call. Give it back with [`complete`](super::Breaker::complete), whatever becomes of the call.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not completed holds a probe's place until it times out"]
pub struct Permit {
    pub(super) generation: u32,
    pub(super) role: Role,
}

/// What a call means to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It counts in the window.
    Call,
    /// It decides, under this number within its half-open state.
    Probe(u32),
    /// It means nothing.
    Uncounted,
}

impl Permit {
    /// The generation it was given in.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the call decides if the circuit closes.
    pub fn is_probe(&self) -> bool {
        matches!(self.role, Role::Probe(_))
    }
}

/// Why a call may not be made. Ours, not the backend's: never to be counted as its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The circuit is open.
    Open {
        /// When the first probe is due.
        retry_after: Duration,
    },
    /// Every probe's place is taken.
    ProbesBusy {
        /// When a place may be free again, at the latest expected.
        retry_after: Duration,
    },
    /// The circuit is closing, and this call is not in the share that passes.
    Ramping {
        /// When a larger share passes.
        retry_after: Duration,
    },
}

impl Rejected {
    /// When to try again; always more than nothing.
    pub fn retry_after(&self) -> Duration {
        match *self {
            Rejected::Open { retry_after }
            | Rejected::ProbesBusy { retry_after }
            | Rejected::Ramping { retry_after } => retry_after,
        }
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered well.
    Success {
        /// How long the call took.
        elapsed: Duration,
    },
    /// The backend failed or timed out.
    Failure {
        /// How long the call took.
        elapsed: Duration,
    },
    /// The backend asked for less (429, `RESOURCE_EXHAUSTED`): a failure for the rate and for a probe, but not one in a row.
    Throttled {
        /// How long the call took.
        elapsed: Duration,
    },
    /// The answer says nothing about the backend's health (a caller's own error).
    Ignored,
    /// The caller gave up. Slow if it took long enough, otherwise not counted.
    Cancelled {
        /// How long the call had taken by then.
        elapsed: Duration,
    },
}

impl Outcome {
    /// How a call counts in the window; `None` when it does not.
    pub(super) fn sample(self, config: &BreakerConfig) -> Option<Sample> {
        match self {
            Outcome::Success { elapsed } if config.is_slow(elapsed) => Some(Sample::SlowOk),
            Outcome::Success { .. } => Some(Sample::Ok),
            Outcome::Failure { elapsed } | Outcome::Throttled { elapsed } if config.is_slow(elapsed) => {
                Some(Sample::SlowFailed)
            }
            Outcome::Failure { .. } | Outcome::Throttled { .. } => Some(Sample::Failed),
            Outcome::Cancelled { elapsed } if config.is_slow(elapsed) => Some(Sample::Abandoned),
            Outcome::Cancelled { .. } | Outcome::Ignored => None,
        }
    }
}

/// What people see of a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open {
        /// When probing begins.
        until: Time,
    },
    /// A few probes pass.
    HalfOpen,
    /// Nothing passes, because somebody said so.
    ForcedOpen,
    /// A growing share passes.
    Ramp {
        /// The probability that a call passes.
        share: Ratio,
    },
}

/// Why a state was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A run of failures without a success in between.
    ConsecutiveFailures {
        /// How many.
        failures: u32,
    },
    /// The share of failed calls.
    FailureRate {
        /// Failed calls in the window.
        failed: u64,
        /// All calls in the window.
        calls: u64,
    },
    /// The share of slow calls.
    SlowCallRate {
        /// Slow calls in the window.
        slow: u64,
        /// All calls in the window.
        calls: u64,
    },
    /// The wait in the open state is over.
    WaitOver,
    /// The majority of probes was good.
    ProbesPassed,
    /// No majority of good probes was possible any more.
    ProbesFailed,
    /// All traffic has passed again, for long enough.
    RampFinished,
    /// Somebody asked for it.
    Reset,
    /// Somebody took the decision over, or gave it back.
    ModeChanged,
}

/// One change of state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// When it was noticed.
    pub at: Time,
}
