//! The door to all of it: start everything, look at it, stop it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use seaworthy_observe::{
    Clock, DialTable, EndpointId, EndpointSink, EventBus, LogSink, ProcessView, Processes, SuspicionSink,
};
use seaworthy_policy::restart::{Mode, Restart, RestartConfig};
use seaworthy_policy::rng::Rng;
use seaworthy_spec::plan::{Mechanism, Plan, ProbePlan, ProcessPlan, ReplicaPlan, ServiceKind, ServicePlan};

use crate::builds;
use crate::environment::{Subject, environment};
use crate::error::SuperviseError;
use crate::external::External;
use crate::launch::{Launch, make_private_folder};
use crate::order::stop_waves;
use crate::registry::{Listeners, Registry, Slot, TaskGuard};
use crate::replica::{Replica, Settings};

/// What a supervisor is given, and whom it tells.
pub struct SupervisorPorts {
    /// Hears of every change of an endpoint, in order.
    pub endpoints: Arc<dyn EndpointSink>,
    /// Where endpoints are really dialled; probes ask it too.
    pub dial: Arc<DialTable>,
    /// Takes events.
    pub bus: EventBus,
    /// Takes what services write.
    pub logs: LogSink,
    /// The real addresses of the egress listeners, by the name of the service that they lead to.
    pub egress: BTreeMap<String, SocketAddr>,
    /// Told to services as `SEAWORTHY_TOKEN`.
    pub token: String,
    /// Services keep their state below it, in `services/NAME/REPLICA`.
    pub state_dir: PathBuf,
}

/// Keeps the services of a plan running. Cheap to clone; when the last clone is gone, everything is stopped.
#[derive(Clone)]
pub struct Supervisor {
    handle: Arc<Handle>,
}

struct Handle {
    registry: Arc<Registry>,
}

/// What is started only after everything was found to be startable.
enum Start {
    Replica(Box<(Launch, Settings, RestartConfig)>),
    External(SocketAddr, Option<ProbePlan>),
}

struct Planned {
    service: usize,
    start: Start,
}

impl Supervisor {
    /// Builds, checks that every program exists, and starts everything on the current runtime. Returns when the
    /// builds are over; the services are then starting, see [`Supervisor::all_ready`]. When it fails, nothing runs.
    pub async fn start(plan: Arc<Plan>, ports: SupervisorPorts) -> Result<Self, SuperviseError> {
        let folder = fs::canonicalize(&plan.folder)
            .map_err(|source| SuperviseError::Folder { path: plan.folder.clone(), source })?;
        builds::run(&plan, &folder, &ports.bus, &ports.logs).await?;
        let (slots, planned) = survey(&plan, &ports, &folder)?;
        let mut rng = Rng::seeded(Clock.now().as_nanos() ^ (u64::from(process::id()) << 32));
        let SupervisorPorts { endpoints, dial, bus, logs, .. } = ports;
        let listeners = Listeners { sink: endpoints, dial, bus, logs };
        let registry = Arc::new(Registry::new(plan, listeners, slots, rng.next_u64()));
        for (slot, planned) in planned.into_iter().enumerate() {
            spawn(&registry, slot, planned, rng.fork());
        }
        Ok(Self { handle: Arc::new(Handle { registry }) })
    }

    /// Waits until every replica, and every external endpoint, is ready at the same time. Without an end of its own.
    pub async fn all_ready(&self) {
        self.handle.registry.all_ready().await;
    }

    /// Stops everything, users before what they need: SIGTERM to the process group, SIGKILL after the service's grace.
    /// Returns when no process is left; may be called again, and by several at once.
    pub async fn stop(&self) {
        let registry = &self.handle.registry;
        let needs_of = |service: &ServicePlan| service.needs.iter().map(|need| need.service).collect();
        let needs: Vec<Vec<usize>> = registry.plan.services.iter().map(needs_of).collect();
        for wave in stop_waves(&needs) {
            for service in &wave {
                registry.tell_to_stop(*service);
            }
            for service in wave {
                registry.stopped(service).await;
            }
        }
    }
}

