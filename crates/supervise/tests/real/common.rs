//! A plan made by hand, a supervisor that runs it, and ears for what it says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use seaworthy_observe::{
    Destination, DialTable, EndpointChange, EndpointSink, Event, EventBus, EventKind, LogSink, ProcessView,
    Processes, Rendering,
};
use seaworthy_policy::health::HealthConfig;
use seaworthy_policy::pool::PoolConfig;
use seaworthy_policy::restart::{CrashLoop, RestartConfig};
use seaworthy_spec::plan::{
    EntrancePlan, Need, Place, Plan, ProbeAction, ProbePlan, ProcessPlan, ReplicaPlan, ServiceKind,
    ServicePlan, TrafficPlan,
};
use seaworthy_supervise::{SuperviseError, Supervisor, SupervisorPorts};
use tempfile::TempDir;

/// Nothing that a test waits for takes this long on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Records the changes that routing would follow.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<EndpointChange>>);

impl EndpointSink for Recorder {
    fn apply(&self, change: EndpointChange) {
        self.0.lock().unwrap().push(change);
    }
}

/// Memory that the log is written to.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything one test needs.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) plan: Plan,
    pub(crate) egress: BTreeMap<String, SocketAddr>,
    pub(crate) dial: Arc<DialTable>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) bus: EventBus,
    pub(crate) memory: Memory,
}

impl Bench {
    pub(crate) fn new(services: Vec<ServicePlan>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::default();
        let destination = Destination::writer(Box::new(memory.clone()), Rendering::Json);
        let bus = EventBus::new(LogSink::start(vec![destination]).unwrap());
        let plan = plan(folder.path(), services);
        let (dial, recorder) = (Arc::default(), Arc::default());
        Self { folder, plan, egress: BTreeMap::new(), dial, recorder, bus, memory }
    }

    pub(crate) async fn try_start(&self) -> Result<Supervisor, SuperviseError> {
        let ports = SupervisorPorts {
            endpoints: self.recorder.clone(),
            dial: self.dial.clone(),
            bus: self.bus.clone(),
            logs: self.bus.logs().clone(),
            egress: self.egress.clone(),
            token: "secret".to_owned(),
            state_dir: self.folder.path().join("state"),
        };
        Supervisor::start(Arc::new(self.plan.clone()), ports).await
    }

    pub(crate) async fn start(&self) -> Supervisor {
        self.try_start().await.unwrap()
    }

    /// Starts, and waits until all is ready.
    pub(crate) async fn start_ready(&self) -> Supervisor {
        let supervisor = self.start().await;
        within(supervisor.all_ready()).await;
        supervisor
    }

    pub(crate) fn state(&self, service: &str, replica: &str) -> PathBuf {
        self.folder.path().join("state/services").join(service).join(replica)
    }

    pub(crate) fn write_state(&self, service: &str, replica: &str, name: &str, text: &str) {
        fs::create_dir_all(self.state(service, replica)).unwrap();
        fs::write(self.state(service, replica).join(name), text).unwrap();
    }

    /// Waits until a replica has answered a request for `path` so often.
    pub(crate) async fn answered(&self, (service, replica): (&str, &str), path: &str, times: u64) {
        let counter = self.state(service, replica).join(format!("answered{}", path.replace('/', "-")));
        until(path, || fs::metadata(&counter).is_ok_and(|counter| counter.len() >= times)).await;
    }

    pub(crate) fn changes(&self) -> Vec<EndpointChange> {
        self.recorder.0.lock().unwrap().clone()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.bus.since(0, usize::MAX)
    }

    pub(crate) fn log(&self) -> Vec<serde_json::Value> {
        assert!(self.bus.logs().flush());
        let bytes = self.memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The first event beyond `seq` that is wanted.
    pub(crate) async fn event(&self, seq: u64, wanted: impl Fn(&EventKind) -> bool) -> Event {
        let mut seen = seq;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let events = self.bus.since(seen, usize::MAX);
                seen = events.last().map_or(seen, |event| event.seq);
                match events.into_iter().find(|event| wanted(&event.kind)) {
                    Some(event) => return event,
                    None => self.bus.wait_beyond(seen).await,
                };
            }
        });
        found.await.unwrap_or_else(|_elapsed| panic!("no such event among {:#?}", self.events()))
    }
}

