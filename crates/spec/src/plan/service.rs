//! What serves, who runs it, and what it keeps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::call::CallConfig;
use seaworthy_policy::health::HealthConfig;
use seaworthy_policy::pool::PoolConfig;
use seaworthy_policy::restart::RestartConfig;

use super::{EntrancePlan, KeysPlan, Place, TrafficPlan};

/// A service and the policy of every edge to it.
#[derive(Debug, Clone)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// Who runs it.
    pub kind: ServiceKind,
    /// Indices into [`Plan::services`](super::Plan::services) with how much they matter.
    pub needs: Vec<Need>,
    /// Where other services reach it through policy; port 0 = any. `None` when no service calls it.
    pub egress: Option<SocketAddr>,
    /// Protection of the egress edge, and of ingress routes that say nothing else.
    pub call: Arc<CallConfig>,
    /// Shared state of an edge to this service; `lanes` is set by the gateway.
    pub pool: PoolConfig,
    /// Unsafe requests must carry an idempotency key that the backend honours (egress edge).
    pub keyed: bool,
    /// What becomes of keys of writes on their way to it; `None` = they mean nothing.
    pub keys: Option<KeysPlan>,
    /// What calls must pass on each way to it; the throttle at its egress.
    pub entrance: EntrancePlan,
    /// How an edge spreads requests over its endpoints, and what it tells them.
    pub traffic: TrafficPlan,
}

impl ServicePlan {
    /// How many endpoints it has: replicas, or the addresses of a service that runs elsewhere.
    pub fn endpoint_count(&self) -> usize {
        match &self.kind {
            ServiceKind::Supervised(process) => process.replicas.len(),
            ServiceKind::External { endpoints, .. } => endpoints.len(),
        }
    }
}

/// Who runs a service.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per service, built once; a box would only be in the way of its readers"
)]
pub enum ServiceKind {
    /// We start and supervise it.
    Supervised(ProcessPlan),
    /// It runs elsewhere; these are its endpoints.
    External {
        /// Addresses with the zone index of each.
        endpoints: Vec<(SocketAddr, u16)>,
        /// Active health checks.
        readiness: ProbePlan,
    },
}

/// How to run a service.
#[derive(Debug, Clone)]
pub struct ProcessPlan {
    /// Run once in the spec's folder before the first replica starts.
    pub build: Option<Vec<String>>,
    /// Program and arguments, run in the spec's folder. A program with a slash is relative to that folder.
    pub run: Vec<String>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// One entry per replica.
    pub replicas: Vec<ReplicaPlan>,
    /// Routes traffic to it.
    pub readiness: ProbePlan,
    /// Restarts it; off by default.
    pub liveness: Option<ProbePlan>,
    /// When and how often to restart; `--ablate restart` sets its mode to never.
    pub restart: RestartConfig,
    /// How long a replica may take to stop before it is killed.
    pub stop_grace: Duration,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaPlan {
    /// Unique within the service: zone and number, such as `a-1`; or just `1` without zones.
    pub id: String,
    /// Index into [`Plan::zones`](super::Plan::zones).
    pub zone: u16,
}

/// How to probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbePlan {
    /// What to do.
    pub action: ProbeAction,
    /// Thresholds and times.
    pub health: HealthConfig,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAction {
    /// GET this path; 2xx and 3xx pass.
    HttpGet(String),
    /// A TCP connection that opens passes.
    Tcp,
}

/// A service that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Index into [`Plan::services`](super::Plan::services).
    pub service: usize,
    /// Without it the service cannot do its work.
    pub required: bool,
}

/// A dataset and its copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// Index of the service that keeps it.
    pub service: usize,
    /// Zone index of each copy.
    pub copies: Vec<u16>,
}