impl SuspicionSink for Supervisor {
    fn suspect(&self, id: &EndpointId, reason: &'static str) {
        self.handle.registry.suspect(id, reason);
    }
}

impl Processes for Supervisor {
    fn list(&self) -> Vec<ProcessView> {
        self.handle.registry.processes()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for service in 0..self.registry.services.len() {
            self.registry.tell_to_stop(service);
        }
    }
}

/// Looks at everything that will be started, so that what cannot work is found before anything runs.
fn survey(
    plan: &Plan,
    ports: &SupervisorPorts,
    folder: &Path,
) -> Result<(Vec<Slot>, Vec<Planned>), SuperviseError> {
    let (mut slots, mut planned) = (Vec::new(), Vec::new());
    for (index, service) in plan.services.iter().enumerate() {
        match &service.kind {
            ServiceKind::Supervised(process) => {
                for replica in &process.replicas {
                    slots.push(Slot::new(index, &service.name, &replica.id, replica.zone));
                    let subject = Subject { service, process, replica };
                    let start = Start::Replica(Box::new(survey_replica(plan, ports, folder, subject)?));
                    planned.push(Planned { service: index, start });
                }
            }
            ServiceKind::External { endpoints, readiness } => {
                for (number, (address, zone)) in (1..).zip(endpoints) {
                    let name: String = i32::to_string(&number);
                    slots.push(Slot::new(index, &service.name, &name, *zone));
                    let start = Start::External(*address, effective_readiness(plan, readiness));
                    planned.push(Planned { service: index, start });
                }
            }
        }
    }
    Ok((slots, planned))
}

fn survey_replica(
    plan: &Plan,
    ports: &SupervisorPorts,
    folder: &Path,
    subject: Subject<'_>,
) -> Result<(Launch, Settings, RestartConfig), SuperviseError> {
    let Subject { service, process, replica } = subject;
    let state_folder = state_folder(&ports.state_dir, service, replica)?;
    let variables = environment(plan, subject, &ports.egress, &state_folder, &ports.token)?;
    let launch = Launch::new(&service.name, &process.run, folder, variables)?;
    let restart = effective_restart(plan, process);
    let settings = Settings {
        readiness: effective_readiness(plan, &process.readiness),
        // Killing what will not be started again is no cure.
        liveness: process.liveness.clone().filter(|_| restart.mode != Mode::Never),
        stop_grace: process.stop_grace,
        reset_after: restart.reset_after,
    };
    Ok((launch, settings, restart))
}

fn state_folder(
    root: &Path,
    service: &ServicePlan,
    replica: &ReplicaPlan,
) -> Result<PathBuf, SuperviseError> {
    let path = root.join("services").join(&service.name).join(&replica.id);
    make_private_folder(&path)?;
    fs::canonicalize(&path).map_err(|source| SuperviseError::StateFolder { path, source })
}

fn effective_readiness(plan: &Plan, readiness: &ProbePlan) -> Option<ProbePlan> {
    (!plan.ablated.contains(&Mechanism::Readiness)).then(|| readiness.clone())
}

fn effective_restart(plan: &Plan, process: &ProcessPlan) -> RestartConfig {
    let mut restart = process.restart.clone();
    if plan.ablated.contains(&Mechanism::Restart) {
        restart.mode = Mode::Never;
    }
    restart
}

fn spawn(registry: &Arc<Registry>, slot: usize, planned: Planned, rng: Rng) {
    let Planned { service, start } = planned;
    let guard = TaskGuard::new(registry, service);
    let registry = Arc::clone(registry);
    let stop = registry.services[service].stop.subscribe();
    match start {
        Start::Replica(planned) => {
            let (launch, settings, restart) = *planned;
            let replica =
                Replica { registry, slot, launch, settings, restart: Restart::new(restart), rng, stop };
            tokio::spawn(async move {
                replica.run().await;
                drop(guard);
            });
        }
        Start::External(address, readiness) => {
            let external = External { registry, slot, address, readiness, rng, stop };
            tokio::spawn(async move {
                external.run().await;
                drop(guard);
            });
        }
    }
}
