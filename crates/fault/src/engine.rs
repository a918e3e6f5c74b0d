//! The engine: applies requests whole or not at all, watches their deadlines, and undoes them.
//!
//! Whatever is in effect is held by a value whose drop undoes it. So there is one way of undoing, and it is taken when
//! a fault is cleared, when its deadline passes, when a later part of its request fails, and when the engine goes.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use seaworthy_observe::Clock;
use seaworthy_observe::bus::EventBus;
use seaworthy_observe::dial::{DetourScope, DialTable};
use seaworthy_observe::event::EventKind;
use seaworthy_observe::ports::{ProcessView, Processes};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::error::FaultError;
use crate::journal::Journal;
use crate::network::{self, Detoured, Prepared, Upstream};
use crate::process::{self, Paused, Victim};
use crate::registry::{Applied, Ended, FaultId, FaultView, Registry, parse_id};
use crate::request::{FaultKind, FaultRequest};
use crate::resolve::{NetworkPart, Resolved, resolve};
use crate::victims::World;

/// How long blocking calls (the journal) may hold up the engine's end.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Between attempts to end a fault that is past its deadline and does not end.
const END_AGAIN: Duration = Duration::from_secs(1);

/// Why a fault ended.
const CLEARED: &str = "cleared";
const DEADLINE: &str = "deadline";
const EFFECT_PROVEN: &str = "effect proven";
const STOPPED: &str = "engine stopped";

/// What the engine needs from others.
pub struct FaultPorts {
    /// What runs.
    pub processes: Arc<dyn Processes>,
    /// Where endpoints are dialled.
    pub dial: Arc<DialTable>,
    /// Takes our events.
    pub bus: EventBus,
    /// Remembers pauses across our death.
    pub journal: Box<dyn Journal + Send + Sync>,
    /// The names of the zones, in the spec's order.
    pub zones: Vec<String>,
    /// The endpoints of services that run elsewhere; the first one of a service is its replica `1`.
    pub external: BTreeMap<String, Vec<SocketAddr>>,
}

/// Applies faults and undoes them. Dropping it undoes all of them.
pub struct FaultEngine {
    shared: Arc<Shared>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    processes: Arc<dyn Processes>,
    dial: Arc<DialTable>,
    bus: EventBus,
    journal: Arc<dyn Journal>,
    zones: Vec<String>,
    external: BTreeMap<String, Vec<SocketAddr>>,
    registry: Mutex<Registry<Held>>,
    /// One request is applied at a time, and none while everything is cleared.
    applying: tokio::sync::Mutex<()>,
    /// One fault ends at a time, so that nobody finds one that is neither held nor over.
    ending: tokio::sync::Mutex<()>,
}

/// A request in effect; dropping it undoes it.
struct Held {
    applied: Applied,
    what: String,
    deadline_at: u64,
    /// Before the processes, so that traffic is led back first.
    detoured: Vec<Detoured>,
    paused: Option<Paused>,
    /// Dropping it ends the watch over the deadline.
    _watched: watch::Sender<()>,
}

impl Held {
    fn met(&self) -> Option<u64> {
        self.detoured.iter().map(Detoured::met).reduce(|sum, met| sum + met)
    }
}

/// The parts of a request that are in effect.
struct InEffect {
    detoured: Vec<Detoured>,
    paused: Option<Paused>,
    proofs: Vec<String>,
}

