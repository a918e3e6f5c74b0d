//! Probes one endpoint for as long as it lives: asks when `Health` says so, and reports what `Health` made of it.
//!
//! A task of its own, so that a probe that hangs delays neither the notice of an exit nor a stop, and a suspicion
//! that arrives in the middle of a probe does not make it start over.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use seaworthy_observe::{Clock, DialTable, EndpointId, Via};
use seaworthy_policy::health::{Change, DownReason, Health, ProbeFailure, ProbeResult};
use seaworthy_policy::rng::Rng;
use seaworthy_policy::time::Time;
use seaworthy_spec::plan::ProbePlan;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::probe::probe;

/// Reports waiting for whoever attends to the endpoint; a probe waits rather than a report getting lost.
const REPORTS_QUEUED_MAX: usize = 8;
/// Suspicions waiting for the prober; one says as much as many.
const SUSPICIONS_QUEUED_MAX: usize = 1;

/// Whom to ask.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: EndpointId,
    pub(crate) address: SocketAddr,
    pub(crate) dial: Arc<DialTable>,
}

/// What a prober has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// A suspicion made it look closer.
    Suspected(&'static str),
    /// A probe ended.
    Probed {
        /// Routing must follow.
        change: Option<Change>,
        /// A reason for being out that was not told before.
        news: Option<DownReason>,
        /// Why it is out now.
        down: Option<DownReason>,
    },
}

/// A running prober; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Prober {
    reports: mpsc::Receiver<Report>,
    suspicions: mpsc::Sender<&'static str>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Starts to probe something that was started, or became known, just now.
    pub(crate) fn start(plan: &ProbePlan, target: Target, rng: Rng) -> Self {
        let (report, reports) = mpsc::channel(REPORTS_QUEUED_MAX);
        let (suspicions, suspected) = mpsc::channel(SUSPICIONS_QUEUED_MAX);
        let health = Health::new(plan.health, Clock.now());
        let asking = Asking { plan: plan.clone(), target, health, rng, report, suspected };
        Self { reports, suspicions, task: tokio::spawn(asking.run()) }
    }

    /// The next report; never when there is no prober.
    pub(crate) async fn next(prober: Option<&mut Self>) -> Report {
        if let Some(prober) = prober
            && let Some(report) = prober.reports.recv().await
        {
            return report;
        }
        std::future::pending().await
    }

    /// Where to send suspicions.
    pub(crate) fn suspicions(&self) -> mpsc::Sender<&'static str> {
        self.suspicions.clone()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Asking {
    plan: ProbePlan,
    target: Target,
    health: Health,
    rng: Rng,
    report: mpsc::Sender<Report>,
    suspected: mpsc::Receiver<&'static str>,
}

impl Asking {
    async fn run(mut self) {
        let mut complaints = Complaints::new(self.plan.health.fall);
        while let Some(at) = self.health.next_probe_at(&mut self.rng) {
            tokio::select! {
                () = sleep_until(at) => {}
                Some(reason) = self.suspected.recv() => {
                    if !self.suspect(reason).await {
                        return;
                    }
                    continue;
                }
            }
            let result = self.ask().await;
            let change = self.health.on_result(Clock.now(), result);
            let down = self.health.down_reason();
            let news = complaints.on_result(change, failure_of(result));
            if self.report.send(Report::Probed { change, news, down }).await.is_err() {
                return;
            }
        }
    }

    async fn ask(&mut self) -> ProbeResult {
        let Target { id, address, dial } = &self.target;
        let dialled = dial.address(id, Via::Probe, *address);
        let mut probing = pin!(probe(&self.plan.action, dialled, self.plan.health.timeout));
        loop {
            tokio::select! {
                result = &mut probing => return result,
                Some(reason) = self.suspected.recv() => {
                    // The answer is on its way; whoever reads reports may be gone, which the next report shows.
                    if note(&mut self.health) {
                        let _gone = self.report.try_send(Report::Suspected(reason));
                    }
                }
            }
        }
    }

    /// False when nobody listens to reports any more.
    async fn suspect(&mut self, reason: &'static str) -> bool {
        !note(&mut self.health) || self.report.send(Report::Suspected(reason)).await.is_ok()
    }
}

/// True when the suspicion is new to the machine.
fn note(health: &mut Health) -> bool {
    let was_in_doubt = health.is_in_doubt();
    health.on_suspicion(Clock.now());
    health.is_in_doubt() && !was_in_doubt
}

fn failure_of(result: ProbeResult) -> Option<DownReason> {
    match result {
        ProbeResult::Pass => None,
        ProbeResult::Fail { reason } => Some(DownReason::Probe(reason)),
        ProbeResult::Refused => Some(DownReason::Refused),
    }
}

/// Sleeps until a moment of the monotonic clock.
pub(crate) async fn sleep_until(at: Time) {
    let left = at.saturating_since(Clock.now());
    if !left.is_zero() {
        tokio::time::sleep(left).await;
    }
}

/// What to tell people about an endpoint that is out and stays out: a start that does not get ready must say why,
/// but a refused connection in the first moments of every start is no news.
#[derive(Debug)]
struct Complaints {
    patience: u32,
    failures_in_a_row: u32,
    told: Option<DownReason>,
    ready: bool,
}

impl Complaints {
    fn new(patience: u32) -> Self {
        Self { patience, failures_in_a_row: 0, told: None, ready: false }
    }

    /// The reason to tell now, if there is one; a change tells its own.
    fn on_result(&mut self, change: Option<Change>, failure: Option<DownReason>) -> Option<DownReason> {
        self.failures_in_a_row = failure.map_or(0, |_| self.failures_in_a_row.saturating_add(1));
        match change {
            Some(Change::Up) => (self.ready, self.told) = (true, None),
            Some(Change::Down(reason)) => (self.ready, self.told) = (false, Some(reason)),
            None => {}
        }
        let news = failure.filter(|_| !self.ready && self.failures_in_a_row >= self.patience)?;
        (self.told.replace(news) != Some(news)).then_some(news)
    }
}

/// True when a probe failed because the answer took too long.
pub(crate) fn is_timeout(reason: Option<DownReason>) -> bool {
    reason == Some(DownReason::Probe(ProbeFailure::Timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lasting_trouble_is_told_once_per_reason() {
        let refused = Some(DownReason::Refused);
        let busy = Some(DownReason::Probe(ProbeFailure::Status(503)));
        let mut complaints = Complaints::new(3);
        // (change, failure, told)
        let steps = [
            (None, refused, None),
            (None, refused, None),
            (None, refused, refused),
            (None, refused, None),
            (None, busy, busy),
            (None, None, None),
            (None, busy, None),
            (Some(Change::Up), None, None),
            (None, busy, None),
            (None, busy, None),
            (Some(Change::Down(DownReason::Refused)), refused, None),
            (None, refused, None),
            (None, busy, busy),
        ];
        for (number, (change, failure, told)) in steps.into_iter().enumerate() {
            assert_eq!(complaints.on_result(change, failure), told, "step {number}");
        }
    }
}
