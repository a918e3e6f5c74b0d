//! What all threads of the gateway share; immutable but for the edges.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use seaworthy_observe::{Clock, DialTable, EventBus, LogSink, Via};
use seaworthy_policy::admission::Priority;
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::entrance::Scope;
use seaworthy_policy::exchange::{Exchange, ExchangeConfig, KeyRule};
use seaworthy_policy::idempotency::Backend;
use seaworthy_policy::ladder::Ladder;
use seaworthy_spec::plan::{
    AffinitySource, DegradeStep, EntrancePlan, KeysPlan, Plan, RoutePlan, ServiceKind, ServicePlan,
};

use crate::cache::{CacheMetrics, RouteCache, Store};
use crate::deadline::DeadlineHeaders;
use crate::degrade::{FixedAnswer, Other, Step, Steps};
use crate::edge::{Edge, EdgeSpec, Suspicions};
use crate::gate::{Row, SharedGate, Told, gates, row};
use crate::gateway::{GatewayError, GatewayPorts};
use crate::keys::{KeptKeys, KeyMetrics, SharedKeys};
use crate::metrics::{Labels, Metrics, gates_asked};
use crate::route::Router;

/// Where a request goes and how it is protected: a route, or an egress listener.
pub(crate) struct Target {
    pub(crate) edge: Arc<Edge>,
    pub(crate) lane: usize,
    pub(crate) call: Arc<CallConfig>,
    pub(crate) exchange: Exchange,
    pub(crate) degrade: Steps,
    /// How its answers are kept; `None` = they are not.
    pub(crate) cache: Option<RouteCache>,
    /// How keys of its writes are kept; `None` = they are not.
    pub(crate) keys: Option<KeptKeys>,
    /// What its requests must pass.
    pub(crate) gates: Row,
    pub(crate) deadline: DeadlineHeaders,
    pub(crate) affinity: Option<AffinitySource>,
}

impl Target {
    /// Its callers are our own services, which may shorten our timers; a client must not steer them.
    pub(crate) fn trusts_callers(&self) -> bool {
        self.edge.via == Via::Egress
    }
}

/// The doors to the rest of the node, as threads need them.
pub(crate) struct Doors {
    pub(crate) logs: LogSink,
    pub(crate) clock: Clock,
    pub(crate) dial: Arc<DialTable>,
}

/// Shared by all threads.
pub(crate) struct Shared {
    pub(crate) ports: Doors,
    pub(crate) router: Router,
    /// Routes first, in the order of the plan; then egresses.
    pub(crate) targets: Vec<Target>,
    /// The labels of each target, and last those of requests that have none.
    pub(crate) labels: Vec<Labels>,
    /// The index of those.
    pub(crate) unrouted: usize,
    pub(crate) edges: Vec<Arc<Edge>>,
    /// All gates, for their timers.
    pub(crate) gates: Vec<Arc<SharedGate>>,
    pub(crate) metrics: Metrics,
    /// Stored answers.
    pub(crate) store: Arc<Store>,
    pub(crate) cache_metrics: CacheMetrics,
    /// A client that sends nothing of its body for this long is given up.
    pub(crate) client_body_timeout: Duration,
    pub(crate) keys: SharedKeys,
    pub(crate) zones: Vec<String>,
    pub(crate) suspicions: Suspicions,
    /// Seed of what must differ between processes.
    pub(crate) seed: u64,
}

/// A service that is reached through an egress listener of its own.
pub(crate) struct EgressPlan<'a> {
    pub(crate) service: &'a ServicePlan,
    /// Index into [`Shared::targets`].
    pub(crate) target: usize,
}

/// Builds edges and targets one by one.
struct Builder<'a> {
    plan: &'a Plan,
    bus: EventBus,
    suspicions: Suspicions,
    seed: u64,
    edges: Vec<Arc<Edge>>,
    targets: Vec<Target>,
    labels: Vec<Labels>,
    gates: Vec<Arc<SharedGate>>,
}

