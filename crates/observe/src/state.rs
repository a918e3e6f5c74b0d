//! What people see: the fold of all events.
//!
//! [`State::apply`] is pure, so the console, `status` and a replay of a recorded run show the same thing. It never
//! refuses an event: reports may arrive in an order nobody expected, and a view that panics helps nobody.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::{Event, EventKind};

/// Upper bound of every map below. Names come from the spec and from fault requests; this only guards against a
/// client that never stops inventing them: what exceeds it is not shown.
pub const ENTRIES_MAX: usize = 4096;

/// Everything that is known about the node now.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct State {
    /// The newest event in it.
    pub seq: u64,
    /// When that was: monotonic nanoseconds.
    pub at: u64,
    /// The node itself.
    pub node: NodeState,
    /// Services by name.
    pub services: BTreeMap<String, ServiceState>,
    /// Edges by name (`ingress:api`, `egress:payments`), as far as anything happened there.
    pub edges: BTreeMap<String, EdgeState>,
    /// Gates that refuse requests now, by their place in the spec and their edge, if they have one.
    pub shedding: BTreeMap<String, SheddingState>,
    /// Faults that are requested or in effect, by id.
    pub faults: BTreeMap<String, FaultState>,
}

/// The node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NodeState {
    /// Its process id; `None` before it is up.
    pub pid: Option<u32>,
    /// When it was up, RFC 3339.
    pub started: Option<String>,
    /// It was told to stop.
    pub draining: bool,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ServiceState {
    /// How its build stands; `None` when it has none.
    pub build: Option<BuildState>,
    /// Its replicas (or external endpoints) by id.
    pub replicas: BTreeMap<String, ReplicaState>,
    /// Its routes that answer something else for it now, by name.
    pub degrading: BTreeMap<String, DegradingState>,
}

/// A route that degrades.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DegradingState {
    /// The step that it began with: `stale`, `fallback`, `static`.
    pub step: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// A gate that sheds load.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SheddingState {
    /// The service behind it, if it is one.
    pub service: Option<String>,
    /// Why it began.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// A build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// It runs.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
}

/// A replica or an external endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReplicaState {
    /// Its process id while it runs; always `None` for external endpoints.
    pub pid: Option<u32>,
    /// Where it listens; empty when unknown.
    pub address: String,
    /// Its probes say ready.
    pub ready: bool,
    /// Why it is not ready, or what is suspected of it; empty when all is well.
    pub reason: String,
    /// When `ready` last changed or the process last started or exited, RFC 3339.
    pub since: String,
    /// Starts after the first.
    pub restarts: u64,
    /// It restarts too often; we keep trying.
    pub crash_loop: bool,
    /// Why its last process ended.
    pub last_exit: Option<ExitState>,
    /// Processes started so far.
    #[serde(skip)]
    starts: u64,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExitState {
    /// `code 1`, `signal 9`.
    pub how: String,
    /// It was our own doing.
    pub expected: bool,
    /// When, RFC 3339.
    pub ts: String,
}

/// An edge.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EdgeState {
    /// The service it leads to.
    pub service: String,
    /// Too few endpoints are left: ejections are ignored.
    pub panic: bool,
    /// Standby endpoints serve.
    pub standby: bool,
    /// What a person made of its circuit breakers; `None` = what the spec says.
    pub breaker_mode: Option<String>,
    /// Replicas that live traffic has an opinion about.
    pub guards: BTreeMap<String, GuardState>,
}