impl FaultEngine {
    /// Starts the engine's thread; nothing is broken yet.
    pub fn new(ports: FaultPorts) -> Result<Self, FaultError> {
        let FaultPorts { processes, dial, bus, journal, zones, external } = ports;
        let journal: Arc<dyn Journal> = Arc::from(journal as Box<dyn Journal>);
        let shared = Shared {
            processes,
            dial,
            bus,
            journal,
            zones,
            external,
            registry: Mutex::default(),
            applying: tokio::sync::Mutex::default(),
            ending: tokio::sync::Mutex::default(),
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(FaultError::system("starting the runtime of faults"))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            // The sender's end is a stop as well.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(STOP_LIMIT);
        };
        let thread = std::thread::Builder::new().name("seaworthy-fault".to_owned()).spawn(serve);
        let thread = thread.map_err(FaultError::system("starting the thread of faults"))?;
        Ok(Self { shared: Arc::new(shared), runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Applies a request whole, or returns why nothing of it is in effect. Goes on when the caller stops waiting.
    pub async fn apply(&self, request: FaultRequest) -> Result<Applied, FaultError> {
        let shared = Arc::clone(&self.shared);
        self.run(async move { shared.apply(&request).await }).await?
    }

    /// Ends a fault. One that has ended by itself is reported as it ended.
    pub async fn clear(&self, id: &str) -> Result<Ended, FaultError> {
        let number = parse_id(id).ok_or_else(|| FaultError::UnknownFault(id.to_owned()))?;
        let shared = Arc::clone(&self.shared);
        self.run(async move { shared.end(number, CLEARED).await }).await?
    }

    /// Ends every fault, also one that is being applied right now. Tries all, and returns the first error.
    pub async fn clear_all(&self) -> Result<Vec<(String, Ended)>, FaultError> {
        let shared = Arc::clone(&self.shared);
        self.run(async move { shared.end_all().await }).await?
    }

    /// What is in effect, oldest first.
    pub fn list(&self) -> Vec<FaultView> {
        let registry = self.shared.registry();
        let view = |held: &Held| FaultView {
            applied: held.applied.clone(),
            what: held.what.clone(),
            deadline_at: held.deadline_at,
            met: held.met(),
        };
        registry.held().map(|(_, held)| view(held)).collect()
    }

    /// Which faults this host can do, tried out now; otherwise why not.
    pub async fn capabilities(&self) -> Result<Vec<(FaultKind, Result<(), String>)>, FaultError> {
        self.run(async {
            let mut all = Vec::new();
            for kind in FaultKind::ALL {
                let found = match kind {
                    FaultKind::Kill | FaultKind::Pause => process::probe(),
                    _ => network::probe(kind).await,
                };
                all.push((kind, found));
            }
            all
        })
        .await
    }

    /// Runs on the engine's own thread, whatever the caller's runtime.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, FaultError> {
        match self.runtime.spawn(work).await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(FaultError::Stopped),
        }
    }
}

impl fmt::Debug for FaultEngine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FaultEngine").field("faults", &self.list()).finish_non_exhaustive()
    }
}

impl Drop for FaultEngine {
    fn drop(&mut self) {
        // First the thread, so that nothing can be applied afterwards; what was being applied is dropped with it.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and undoing matters more than saying so here.
            let _ = thread.join();
        }
        let held = self.shared.registry().take_all();
        for held in held {
            let fault = held.applied.id.clone();
            drop(held);
            self.shared.bus.emit(EventKind::FaultEnded { fault, why: STOPPED.to_owned() });
        }
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry<Held>> {
        self.registry.lock().expect("no holder panics")
    }

    async fn apply(self: &Arc<Self>, request: &FaultRequest) -> Result<Applied, FaultError> {
        let _gate = self.applying.lock().await;
        let processes = self.processes.list();
        let world = World { processes: &processes, zones: &self.zones, external: &self.external };
        let resolved = resolve(request, &world)?;
        let id = self.registry().reserve(&resolved.scopes)?;
        let (fault, what) = (format!("f{id}"), resolved.what.clone());
        let requested = self.bus.emit(EventKind::FaultRequested { fault: fault.clone(), what: what.clone() });
        let (limit, targets) = (resolved.limit, resolved.targets.clone());
        let in_effect = match self.put_in_effect(resolved).await {
            Ok(in_effect) => in_effect,
            Err(error) => {
                self.registry().release(id);
                self.bus.emit(EventKind::FaultFailed { fault, reason: error.to_string() });
                return Err(error);
            }
        };
        let applied_at = Clock.now().as_nanos();
        let proof = in_effect.proofs.join("; ");
        self.bus.emit(EventKind::FaultApplied {
            fault: fault.clone(),
            what: what.clone(),
            proof: proof.clone(),
        });
        let applied = Applied { id: fault, requested_at: requested.at, applied_at, proof, targets };
        self.hold(id, what, limit, applied.clone(), in_effect);
        Ok(applied)
    }

