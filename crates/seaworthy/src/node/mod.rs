//! The node: gateway, supervisor, fault engine and admin API in one process, wired through their ports.
//!
//! The gateway has threads of its own. Everything else (processes, probes, faults, admin API) runs on this thread, so that
//! no probe and no page of `status` ever delays a request.

mod admin;
mod breaker;
mod journal;
mod keys;
mod status;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use seaworthy_fault::{FaultEngine, FaultPorts};
use seaworthy_gateway::{Gateway, GatewayPorts};
use seaworthy_observe::metrics::Registry;
use seaworthy_observe::{Clock, Destination, DialTable, EventBus, EventKind, LogSink, Rendering};
use seaworthy_policy::Time;
use seaworthy_spec::plan::{Plan, ServiceKind};
use seaworthy_supervise::{Supervisor, SupervisorPorts};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::cli::{Format, NodeArgs};
use crate::exit::Exit;
use crate::spec_file::{self, Selection};
use crate::state_dir::{self, NodeFile};

/// Names the zone that this node runs in.
const ZONE_VARIABLE: &str = "SEAWORTHY_ZONE";
/// One log file per node start is enough; the file itself is bounded.
const LOG_FILE: &str = "log.jsonl";

/// How long a node whose store is broken still says so before it ends.
const BROKEN_GRACE: Duration = Duration::from_millis(500);

/// How long killing every service may take; it must end within the two seconds that the keeper would take.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// Everything the admin API can reach.
pub(crate) struct Node {
    plan: Arc<Plan>,
    clock: Clock,
    started: Time,
    bus: EventBus,
    metrics: Registry,
    gateway: Arc<Gateway>,
    supervisor: Supervisor,
    faults: FaultEngine,
    admin: SocketAddr,
    token: String,
    stop: Notify,
    broken: Arc<keys::Broken>,
}

/// Runs a node until it is told to stop.
pub(crate) fn run(arguments: &NodeArgs) -> Result<Exit> {
    let selection = Selection { only: arguments.only.clone(), ablate: arguments.ablate.clone() };
    let plan = Arc::new(in_own_zone(spec_file::plan(&arguments.spec, &selection)?)?);
    let state_dir = state_dir::create(&arguments.state_dir)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
    LocalSet::new().block_on(&runtime, serve(plan, state_dir, arguments.log))
}

/// The plan as it is for this machine. One spec serves all machines, so where this one stands is not in the spec but in
/// the environment, under the name by which services hear of their zone.
fn in_own_zone(plan: Plan) -> Result<Plan> {
    match std::env::var(ZONE_VARIABLE) {
        Ok(zone) if !zone.is_empty() => {
            plan.in_zone(&zone).map_err(|why| anyhow::anyhow!("{ZONE_VARIABLE}: {why}"))
        }
        _ => Ok(plan),
    }
}

async fn serve(plan: Arc<Plan>, state_dir: PathBuf, log: Option<Format>) -> Result<Exit> {
    let orphaned = orphaned();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let admin = admin::listen(plan.admin).await?;
    let node = tokio::select! {
        node = start(plan, &state_dir, admin.local_addr()?, log) => Rc::new(node?),
        // Whoever stops us while services are still being built gets what was asked for.
        _ = terminate.recv() => return Ok(Exit::Good),
        () = orphaned.notified() => {
            kill_services();
            return Ok(Exit::CouldNotJudge);
        }
    };
    let file = node.file();
    tokio::task::spawn_local(admin::serve(admin, node.clone()));
    let json = serde_json::to_vec_pretty(&file).context("writing down our addresses")?;
    state_dir::write_atomically(&state_dir.join(seaworthy_keeper::READY_FILE), &json)
        .context("writing down our addresses")?;
    node.bus.emit(EventKind::NodeStarted { pid: process::id() });
    let abandoned = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = node.stop.notified() => false,
        () = orphaned.notified() => true,
        () = node.broken.happened() => {
            // Long enough for whoever watches to read why.
            tokio::time::sleep(BROKEN_GRACE).await;
            node.bus.logs().flush();
            kill_services();
            return Ok(Exit::CouldNotJudge);
        }
    };
    if abandoned {
        // The keeper is dead, so nobody would clean up after us: everything goes now, without a drain.
        let cleared = node.faults.clear_all().await;
        // Whatever became of the faults. A pause that could not be ended is in the journal, and its process ends here.
        kill_services();
        cleared.context("ending faults")?;
        return Ok(Exit::CouldNotJudge);
    }
    Ok(stop(&node).await)
}

