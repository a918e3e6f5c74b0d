//! What the tasks of all replicas share: the endpoints as they are, and those who must hear of every change.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use seaworthy_observe::{
    DialTable, EndpointChange, EndpointId, EndpointSink, EventBus, EventKind, LogSink, ProcessView,
};
use seaworthy_policy::health::Change;
use seaworthy_policy::restart::{Gate, GateInput, gate};
use seaworthy_spec::plan::Plan;
use tokio::sync::{mpsc, watch};

use crate::port_rotation::{PortRotation, can_listen};
use crate::prober::Report;
use crate::words;

/// Shared by all tasks of a supervisor.
pub(crate) struct Registry {
    pub(crate) plan: Arc<Plan>,
    pub(crate) sink: Arc<dyn EndpointSink>,
    pub(crate) dial: Arc<DialTable>,
    pub(crate) bus: EventBus,
    pub(crate) logs: LogSink,
    pub(crate) services: Vec<ServiceControl>,
    ports: Mutex<PortRotation>,
    slots: Mutex<Vec<Slot>>,
    unready: watch::Sender<usize>,
}

/// How the tasks of one service are told to stop, and how they say that they have.
pub(crate) struct ServiceControl {
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) tasks: watch::Sender<usize>,
}

/// The place of one replica, or of one external endpoint, whatever its incarnation.
pub(crate) struct Slot {
    service: usize,
    zone: u16,
    id: EndpointId,
    live: Option<Live>,
    /// Its liveness probe fails because it takes too long.
    too_slow: bool,
    /// It is on its way through a restart that its liveness probe asked for.
    restarting: bool,
}

/// What is known of an incarnation while it lasts.
struct Live {
    pid: Option<u32>,
    address: SocketAddr,
    ready: bool,
    suspicions: Option<mpsc::Sender<&'static str>>,
}

/// What an endpoint is when it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beginning {
    pub(crate) pid: Option<u32>,
    pub(crate) address: SocketAddr,
}

impl Slot {
    /// A place where nothing has run yet.
    pub(crate) fn new(service: usize, name: &str, replica: &str, zone: u16) -> Self {
        let id = EndpointId { service: name.into(), replica: replica.into(), incarnation: 0 };
        Self { service, zone, id, live: None, too_slow: false, restarting: false }
    }

    fn is_ready(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.ready)
    }
}

/// Those who hear of changes.
pub(crate) struct Listeners {
    pub(crate) sink: Arc<dyn EndpointSink>,
    pub(crate) dial: Arc<DialTable>,
    pub(crate) bus: EventBus,
    pub(crate) logs: LogSink,
}

impl Registry {
    pub(crate) fn new(plan: Arc<Plan>, listeners: Listeners, slots: Vec<Slot>, random: u64) -> Self {
        let control = || ServiceControl { stop: watch::Sender::new(false), tasks: watch::Sender::new(0) };
        let services = plan.services.iter().map(|_| control()).collect();
        let unready = watch::Sender::new(slots.len());
        let Listeners { sink, dial, bus, logs } = listeners;
        let ports = Mutex::new(PortRotation::new(random));
        Self { plan, sink, dial, bus, logs, services, ports, slots: Mutex::new(slots), unready }
    }

    /// A port for a replica to listen on.
    pub(crate) fn allocate_port(&self) -> Option<u16> {
        self.ports.lock().expect("no holder panics").allocate(can_listen)
    }

    /// The endpoint's present identity.
    pub(crate) fn id(&self, slot: usize) -> EndpointId {
        self.slots()[slot].id.clone()
    }

    /// A new incarnation begins, not ready yet.
    pub(crate) fn added(&self, slot: usize, beginning: Beginning) -> EndpointId {
        let Beginning { pid, address } = beginning;
        let (id, zone) = {
            let mut slots = self.slots();
            let place = &mut slots[slot];
            place.id.incarnation += 1;
            place.live = Some(Live { pid, address, ready: false, suspicions: None });
            (place.id.clone(), place.zone)
        };
        self.sink.apply(EndpointChange::Added { id: id.clone(), address, zone });
        if let Some(pid) = pid {
            let (service, replica) = names(&id);
            self.bus.emit(EventKind::ProcessStarted { service, replica, pid, address: address.to_string() });
        }
        id
    }

    /// Suspicions against the endpoint go to this prober from now on.
    pub(crate) fn probed_by(&self, slot: usize, suspicions: mpsc::Sender<&'static str>) {
        if let Some(live) = &mut self.slots()[slot].live {
            live.suspicions = Some(suspicions);
        }
    }

    /// It may get traffic.
    pub(crate) fn ready(&self, slot: usize, reason: &'static str) {
        let id = self.set_ready(slot, true);
        self.sink.apply(EndpointChange::Health { id: id.clone(), ready: true, reason });
        let (service, replica) = names(&id);
        self.bus.emit(EventKind::EndpointReady { service, replica });
        self.count_unready();
    }

    /// It may get none; `detail` is for people. Harmless when it got none anyway.
    pub(crate) fn unready(&self, slot: usize, reason: &'static str, detail: String) {
        let was_ready = self.slots()[slot].is_ready();
        let id = self.set_ready(slot, false);
        if was_ready {
            self.sink.apply(EndpointChange::Health { id: id.clone(), ready: false, reason });
        }
        let (service, replica) = names(&id);
        self.bus.emit(EventKind::EndpointUnready { service, replica, reason: detail });
        self.count_unready();
    }

