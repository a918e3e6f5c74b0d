//! The gateway as the rest of the node sees it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use seaworthy_observe::event::EventKind;
use seaworthy_observe::metrics::{MetricError, Registry};
use seaworthy_observe::{
    Clock, DialTable, EndpointChange, EndpointId, EndpointSink, EventBus, KeyKeeper, LogSink, SuspicionSink,
};
use seaworthy_policy::breaker::Mode;
use seaworthy_policy::pool::EndpointView;
use seaworthy_spec::plan::Plan;
use tokio::sync::{Mutex, mpsc, watch};

use crate::listener::{self, Entry};
use crate::shared::{Shared, egresses};
use crate::worker::{self, Command, Start};

/// Threads at most; more than this is a mistake.
pub const THREADS_MAX: usize = 256;

/// What the gateway needs from the rest of the node.
#[derive(Clone)]
pub struct GatewayPorts {
    /// Takes what happens to endpoints.
    pub bus: EventBus,
    /// Takes the access log.
    pub logs: LogSink,
    /// Reads the time.
    pub clock: Clock,
    /// Says where endpoints are really dialled.
    pub dial: Arc<DialTable>,
    /// Takes the metrics; should have a shard per thread.
    pub metrics: Registry,
    /// Remembers idempotency keys; without it, requests on routes that keep them are refused.
    pub keys: Option<Arc<dyn KeyKeeper>>,
    /// How many threads serve requests; 1 to [`THREADS_MAX`].
    pub threads: usize,
}

impl std::fmt::Debug for GatewayPorts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("GatewayPorts");
        debug.field("threads", &self.threads).field("keys", &self.keys.is_some()).finish_non_exhaustive()
    }
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// An address could not be listened on.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// `ingress` or `egress:NAME`.
        what: String,
        /// The address of the plan.
        address: SocketAddr,
        /// Why, from the operating system.
        source: std::io::Error,
    },
    /// A thread or its runtime could not be started.
    #[error("cannot start a thread of the gateway")]
    Thread(#[source] std::io::Error),
    /// The metrics were refused; the registry belongs to another gateway.
    #[error("cannot register the gateway's metrics")]
    Metrics(#[source] MetricError),
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections whose requests were not finished within the limit.
    pub cut: usize,
}

/// How one edge stands.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeView {
    /// `ingress:api`, `egress:payments`.
    pub name: String,
    /// Its endpoints, in the order in which they came.
    pub endpoints: Vec<(EndpointId, EndpointView)>,
    /// Retries and hedges that the budget still allows.
    pub budget_balance: f64,
    /// Who decides about its circuit breaker; `None` where there is none.
    pub breaker_mode: Option<Mode>,
}

