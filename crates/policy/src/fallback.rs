//! Another answer in place of a failed one: when, and how many at once.
//!
//! **Problem.** When a service fails, its route may have another to ask, or a stored answer to give. Doing so
//! for the wrong failures hides the caller's own mistakes and, worse, tells somebody whose order may have
//! been executed something soothing. And a fallback that is only ever needed in an outage meets the whole
//! traffic at once.
//!
//! **Model.** Each failure has one [`FailureClass`]. Four of them may be configured to lead to a fallback; a
//! caller's error, a caller who has left, and an unknown outcome cannot be: there is no word for them in
//! [`Trigger`]. A call to the fallback service takes one of `max_concurrent_calls` places and gives it back,
//! so that the second service is not taken down by the first one's outage.
//!
//! **Rejected:** charging fallbacks to the budget of retries: that is a share of what succeeds, and a
//! fallback is for when nothing does. A predicate over answers: it cannot be checked on paper, nor printed.
//!
//! Worked number: 100 places and a fallback that answers in 50 ms carry 2000 requests per second.

use std::time::Duration;

use crate::ConfigError;
use crate::call::{Failure, FailureKind, RETRY_AFTER_DEFAULT};
use crate::error::require;

/// What kind of failure a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The backend answered 500, 502, 503 or 504 (what RFC 5861 calls an error).
    Error,
    /// It could not be reached, or broke off.
    Unreachable,
    /// A timer of ours fired, and surely nothing unsafe was executed.
    Timeout,
    /// We did not send it: circuit open, no endpoint, limit, throttle, full queue.
    Rejected,
    /// The request was at fault (4xx).
    CallerError,
    /// The caller has left.
    CallerCancelled,
    /// It may have been executed, and nobody knows.
    OutcomeUnknown,
}

impl FailureClass {
    /// The class of a call that gave up.
    pub fn of(failure: &Failure) -> Self {
        if failure.outcome_unknown {
            return Self::OutcomeUnknown;
        }
        match failure.kind {
            FailureKind::NoEndpoint
            | FailureKind::BreakerOpen
            | FailureKind::Full
            | FailureKind::DeadlineInsufficient => Self::Rejected,
            FailureKind::Connect | FailureKind::Reset | FailureKind::Protocol => Self::Unreachable,
            FailureKind::ConnectTimeout | FailureKind::AttemptTimeout | FailureKind::TotalTimeout => {
                Self::Timeout
            }
            FailureKind::RequestBody => Self::CallerError,
        }
    }

    /// The class of an answer; `None` for one that is no failure, and for a 5xx that speaks of the request
    /// (501, 505).
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            400..=499 => Some(Self::CallerError),
            500 | 502 | 503 | 504 => Some(Self::Error),
            _ => None,
        }
    }

    /// The trigger that stands for this class, if there is one.
    pub fn trigger(self) -> Option<Trigger> {
        match self {
            Self::Error => Some(Trigger::Error),
            Self::Unreachable => Some(Trigger::Unreachable),
            Self::Timeout => Some(Trigger::Timeout),
            Self::Rejected => Some(Trigger::Rejected),
            Self::CallerError | Self::CallerCancelled | Self::OutcomeUnknown => None,
        }
    }
}

/// A class of failures that may lead to a fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// [`FailureClass::Error`]
    Error,
    /// [`FailureClass::Unreachable`]
    Unreachable,
    /// [`FailureClass::Timeout`]
    Timeout,
    /// [`FailureClass::Rejected`]
    Rejected,
}

/// A set of triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triggers(u8);

impl Triggers {
    /// Every one there is.
    pub const ALL: Triggers = Triggers(0b1111);

    /// These.
    pub fn of(triggers: &[Trigger]) -> Self {
        Triggers(triggers.iter().fold(0, |set, trigger| set | trigger.bit()))
    }

    /// Whether this one is among them.
    pub fn contains(self, trigger: Trigger) -> bool {
        self.0 & trigger.bit() != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Trigger {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// When to fall back, and how often at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackConfig {
    /// The failures that lead to it.
    pub fallback_on: Triggers,
    /// Calls to the fallback at once, at least 1.
    pub max_concurrent_calls: u32,
}

impl Default for FallbackConfig {
    fn default() -> Self {
        FallbackConfig { fallback_on: Triggers::ALL, max_concurrent_calls: 100 }
    }
}

impl FallbackConfig {
    /// Whether it can ever happen.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require(!self.fallback_on.is_empty(), "fallback_on", "name at least one class of failures")?;
        require(self.max_concurrent_calls > 0, "max_concurrent_calls", "be at least 1")
    }
}

/// A place among the calls to the fallback. To be given back with [`Fallback::on_end`], whatever becomes of
/// the call.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a place that is not given back is lost"]
pub struct Permit(());

/// Why there is no fallback. The failure stands as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFallback {
    /// This failure does not lead to it.
    NotCovered,
    /// All places are taken. Ours, not the fallback service's failure.
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
}

/// The fallback of one route.
#[derive(Clone, Debug)]
pub struct Fallback {
    config: FallbackConfig,
    running: u32,
}

impl Fallback {
    /// A fallback that nobody uses yet.
    pub fn new(config: FallbackConfig) -> Self {
        Fallback { config, running: 0 }
    }

    /// Whether this failure leads to the fallback.
    pub fn covers(&self, class: FailureClass) -> bool {
        class.trigger().is_some_and(|trigger| self.config.fallback_on.contains(trigger))
    }

    /// A request has failed: the right to call the fallback in its place.
    pub fn on_failure(&mut self, class: FailureClass) -> Result<Permit, NoFallback> {
        if !self.covers(class) {
            return Err(NoFallback::NotCovered);
        }
        if self.running >= self.config.max_concurrent_calls {
            return Err(NoFallback::Busy { retry_after: RETRY_AFTER_DEFAULT });
        }
        self.running += 1;
        #[cfg(debug_assertions)]
        self.check_invariants();
        Ok(Permit(()))
    }

    /// A call to the fallback has ended, or was dropped.
    #[expect(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub fn on_end(&mut self, permit: Permit) {
        let Permit(()) = permit;
        debug_assert!(self.running > 0, "gave back a place that was never taken");
        self.running = self.running.saturating_sub(1);
    }

    /// Calls to the fallback under way.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        assert!(self.running <= self.config.max_concurrent_calls, "more calls to the fallback than allowed");
    }
}
