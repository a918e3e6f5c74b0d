//! Endpoints that run elsewhere: probed like ours, and never started.

use std::net::SocketAddr;
use std::sync::Arc;

use seaworthy_policy::rng::Rng;
use seaworthy_spec::plan::ProbePlan;
use tokio::sync::watch;

use crate::attend::READINESS_OFF;
use crate::prober::{Prober, Report, Target};
use crate::registry::{Beginning, Registry};
use crate::replica::told;

/// One external endpoint.
pub(crate) struct External {
    pub(crate) registry: Arc<Registry>,
    /// Its place in the registry.
    pub(crate) slot: usize,
    pub(crate) address: SocketAddr,
    /// `None`: it counts as ready.
    pub(crate) readiness: Option<ProbePlan>,
    pub(crate) rng: Rng,
    pub(crate) stop: watch::Receiver<bool>,
}

impl External {
    /// Probes until it is told to stop.
    pub(crate) async fn run(mut self) {
        let beginning = Beginning { pid: None, address: self.address };
        let id = self.registry.added(self.slot, beginning);
        let mut prober = self.readiness.as_ref().map(|plan| {
            let target = Target { id, address: self.address, dial: self.registry.dial.clone() };
            Prober::start(plan, target, self.rng.fork())
        });
        match &prober {
            Some(prober) => self.registry.probed_by(self.slot, prober.suspicions()),
            None => self.registry.ready(self.slot, READINESS_OFF),
        }
        loop {
            tokio::select! {
                biased;
                () = told(&mut self.stop) => break,
                report = Prober::next(prober.as_mut()) => self.on_readiness(report),
            }
        }
        self.registry.removed(self.slot, "stopping");
    }

    fn on_readiness(&self, report: Report) {
        let timeout = self.readiness.as_ref().map(|plan| plan.health.timeout).unwrap_or_default();
        self.registry.on_readiness(self.slot, report, timeout);
    }
}