    /// Watches over what is in effect; a request that holds nothing (kills) is over.
    fn hold(
        self: &Arc<Self>,
        id: FaultId,
        what: String,
        limit: Duration,
        applied: Applied,
        in_effect: InEffect,
    ) {
        let InEffect { detoured, paused, proofs: _ } = in_effect;
        if detoured.is_empty() && paused.is_none() {
            let fault = applied.id;
            let event = self.bus.emit(EventKind::FaultEnded { fault, why: EFFECT_PROVEN.to_owned() });
            self.registry().end(id, Ended { ended_at: event.at, met: None, why: EFFECT_PROVEN.to_owned() });
            return;
        }
        let deadline_at = applied.applied_at + limit.as_nanos() as u64;
        let (watched, over) = watch::channel(());
        self.registry().hold(id, Held { applied, what, deadline_at, detoured, paused, _watched: watched });
        tokio::spawn(Arc::clone(self).watch_deadline(id, limit, over));
    }

    async fn watch_deadline(self: Arc<Self>, id: FaultId, limit: Duration, mut over: watch::Receiver<()>) {
        tokio::select! {
            () = sleep(limit) => {}
            _ = over.changed() => return,
        }
        while let Err(FaultError::NotEnded { .. }) = self.end(id, DEADLINE).await {
            sleep(END_AGAIN).await;
        }
    }

    /// Everything or nothing: an error drops, and so undoes, what was done before it. Kills come last, because
    /// nothing undoes them.
    async fn put_in_effect(&self, resolved: Resolved) -> Result<InEffect, FaultError> {
        let kill = self.pin(&resolved.kill, FaultKind::Kill)?;
        let pause = self.pin(&resolved.pause, FaultKind::Pause)?;
        let prepared = self.prepare(resolved.network).await?;
        let mut proofs: Vec<String> = prepared.iter().map(|prepared| prepared.proof.clone()).collect();
        let paused = if pause.is_empty() {
            None
        } else {
            let (paused, proven) = process::pause(pause, resolved.limit, Arc::clone(&self.journal)).await?;
            proofs.extend(proven);
            Some(paused)
        };
        let detoured = prepared.into_iter().map(|prepared| Detoured::set(&self.dial, prepared)).collect();
        let mut in_effect = InEffect { detoured, paused, proofs };
        in_effect.proofs.extend(process::kill(kill).await?);
        Ok(in_effect)
    }

    fn pin(&self, views: &[ProcessView], kind: FaultKind) -> Result<Vec<Victim>, FaultError> {
        views.iter().map(|view| Victim::open(view, &*self.processes, kind)).collect()
    }

    /// Stands up and proves all parts at the same time.
    async fn prepare(&self, parts: Vec<NetworkPart>) -> Result<Vec<Prepared>, FaultError> {
        let mut preparing = JoinSet::new();
        for part in parts {
            let service = match &part.scope {
                DetourScope::Replica { service, .. } | DetourScope::Egress { service } => service,
            };
            let external = self.external.get(service).cloned().unwrap_or_default();
            let upstream = Upstream::new(Arc::clone(&self.processes), part.scope.clone(), external);
            preparing.spawn(network::prepare(part, upstream));
        }
        let mut prepared = Vec::new();
        while let Some(joined) = preparing.join_next().await {
            prepared.push(joined.map_err(|_| FaultError::Stopped)??);
        }
        prepared.sort_by(|one: &Prepared, other| one.proof.cmp(&other.proof));
        Ok(prepared)
    }

    async fn end(&self, id: FaultId, why: &str) -> Result<Ended, FaultError> {
        let _gate = self.ending.lock().await;
        let taken = self.registry().take(id);
        let Some(mut held) = taken else {
            return self.registry().how_ended(id).ok_or_else(|| FaultError::UnknownFault(format!("f{id}")));
        };
        let met = held.met();
        held.detoured.clear();
        if let Some(paused) = &mut held.paused
            && let Err(error) = paused.end().await
        {
            self.registry().hold(id, held);
            return Err(error);
        }
        let fault = held.applied.id.clone();
        drop(held);
        let event = self.bus.emit(EventKind::FaultEnded { fault, why: why.to_owned() });
        let ended = Ended { ended_at: event.at, met, why: why.to_owned() };
        self.registry().end(id, ended.clone());
        Ok(ended)
    }

    async fn end_all(&self) -> Result<Vec<(String, Ended)>, FaultError> {
        let _gate = self.applying.lock().await;
        let ids: Vec<FaultId> = self.registry().held().map(|(id, _)| id).collect();
        let (mut all, mut failed) = (Vec::new(), None);
        for id in ids {
            match self.end(id, CLEARED).await {
                Ok(ended) => all.push((format!("f{id}"), ended)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(all), Err)
    }
}