/// What live traffic made of an endpoint on one edge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GuardState {
    /// `ejected`, `readmitting`, `probation`, or a breaker's state.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// For how long at most; `None` when there is no limit in time.
    pub duration_ms: Option<u64>,
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultState {
    /// In words.
    pub what: String,
    /// It is in effect; false while it is only requested.
    pub applied: bool,
    /// The proof of its effect; empty while it is only requested.
    pub proof: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The state of an endpoint that keeps a small share of its weight.
const PROBATION: &str = "probation";
/// The state of a breaker that lets everything pass.
const BREAKER_CLOSED: &str = "closed";

impl State {
    /// Takes one event in.
    pub fn apply(&mut self, event: &Event) {
        self.seq = event.seq;
        self.at = event.at;
        let ts = event.ts.as_str();
        match &event.kind {
            EventKind::NodeStarted { pid } => {
                self.node = NodeState { pid: Some(*pid), started: Some(ts.to_owned()), draining: false };
            }
            EventKind::NodeDraining => self.node.draining = true,
            // The node ends; its health says why.
            EventKind::StoreBroken { .. } => {}
            EventKind::DegradationBegan { service, route, step } => {
                let degrading = bounded(&mut self.services, service)
                    .and_then(|service| bounded(&mut service.degrading, route));
                if let Some(degrading) = degrading {
                    *degrading = DegradingState { step: step.clone(), since: ts.to_owned() };
                }
            }
            EventKind::DegradationEnded { service, route } => {
                if let Some(service) = self.services.get_mut(service) {
                    service.degrading.remove(route);
                }
            }
            EventKind::SheddingBegan { gate, edge, service, reason } => {
                if let Some(shedding) = bounded(&mut self.shedding, &gate_name(gate, edge)) {
                    let (service, reason) = (service.clone(), reason.clone());
                    *shedding = SheddingState { service, reason, since: ts.to_owned() };
                }
            }
            EventKind::SheddingEnded { gate, edge, .. } => {
                self.shedding.remove(&gate_name(gate, edge));
            }
            EventKind::BuildStarted { service } => self.build(service, BuildState::Running),
            EventKind::BuildEnded { service, ok: true } => self.build(service, BuildState::Succeeded),
            EventKind::BuildEnded { service, ok: false } => self.build(service, BuildState::Failed),
            EventKind::FaultRequested { .. }
            | EventKind::FaultApplied { .. }
            | EventKind::FaultFailed { .. }
            | EventKind::FaultEnded { .. } => self.apply_fault(ts, &event.kind),
            EventKind::EndpointEjected { .. }
            | EventKind::EndpointReadmitting { .. }
            | EventKind::EndpointReadmitted { .. }
            | EventKind::BreakerChanged { .. }
            | EventKind::PanicChanged { .. }
            | EventKind::StandbyChanged { .. }
            | EventKind::EndpointOnProbation { .. }
            | EventKind::EndpointProbationEnded { .. }
            | EventKind::BreakerModeChanged { .. }
            | EventKind::PolicyReset => self.apply_guard(ts, &event.kind),
            EventKind::ProcessStarted { .. }
            | EventKind::ProcessStartFailed { .. }
            | EventKind::ProcessExited { .. }
            | EventKind::RestartScheduled { .. }
            | EventKind::RestartDeclined { .. }
            | EventKind::CrashLoopEnded { .. }
            | EventKind::RestartHeld { .. }
            | EventKind::EndpointReady { .. }
            | EventKind::EndpointUnready { .. }
            | EventKind::EndpointSuspected { .. } => self.apply_replica(ts, &event.kind),
        }
    }

    fn build(&mut self, service: &str, state: BuildState) {
        if let Some(found) = bounded(&mut self.services, service) {
            found.build = Some(state);
        }
    }

    fn apply_replica(&mut self, ts: &str, kind: &EventKind) {
        let Some((service, Some(replica))) = kind.subject() else { return };
        if let EventKind::ProcessExited { .. } = kind {
            // The next process is a new identity: what traffic held against this one dies with it.
            for edge in self.edges.values_mut().filter(|edge| edge.service == service) {
                edge.guards.remove(replica);
            }
        }
        let Some(found) =
            bounded(&mut self.services, service).and_then(|service| bounded(&mut service.replicas, replica))
        else {
            return;
        };
        found.apply(ts, kind);
    }

    fn apply_guard(&mut self, ts: &str, kind: &EventKind) {
        let since = ts.to_owned();
        match kind {
            EventKind::EndpointEjected { edge, service, replica, reason, duration_ms } => {
                let guard = GuardState {
                    state: "ejected".to_owned(),
                    reason: reason.clone(),
                    since,
                    duration_ms: Some(*duration_ms),
                };
                self.guard(edge, service, replica, guard);
            }
            EventKind::EndpointReadmitting { edge, service, replica } => {
                let reason = "a few hedged requests try it".to_owned();
                let guard = GuardState { state: "readmitting".to_owned(), reason, since, duration_ms: None };
                self.guard(edge, service, replica, guard);
            }
            EventKind::EndpointReadmitted { edge, replica, .. } => self.unguard(edge, replica),
            EventKind::BreakerChanged { edge, replica, to, .. } if to == BREAKER_CLOSED => {
                self.unguard(edge, replica);
            }
            EventKind::BreakerChanged { edge, service, replica, to, reason, .. } => {
                let guard =
                    GuardState { state: to.clone(), reason: reason.clone(), since, duration_ms: None };
                self.guard(edge, service, replica, guard);
            }
            EventKind::PanicChanged { edge, service, on } => {
                if let Some(edge) = self.edge(edge, service) {
                    edge.panic = *on;
                }
            }
            EventKind::StandbyChanged { edge, service, on } => {
                if let Some(edge) = self.edge(edge, service) {
                    edge.standby = *on;
                }
            }
            EventKind::EndpointOnProbation { edge, service, replica, reason } => {
                let (state, reason) = (PROBATION.to_owned(), reason.clone());
                self.guard(edge, service, replica, GuardState { state, reason, since, duration_ms: None });
            }
            EventKind::EndpointProbationEnded { edge, replica, .. } => {
                let guards = self.edges.get(edge).map(|edge| &edge.guards);
                // It may have been ejected meanwhile.
                if guards.and_then(|guards| guards.get(replica)).is_some_and(|guard| guard.state == PROBATION)
                {
                    self.unguard(edge, replica);
                }
            }
            EventKind::BreakerModeChanged { edge, service, mode, forced } => {
                if let Some(edge) = self.edge(edge, service) {
                    edge.breaker_mode = forced.then(|| mode.clone());
                }
            }
            EventKind::PolicyReset => self.edges.retain(|_, edge| {
                let EdgeState { service, breaker_mode, .. } = std::mem::take(edge);
                *edge = EdgeState { service, breaker_mode, ..EdgeState::default() };
                // What a person decided is not forgotten with what was learnt.
                edge.breaker_mode.is_some()
            }),
            _ => {}
        }
    }

    fn apply_fault(&mut self, ts: &str, kind: &EventKind) {
        let (id, entry) = match kind {
            EventKind::FaultRequested { fault, what } => (fault, Some((what, false, String::new()))),
            EventKind::FaultApplied { fault, what, proof } => (fault, Some((what, true, proof.clone()))),
            EventKind::FaultFailed { fault, .. } | EventKind::FaultEnded { fault, .. } => (fault, None),
            _ => return,
        };
        let Some((what, applied, proof)) = entry else {
            self.faults.remove(id);
            return;
        };
        if self.faults.len() < ENTRIES_MAX || self.faults.contains_key(id) {
            let fault = FaultState { what: what.clone(), applied, proof, since: ts.to_owned() };
            self.faults.insert(id.clone(), fault);
        }
    }

    fn edge(&mut self, edge: &str, service: &str) -> Option<&mut EdgeState> {
        let found = bounded(&mut self.edges, edge)?;
        service.clone_into(&mut found.service);
        Some(found)
    }

    fn guard(&mut self, edge: &str, service: &str, replica: &str, guard: GuardState) {
        let Some(found) = self.edge(edge, service) else { return };
        if found.guards.len() < ENTRIES_MAX || found.guards.contains_key(replica) {
            found.guards.insert(replica.to_owned(), guard);
        }
    }

    fn unguard(&mut self, edge: &str, replica: &str) {
        if let Some(found) = self.edges.get_mut(edge) {
            found.guards.remove(replica);
        }
    }
}

impl ReplicaState {
    fn apply(&mut self, ts: &str, kind: &EventKind) {
        match kind {
            EventKind::ProcessStarted { pid, address, .. } => {
                self.starts += 1;
                self.restarts = self.starts - 1;
                self.pid = Some(*pid);
                self.address.clone_from(address);
                self.turn(ts, false, "starting");
            }
            EventKind::ProcessStartFailed { reason, .. } => {
                self.pid = None;
                self.turn(ts, false, reason);
            }
            EventKind::ProcessExited { how, expected, .. } => {
                self.pid = None;
                let why = if *expected { "stopped".to_owned() } else { format!("exited: {how}") };
                self.turn(ts, false, &why);
                self.last_exit = Some(ExitState { how: how.clone(), expected: *expected, ts: ts.to_owned() });
            }
            EventKind::RestartScheduled { crash_loop, .. } => self.crash_loop = *crash_loop,
            EventKind::CrashLoopEnded { .. } => self.crash_loop = false,
            EventKind::RestartDeclined { reason, .. } => {
                self.reason = format!("stays down: {reason}");
            }
            EventKind::RestartHeld { reason, .. } => {
                self.reason = format!("restart held back: {reason}");
            }
            EventKind::EndpointReady { .. } => self.turn(ts, true, ""),
            EventKind::EndpointUnready { reason, .. } => self.turn(ts, false, reason),
            EventKind::EndpointSuspected { reason, .. } => self.reason = format!("suspected: {reason}"),
            _ => {}
        }
    }

    fn turn(&mut self, ts: &str, ready: bool, reason: &str) {
        self.ready = ready;
        reason.clone_into(&mut self.reason);
        ts.clone_into(&mut self.since);
    }
}

/// A service has one gate for each of its edges, at one place in the spec.
fn gate_name(gate: &str, edge: &str) -> String {
    if edge.is_empty() { gate.to_owned() } else { format!("{gate} on {edge}") }
}

/// The entry of this name, made if it is new and there is room.
fn bounded<'a, V: Default>(map: &'a mut BTreeMap<String, V>, name: &str) -> Option<&'a mut V> {
    if map.len() >= ENTRIES_MAX && !map.contains_key(name) {
        return None;
    }
    Some(map.entry(name.to_owned()).or_default())
}
