//! One thread of the data plane: its runtime, its connections, its stack of upstream connections.
//!
//! Connections never move between threads; only the edges are shared. That saves work stealing and its locks, which
//! cost more than an even spread gains.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use seaworthy_policy::Time;
use seaworthy_policy::call::AttemptKind;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::connection::handle;
use crate::edge::{Edge, Scratch};
use crate::gate::SharedGate;
use crate::headers::RequestIds;
use crate::listener::Entry;
use crate::shared::Shared;
use crate::timers::Timers;
use crate::upstream::Upstreams;

/// Client connections per thread. Beyond it, connections wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 20_000;
/// How often idle upstream connections are looked through.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
/// Wait after accept failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// In a drain, idle connections stay open this long, so that a request already on its way still gets an answer that
/// says that it was the last.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Lines of the access log that a thread keeps back, so that the log's writer is not woken for each of them ...
const LOG_LINES_MAX: u64 = 256;
/// ... and for how long at most.
const LOG_DELAY: Duration = Duration::from_millis(20);

/// Room for about that many usual lines.
const LOG_BATCH_BYTES: usize = 96 * 1024;

/// What a thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Serve.
    Run,
    /// Accept no more, finish what is there until this time, and report what was not finished.
    Drain(Time),
    /// End.
    Stop,
}

/// What a thread begins with.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) listeners: Vec<(Entry, std::net::TcpListener)>,
    pub(crate) commands: watch::Receiver<Command>,
    pub(crate) drained: mpsc::Sender<usize>,
}

/// The state of one thread.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) upstreams: Upstreams,
    pub(crate) scratch: RefCell<Scratch>,
    /// Open client connections.
    pub(crate) connections: Cell<usize>,
    /// Tells connections to close as soon as they are idle.
    pub(crate) closing: Notify,
    /// A connection was closed.
    pub(crate) closed: Notify,
    draining: Cell<bool>,
    ids: RefCell<RequestIds>,
    stamp: RefCell<Stamp>,
    log_batch: RefCell<LogBatch>,
    log_begun: Notify,
    pub(crate) timers: Timers,
    /// When the running task got its turn.
    turn: Cell<Time>,
    base: (Time, Instant),
}

/// The wall clock in words, as long as its millisecond lasts.
#[derive(Default)]
struct Stamp {
    text: String,
    until: Time,
}

/// Lines of the access log that were kept back.
#[derive(Default)]
struct LogBatch {
    text: String,
    lines: u64,
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Self {
        let base = (shared.ports.clock.now(), Instant::now());
        let turn = Cell::new(base.0);
        let seed = shared.seed.rotate_left(17) ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            index,
            upstreams: Upstreams::new(shared.edges.len()),
            shared,
            scratch: RefCell::default(),
            connections: Cell::new(0),
            closing: Notify::new(),
            closed: Notify::new(),
            draining: Cell::new(false),
            ids: RefCell::new(RequestIds::new(seed)),
            stamp: RefCell::default(),
            log_batch: RefCell::default(),
            log_begun: Notify::new(),
            timers: Timers::default(),
            turn,
            base,
        }
    }

    /// Monotonic time, as of the beginning of this turn: a request asks a dozen times, and no decision needs to tell
    /// moments of the same turn apart.
    pub(crate) fn now(&self) -> Time {
        self.turn.get()
    }

    /// Reads the clock. Every task does it when it gets its turn, before it asks for the time.
    pub(crate) fn tick(&self) -> Time {
        let now = self.shared.ports.clock.now();
        self.turn.set(now);
        now
    }

    /// The same point on the runtime's clock.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.base.1 + time.saturating_since(self.base.0)
    }

    /// A name for a request that came without one.
    pub(crate) fn next_request_id(&self) -> HeaderValue {
        self.ids.borrow_mut().next()
    }

    /// Answers from now on end their connections.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Counts an attempt.
    pub(crate) fn count_attempt(&self, edge: &Edge, kind: AttemptKind) {
        self.shared.metrics.attempt_began(self.index, edge.index, kind);
    }

    /// Writes a line of the access log; `fill` writes what stands behind the timestamp.
    pub(crate) fn log_line(&self, now: Time, fill: impl FnOnce(&mut String)) {
        let mut stamp = self.stamp.borrow_mut();
        if now >= stamp.until {
            stamp.text = self.shared.ports.clock.wall();
            stamp.until = now.after(Duration::from_millis(1));
        }
        let mut batch = self.log_batch.borrow_mut();
        for part in ["{\"ts\":\"", &stamp.text, "\","] {
            batch.text.push_str(part);
        }
        fill(&mut batch.text);
        batch.text.push('\n');
        batch.lines += 1;
        match batch.lines {
            1 => self.log_begun.notify_one(),
            LOG_LINES_MAX.. => {
                drop(batch);
                self.write_log();
            }
            _ => {}
        }
    }

    /// Hands over the lines that were kept back.
    fn write_log(&self) {
        let next = LogBatch { text: String::with_capacity(LOG_BATCH_BYTES), lines: 0 };
        let batch = self.log_batch.replace(next);
        if batch.lines > 0 {
            self.shared.ports.logs.json_lines(batch.text.into_bytes(), batch.lines);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.write_log();
    }
}

