//! What the tests share: processes to break, fakes of the ports, and a client that sees the effects.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use seaworthy_fault::{FaultEngine, FaultError, FaultPorts, FaultRequest, Journal, PauseIntent};
use seaworthy_observe::{DialTable, EndpointId, EventBus, EventKind, LogSink, ProcessView, Processes, Via};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No condition takes longer than this, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running stub; killed with its group when dropped.
pub(crate) struct Stub {
    pub(crate) child: Child,
    pub(crate) pid: u32,
    pub(crate) port: u16,
    pub(crate) grandchild: Option<u32>,
}

impl Stub {
    pub(crate) fn start() -> Self {
        Self::spawn(&[], true)
    }

    pub(crate) fn with_grandchild() -> Self {
        Self::spawn(&["--grandchild"], true)
    }

    /// In the process group of the test itself.
    pub(crate) fn in_our_group() -> Self {
        Self::spawn(&[], false)
    }

    fn spawn(arguments: &[&str], own_group: bool) -> Self {
        let test = std::env::current_exe().expect("a path");
        let built: PathBuf =
            test.parent().and_then(|deps| deps.parent()).expect("target/debug").join("examples");
        let mut command = Command::new(built.join("fault_stub"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        if own_group {
            command.process_group(0);
        }
        let mut child = command.spawn().expect("cargo builds the example with the tests");
        let (mut port, mut grandchild) = (None, None);
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            let line = line.expect("text");
            if let Some(number) = line.strip_prefix("CHILD ") {
                grandchild = Some(number.parse().expect("a process id"));
            }
            if let Some(number) = line.strip_prefix("PORT ") {
                port = Some(number.parse().expect("a port"));
                break;
            }
        }
        Self { pid: child.id(), child, port: port.expect("the stub is up"), grandchild }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn view(&self, service: &str, replica: &str, zone: u16) -> ProcessView {
        ProcessView { id: id(service, replica), pid: self.pid, zone, address: self.address(), ready: true }
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// Requests executed, asked for directly.
    pub(crate) async fn count(&self) -> u64 {
        get(self.address(), "/count").await.expect("an answer").body.parse().expect("a number")
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // A group that holds nobody any more is what we want.
        if let Some(pid) = Pid::from_raw(i32::try_from(self.pid).expect("small")) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn id(service: &str, replica: &str) -> EndpointId {
    EndpointId { service: service.into(), replica: replica.into(), incarnation: 1 }
}

/// The state letter of a process; `None` when it is gone.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[derive(Default)]
pub(crate) struct FakeProcesses(pub(crate) Mutex<Vec<ProcessView>>);

impl Processes for FakeProcesses {
    fn list(&self) -> Vec<ProcessView> {
        self.0.lock().expect("not poisoned").clone()
    }
}

/// Records what it is told together with the state of the process at that moment.
#[derive(Default)]
pub(crate) struct FakeJournal {
    pub(crate) calls: Mutex<Vec<String>>,
    pub(crate) intents: Mutex<Vec<PauseIntent>>,
    /// Fails this call: `intend 2`, `applied 1`.
    pub(crate) fail: Option<&'static str>,
}

impl FakeJournal {
    fn note(&self, call: &str, entry: u64) -> io::Result<()> {
        let pid = self.intents.lock().expect("not poisoned")[entry as usize - 1].pid;
        let stopped = if state(pid) == Some('T') { "stopped" } else { "not stopped" };
        self.calls.lock().expect("not poisoned").push(format!("{call} {entry}: {stopped}"));
        if self.fail == Some(&*format!("{call} {entry}")) {
            Err(io::Error::other("disk full"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("not poisoned").clone()
    }

    pub(crate) fn intents(&self) -> Vec<PauseIntent> {
        self.intents.lock().expect("not poisoned").clone()
    }
}

struct SharedJournal(Arc<FakeJournal>);

impl Journal for SharedJournal {
    fn intend(&self, intent: &PauseIntent) -> io::Result<u64> {
        let entry = {
            let mut intents = self.0.intents.lock().expect("not poisoned");
            intents.push(intent.clone());
            intents.len() as u64
        };
        self.0.note("intend", entry).map(|()| entry)
    }

    fn applied(&self, id: u64) -> io::Result<()> {
        self.0.note("applied", id)
    }

    fn reverted(&self, id: u64) -> io::Result<()> {
        self.0.note("reverted", id)
    }
}

/// An engine with its surroundings.
pub(crate) struct Bench {
    pub(crate) engine: Option<FaultEngine>,
    pub(crate) processes: Arc<FakeProcesses>,
    pub(crate) dial: Arc<DialTable>,
    pub(crate) bus: EventBus,
    pub(crate) journal: Arc<FakeJournal>,
}

impl Bench {
    pub(crate) fn new(views: Vec<ProcessView>) -> Self {
        Self::build(views, FakeJournal::default(), BTreeMap::new())
    }

    pub(crate) fn with_journal(views: Vec<ProcessView>, journal: FakeJournal) -> Self {
        Self::build(views, journal, BTreeMap::new())
    }

    pub(crate) fn build(
        views: Vec<ProcessView>,
        journal: FakeJournal,
        external: BTreeMap<String, Vec<SocketAddr>>,
    ) -> Self {
        let processes = Arc::new(FakeProcesses(Mutex::new(views)));
        let dial = Arc::new(DialTable::default());
        let bus = EventBus::new(LogSink::discard());
        let journal = Arc::new(journal);
        let engine = FaultEngine::new(FaultPorts {
            processes: Arc::clone(&processes) as Arc<dyn Processes>,
            dial: Arc::clone(&dial),
            bus: bus.clone(),
            journal: Box::new(SharedJournal(Arc::clone(&journal))),
            zones: vec!["a".to_owned(), "b".to_owned()],
            external,
        });
        Self { engine: Some(engine.expect("starts")), processes, dial, bus, journal }
    }

    pub(crate) fn engine(&self) -> &FaultEngine {
        self.engine.as_ref().expect("not dropped yet")
    }

    /// Applies a request written as JSON.
    pub(crate) async fn apply(&self, request: &str) -> Result<seaworthy_fault::Applied, FaultError> {
        let request: FaultRequest = serde_json::from_str(request).expect(request);
        self.engine().apply(request).await
    }

    /// Where traffic to this endpoint goes.
    pub(crate) fn dialled(&self, view: &ProcessView, via: Via) -> SocketAddr {
        self.dial.address(&view.id, via, view.address)
    }

    /// The events of faults so far, in short.
    pub(crate) fn events(&self) -> Vec<String> {
        let short = |kind: &EventKind| match kind {
            EventKind::FaultRequested { fault, .. } => Some(format!("{fault} requested")),
            EventKind::FaultApplied { fault, .. } => Some(format!("{fault} applied")),
            EventKind::FaultFailed { fault, .. } => Some(format!("{fault} failed")),
            EventKind::FaultEnded { fault, why } => Some(format!("{fault} ended: {why}")),
            _ => None,
        };
        self.bus.since(0, usize::MAX).iter().filter_map(|event| short(&event.kind)).collect()
    }
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    send(address, "GET", path, 0).await
}

/// One request over a connection of its own.
pub(crate) async fn send(address: SocketAddr, method: &str, path: &str, body: usize) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    if body > 0 {
        write!(head, "Content-Length: {body}\r\n").expect("writes to memory");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&vec![b'x'; body]).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A keep-alive connection whose answers have a `Content-Length`.
pub(crate) struct KeptAlive(pub(crate) TcpStream);

impl KeptAlive {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("connects"))
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.post(path, 0).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: usize) -> io::Result<Answer> {
        let method = if body == 0 { "GET" } else { "POST" };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {body}\r\n\r\n");
        self.0.write_all(head.as_bytes()).await?;
        self.0.write_all(&vec![b'x'; body]).await?;
        let mut bytes = Vec::new();
        loop {
            if let Some(answer) = parse(&bytes) {
                let lower = answer.head.to_ascii_lowercase();
                let (_, length) = lower.split_once("content-length: ").expect("a length");
                let length: usize = length.lines().next().unwrap_or("").parse().expect("a number");
                if answer.body.len() >= length {
                    return Ok(answer);
                }
            }
            if self.0.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
