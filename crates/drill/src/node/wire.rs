//! The bodies of the admin API that a drill writes.

use seaworthy_spec::plan::{FaultKind, FaultPlan, Target};
use serde::Serialize;

use crate::subject::Subject;

/// The body of a request to break something; all of its faults at once, under one id.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultRequest {
    /// What to do.
    pub faults: Vec<FaultBody>,
    /// When the faults end by themselves, in milliseconds from now.
    pub deadline_ms: u64,
    /// Decides which requests meet a fault that hits a share of them.
    pub seed: u64,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultBody {
    /// `kill`, `pause`, `refuse`, `blackhole`, `latency` or `errors`.
    pub kind: &'static str,
    /// To whom.
    pub target: TargetBody,
    /// Latency to add, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_ms: Option<u64>,
    /// Share of requests that meet the fault, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Status of the errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Whom a fault is aimed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetBody {
    /// One replica.
    Replica {
        /// Its service.
        service: String,
        /// Its id.
        #[serde(skip_serializing_if = "Option::is_none")]
        replica: Option<String>,
    },
    /// Every replica of a service.
    Service(String),
    /// The egress of a service.
    Egress(String),
    /// Index of a zone in the spec.
    Zone(u16),
}

impl FaultBody {
    /// What the node is asked for one fault of a plan.
    pub fn new(subject: &Subject, fault: &FaultPlan, target: &Target) -> Self {
        let name = |service: &usize| subject.services[*service].name.clone();
        let target = match target {
            Target::Replica { service, replica } => {
                TargetBody::Replica { service: name(service), replica: replica.clone() }
            }
            Target::Service(service) => TargetBody::Service(name(service)),
            Target::Egress(service) => TargetBody::Egress(name(service)),
            Target::Zone(zone) => TargetBody::Zone(*zone),
        };
        let body = |kind| Self { kind, target, add_ms: None, share: None, status: None };
        match fault.kind {
            FaultKind::Kill => body("kill"),
            FaultKind::Pause => body("pause"),
            FaultKind::Refuse => body("refuse"),
            FaultKind::BlackHole { share } => Self { share: Some(share), ..body("blackhole") },
            FaultKind::Latency { add, share } => {
                let add_ms = u64::try_from(add.as_millis()).unwrap_or(u64::MAX);
                Self { add_ms: Some(add_ms), share: Some(share), ..body("latency") }
            }
            FaultKind::Errors { status, share } => {
                Self { status: Some(status), share: Some(share), ..body("errors") }
            }
        }
    }
}
