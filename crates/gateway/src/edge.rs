//! One edge: the shared state of the way to one service, and the only lock on the path of a request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http::HeaderValue;
use seaworthy_observe::event::EventKind;
use seaworthy_observe::{Clock, EndpointChange, EndpointId, EventBus, SuspicionSink, Via};
use seaworthy_policy::breaker::Mode;
use seaworthy_policy::call::{AttemptId, AttemptKind, Call, Event, Step};
use seaworthy_policy::pool::{EndpointKey, EndpointView, Member, Pool, PoolConfig, PoolEvent, affinity_key};
use seaworthy_policy::{Rng, Time};
use seaworthy_spec::plan::MemberPlan;
use tokio::sync::Notify;

/// Takes the suspicions of traffic, once somebody wants them.
pub(crate) type Suspicions = Arc<OnceLock<Arc<dyn SuspicionSink>>>;

/// An endpoint as one edge knows it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Its name within the pool.
    pub(crate) key: EndpointKey,
    /// Its name everywhere else.
    pub(crate) id: EndpointId,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The same, as the Host of requests that were not addressed to anybody.
    pub(crate) host: HeaderValue,
    /// Index into the plan's zones.
    pub(crate) zone: u16,
}

/// What an edge is called and where it reports.
pub(crate) struct EdgeSpec {
    /// `ingress:api`, `egress:payments`.
    pub(crate) name: String,
    /// The index into the gateway's edges.
    pub(crate) index: usize,
    /// The service's name.
    pub(crate) service: Arc<str>,
    /// What its endpoints are, by their names.
    pub(crate) members: BTreeMap<String, MemberPlan>,
    /// Which detours apply.
    pub(crate) via: Via,
    /// Policy.
    pub(crate) pool: PoolConfig,
    /// Seed of the edge's randomness.
    pub(crate) seed: u64,
    /// Makes our Via recognisable.
    pub(crate) pseudonym: String,
}

/// The way to one service.
pub(crate) struct Edge {
    /// `ingress:api`, `egress:payments`.
    pub(crate) name: String,
    /// The index into the gateway's edges.
    pub(crate) index: usize,
    /// The service's name.
    pub(crate) service: Arc<str>,
    /// What its endpoints are, by their names; those that are missing are nothing special.
    members: BTreeMap<String, MemberPlan>,
    /// Which detours apply.
    pub(crate) via: Via,
    /// What the Via of forwarded requests says.
    pub(crate) via_value: HeaderValue,
    /// The part of it by which we know it again.
    pub(crate) via_mark: String,
    /// Wakes parked calls.
    pub(crate) available: Arc<Notify>,
    /// Wakes the edge's timer when its deadline moved.
    pub(crate) rearm: Notify,
    timer_at: AtomicU64,
    ejections: AtomicU64,
    core: Mutex<Core>,
    clock: Clock,
    pub(crate) bus: EventBus,
    suspicions: Suspicions,
    /// Who decides about its breakers, by the spec; `None` where there are none.
    pub(crate) breaker_mode: Option<Mode>,
}

struct Core {
    pool: Pool,
    rng: Rng,
    endpoints: Vec<Arc<Endpoint>>,
}

/// What a call wants done; kept between requests so that nothing is allocated.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The steps as policy gave them.
    pub(crate) steps: Vec<Step>,
    /// The endpoint of each [`Step::Attempt`], in order.
    pub(crate) starts: Vec<Start>,
}

/// An attempt to be begun.
pub(crate) struct Start {
    /// Its number.
    pub(crate) attempt: AttemptId,
    /// Why.
    pub(crate) kind: AttemptKind,
    /// Where to.
    pub(crate) endpoint: Arc<Endpoint>,
}

/// No deadline.
const NEVER: u64 = u64::MAX;

impl Edge {
    /// An edge without endpoints.
    pub(crate) fn new(spec: EdgeSpec, bus: EventBus, suspicions: Suspicions) -> Self {
        let core = Core { pool: Pool::new(spec.pool), rng: Rng::seeded(spec.seed), endpoints: Vec::new() };
        let breaker_mode = core.pool.breaker_mode();
        let via_mark = format!("({}-{})", spec.pseudonym, spec.index);
        Self {
            via_value: HeaderValue::try_from(format!("1.1 seaworthy {via_mark}"))
                .expect("visible ASCII and spaces"),
            via_mark,
            name: spec.name,
            index: spec.index,
            service: spec.service,
            members: spec.members,
            via: spec.via,
            available: Arc::default(),
            rearm: Notify::new(),
            timer_at: AtomicU64::new(NEVER),
            ejections: AtomicU64::new(0),
            core: Mutex::new(core),
            clock: Clock,
            bus,
            suspicions,
            breaker_mode,
        }
    }

