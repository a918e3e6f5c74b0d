//! Attending to a process while it runs: its exit, its probes, and the word to stop.

use std::net::SocketAddr;

use seaworthy_observe::{Clock, EndpointId, EventKind};
use seaworthy_policy::health::Change;
use seaworthy_policy::restart::{Exit, Gate, HoldReason};
use seaworthy_policy::time::Time;
use seaworthy_spec::plan::ProbePlan;

use crate::prober::{Prober, Report, Target, is_timeout, sleep_until};
use crate::process::Process;
use crate::replica::{Replica, Started, told};
use crate::words;

/// SIGTERM, by its number on Linux: how a process that was restarted on purpose counts as having ended.
const TERMINATED: Exit = Exit::Signal(15);

/// Why an endpoint is ready that nobody asks.
pub(crate) const READINESS_OFF: &str = "readiness is switched off";

/// Who made a process end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Itself,
    Us,
}

/// Why nobody attends to a process any more.
pub(crate) enum Ended {
    /// We were told to stop, and it is stopped.
    Stopped,
    /// It is gone, and what comes next is for policy to decide.
    Exited(Exit),
}

/// What can happen next.
enum Happening {
    Exited(Exit),
    Stop,
    Readiness(Report),
    Liveness(Report),
    /// It has been ready for so long that its restarts are forgotten.
    Settled,
}

/// Those who watch one incarnation.
struct Watchers {
    readiness: Option<Prober>,
    liveness: Option<Prober>,
    settles_at: Option<Time>,
    /// Its liveness probe took it out; one that was never up cannot fall.
    fallen: bool,
    /// Why its restart was held back last.
    held: Option<HoldReason>,
}

impl Replica {
    /// Returns when the process is gone.
    pub(crate) async fn attend(&mut self, started: Started) -> Ended {
        let Started { mut process, id, address } = started;
        let mut watchers = self.watch(&id, address);
        loop {
            match self.next(&mut process, &mut watchers).await {
                Happening::Exited(exit) => {
                    self.gone(&process, words::exit(exit), Cause::Itself);
                    // Its last words are read beside the restart, which must not wait for them.
                    tokio::spawn(process.take_readers().finish());
                    return Ended::Exited(exit);
                }
                Happening::Stop => {
                    self.end(process, "stopping".to_owned()).await;
                    return Ended::Stopped;
                }
                Happening::Readiness(report) => self.on_readiness(report, &mut watchers),
                Happening::Liveness(report) => {
                    if let Some(why) = self.on_liveness(report, &mut watchers) {
                        self.registry.set_restarting(self.slot, true);
                        self.end(process, why).await;
                        return Ended::Exited(TERMINATED);
                    }
                }
                Happening::Settled => {
                    watchers.settles_at = None;
                    if !self.restart.in_crash_loop(Clock.now()) {
                        self.tell(|service, replica| EventKind::CrashLoopEnded { service, replica });
                    }
                }
            }
        }
    }

    async fn next(&mut self, process: &mut Process, watchers: &mut Watchers) -> Happening {
        let settled = async {
            match watchers.settles_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        // Exits first: nothing that a probe says counts against one.
        tokio::select! {
            biased;
            exit = process.exited() => Happening::Exited(exit),
            () = told(&mut self.stop) => Happening::Stop,
            report = Prober::next(watchers.readiness.as_mut()) => Happening::Readiness(report),
            report = Prober::next(watchers.liveness.as_mut()) => Happening::Liveness(report),
            () = settled => Happening::Settled,
        }
    }

    fn watch(&mut self, id: &EndpointId, address: SocketAddr) -> Watchers {
        let mut start = |plan: &ProbePlan| {
            let target = Target { id: id.clone(), address, dial: self.registry.dial.clone() };
            Prober::start(plan, target, self.rng.fork())
        };
        let readiness = self.settings.readiness.as_ref().map(&mut start);
        let liveness = self.settings.liveness.as_ref().map(&mut start);
        let mut watchers = Watchers { readiness, liveness, settles_at: None, fallen: false, held: None };
        if let Some(prober) = &watchers.readiness {
            self.registry.probed_by(self.slot, prober.suspicions());
        } else {
            self.count_as_ready(&mut watchers);
            self.registry.ready(self.slot, READINESS_OFF);
        }
        watchers
    }

    fn count_as_ready(&mut self, watchers: &mut Watchers) {
        let now = Clock.now();
        self.restart.on_ready(now);
        if self.restart.in_crash_loop(now) && watchers.settles_at.is_none() {
            watchers.settles_at = Some(now + self.settings.reset_after);
        }
    }

    fn on_readiness(&mut self, report: Report, watchers: &mut Watchers) {
        let timeout = self.settings.readiness.as_ref().map(|plan| plan.health.timeout).unwrap_or_default();
        if matches!(report, Report::Probed { change: Some(Change::Up), .. }) {
            self.count_as_ready(watchers);
        }
        self.registry.on_readiness(self.slot, report, timeout);
    }

    /// Why the process is to be restarted, if it is.
    fn on_liveness(&mut self, report: Report, watchers: &mut Watchers) -> Option<String> {
        let Report::Probed { change, down, .. } = report else { return None };
        match change {
            Some(Change::Down(_)) => watchers.fallen = true,
            Some(Change::Up) => (watchers.fallen, watchers.held) = (false, None),
            None => {}
        }
        let reason = down.filter(|_| watchers.fallen);
        self.registry.set_too_slow(self.slot, is_timeout(reason));
        let timeout = self.settings.liveness.as_ref().map(|plan| plan.health.timeout).unwrap_or_default();
        let why = format!("liveness: {}, restarting", words::down(reason?, timeout));
        match self.registry.gate(self.slot) {
            Gate::Restart => return Some(why),
            Gate::Hold(hold) if watchers.held.replace(hold) == Some(hold) => {}
            Gate::Hold(hold) => self.tell(|service, replica| EventKind::RestartHeld {
                service,
                replica,
                reason: words::hold(hold).to_owned(),
            }),
        }
        None
    }

    /// Takes the endpoint out, then ends the process.
    async fn end(&mut self, mut process: Process, why: String) {
        self.registry.unready(self.slot, "stopping", why);
        let how = match process.stop(self.settings.stop_grace).await {
            Some(exit) => words::exit(exit),
            // It hangs inside the kernel, will end when that lets go of it, and serves nobody.
            None => "still there after signal 9".to_owned(),
        };
        self.gone(&process, how, Cause::Us);
        process.take_readers().finish().await;
    }

    fn gone(&self, process: &Process, how: String, cause: Cause) {
        let reason = match cause {
            Cause::Itself => "process exited",
            Cause::Us => "process stopped",
        };
        self.registry.removed(self.slot, reason);
        self.tell(|service, replica| EventKind::ProcessExited {
            service,
            replica,
            pid: process.pid(),
            how,
            expected: cause == Cause::Us,
        });
    }
}
