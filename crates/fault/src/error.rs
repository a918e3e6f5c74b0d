//! What can go wrong when breaking things.

use std::io;

use crate::request::FaultKind;

/// Why a fault was not applied, or not undone.
///
/// After [`FaultEngine::apply`](crate::FaultEngine::apply) returned one, nothing of the request is in effect, except
/// that processes which were already killed stay dead.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The request makes no sense.
    #[error("{field}: {reason}")]
    Invalid {
        /// Where in the request, such as `faults[1].share`.
        field: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The request names something that is not there.
    #[error("{field}: {reason}")]
    UnknownTarget {
        /// Where in the request.
        field: String,
        /// What was looked for.
        reason: String,
    },
    /// Another fault acts on the same thing already.
    #[error("{field}: {on} is already under {by}; clear that first")]
    Conflict {
        /// Where in the request.
        field: String,
        /// What both would act on.
        on: String,
        /// The other fault.
        by: String,
    },
    /// More faults are in effect than can be watched over.
    #[error("{held} faults are in effect already, which is the most; clear one first")]
    TooMany {
        /// How many.
        held: usize,
    },
    /// This host cannot do it, whatever the request.
    #[error("{kind} does not work on this host: {reason}")]
    Unsupported {
        /// The fault.
        kind: FaultKind,
        /// What is missing.
        reason: String,
    },
    /// The target is not what it was when it was looked up: it ended, or its id names another process now.
    #[error("{target}: {reason}")]
    TargetGone {
        /// Which.
        target: String,
        /// What was found instead.
        reason: String,
    },
    /// The journal could not be written, so the fault was not applied.
    #[error("the journal of faults cannot be written, so nothing was applied: {0}")]
    Journal(#[source] io::Error),
    /// The fault was applied and showed no effect in time; it was undone.
    #[error("{what} could not be proven: {seen}")]
    NotProven {
        /// The fault.
        what: String,
        /// What was seen instead.
        seen: String,
    },
    /// The fault was told to end and still shows its effect; it stays in the list and can be cleared again.
    #[error("{what} did not end: {seen}")]
    NotEnded {
        /// The fault.
        what: String,
        /// What was seen instead.
        seen: String,
    },
    /// No such fault is or was in effect.
    #[error("there is no fault `{0}`")]
    UnknownFault(String),
    /// The operating system refused a step.
    #[error("{doing}: {source}")]
    System {
        /// What we were about to do.
        doing: String,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// The engine is being dropped.
    #[error("faults are no longer accepted: shutting down")]
    Stopped,
}

impl FaultError {
    pub(crate) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }

    /// The request is at fault, not the host or the moment: sending it again unchanged cannot help.
    pub fn is_callers(&self) -> bool {
        matches!(self, Self::Invalid { .. } | Self::UnknownTarget { .. } | Self::UnknownFault(_))
    }
}
