//! Threads that send what the schedule says, and write the outcome of each request into the history.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use seaworthy_spec::plan::LoadPlan;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::connection::Connections;
use super::schedule::Schedule;
use super::template::Template;
use crate::classify::{Ending, Expectation, Judged, classify};
use crate::clock;
use crate::id::{RunIds, mix};
use crate::record::{History, Record};

/// Most requests of one load in flight at once; what this refuses is counted as failed, never left out.
pub const IN_FLIGHT_MAX: usize = 10_000;

/// Why load cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A load's words do not make an HTTP request.
    #[error("load `{load}`: its {what} does not make an HTTP request")]
    Request {
        /// The load.
        load: String,
        /// Which of its words.
        what: &'static str,
    },
    /// The operating system refused a thread or what the thread needs.
    #[error("load `{load}`: cannot start its sender: {source}")]
    Thread {
        /// The load.
        load: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What the senders need to know.
#[derive(Debug)]
pub struct LoadsConfig<'a> {
    /// The loads.
    pub loads: &'a [LoadPlan],
    /// Where to send.
    pub gateway: SocketAddr,
    /// Makes the ids.
    pub ids: &'a RunIds,
    /// Decides the phase of each schedule.
    pub seed: u64,
}

/// Running loads. Dropping it stops them.
#[derive(Debug)]
pub struct Loads {
    history: Arc<History>,
    full: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Loads {
    /// Begins to send all loads.
    pub fn start(config: &LoadsConfig<'_>) -> Result<Self, LoadError> {
        let (stop, stopped) = watch::channel(false);
        let mut loads = Self {
            history: Arc::new(History::new(config.loads.len())),
            full: Arc::new(AtomicBool::new(false)),
            stop,
            threads: Vec::new(),
        };
        let authority = config.gateway.to_string();
        let start = clock::now();
        for (index, load) in config.loads.iter().enumerate() {
            let sender = Sender {
                index,
                template: Template::new(load, &authority)?,
                load: load.clone(),
                ids: config.ids.clone(),
                history: Arc::clone(&loads.history),
                full: Arc::clone(&loads.full),
                schedule: Schedule::new(start, load.rate, mix(config.seed) ^ index as u64),
                gateway: config.gateway,
            };
            loads.threads.push(spawn(sender, stopped.clone())?);
        }
        Ok(loads)
    }

    /// What was sent, and what became of it.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// True when a load had to stop because the history has no room for more.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// True when a sender is gone without having been told to.
    pub fn is_broken(&self) -> bool {
        !*self.stop.borrow() && self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops sending and drops what is in flight.
    pub fn stop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A sender that panicked has said so on standard error, and shows as broken before.
            let _ = thread.join();
        }
    }
}

impl Drop for Loads {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(sender: Sender, stopped: watch::Receiver<bool>) -> Result<JoinHandle<()>, LoadError> {
    let name = sender.load.name.clone();
    let failed = |source| LoadError::Thread { load: name.clone(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::Builder::new()
        .name(format!("load {name}"))
        .spawn(move || LocalSet::new().block_on(&runtime, Rc::new(sender.into_shared()).run(stopped)))
        .map_err(failed)
}

/// All that one sender's thread owns.
struct Sender {
    index: usize,
    load: LoadPlan,
    template: Template,
    ids: RunIds,
    history: Arc<History>,
    full: Arc<AtomicBool>,
    schedule: Schedule,
    gateway: SocketAddr,
}

impl Sender {
    fn into_shared(self) -> Shared {
        Shared { connections: Connections::new(self.gateway), in_flight: Cell::new(0), sender: self }
    }
}

/// The same, with what its tasks share.
struct Shared {
    sender: Sender,
    connections: Connections,
    in_flight: Cell<usize>,
}

impl Shared {
    async fn run(self: Rc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut schedule = self.sender.schedule.clone();
        loop {
            let now = clock::now();
            while let Some(intended) = schedule.take_due(now) {
                if !self.begin(intended) {
                    self.sender.full.store(true, Ordering::Relaxed);
                    let _ = stopped.wait_for(|stopped| *stopped).await;
                    return;
                }
            }
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(clock::until(schedule.next())) => {}
            }
        }
    }

    /// Notes the intent and lets the request go; false when the history is full.
    fn begin(self: &Rc<Self>, intended: u64) -> bool {
        let Some(number) = self.sender.history.intend(self.sender.index, intended) else { return false };
        if self.in_flight.get() >= IN_FLIGHT_MAX {
            let judged = classify(self.expectation(), Ending::NotSent);
            self.complete(number, intended, 0, judged);
            return true;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        let shared = Rc::clone(self);
        tokio::task::spawn_local(async move { shared.send(number, intended).await });
        true
    }

    async fn send(&self, number: usize, intended: u64) {
        let sent = clock::now();
        let id = self.sender.ids.id(self.sender.index, number as u64);
        let request = self.sender.template.request(&id);
        let deadline = intended.saturating_add(clock::nanos(self.sender.load.timeout));
        let (judged, reusable) = self.connections.exchange(request, self.expectation(), deadline).await;
        self.complete(number, intended, sent, judged);
        self.in_flight.set(self.in_flight.get() - 1);
        if let Some(reusable) = reusable {
            self.connections.keep(reusable).await;
        }
    }

    fn complete(&self, number: usize, intended: u64, sent: u64, judged: Judged) {
        let record = Record {
            intended,
            sent,
            done: clock::now(),
            stale_age: judged.stale_age,
            status: judged.status,
            class: judged.class,
            write: judged.write,
        };
        self.sender.history.complete(self.sender.index, number, record);
    }

    fn expectation(&self) -> Expectation<'_> {
        Expectation { expect: &self.sender.load.expect, degraded: &self.sender.load.degraded }
    }
}