impl Shared {
    /// Everything that follows from the plan.
    pub(crate) fn new(plan: &Plan, ports: &GatewayPorts, seed: u64) -> Result<Self, GatewayError> {
        let mut builder = Builder {
            plan,
            bus: ports.bus.clone(),
            suspicions: Arc::new(OnceLock::new()),
            seed,
            edges: Vec::new(),
            targets: Vec::new(),
            labels: Vec::new(),
            gates: Vec::new(),
        };
        builder.ingress();
        builder.egress();
        let Builder { edges, targets, mut labels, suspicions, gates, .. } = builder;
        let unrouted = labels.len();
        labels.push(("ingress".to_owned(), String::new()));
        let mut listeners = vec!["ingress".to_owned()];
        listeners.extend(egresses(plan).map(|egress| format!("egress:{}", egress.service.name)));
        let metrics =
            Metrics::register(&ports.metrics, &labels, &edges, &listeners).map_err(GatewayError::Metrics)?;
        gates_asked(&ports.metrics, &gates).map_err(GatewayError::Metrics)?;
        let store = Arc::new(Store::new(plan.cache));
        let cache_metrics =
            CacheMetrics::register(&ports.metrics, &labels, &store).map_err(GatewayError::Metrics)?;
        let key_metrics = KeyMetrics::register(&ports.metrics, &labels).map_err(GatewayError::Metrics)?;
        let keys = SharedKeys::new(ports.keys.clone(), key_metrics);
        let ports = Doors { logs: ports.logs.clone(), clock: ports.clock, dial: Arc::clone(&ports.dial) };
        Ok(Self {
            ports,
            router: Router::new(&plan.routes),
            targets,
            labels,
            unrouted,
            edges,
            gates,
            metrics,
            store,
            cache_metrics,
            client_body_timeout: plan.client_body_timeout,
            keys,
            zones: plan.zones.clone(),
            suspicions,
            seed,
        })
    }
}

/// The egresses of a plan, in the order of their listeners.
pub(crate) fn egresses(plan: &Plan) -> impl Iterator<Item = EgressPlan<'_>> {
    let with_listener = plan.services.iter().filter(|service| service.egress.is_some());
    with_listener
        .enumerate()
        .map(|(index, service)| EgressPlan { service, target: plan.routes.len() + index })
}

impl Builder<'_> {
    /// One edge per service that routes lead to, with a lane for each of its routes.
    fn ingress(&mut self) {
        let mut lanes: BTreeMap<usize, usize> = BTreeMap::new();
        for route in &self.plan.routes {
            *lanes.entry(route.to).or_default() += 1;
            if let Some(other) = fallback_of(route) {
                *lanes.entry(other).or_default() += 1;
            }
        }
        let edges: BTreeMap<usize, Arc<Edge>> = lanes
            .iter()
            .map(|(service, lanes)| (*service, self.edge(*service, Via::Ingress, *lanes)))
            .collect();
        let common = self.gates(&self.plan.entrance, Scope::Gateway, "gateway", None);
        let of_edges: BTreeMap<usize, Vec<Arc<SharedGate>>> = lanes
            .keys()
            .map(|service| {
                let plan = &self.plan.services[*service];
                // The throttle is the caller's brake; here the callers are clients.
                let entrance = EntrancePlan { throttle: None, ..plan.entrance.clone() };
                let path = format!("services.{}.policy", plan.name);
                (*service, self.gates(&entrance, Scope::Edge, &path, Some((*service, "ingress:"))))
            })
            .collect();
        let mut next_lane: BTreeMap<usize, usize> = BTreeMap::new();
        let mut take_lane = |service| {
            let next = next_lane.entry(service).or_default();
            *next += 1;
            *next - 1
        };
        for (index, route) in self.plan.routes.iter().enumerate() {
            let edge = Arc::clone(&edges[&route.to]);
            let lane = take_lane(route.to);
            let mut other = |service: usize, max_concurrent_calls| {
                let plan = &self.plan.services[service];
                // A second service is no place to wait for.
                let call = CallConfig { park: false, ..(*plan.call).clone() };
                Other {
                    edge: Arc::clone(&edges[&service]),
                    lane: take_lane(service),
                    deadline: deadline(plan, &call),
                    affinity: plan.traffic.affinity.clone(),
                    call: Arc::new(call),
                    keyed: plan.keyed,
                    places: Other::places(max_concurrent_calls),
                }
            };
            let steps = route.degrade.iter().map(|step| rung(step, &mut other)).collect();
            let degrade = Steps::new(steps, route.name.clone(), Arc::clone(&edge.service), self.bus.clone());
            let path = format!("routes.{}", route.name);
            let own = self.gates(&route.entrance, Scope::Route, &path, Some((route.to, "")));
            let gates = row(own.iter().chain(&of_edges[&route.to]).chain(&common));
            let way = Way {
                degrade: degrade.ladder(),
                time_kept: time_kept(route),
                priority: route.entrance.priority,
            };
            let target = Target {
                edge,
                lane,
                call: Arc::clone(&route.call),
                exchange: exchange(&route.call, key_rule(route.keyed, route.keys.as_ref()), way, gates.len()),
                degrade,
                cache: RouteCache::of(index, route),
                keys: KeptKeys::of(route.keys.as_ref(), format!("route {}", route.name), &route.call),
                gates,
                deadline: deadline(&self.plan.services[route.to], &route.call),
                affinity: self.plan.services[route.to].traffic.affinity.clone(),
            };
            self.labels.push((target.edge.name.clone(), route.name.clone()));
            self.targets.push(target);
        }
    }

    /// One edge per egress listener.
    fn egress(&mut self) {
        for (index, service) in self.plan.services.iter().enumerate() {
            if service.egress.is_none() {
                continue;
            }
            let edge = self.edge(index, Via::Egress, 1);
            self.labels.push((edge.name.clone(), String::new()));
            let path = format!("services.{}.policy", service.name);
            let gates = row(&self.gates(&service.entrance, Scope::Edge, &path, Some((index, "egress:"))));
            let degrade = Steps::new(Vec::new(), String::new(), Arc::clone(&edge.service), self.bus.clone());
            self.targets.push(Target {
                edge,
                lane: 0,
                call: Arc::clone(&service.call),
                exchange: exchange(
                    &service.call,
                    key_rule(service.keyed, service.keys.as_ref()),
                    Way::default(),
                    gates.len(),
                ),
                degrade,
                cache: None,
                keys: KeptKeys::of(service.keys.as_ref(), format!("egress {}", service.name), &service.call),
                gates,
                deadline: deadline(service, &service.call),
                affinity: service.traffic.affinity.clone(),
            });
        }
    }

    /// The gates that the plan asks for at one place, in front of this service; with what its edge's name begins with.
    fn gates(
        &mut self,
        plan: &EntrancePlan,
        scope: Scope,
        path: &str,
        service: Option<(usize, &str)>,
    ) -> Vec<Arc<SharedGate>> {
        let name = |index: usize| self.plan.services[index].name.clone();
        let edge = match service {
            Some((index, way)) if scope == Scope::Edge => format!("{way}{}", name(index)),
            _ => String::new(),
        };
        let told = Told { bus: self.bus.clone(), service: service.map(|(index, _)| name(index)), edge };
        let seed = self.seed.rotate_left(31).wrapping_add(self.gates.len() as u64);
        let gates = gates(plan, scope, path, &told, seed);
        self.gates.extend(gates.iter().cloned());
        gates
    }

    fn edge(&mut self, service: usize, via: Via, lanes: usize) -> Arc<Edge> {
        let plan = &self.plan.services[service];
        let way = if via == Via::Egress { "egress" } else { "ingress" };
        let index = self.edges.len();
        let mut pool = plan.pool.clone();
        pool.lanes = lanes;
        let spec = EdgeSpec {
            name: format!("{way}:{}", plan.name),
            index,
            service: plan.name.as_str().into(),
            members: plan.traffic.members.clone(),
            via,
            pool,
            seed: self.seed.wrapping_add(index as u64),
            pseudonym: format!("{:08x}", self.seed as u32),
        };
        let edge = Arc::new(Edge::new(spec, self.bus.clone(), Arc::clone(&self.suspicions)));
        self.edges.push(Arc::clone(&edge));
        edge
    }
}