/// A running data plane. Dropping it closes everything at once; [`Gateway::drain`] first.
pub struct Gateway {
    shared: Arc<Shared>,
    bus: EventBus,
    clock: Clock,
    ingress: Option<SocketAddr>,
    egress: BTreeMap<String, SocketAddr>,
    commands: watch::Sender<Command>,
    drained: Mutex<mpsc::Receiver<usize>>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Gateway");
        debug.field("ingress", &self.ingress).field("egress", &self.egress).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Opens all listeners of the plan and starts to serve. There are no endpoints yet: see [`EndpointSink`].
    ///
    /// # Errors
    /// When an address cannot be listened on, or the operating system has no thread left.
    pub fn start(plan: &Plan, ports: GatewayPorts) -> Result<Self, GatewayError> {
        let threads = ports.threads.clamp(1, THREADS_MAX);
        let seed = RandomState::new().hash_one(std::process::id());
        let mut sockets: Vec<Vec<(Entry, std::net::TcpListener)>> =
            (0..threads).map(|_| Vec::new()).collect();
        let mut open = |entry: Entry, what: &str, address: SocketAddr| {
            let opened = listener::open(address, threads);
            let (real, opened) =
                opened.map_err(|source| GatewayError::Listen { what: what.to_owned(), address, source })?;
            for (thread, socket) in opened.into_iter().enumerate() {
                sockets[thread].push((entry, socket));
            }
            Ok(real)
        };
        let ingress = plan.listen.map(|address| open(Entry::Ingress, "ingress", address)).transpose()?;
        let mut egress = BTreeMap::new();
        for (index, planned) in egresses(plan).enumerate() {
            let Some(address) = planned.service.egress else { continue };
            let entry = Entry::Egress { listener: index + 1, target: planned.target };
            let real = open(entry, &format!("egress:{}", planned.service.name), address)?;
            egress.insert(planned.service.name.clone(), real);
        }
        let shared = Arc::new(Shared::new(plan, &ports, seed)?);
        let (commands, told) = watch::channel(Command::Run);
        let (drained, reports) = mpsc::channel(threads);
        let mut gateway = Self {
            shared: Arc::clone(&shared),
            bus: ports.bus,
            clock: ports.clock,
            ingress,
            egress,
            commands,
            drained: Mutex::new(reports),
            threads: Vec::with_capacity(threads),
        };
        for (index, listeners) in sockets.into_iter().enumerate() {
            let (shared, commands, drained) = (Arc::clone(&shared), told.clone(), drained.clone());
            let start = Start { index, shared, listeners, commands, drained };
            // What runs already is stopped by the drop of `gateway`.
            gateway.threads.push(spawn(start).map_err(GatewayError::Thread)?);
        }
        Ok(gateway)
    }

    /// Where clients reach us; `None` when the plan has no ingress.
    pub fn ingress_address(&self) -> Option<SocketAddr> {
        self.ingress
    }

    /// Where our services reach others, by the name of the other service.
    pub fn egress_addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.egress
    }

    /// Whom to tell when traffic finds an endpoint suspicious. Only the first sink counts.
    pub fn set_suspicion_sink(&self, sink: Arc<dyn SuspicionSink>) {
        let _ = self.shared.suspicions.set(sink);
    }

    /// Forgets ejections, breaker states and spent budgets on every edge.
    pub fn reset(&self) {
        for edge in &self.shared.edges {
            edge.reset();
        }
        for gate in &self.shared.gates {
            gate.reset();
        }
        self.bus.emit(EventKind::PolicyReset);
    }

    pub(crate) fn edges(&self) -> &[Arc<crate::edge::Edge>] {
        &self.shared.edges
    }

    /// How every edge stands.
    pub fn views(&self) -> Vec<EdgeView> {
        let view = |edge: &Arc<crate::edge::Edge>| {
            let (endpoints, budget_balance) = edge.view();
            EdgeView { name: edge.name.clone(), endpoints, budget_balance, breaker_mode: edge.breaker_mode() }
        };
        self.shared.edges.iter().map(view).collect()
    }

    /// Stops accepting, answers what is in flight and what still comes on open connections, and returns when all of
    /// them are closed or the limit has passed. Later calls return what the first one found.
    pub async fn drain(&self, limit: Duration) -> Drained {
        let mut reports = self.drained.lock().await;
        let until = self.clock.now().after(limit);
        let first = self.commands.send_if_modified(|command| {
            let running = *command == Command::Run;
            if running {
                *command = Command::Drain(until);
            }
            running
        });
        let mut cut = 0;
        for _ in (0..self.threads.len()).filter(|_| first) {
            cut += reports.recv().await.unwrap_or(0);
        }
        Drained { cut }
    }
}

impl EndpointSink for Gateway {
    fn apply(&self, change: EndpointChange) {
        let service = match &change {
            EndpointChange::Added { id, .. }
            | EndpointChange::Health { id, .. }
            | EndpointChange::Removed { id, .. } => &id.service,
        };
        for edge in self.shared.edges.iter().filter(|edge| edge.service == *service) {
            edge.apply(&change);
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.commands.send_replace(Command::Stop);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

fn spawn(start: Start) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let name = format!("gateway-{}", start.index);
    std::thread::Builder::new().name(name).spawn(move || worker::run(&runtime, start))
}
