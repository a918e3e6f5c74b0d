//! The plan as a whole, and who set which of its values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    CacheLimits, DataPlan, EntrancePlan, FailurePlan, LoadPlan, Mechanism, QueuePlan, RoutePlan, ServiceKind,
    ServicePlan, Target, TopicPlan,
};

/// A whole spec, resolved.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `name` of the spec.
    pub name: String,
    /// The spec's file as the user named it.
    pub file: PathBuf,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// SHA-256 of the file's bytes, in hex.
    pub sha256: String,
    /// Where the gateway listens for clients; port 0 = any, reported when known. `None` = no ingress.
    pub listen: Option<SocketAddr>,
    /// Where the admin API listens.
    pub admin: SocketAddr,
    /// What every request of a client must pass.
    pub entrance: EntrancePlan,
    /// How long a drain may take.
    pub drain: Duration,
    /// How long a client may send nothing of a request's body.
    pub client_body_timeout: Duration,
    /// What stored answers may take.
    pub cache: CacheLimits,
    /// Zones in the order of the spec; never empty (one unnamed zone when the spec lists none).
    pub zones: Vec<String>,
    /// Services in the order of the spec.
    pub services: Vec<ServicePlan>,
    /// Routes, most specific first: the first match wins.
    pub routes: Vec<RoutePlan>,
    /// Queues of jobs, in the order of the spec.
    pub queues: Vec<QueuePlan>,
    /// Topics of events, in the order of the spec.
    pub topics: Vec<TopicPlan>,
    /// Datasets.
    pub data: Vec<DataPlan>,
    /// Loads in the order of the spec.
    pub loads: Vec<LoadPlan>,
    /// Failures in the order of the spec.
    pub failures: Vec<FailurePlan>,
    /// Every effective value with its origin, in the order `plan` prints them.
    pub settings: Vec<Setting>,
    /// What a drill switched off (`--ablate`); empty in normal runs. Also told to services as `SEAWORTHY_ABLATE`.
    pub ablated: Vec<Mechanism>,
}

impl Plan {
    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<(usize, &ServicePlan)> {
        self.services.iter().enumerate().find(|(_, service)| service.name == name)
    }

    /// The route that takes a request of this method and path; a query is ignored.
    pub fn route(&self, method: &str, path: &str) -> Option<&RoutePlan> {
        let path = path.split('?').next().unwrap_or_default();
        self.routes.iter().find(|route| route.matcher.takes(method, path))
    }

    /// The services a fault on this target hits, in the order of the spec.
    pub fn services_hit(&self, target: &Target) -> Vec<usize> {
        match target {
            Target::Replica { service, .. } | Target::Service(service) | Target::Egress(service) => {
                vec![*service]
            }
            Target::Zone(zone) => {
                let in_zone = |service: &ServicePlan| match &service.kind {
                    ServiceKind::Supervised(process) => {
                        process.replicas.iter().any(|replica| replica.zone == *zone)
                    }
                    ServiceKind::External { .. } => false,
                };
                (0..self.services.len()).filter(|index| in_zone(&self.services[*index])).collect()
            }
        }
    }

    /// The effective value at a dotted path, with its origin.
    pub fn setting(&self, path: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.path == path)
    }
}

/// One effective value, for `plan`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Dotted path, such as `services.payments.policy.attempt_timeout`.
    pub path: String,
    /// The value as the spec would write it.
    pub value: String,
    /// Who set it.
    pub origin: Origin,
}

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The spec, at this place.
    Spec(Place),
    /// Seaworthy's default.
    Default,
    /// Follows from other values, as the text says.
    Derived(String),
}

/// A place in the spec: line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}