/// Opens the listeners, builds, and starts every process.
async fn start(plan: Arc<Plan>, state_dir: &Path, admin: SocketAddr, log: Option<Format>) -> Result<Node> {
    let clock = Clock;
    let logs = LogSink::start(destinations(state_dir, log)?).context("starting the log")?;
    let bus = EventBus::new(logs.clone());
    let dial = Arc::new(DialTable::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let metrics = Registry::new(threads);
    let broken = Arc::<keys::Broken>::default();
    let keys = keys::open(&plan, state_dir, &bus, &broken)?;
    let ports = GatewayPorts {
        bus: bus.clone(),
        logs: logs.clone(),
        clock,
        dial: dial.clone(),
        metrics: metrics.clone(),
        keys,
        threads,
    };
    let gateway = Arc::new(Gateway::start(&plan, ports)?);
    let token = state_dir::token(state_dir)?;
    let ports = SupervisorPorts {
        endpoints: gateway.clone(),
        dial: dial.clone(),
        bus: bus.clone(),
        logs,
        egress: gateway.egress_addresses().clone(),
        token: token.clone(),
        state_dir: state_dir.to_path_buf(),
    };
    let supervisor = Supervisor::start(plan.clone(), ports).await?;
    gateway.set_suspicion_sink(Arc::new(supervisor.clone()));
    let faults = FaultEngine::new(FaultPorts {
        processes: Arc::new(supervisor.clone()),
        dial,
        bus: bus.clone(),
        journal: Box::new(journal::KeeperJournal::open(state_dir).context("opening the journal of faults")?),
        zones: plan.zones.clone(),
        external: external_endpoints(&plan),
    })?;
    let started = clock.now();
    Ok(Node {
        plan,
        clock,
        started,
        bus,
        metrics,
        gateway,
        supervisor,
        faults,
        admin,
        token,
        stop: Notify::new(),
        broken,
    })
}

/// Ends faults, lets requests finish, then stops the services they needed.
async fn stop(node: &Node) -> Exit {
    node.bus.emit(EventKind::NodeDraining);
    let mut exit = Exit::Good;
    if node.faults.clear_all().await.is_err() {
        exit = Exit::NotClean;
    }
    let drained = node.gateway.drain(node.plan.drain).await;
    if drained.cut > 0 {
        exit = exit.max(Exit::NotClean);
    }
    node.supervisor.stop().await;
    node.bus.logs().flush();
    exit
}

impl Node {
    fn file(&self) -> NodeFile {
        NodeFile {
            pid: process::id(),
            admin: self.admin,
            gateway: self.gateway.ingress_address(),
            egress: self.gateway.egress_addresses().clone(),
        }
    }

    fn uptime(&self) -> Duration {
        self.clock.now().saturating_since(self.started)
    }

    fn reset(&self) {
        self.gateway.reset();
    }

    /// Compares in constant time: the token is a secret.
    fn is_authorised(&self, headers: &hyper::HeaderMap) -> bool {
        let value = headers.get(hyper::header::AUTHORIZATION).map(hyper::header::HeaderValue::as_bytes);
        let Some(given) = value.and_then(|value| value.strip_prefix(b"Bearer ")) else { return false };
        let expected = self.token.as_bytes();
        let differences = given.iter().zip(expected).fold(0, |sum, (left, right)| sum | (left ^ right));
        given.len() == expected.len() && differences == 0
    }

    /// A service that a route leads to, or that one of those cannot do without.
    fn is_critical(&self, service: &str) -> bool {
        let Some((index, _)) = self.plan.service(service) else { return false };
        let routed = self.plan.routes.iter().any(|route| route.to == index);
        let needs = self.plan.services.iter().flat_map(|service| &service.needs);
        routed || needs.into_iter().any(|need| need.required && need.service == index)
    }

    /// Why the node should not get traffic yet; every replica is up at a start.
    fn unready_reason(&self) -> Option<String> {
        let state = self.bus.state();
        if state.node.draining {
            return Some("draining".to_owned());
        }
        if let Some(reason) = self.broken.reason() {
            return Some(format!("the store is broken: {reason}"));
        }
        for service in &self.plan.services {
            let wanted = match &service.kind {
                ServiceKind::Supervised(process) => process.replicas.len(),
                ServiceKind::External { endpoints, .. } => endpoints.len(),
            };
            let ready = state
                .services
                .get(&service.name)
                .map_or(0, |service| service.replicas.values().filter(|replica| replica.ready).count());
            if ready < wanted {
                return Some(format!("{}: {ready} of {wanted} replicas are ready", service.name));
            }
        }
        None
    }
}

fn destinations(state_dir: &Path, log: Option<Format>) -> Result<Vec<Destination>> {
    let path = state_dir.join(LOG_FILE);
    let file = Destination::file(&path).with_context(|| format!("opening {}", path.display()))?;
    let on_screen = match log {
        None => None,
        Some(Format::Human) => Some(Rendering::Human),
        Some(Format::Json) => Some(Rendering::Json),
    };
    Ok([Some(file), on_screen.map(Destination::stdout)].into_iter().flatten().collect())
}

fn external_endpoints(plan: &Plan) -> BTreeMap<String, Vec<SocketAddr>> {
    let external = plan.services.iter().filter_map(|service| match &service.kind {
        ServiceKind::External { endpoints, .. } => {
            Some((service.name.clone(), endpoints.iter().map(|(address, _)| *address).collect()))
        }
        ServiceKind::Supervised(_) => None,
    });
    external.collect()
}

/// Kills every process below this one. Blocks the supervisor's thread meanwhile, so that it cannot start anything anew.
fn kill_services() {
    // What services leave behind comes to us, too; without that their own groups are all we reach.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    seaworthy_keeper::sweep(KILL_LIMIT);
}

/// Notified when our stdin ends, which happens when the keeper dies. Started by hand in a terminal, nobody is watched.
fn orphaned() -> Arc<Notify> {
    let notify = Arc::new(Notify::new());
    if io::stdin().is_terminal() {
        return notify;
    }
    let ended = notify.clone();
    std::thread::spawn(move || {
        let mut byte = [0_u8; 1];
        while io::stdin().read(&mut byte).is_ok_and(|count| count > 0) {}
        ended.notify_one();
    });
    notify
}
