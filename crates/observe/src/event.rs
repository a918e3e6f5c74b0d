//! The one event vocabulary: everything that happened and that a person, a log, a metric or a verdict may care about.
//!
//! An event is a fact in the past tense with its reason in words. Requests are not events (they have the access log).

use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1 within one node process; gaps mean that the ring dropped events.
    pub seq: u64,
    /// Monotonic nanoseconds (`CLOCK_MONOTONIC`), comparable between processes of one host.
    pub at: u64,
    /// Wall clock, RFC 3339.
    pub ts: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. `service` and `replica` name the subject wherever there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The node is up: all listeners are open.
    NodeStarted {
        /// Its process id.
        pid: u32,
    },
    /// The node was told to stop.
    NodeDraining,
    /// A build command of a service began.
    BuildStarted {
        /// The service.
        service: String,
    },
    /// A build command ended.
    BuildEnded {
        /// The service.
        service: String,
        /// It succeeded.
        ok: bool,
    },
    /// A process was started.
    ProcessStarted {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Its process id.
        pid: u32,
        /// Where it was told to listen.
        address: String,
    },
    /// A process could not be started.
    ProcessStartFailed {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Why, from the operating system.
        reason: String,
    },
    /// A process is gone.
    ProcessExited {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Its process id.
        pid: u32,
        /// `code 1`, `signal 9`.
        how: String,
        /// It was our own doing (stop, drain).
        expected: bool,
    },
    /// The next start of a replica was decided.
    RestartScheduled {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// In how many milliseconds.
        in_ms: u64,
        /// It restarts too often; we keep trying.
        crash_loop: bool,
    },
    /// A replica is not started again.
    RestartDeclined {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Why.
        reason: String,
    },
    /// A replica that restarted too often has been ready for long enough again.
    CrashLoopEnded {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
    },
    /// A liveness probe failed, but a restart would not help.
    RestartHeld {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Why.
        reason: String,
    },
    /// Probes let a replica in.
    EndpointReady {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
    },
    /// Probes, a refusal or an exit took a replica out.
    EndpointUnready {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Why.
        reason: String,
    },
    /// Live traffic raised a suspicion; probes look closer.
    EndpointSuspected {
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Why.
        reason: String,
    },
    /// Live traffic ejected a replica from an edge.
    EndpointEjected {
        /// The edge (`ingress:api`, `egress:payments`).
        edge: String,
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Why.
        reason: String,
        /// For how long.
        duration_ms: u64,
    },
    /// A few hedged requests will try an ejected replica.
    EndpointReadmitting {
        /// The edge.
        edge: String,
        /// The service.
        service: String,
        /// The replica.
        replica: String,
    },
    /// Live traffic took a replica back.
    EndpointReadmitted {
        /// The edge.
        edge: String,
        /// The service.
        service: String,
        /// The replica.
        replica: String,
    },
    /// A circuit breaker changed state.
    BreakerChanged {
        /// The edge.
        edge: String,
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// The state left.
        from: String,
        /// The state entered.
        to: String,
        /// Why.
        reason: String,
    },
    /// A replica is worse than its peers, but too many are to eject it: it gets a tenth of its traffic.
    EndpointOnProbation {
        /// The edge.
        edge: String,
        /// The service.
        service: String,
        /// The replica.
        replica: String,
        /// Why.
        reason: String,
    },
    /// A replica that was on probation has its whole weight again.
    EndpointProbationEnded {
        /// The edge.
        edge: String,
        /// The service.
        service: String,
        /// The replica.
        replica: String,
    },
    /// A person took the place of an edge's circuit breakers, or gave it back.
    BreakerModeChanged {
        /// The edge.
        edge: String,
        /// The service.
        service: String,
        /// `automatic`, `force_open`, `force_closed`, `disabled`, `metrics_only`.
        mode: String,
        /// It is not what the spec says.
        forced: bool,
    },
    /// A gate of the way in refuses requests, from now on.
    SheddingBegan {
        /// Where the spec says so: `services.api.policy.concurrency`.
        gate: String,
        /// The edge, where there is one gate for each; otherwise empty.
        edge: String,
        /// The service behind it, if it is one.
        service: Option<String>,
        /// Why the first of them was refused.
        reason: String,
    },
    /// A gate has refused nobody for a while.
    SheddingEnded {
        /// The gate.
        gate: String,
        /// Its edge.
        edge: String,
        /// The service behind it, if it is one.
        service: Option<String>,
        /// How many were refused in all.
        refused: u64,
    },
    /// Standby replicas serve from now on, or the active ones alone again.
    StandbyChanged {
        /// The edge.
        edge: String,
        /// The service.
        service: String,
        /// They serve (true), or not any more.
        on: bool,
    },
    /// Too few endpoints are left: passive ejections are ignored from now on, or obeyed again.
    PanicChanged {
        /// The edge.
        edge: String,
        /// The service.
        service: String,
        /// Ignored (true) or obeyed (false).
        on: bool,
    },
    /// A route answers something else than its service does, from now on.
    DegradationBegan {
        /// The service that should answer.
        service: String,
        /// The route.
        route: String,
        /// `stale`, `fallback` or `static`: the first of them.
        step: String,
    },
    /// A route has answered as it should for a while.
    DegradationEnded {
        /// The service.
        service: String,
        /// The route.
        route: String,
    },
    /// A fault was asked for.
    FaultRequested {
        /// Its id.
        fault: String,
        /// In words.
        what: String,
    },
    /// A fault is in effect, and how we know.
    FaultApplied {
        /// Its id.
        fault: String,
        /// In words.
        what: String,
        /// The proof of its effect.
        proof: String,
    },
    /// A fault could not be applied.
    FaultFailed {
        /// Its id.
        fault: String,
        /// Why.
        reason: String,
    },
    /// A fault is over.
    FaultEnded {
        /// Its id.
        fault: String,
        /// `cleared`, `deadline`, `healed`.
        why: String,
    },
    /// Ejections, breakers and budgets were forgotten on request.
    PolicyReset,
    /// A write to the store has failed. Nothing is acknowledged any more, and the node ends.
    StoreBroken {
        /// What the store says.
        reason: String,
    },
}

