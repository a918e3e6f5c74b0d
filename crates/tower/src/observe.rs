//! What the policies tell about their decisions.
//!
//! A call that simply succeeds tells nothing: counting it is what the caller's own metrics do, and would cost
//! every call what only decisions are worth. Observers are called after every lock is released, and one that
//! panics changes nothing but the standard error stream.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::breaker::Transition;

use crate::{Rejection, Timeout};

/// Listens to decisions.
pub trait Observer: Send + Sync {
    /// Something was decided. Called on the path of the request: be quick, and do not block.
    fn on_event(&self, event: &Event<'_>);
}

impl<F> Observer for F
where
    F: Fn(&Event<'_>) + Send + Sync,
{
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// A decision, and where it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The name given to the policy; empty without one.
    pub policy: &'a str,
    /// The key of the circuit that changed, where there is one per key.
    pub key: Option<&'a str>,
    /// What was decided.
    pub decision: Decision,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// A request will be sent again.
    Retry {
        /// The attempt that follows; 2 for the first retry.
        attempt: u32,
        /// How long to wait before it.
        wait: Duration,
    },
    /// A failure that could have been retried was not.
    NoRetry {
        /// The attempt that failed.
        attempt: u32,
        /// Why it was the last one.
        why: NoRetry,
    },
    /// A call was not attempted.
    Rejected(Rejection),
    /// A timer ran out.
    Timeout(Timeout),
    /// A circuit breaker changed its state.
    Transition(Transition),
    /// A second copy of a slow attempt was sent.
    Hedge {
        /// How long the first had taken by then.
        after: Duration,
    },
    /// The second copy answered first.
    HedgeWon,
    /// A failure was replaced by a fallback's answer.
    Fallback,
    /// The fallback failed as well; the first failure stands.
    FallbackFailed,
    /// As many calls as may be were with the fallback; the failure stands.
    FallbackBusy,
}

impl Decision {
    /// The name as it stands in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Decision::Retry { .. } => "retry",
            Decision::NoRetry { .. } => "no_retry",
            Decision::Rejected(_) => "rejected",
            Decision::Timeout(_) => "timeout",
            Decision::Transition(_) => "transition",
            Decision::Hedge { .. } => "hedge",
            Decision::HedgeWon => "hedge_won",
            Decision::Fallback => "fallback",
            Decision::FallbackFailed => "fallback_failed",
            Decision::FallbackBusy => "fallback_busy",
        }
    }
}

/// Why a transient failure was not followed by another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoRetry {
    /// All attempts were made.
    AttemptsExhausted,
    /// The budget for extra attempts is empty.
    BudgetExhausted,
    /// Another attempt could not end before the deadline.
    DeadlineInsufficient,
    /// The request may have been executed, and must not be executed twice.
    NotIdempotent,
    /// The request cannot be copied.
    NotReplayable,
    /// The backend asked for a longer wait than allowed.
    RetryAfterTooLong,
}

impl NoRetry {
    /// The name as it stands in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            NoRetry::AttemptsExhausted => "attempts_exhausted",
            NoRetry::BudgetExhausted => "budget_exhausted",
            NoRetry::DeadlineInsufficient => "deadline_insufficient",
            NoRetry::NotIdempotent => "not_idempotent",
            NoRetry::NotReplayable => "not_replayable",
            NoRetry::RetryAfterTooLong => "retry_after_too_long",
        }
    }
}

/// A name and whoever listens; one reference count to clone, and none without a listener.
#[derive(Clone, Default)]
pub(crate) struct Watch(Option<Arc<Watched>>);

#[derive(Clone, Default)]
struct Watched {
    name: String,
    observer: Option<Arc<dyn Observer>>,
}

impl Watch {
    pub(crate) fn set_name(&mut self, name: &str) {
        let mut watched = self.0.as_deref().cloned().unwrap_or_default();
        name.clone_into(&mut watched.name);
        self.0 = Some(Arc::new(watched));
    }

    pub(crate) fn set_observer(&mut self, observer: Arc<dyn Observer>) {
        let mut watched = self.0.as_deref().cloned().unwrap_or_default();
        watched.observer = Some(observer);
        self.0 = Some(Arc::new(watched));
    }

    /// A name that nobody hears need not be carried from call to call.
    pub(crate) fn if_anybody_listens(self) -> Watch {
        Watch(self.0.filter(|watched| watched.observer.is_some()))
    }

    pub(crate) fn tell(&self, decision: Decision) {
        self.tell_of(None, decision);
    }

    pub(crate) fn tell_of(&self, key: Option<&str>, decision: Decision) {
        let Some(watched) = &self.0 else { return };
        let Some(observer) = &watched.observer else { return };
        let event = Event { policy: &watched.name, key, decision };
        // A broken observer must neither break the call nor, from a drop during a panic, the process.
        let _ = catch_unwind(AssertUnwindSafe(|| observer.on_event(&event)));
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.0.as_ref().map(|watched| watched.name.as_str());
        formatter.debug_struct("Watch").field("name", &name).finish_non_exhaustive()
    }
}

/// The two setters that every layer has.
macro_rules! watchable {
    () => {
        watchable!(watch);
    };
    ($($watch:ident).+) => {
        /// Names the policy in events.
        #[must_use]
        pub fn named(mut self, name: &str) -> Self {
            self.$($watch).+.set_name(name);
            self
        }

        /// Tells this observer about decisions.
        #[must_use]
        pub fn observed_by(mut self, observer: std::sync::Arc<dyn crate::Observer>) -> Self {
            self.$($watch).+.set_observer(observer);
            self
        }

        pub(crate) fn watched(mut self, watch: crate::observe::Watch) -> Self {
            self.$($watch).+ = watch.if_anybody_listens();
            self
        }
    };
}
pub(crate) use watchable;