    /// Does what a readiness probe's report asks for.
    pub(crate) fn on_readiness(&self, slot: usize, report: Report, timeout: Duration) {
        match report {
            Report::Suspected(reason) => self.tell(slot, |service, replica| EventKind::EndpointSuspected {
                service,
                replica,
                reason: reason.to_owned(),
            }),
            Report::Probed { change: Some(Change::Up), .. } => self.ready(slot, "probes passed"),
            Report::Probed { change: Some(Change::Down(reason)), .. }
            | Report::Probed { news: Some(reason), .. } => {
                self.unready(slot, words::down_kind(reason), words::down(reason, timeout));
            }
            Report::Probed { change: None, news: None, .. } => {}
        }
    }

    /// The incarnation is gone for good.
    pub(crate) fn removed(&self, slot: usize, reason: &'static str) {
        let id = {
            let mut slots = self.slots();
            let place = &mut slots[slot];
            place.live = None;
            place.too_slow = false;
            place.id.clone()
        };
        self.sink.apply(EndpointChange::Removed { id, reason });
        self.count_unready();
    }

    /// What the liveness probe of a replica says: it takes too long, or not.
    pub(crate) fn set_too_slow(&self, slot: usize, too_slow: bool) {
        self.slots()[slot].too_slow = too_slow;
    }

    /// A restart that the liveness probe asked for has begun, or is over.
    pub(crate) fn set_restarting(&self, slot: usize, restarting: bool) {
        self.slots()[slot].restarting = restarting;
    }

    /// Would a restart help?
    pub(crate) fn gate(&self, slot: usize) -> Gate {
        let slots = self.slots();
        let service = slots[slot].service;
        let count = |counts: fn(&Slot) -> bool| {
            slots.iter().filter(|other| other.service == service && counts(other)).count() as u32
        };
        let is_down =
            |service: usize| !slots.iter().any(|other| other.service == service && other.is_ready());
        let needs = &self.plan.services[service].needs;
        gate(GateInput {
            replicas: count(|_| true),
            failing_by_timeout: count(|other| other.too_slow),
            dependency_down: needs.iter().any(|need| need.required && is_down(need.service)),
            restarts_in_progress: count(|other| other.restarting),
        })
    }

    /// Looks closer at an endpoint, if it is still the one that is meant.
    pub(crate) fn suspect(&self, id: &EndpointId, reason: &'static str) {
        let slots = self.slots();
        let live = slots.iter().find(|slot| slot.id == *id).and_then(|slot| slot.live.as_ref());
        if let Some(suspicions) = live.and_then(|live| live.suspicions.as_ref()) {
            // Full: the prober has one to look at already.
            let _noted = suspicions.try_send(reason);
        }
    }

    /// The processes that run now.
    pub(crate) fn processes(&self) -> Vec<ProcessView> {
        let slots = self.slots();
        slots
            .iter()
            .filter_map(|slot| {
                let live = slot.live.as_ref()?;
                Some(ProcessView {
                    id: slot.id.clone(),
                    pid: live.pid?,
                    zone: slot.zone,
                    address: live.address,
                    ready: live.ready,
                })
            })
            .collect()
    }

    /// Waits until every endpoint is ready at the same time.
    pub(crate) async fn all_ready(&self) {
        let reached = self.unready.subscribe().wait_for(|unready| *unready == 0).await.map(drop);
        reached.expect("the sender lives in the registry, which this call borrows");
    }

    /// Tells the tasks of a service to stop.
    pub(crate) fn tell_to_stop(&self, service: usize) {
        self.services[service].stop.send_replace(true);
    }

    /// Waits until no task of a service is left.
    pub(crate) async fn stopped(&self, service: usize) {
        let mut tasks = self.services[service].tasks.subscribe();
        let reached = tasks.wait_for(|tasks| *tasks == 0).await.map(drop);
        reached.expect("the sender lives in the registry, which this call borrows");
    }

    /// Emits an event about the endpoint.
    pub(crate) fn tell(&self, slot: usize, kind: impl FnOnce(String, String) -> EventKind) {
        let (service, replica) = names(&self.id(slot));
        self.bus.emit(kind(service, replica));
    }

    fn set_ready(&self, slot: usize, ready: bool) -> EndpointId {
        let mut slots = self.slots();
        let place = &mut slots[slot];
        if let Some(live) = &mut place.live {
            live.ready = ready;
        }
        // A restart is over when its outcome is good.
        place.restarting &= !ready;
        place.id.clone()
    }

    fn count_unready(&self) {
        let count = self.slots().iter().filter(|slot| !slot.is_ready()).count();
        self.unready.send_replace(count);
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().expect("no holder panics")
    }
}

/// One task of a service; says so when it ends, however it ends.
pub(crate) struct TaskGuard {
    registry: Arc<Registry>,
    service: usize,
}

impl TaskGuard {
    pub(crate) fn new(registry: &Arc<Registry>, service: usize) -> Self {
        registry.services[service].tasks.send_modify(|tasks| *tasks += 1);
        Self { registry: Arc::clone(registry), service }
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.registry.services[self.service].tasks.send_modify(|tasks| *tasks -= 1);
    }
}

fn names(id: &EndpointId) -> (String, String) {
    (id.service.to_string(), id.replica.to_string())
}