impl EventKind {
    /// The service this event names.
    pub fn service(&self) -> Option<&str> {
        self.subject().map(|(service, _)| service)
    }

    /// The service and, where there is one, the replica this event names.
    pub fn subject(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Self::ProcessStarted { service, replica, .. }
            | Self::ProcessStartFailed { service, replica, .. }
            | Self::ProcessExited { service, replica, .. }
            | Self::RestartScheduled { service, replica, .. }
            | Self::RestartDeclined { service, replica, .. }
            | Self::CrashLoopEnded { service, replica }
            | Self::RestartHeld { service, replica, .. }
            | Self::EndpointReady { service, replica }
            | Self::EndpointUnready { service, replica, .. }
            | Self::EndpointSuspected { service, replica, .. }
            | Self::EndpointEjected { service, replica, .. }
            | Self::EndpointReadmitting { service, replica, .. }
            | Self::EndpointReadmitted { service, replica, .. }
            | Self::EndpointOnProbation { service, replica, .. }
            | Self::EndpointProbationEnded { service, replica, .. }
            | Self::BreakerChanged { service, replica, .. } => Some((service, Some(replica))),
            Self::BuildStarted { service }
            | Self::BuildEnded { service, .. }
            | Self::StandbyChanged { service, .. }
            | Self::PanicChanged { service, .. }
            | Self::DegradationBegan { service, .. }
            | Self::DegradationEnded { service, .. }
            | Self::BreakerModeChanged { service, .. } => Some((service, None)),
            Self::SheddingBegan { service, .. } | Self::SheddingEnded { service, .. } => {
                service.as_deref().map(|service| (service, None))
            }
            Self::NodeStarted { .. }
            | Self::NodeDraining
            | Self::FaultRequested { .. }
            | Self::FaultApplied { .. }
            | Self::FaultFailed { .. }
            | Self::FaultEnded { .. }
            | Self::PolicyReset
            | Self::StoreBroken { .. } => None,
        }
    }

    /// How loud the log line is.
    pub fn level(&self) -> Level {
        match self {
            Self::ProcessStartFailed { .. }
            | Self::FaultFailed { .. }
            | Self::StoreBroken { .. }
            | Self::BuildEnded { ok: false, .. } => Level::Error,
            Self::ProcessExited { expected: false, .. }
            | Self::RestartHeld { .. }
            | Self::RestartDeclined { .. }
            | Self::RestartScheduled { .. }
            | Self::EndpointUnready { .. }
            | Self::EndpointSuspected { .. }
            | Self::EndpointEjected { .. }
            | Self::BreakerChanged { .. }
            | Self::EndpointOnProbation { .. }
            | Self::StandbyChanged { on: true, .. }
            | Self::PanicChanged { .. }
            | Self::DegradationBegan { .. }
            | Self::SheddingBegan { .. }
            | Self::BreakerModeChanged { forced: true, .. }
            | Self::FaultApplied { .. } => Level::Warn,
            _ => Level::Info,
        }
    }
}

/// Log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Works as intended.
    Info,
    /// Something is wrong and handled.
    Warn,
    /// Something is wrong and a person should look.
    Error,
}