/// Runs a thread until it is told to stop.
pub(crate) fn run(runtime: &tokio::runtime::Runtime, start: Start) {
    let local = LocalSet::new();
    local.block_on(runtime, main(start));
}

async fn main(start: Start) {
    let Start { index, shared, listeners, mut commands, drained } = start;
    let worker = Rc::new(Worker::new(index, shared));
    let accepting: Vec<_> = listeners
        .into_iter()
        .filter_map(|(entry, socket)| Some((entry, TcpListener::from_std(socket).ok()?)))
        .map(|(entry, listener)| {
            tokio::task::spawn_local(accept(Rc::clone(&worker), entry, listener, commands.clone()))
        })
        .collect();
    tokio::task::spawn_local(tidy(Rc::clone(&worker)));
    tokio::task::spawn_local(write_log(Rc::clone(&worker)));
    if index == 0 {
        for edge in &worker.shared.edges {
            tokio::task::spawn_local(run_timer(Rc::clone(&worker), Arc::clone(edge)));
        }
        for gate in &worker.shared.gates {
            tokio::task::spawn_local(run_gate(Rc::clone(&worker), Arc::clone(gate)));
        }
    }
    // An error means that nobody can command any more, which is as good as a stop.
    let told = commands.wait_for(|command| *command != Command::Run).await.map(|command| *command);
    if let Ok(Command::Drain(until)) = told {
        worker.draining.set(true);
        for task in accepting {
            let _ = task.await;
        }
        let cut = drain(&worker, until).await;
        worker.write_log();
        let _ = drained.send(cut).await;
        let _ = commands.wait_for(|command| *command == Command::Stop).await;
    }
}

/// Accepts until told otherwise, and then whatever is still in the queue.
async fn accept(
    worker: Rc<Worker>,
    entry: Entry,
    listener: TcpListener,
    mut commands: watch::Receiver<Command>,
) {
    loop {
        while worker.connections.get() >= CONNECTIONS_MAX {
            worker.closed.notified().await;
        }
        let accepted = tokio::select! {
            biased;
            // First, because a flood of connections must not keep a command from being heard.
            _ = commands.wait_for(|command| *command != Command::Run) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::task::spawn_local(handle(Rc::clone(&worker), entry, stream, peer.ip()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    // What the kernel accepted for us would be reset if the socket was closed under it.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        let ready = stream.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
        if let Ok(stream) = ready {
            tokio::task::spawn_local(handle(Rc::clone(&worker), entry, stream, peer.ip()));
        }
    }
}

/// Waits until the connections are gone; returns how many had to be cut.
async fn drain(worker: &Worker, until: Time) -> usize {
    let grace = worker.tick().after(DRAIN_GRACE).min(until);
    empty(worker, grace).await;
    worker.closing.notify_waiters();
    empty(worker, until).await;
    worker.connections.get()
}

async fn empty(worker: &Worker, until: Time) {
    let until = worker.instant(until);
    loop {
        let closed = worker.closed.notified();
        if worker.connections.get() == 0 || tokio::time::timeout_at(until, closed).await.is_err() {
            return;
        }
    }
}

/// Looks through idle upstream connections now and then, and reports how many are open.
async fn tidy(worker: Rc<Worker>) {
    let mut reported = vec![0; worker.shared.edges.len()];
    loop {
        tokio::time::sleep(TIDY_INTERVAL).await;
        worker.upstreams.tidy(worker.tick(), &worker.shared.ports.dial);
        for (edge, open) in worker.upstreams.open().into_iter().enumerate() {
            worker.shared.metrics.upstream_connections(worker.index, edge, open - reported[edge]);
            reported[edge] = open;
        }
    }
}

/// Hands over lines of the access log when there are too few of them for too long.
async fn write_log(worker: Rc<Worker>) {
    loop {
        worker.log_begun.notified().await;
        tokio::time::sleep(LOG_DELAY).await;
        worker.write_log();
    }
}

/// Runs the timers of an edge's pool.
async fn run_timer(worker: Rc<Worker>, edge: Arc<Edge>) {
    loop {
        match edge.on_timer() {
            None => edge.rearm.notified().await,
            Some(next) => tokio::select! {
                () = tokio::time::sleep_until(worker.instant(next)) => {}
                () = edge.rearm.notified() => {}
            },
        }
    }
}

/// Runs the timers of a gate.
async fn run_gate(worker: Rc<Worker>, gate: Arc<SharedGate>) {
    loop {
        match gate.on_timer(worker.tick()) {
            None => gate.rearmed().await,
            Some(next) => tokio::select! {
                () = tokio::time::sleep_until(worker.instant(next)) => {}
                () = gate.rearmed() => {}
            },
        }
    }
}