/// What distinguishes a route from an egress.
#[derive(Clone, Copy, Default)]
struct Way {
    degrade: Ladder,
    time_kept: Duration,
    priority: Priority,
}

fn deadline(service: &ServicePlan, call: &CallConfig) -> DeadlineHeaders {
    let is_supervised = matches!(service.kind, ServiceKind::Supervised(_));
    DeadlineHeaders::new(&service.traffic, call, is_supervised)
}

/// What keys mean there. The short form of a plan says only that writes are safe under one.
fn key_rule(keyed: bool, plan: Option<&KeysPlan>) -> KeyRule {
    match plan {
        Some(plan) => KeyRule::Used { required: plan.required, honoured: plan.backend == Backend::Honours },
        None if keyed => KeyRule::Used { required: true, honoured: true },
        None => KeyRule::Ignored,
    }
}

fn exchange(call: &CallConfig, keyed: KeyRule, way: Way, gates: usize) -> Exchange {
    let Way { degrade, time_kept, priority } = way;
    let total_timeout = call.total_timeout.saturating_sub(time_kept);
    Exchange::new(ExchangeConfig { keyed, total_timeout, time_kept, degrade, priority, gates })
}

/// The service that stands in on this route.
fn fallback_of(route: &RoutePlan) -> Option<usize> {
    route.degrade.iter().find_map(|step| match step {
        DegradeStep::Service { to, .. } => Some(*to),
        _ => None,
    })
}

/// The time in which that service may answer, and the route's own is not asked any more.
fn time_kept(route: &RoutePlan) -> Duration {
    let kept = route.degrade.iter().find_map(|step| match step {
        DegradeStep::Service { time_kept, .. } => Some(*time_kept),
        _ => None,
    });
    kept.unwrap_or(Duration::ZERO)
}

fn rung(step: &DegradeStep, other: impl FnOnce(usize, u32) -> Other) -> Step {
    match step {
        DegradeStep::Static { status, json } => Step::Fixed(FixedAnswer {
            status: StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            json: Bytes::from(json.clone()),
        }),
        DegradeStep::Stale { .. } => Step::Stale,
        DegradeStep::Service { to, max_concurrent_calls, .. } => {
            Step::Service(other(*to, *max_concurrent_calls))
        }
    }
}