    /// Tells a call what happened; its steps and their endpoints are in `scratch` afterwards.
    pub(crate) fn tell(&self, now: Time, call: &mut Call, event: Event, scratch: &mut Scratch) {
        scratch.steps.clear();
        scratch.starts.clear();
        let mut core = self.lock();
        let Core { pool, rng, endpoints } = &mut *core;
        call.on(now, rng, pool, event, &mut scratch.steps);
        for step in &scratch.steps {
            if let Step::Attempt { attempt, endpoint, kind } = *step {
                let endpoint = endpoints.iter().find(|known| known.key == endpoint);
                let endpoint =
                    Arc::clone(endpoint.expect("a pool picks endpoints it was given and not robbed of"));
                scratch.starts.push(Start { attempt, kind, endpoint });
            }
        }
        self.after(core);
    }

    /// A byte of a response body arrived.
    pub(crate) fn progress(&self, now: Time, endpoint: EndpointKey) {
        self.lock().pool.on_progress(now, endpoint);
    }

    /// Applies what the prober says.
    pub(crate) fn apply(&self, change: &EndpointChange) {
        let now = self.clock.now();
        let mut core = self.lock();
        let known = |core: &Core, id: &EndpointId| core.endpoints.iter().position(|known| known.id == *id);
        match change {
            EndpointChange::Added { id, address, zone } => {
                if known(&core, id).is_none() {
                    let key = core.pool.on_added_as(now, self.member(id, *zone));
                    let host = HeaderValue::try_from(address.to_string()).expect("digits, dots and colons");
                    core.endpoints.push(Arc::new(Endpoint {
                        key,
                        id: id.clone(),
                        address: *address,
                        host,
                        zone: *zone,
                    }));
                }
            }
            EndpointChange::Health { id, ready, reason } => {
                if let Some(index) = known(&core, id) {
                    let key = core.endpoints[index].key;
                    core.pool.on_health(now, key, *ready, reason);
                }
            }
            EndpointChange::Removed { id, reason } => {
                if let Some(index) = known(&core, id) {
                    let endpoint = core.endpoints.remove(index);
                    core.pool.on_removed(now, endpoint.key, reason);
                }
            }
        }
        self.after(core);
    }

    /// What a new endpoint is to the pool. Its name is its identity, so that a key finds it again after a restart, and
    /// through another gateway.
    fn member(&self, id: &EndpointId, zone: u16) -> Member {
        let MemberPlan { tier, weight } = self.members.get(&*id.replica).copied().unwrap_or_default();
        Member { zone, tier, weight, identity: Some(affinity_key(id.replica.as_bytes())) }
    }

    /// Runs the pool's timers; returns when the next is due.
    pub(crate) fn on_timer(&self) -> Option<Time> {
        let mut core = self.lock();
        core.pool.on_timer(self.clock.now());
        let next = core.pool.next_deadline();
        self.timer_at.store(next.map_or(NEVER, Time::as_nanos), Ordering::Relaxed);
        self.after(core);
        next
    }

    /// Forgets ejections, breaker states and spent budgets.
    pub(crate) fn reset(&self) {
        let mut core = self.lock();
        core.pool.reset(self.clock.now());
        self.after(core);
    }

    /// Who decides about its breakers from now on. False where there are none.
    pub(crate) fn set_breaker_mode(&self, mode: Mode) -> bool {
        let mut core = self.lock();
        let done = core.pool.set_breaker_mode(self.clock.now(), mode);
        self.after(core);
        done
    }

    /// Who decides about its breakers; `None` where there are none.
    pub(crate) fn breaker_mode(&self) -> Option<Mode> {
        self.lock().pool.breaker_mode()
    }

    /// How the endpoints stand, and the retry budget left in attempts.
    pub(crate) fn view(&self) -> (Vec<(EndpointId, EndpointView)>, f64) {
        let now = self.clock.now();
        let mut core = self.lock();
        let balance = core.pool.budget_balance(now);
        let view = |view: EndpointView| {
            let endpoint = core.endpoints.iter().find(|known| known.key == view.endpoint)?;
            Some((endpoint.id.clone(), view))
        };
        let views = core.pool.view(now).into_iter().filter_map(view).collect();
        (views, balance)
    }

