//! The life of one replica: start, attend, restart, for as long as policy says so.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use seaworthy_observe::{Clock, EndpointId, EventKind};
use seaworthy_policy::restart::{Decision, Exit, Restart};
use seaworthy_policy::rng::Rng;
use seaworthy_policy::time::Time;
use seaworthy_spec::plan::ProbePlan;
use tokio::sync::watch;

use crate::attend::Ended;
use crate::launch::Launch;
use crate::output::OutputTag;
use crate::prober::sleep_until;
use crate::process::Process;
use crate::registry::{Beginning, Registry};
use crate::words;

/// What a process that could not even be started counts as; shells use the same code for a program not found.
const START_FAILED: Exit = Exit::Code(127);

/// One replica.
pub(crate) struct Replica {
    pub(crate) registry: Arc<Registry>,
    /// Its place in the registry.
    pub(crate) slot: usize,
    pub(crate) launch: Launch,
    pub(crate) settings: Settings,
    pub(crate) restart: Restart,
    pub(crate) rng: Rng,
    pub(crate) stop: watch::Receiver<bool>,
}

/// A process that runs, and the endpoint that it is.
pub(crate) struct Started {
    pub(crate) process: Process,
    pub(crate) id: EndpointId,
    pub(crate) address: SocketAddr,
}

/// How to attend to it.
pub(crate) struct Settings {
    /// `None`: it counts as ready as soon as it was started.
    pub(crate) readiness: Option<ProbePlan>,
    /// `None`: only its exit is followed by a restart.
    pub(crate) liveness: Option<ProbePlan>,
    pub(crate) stop_grace: Duration,
    /// How long it must be ready for its restarts to be forgotten.
    pub(crate) reset_after: Duration,
}

impl Replica {
    /// Lives until it is told to stop, or policy says to leave it down.
    pub(crate) async fn run(mut self) {
        let mut due = Clock.now();
        while self.wait_until(due).await {
            let exit = match self.start() {
                Err(reason) => {
                    self.tell(|service, replica| EventKind::ProcessStartFailed { service, replica, reason });
                    START_FAILED
                }
                Ok(started) => match self.attend(started).await {
                    Ended::Stopped => return,
                    Ended::Exited(exit) => exit,
                },
            };
            match self.decide(exit) {
                Some(at) => due = at,
                None => return,
            }
        }
    }

    pub(crate) fn tell(&self, kind: impl FnOnce(String, String) -> EventKind) {
        self.registry.tell(self.slot, kind);
    }

    /// False when it was told to stop.
    async fn wait_until(&mut self, due: Time) -> bool {
        tokio::select! {
            biased;
            () = told(&mut self.stop) => false,
            () = sleep_until(due) => true,
        }
    }

    fn start(&mut self) -> Result<Started, String> {
        let port = self.registry.allocate_port().ok_or("no free port is left")?;
        let id = self.registry.id(self.slot);
        let tag = OutputTag { logs: self.registry.logs.clone(), service: id.service, replica: id.replica };
        let process =
            Process::start(self.launch.command(Some(port)), &tag).map_err(|error| error.to_string())?;
        self.restart.on_started(Clock.now());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let id = self.registry.added(self.slot, Beginning { pid: Some(process.pid()), address });
        Ok(Started { process, id, address })
    }

    /// When to start it again; `None` = never.
    fn decide(&mut self, exit: Exit) -> Option<Time> {
        let now = Clock.now();
        match self.restart.on_exit(now, &mut self.rng, exit) {
            Decision::RestartAt { at, crash_loop } => {
                let in_ms = at.saturating_since(now).as_millis() as u64;
                self.tell(|service, replica| EventKind::RestartScheduled {
                    service,
                    replica,
                    in_ms,
                    crash_loop,
                });
                Some(at)
            }
            Decision::StayDown { reason } => {
                self.registry.set_restarting(self.slot, false);
                let reason = words::stay_down(reason);
                self.tell(|service, replica| EventKind::RestartDeclined { service, replica, reason });
                None
            }
        }
    }
}

/// Waits until it is time to stop; a supervisor that is gone says the same.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    let _gone = stop.wait_for(|stop| *stop).await.map(drop);
}
