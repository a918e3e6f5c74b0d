//! Failures: what is done to the system, and what it relies on.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{During, Place, Promise};

/// A named failure: what is done to the system, and what its users may notice.
#[derive(Debug, Clone, PartialEq)]
pub struct FailurePlan {
    /// Its name.
    pub id: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// What must hold, in prose.
    pub required: String,
    /// What is acceptable meanwhile, in prose.
    pub acceptable: Option<String>,
    /// What is done; all of them at once.
    pub faults: Vec<FaultPlan>,
    /// How often it is expected, as the user wrote it (`weekly` ...).
    pub likelihood: Option<String>,
    /// `low`, `medium`, `high` as the user wrote it.
    pub impact: Option<String>,
    /// Who answers it.
    pub response: Response,
    /// What the promises rest on.
    pub relies_on: Vec<(Mechanism, Place)>,
    /// How often it should be drilled.
    pub every: Option<Duration>,
    /// How long the window stays open (resolved).
    pub hold: Duration,
    /// How long after steady state a lost write may still turn up.
    pub settle: Duration,
    /// What users may notice.
    pub promises: Vec<Promise>,
    /// Relaxed words for the first moments, per load index.
    pub during: Vec<During>,
}

/// Who answers a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Seaworthy.
    Automatic,
    /// A person, by this document.
    Runbook(PathBuf),
    /// Nobody; it is accepted and not drilled.
    Accept,
}

/// One thing done to the system on purpose.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultPlan {
    /// What.
    pub kind: FaultKind,
    /// To whom.
    pub target: Target,
    /// Where it stands in the spec.
    pub place: Place,
}

/// The faults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// SIGKILL. A point fault.
    Kill,
    /// SIGSTOP until the window closes.
    Pause,
    /// Connections are refused.
    Refuse,
    /// Bytes vanish; `share` of connections or requests, 0 to 1.
    BlackHole {
        /// Share of requests, 0 to 1; 1 = connections are not even accepted.
        share: f64,
    },
    /// Answers come later.
    Latency {
        /// By how much.
        add: Duration,
        /// Share of requests, 0 to 1.
        share: f64,
    },
    /// Requests are answered with an error and not executed.
    Errors {
        /// The status.
        status: u16,
        /// Share of requests, 0 to 1.
        share: f64,
    },
}

impl FaultKind {
    /// A point fault has no end of its own: it is over when its effect is proven.
    pub fn is_point(self) -> bool {
        matches!(self, Self::Kill)
    }
}

/// Who a fault is aimed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One replica; `replica: None` = one picked by the seed.
    Replica {
        /// Index into [`Plan::services`](super::Plan::services).
        service: usize,
        /// Its id.
        replica: Option<String>,
    },
    /// Every replica of a service.
    Service(usize),
    /// The egress edge of a service: between our listener and its endpoints.
    Egress(usize),
    /// Every replica in a zone, at once.
    Zone(u16),
}

/// What a failure relies on, and what `drill --ablate` can switch off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// More than one copy of the target.
    Replicas,
    /// Sending again, also with proof of non-execution.
    Retry,
    /// Sending beside a slow one.
    Hedge,
    /// Outlier ejection, the stall rule included.
    Ejection,
    /// Readiness probes deciding who gets traffic.
    Readiness,
    /// Starting a process again.
    Restart,
    /// Waiting for an endpoint to come back.
    Parking,
    /// The circuit breaker.
    Breaker,
    /// The limit of one attempt.
    AttemptTimeout,
    /// Degraded answers, ours or the service's own.
    Degrade,
    /// Idempotency keys that make writes safe to send again.
    Idempotency,
}

impl Mechanism {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Replicas,
        Self::Retry,
        Self::Hedge,
        Self::Ejection,
        Self::Readiness,
        Self::Restart,
        Self::Parking,
        Self::Breaker,
        Self::AttemptTimeout,
        Self::Degrade,
        Self::Idempotency,
    ];

    /// The word in the spec and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replicas => "replicas",
            Self::Retry => "retry",
            Self::Hedge => "hedge",
            Self::Ejection => "ejection",
            Self::Readiness => "readiness",
            Self::Restart => "restart",
            Self::Parking => "parking",
            Self::Breaker => "breaker",
            Self::AttemptTimeout => "attempt_timeout",
            Self::Degrade => "degrade",
            Self::Idempotency => "idempotency",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