    /// Calls that wait for an endpoint.
    pub(crate) fn parked(&self) -> u32 {
        self.lock().pool.parked()
    }

    /// How often live traffic ejected an endpoint.
    pub(crate) fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // Policy does not panic under the lock. If it did after all, one request has crashed loudly, and the others had
        // better go on: they would otherwise crash too, most of them inside a drop, which ends the process.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that follows from a change and must not happen under the lock.
    fn after(&self, mut core: MutexGuard<'_, Core>) {
        let next = core.pool.next_deadline().map_or(NEVER, Time::as_nanos);
        let events = if core.pool.has_events() { core.pool.take_events() } else { Vec::new() };
        let named = events.into_iter().map(|event| (subject(&core, &event), event)).collect::<Vec<_>>();
        drop(core);
        if next < self.timer_at.load(Ordering::Relaxed) {
            self.timer_at.store(next, Ordering::Relaxed);
            self.rearm.notify_one();
        }
        for (endpoint, event) in named {
            self.publish(endpoint.as_ref(), &event);
        }
    }

    fn publish(&self, endpoint: Option<&EndpointId>, event: &PoolEvent) {
        let edge = || self.name.clone();
        let service = || self.service.to_string();
        let replica = || endpoint.map_or_else(String::new, |id| id.replica.to_string());
        let kind = match *event {
            PoolEvent::Available => return self.available.notify_waiters(),
            // Whoever probes tells these two, and knows more about them.
            PoolEvent::Up(_) | PoolEvent::Down(..) => return,
            PoolEvent::Probation(_, reason) => EventKind::EndpointOnProbation {
                edge: edge(),
                service: service(),
                replica: replica(),
                reason: reason.as_str().to_owned(),
            },
            PoolEvent::ProbationEnded(_) => {
                EventKind::EndpointProbationEnded { edge: edge(), service: service(), replica: replica() }
            }
            PoolEvent::Standby(on) => EventKind::StandbyChanged { edge: edge(), service: service(), on },
            PoolEvent::Suspect(_, reason) => {
                if let (Some(sink), Some(id)) = (self.suspicions.get(), endpoint) {
                    sink.suspect(id, reason);
                }
                EventKind::EndpointSuspected {
                    service: service(),
                    replica: replica(),
                    reason: reason.to_owned(),
                }
            }
            PoolEvent::Ejected { reason, duration, .. } => {
                self.ejections.fetch_add(1, Ordering::Relaxed);
                EventKind::EndpointEjected {
                    edge: edge(),
                    service: service(),
                    replica: replica(),
                    reason: reason.as_str().to_owned(),
                    duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                }
            }
            PoolEvent::Readmitting(_) => {
                EventKind::EndpointReadmitting { edge: edge(), service: service(), replica: replica() }
            }
            PoolEvent::Readmitted(_) => {
                EventKind::EndpointReadmitted { edge: edge(), service: service(), replica: replica() }
            }
            PoolEvent::Breaker { from, to, reason, .. } => EventKind::BreakerChanged {
                edge: edge(),
                service: service(),
                replica: replica(),
                from: from.to_owned(),
                to: to.to_owned(),
                reason: reason.to_owned(),
            },
            PoolEvent::Panic(on) => EventKind::PanicChanged { edge: edge(), service: service(), on },
        };
        self.bus.emit(kind);
    }
}

/// The endpoint an event is about.
fn subject(core: &Core, event: &PoolEvent) -> Option<EndpointId> {
    let key = match event {
        PoolEvent::Up(endpoint)
        | PoolEvent::Down(endpoint, _)
        | PoolEvent::Readmitting(endpoint)
        | PoolEvent::Readmitted(endpoint)
        | PoolEvent::Probation(endpoint, _)
        | PoolEvent::ProbationEnded(endpoint)
        | PoolEvent::Suspect(endpoint, _)
        | PoolEvent::Ejected { endpoint, .. }
        | PoolEvent::Breaker { endpoint, .. } => *endpoint,
        PoolEvent::Panic(_) | PoolEvent::Standby(_) | PoolEvent::Available => return None,
    };
    core.endpoints.iter().find(|known| known.key == key).map(|known| known.id.clone())
}
