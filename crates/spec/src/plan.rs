//! `Plan`: what the spec means. Names are resolved, defaults filled in, and the origin of every value is known.
//!
//! Everything downstream (check, gateway, supervisor, drill) reads the plan and never the YAML.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::call::CallConfig;
use seaworthy_policy::health::HealthConfig;
use seaworthy_policy::pool::PoolConfig;
use seaworthy_policy::restart::RestartConfig;

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
    /// How long a drain may take.
    pub drain: Duration,
    /// Zones in the order of the spec; never empty (one unnamed zone when the spec lists none).
    pub zones: Vec<String>,
    /// Services in the order of the spec.
    pub services: Vec<ServicePlan>,
    /// Routes, most specific first: the first match wins.
    pub routes: Vec<RoutePlan>,
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

/// A service and the policy of every edge to it.
#[derive(Debug, Clone)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// Who runs it.
    pub kind: ServiceKind,
    /// Indices into [`Plan::services`] with how much they matter.
    pub needs: Vec<Need>,
    /// Where other services reach it through policy; port 0 = any. `None` when no service calls it.
    pub egress: Option<SocketAddr>,
    /// Protection of the egress edge, and of ingress routes that say nothing else.
    pub call: Arc<CallConfig>,
    /// Shared state of an edge to this service; `lanes` is set by the gateway.
    pub pool: PoolConfig,
    /// Unsafe requests must carry an idempotency key that the backend honours (egress edge).
    pub keyed: bool,
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
    /// Index into [`Plan::zones`].
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
    /// Index into [`Plan::services`].
    pub service: usize,
    /// Without it the service cannot do its work.
    pub required: bool,
}

/// A route from the ingress to a service.
#[derive(Debug, Clone)]
pub struct RoutePlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// Which requests it takes.
    pub matcher: RouteMatch,
    /// Index into [`Plan::services`].
    pub to: usize,
    /// Protection of calls on this route.
    pub call: Arc<CallConfig>,
    /// Unsafe requests must carry an idempotency key that the backend honours.
    pub keyed: bool,
    /// What to answer when the call failed, in order.
    pub degrade: Vec<DegradeStep>,
}

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// `None` = every method.
    pub method: Option<String>,
    /// Literal path, or the literal prefix of `/prefix/**` (without `/**`, so empty for `/**` alone).
    pub path: String,
    /// True for `/prefix/**`: takes the prefix itself and everything below it.
    pub prefix: bool,
}

impl RouteMatch {
    /// Whether it takes a request of this method and path (without the query).
    pub fn takes(&self, method: &str, path: &str) -> bool {
        let right_method = self.method.as_deref().is_none_or(|own| own == method);
        let right_path = match path.strip_prefix(self.path.as_str()) {
            Some("") => true,
            Some(below) => self.prefix && below.starts_with('/'),
            None => false,
        };
        right_method && right_path
    }
}

impl fmt::Display for RouteMatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = &self.method {
            write!(formatter, "{method} ")?;
        }
        write!(formatter, "{}{}", self.path, if self.prefix { "/**" } else { "" })
    }
}

/// One rung of the degradation ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DegradeStep {
    /// A fixed answer, marked `Degraded: static`.
    Static {
        /// Its status.
        status: u16,
        /// Its JSON body.
        json: String,
    },
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

/// What a drill sends, and how it reads back what was acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadPlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// Requests per second, open loop.
    pub rate: f64,
    /// Method.
    pub method: String,
    /// Path and query; `$id` is replaced by the request's id.
    pub path: String,
    /// JSON body as text; `$id` inside strings is replaced by the request's id.
    pub json: Option<String>,
    /// Further headers, in order; `$id` in values is replaced.
    pub headers: Vec<(String, String)>,
    /// `Idempotency-Key`; `$id` is replaced.
    pub idempotency_key: Option<String>,
    /// Statuses of a good answer; empty = any 2xx.
    pub expect: Vec<u16>,
    /// Statuses that count as degraded when the answer carries a `Degraded` header.
    pub degraded: Vec<u16>,
    /// An answer that takes longer counts as failed.
    pub timeout: Duration,
    /// Where the effects of writes are read back; empty = not a write.
    pub read_back: Vec<ReadBack>,
}

/// Where the effects of writes can be seen, past policy and faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack {
    /// Index into [`Plan::services`].
    pub from: usize,
    /// Path to GET.
    pub get: String,
    /// Where the ids stand in the JSON answer, such as `[].buyer`.
    pub ids: IdPath,
}

/// A path to ids in a JSON document: `[]` = every element, `.name` = a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPath(pub Vec<IdStep>);

/// One step of an [`IdPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdStep {
    /// Every element of an array.
    Each,
    /// A member of an object.
    Member(String),
}

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
        /// Index into [`Plan::services`].
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

/// One measurable sentence of a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Promise {
    /// As printed: `buyers.p99`, `buyers.during.p99`, `rpo`.
    pub name: String,
    /// What is measured.
    pub word: Word,
    /// The load it is about (index into [`Plan::loads`]); `None` for words about the failure.
    pub load: Option<usize>,
    /// True when it belongs to the `during` block of its load.
    pub during: bool,
    /// The bound.
    pub limit: Limit,
    /// Where it stands in the spec.
    pub place: Place,
}

/// The words of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// Least share of good answers.
    Success,
    /// Least share of good and degraded answers.
    Served,
    /// Median latency of served answers.
    P50,
    /// 95th percentile.
    P95,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P999,
    /// Slowest served answer.
    Max,
    /// Largest `Age` of an answer marked stale.
    StaleAtMost,
    /// First bad answer to the first steady stretch.
    Rto,
    /// Fault ended to steady state.
    RecoverWithin,
    /// Process gone to its successor ready.
    RestartedWithin,
    /// Age of the oldest lost acknowledged write.
    Rpo,
    /// Ids with more than one effect.
    Duplicates,
}

impl Word {
    /// Every word, those about a load first.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::Served,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::P999,
        Self::Max,
        Self::StaleAtMost,
        Self::Rto,
        Self::RecoverWithin,
        Self::RestartedWithin,
        Self::Rpo,
        Self::Duplicates,
    ];

    /// The word in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Served => "served",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p999",
            Self::Max => "max",
            Self::StaleAtMost => "stale_at_most",
            Self::Rto => "rto",
            Self::RecoverWithin => "recover_within",
            Self::RestartedWithin => "restarted_within",
            Self::Rpo => "rpo",
            Self::Duplicates => "duplicates",
        }
    }

    /// The quantile of a latency word.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.50),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
            Self::P999 => Some(0.999),
            _ => None,
        }
    }

    /// True for words that stand under a load's name.
    pub fn is_about_load(self) -> bool {
        self <= Self::StaleAtMost
    }
}

/// The bound of a promise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// At least this share, 0 to 1.
    AtLeastShare(f64),
    /// At most this long.
    AtMost(Duration),
    /// At most this many.
    AtMostCount(u64),
}

/// Relaxed words for the first moments after the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct During {
    /// Index into [`Plan::loads`].
    pub load: usize,
    /// How long they hold.
    pub for_at_most: Duration,
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

impl ServicePlan {
    /// How many endpoints it has: replicas, or the addresses of a service that runs elsewhere.
    pub fn endpoint_count(&self) -> usize {
        match &self.kind {
            ServiceKind::Supervised(process) => process.replicas.len(),
            ServiceKind::External { endpoints, .. } => endpoints.len(),
        }
    }
}