/// Fails the test rather than waiting for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits for a condition that nothing announces.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let polled = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, polled).await.is_ok(), "never: {what}");
}

/// The one process of a service with one replica.
pub(crate) fn process(supervisor: &Supervisor, service: &str) -> ProcessView {
    supervisor.list().into_iter().find(|view| &*view.id.service == service).expect("it runs")
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// True while a process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

pub(crate) fn stub() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let stub = test.parent().and_then(Path::parent).unwrap().join("examples/stub");
    assert!(stub.exists(), "the example `stub` is not built: {}", stub.display());
    stub
}

/// Probes fast, so that tests do not wait.
pub(crate) fn fast_health() -> HealthConfig {
    HealthConfig {
        period: Duration::from_millis(60),
        fast_period: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        ..HealthConfig::default()
    }
}

pub(crate) fn readiness(health: HealthConfig) -> ProbePlan {
    ProbePlan { action: ProbeAction::HttpGet("/readyz".to_owned()), health }
}

/// A liveness probe that is quick to judge.
pub(crate) fn liveness() -> ProbePlan {
    let health = HealthConfig { timeout: Duration::from_millis(100), ..fast_health() };
    ProbePlan { action: ProbeAction::HttpGet("/livez".to_owned()), health }
}

/// More answers than it takes to be alive: what has not lived cannot die.
pub(crate) const ALIVE: u64 = 4;

/// A service with one replica `1` that runs the stub with these arguments.
pub(crate) fn service(name: &str, arguments: &[&str]) -> ServicePlan {
    let run = std::iter::once(stub().to_str().unwrap().to_owned())
        .chain(arguments.iter().map(|word| (*word).to_owned()))
        .collect();
    let process = ProcessPlan {
        build: None,
        run,
        environment: Vec::new(),
        replicas: vec![ReplicaPlan { id: "1".to_owned(), zone: 0 }],
        readiness: readiness(fast_health()),
        liveness: None,
        restart: RestartConfig {
            initial: Duration::from_millis(5),
            max: Duration::from_millis(20),
            reset_after: Duration::from_millis(300),
            crash_loop: CrashLoop { restarts: 5, window: Duration::from_mins(1) },
            ..RestartConfig::default()
        },
        stop_grace: Duration::from_secs(10),
    };
    ServicePlan {
        name: name.to_owned(),
        place: place(),
        kind: ServiceKind::Supervised(process),
        needs: Vec::new(),
        egress: None,
        call: Arc::default(),
        pool: PoolConfig::default(),
        keyed: false,
        keys: None,
        entrance: EntrancePlan::default(),
        traffic: TrafficPlan::default(),
    }
}

/// The process of a supervised service, to be changed.
pub(crate) fn supervised(service: &mut ServicePlan) -> &mut ProcessPlan {
    match &mut service.kind {
        ServiceKind::Supervised(process) => process,
        ServiceKind::External { .. } => panic!("it is external"),
    }
}

pub(crate) fn need(service: usize) -> Need {
    Need { service, required: true }
}

fn place() -> Place {
    Place { line: 1, column: 1 }
}

fn plan(folder: &Path, services: Vec<ServicePlan>) -> Plan {
    Plan {
        name: "test".to_owned(),
        file: folder.join("seaworthy.yaml"),
        folder: folder.to_owned(),
        sha256: String::new(),
        listen: None,
        admin: ([127, 0, 0, 1], 0).into(),
        entrance: EntrancePlan::default(),
        drain: Duration::from_secs(1),
        zones: vec!["a".to_owned(), "b".to_owned()],
        services,
        routes: Vec::new(),
        data: Vec::new(),
        loads: Vec::new(),
        failures: Vec::new(),
        settings: Vec::new(),
        ablated: Vec::new(),
        client_body_timeout: std::time::Duration::from_secs(30),
        cache: seaworthy_spec::plan::CacheLimits::default(),
        queues: Vec::new(),
        topics: Vec::new(),
    }
}
