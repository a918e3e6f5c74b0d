//! A drill from start to end: for each failure steady state, fault, window, steady state, read-back, proof that
//! nothing is left, verdict.
//!
//! Loads run from the first failure to the last without a pause; what separates before, during and after are marks
//! in time. The shell here only waits and asks; what it found is judged afterwards, from records and events alone,
//! by `judge` and the pure modules that it calls.

mod course;
mod failure;
mod judge;
mod put_back;
mod session;
mod story;

use std::net::SocketAddr;

use seaworthy_spec::plan::Plan;

use crate::clock;
use crate::id::RunIds;
use crate::interrupt::Interrupt;
use crate::load::{Loads, LoadsConfig};
use crate::node::Node;
use crate::progress::Progress;
use crate::report::DrillReport;
use crate::subject::Subject;
use crate::verdict::Cleanup;
use session::{Position, Session, SessionParts};

pub use failure::{FAULT_MAX, RECOVER_WITHIN_DEFAULT, STEADY_BEFORE_MAX};
pub use session::NODE_SILENT_MAX;

/// How to drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrillOptions {
    /// Decides every random choice: replicas picked, phases of loads and faults.
    pub seed: u64,
    /// Where clients send requests.
    pub gateway: SocketAddr,
    /// Leave ejections, breakers and budgets as they are between failures.
    pub no_reset: bool,
}

/// Carries out all failures of a plan against a running node, and judges them.
///
/// The node must run the same plan. The caller starts it before and stops it after, and fills in the parts of the
/// report that only it knows (`binary`, clean-up of processes).
pub async fn drill<N: Node>(
    plan: &Plan,
    node: &N,
    options: &DrillOptions,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> DrillReport {
    drill_subject(&Subject::from(plan), node, options, progress, interrupt).await
}

/// The same for a subject that was made without a plan.
pub async fn drill_subject<N: Node>(
    subject: &Subject,
    node: &N,
    options: &DrillOptions,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> DrillReport {
    let ids = RunIds::new(options.seed, clock::nonce());
    let mut session = match start(subject, node, &ids, options).await {
        Ok(parts) => Session::new(parts, progress, interrupt),
        Err(error) => return not_started_subject(subject, options.seed, error),
    };
    let mut report = empty_report(subject, options.seed);
    for (index, failure) in subject.failures.iter().enumerate() {
        session.position =
            Position { failure: failure.id.clone(), number: index + 1, of: subject.failures.len() };
        report.failures.push(failure::drill_failure(&mut session, failure, options).await);
    }
    report.interrupted = interrupt.is_raised();
    report
}

/// The report of a drill that never came to its first failure, for instance because the node did not start.
pub fn not_started(plan: &Plan, seed: u64, error: String) -> DrillReport {
    not_started_subject(&Subject::from(plan), seed, error)
}

fn not_started_subject(subject: &Subject, seed: u64, error: String) -> DrillReport {
    let failures = subject.failures.iter().map(|failure| judge::not_run(failure, &error)).collect();
    DrillReport { failures, error: Some(error), ..empty_report(subject, seed) }
}

async fn start<'a, N: Node>(
    subject: &'a Subject,
    node: &'a N,
    ids: &'a RunIds,
    options: &DrillOptions,
) -> Result<SessionParts<'a, N>, String> {
    let status = node.status().await.map_err(|error| error.to_string())?;
    let faults = node.faults().await.map_err(|error| error.to_string())?;
    if !faults.is_empty() {
        return Err(format!("faults are in effect already: {}; clear them first", faults.join(", ")));
    }
    let config = LoadsConfig { loads: &subject.loads, gateway: options.gateway, ids, seed: options.seed };
    let loads = Loads::start(&config).map_err(|error| error.to_string())?;
    Ok(SessionParts { subject, node, ids, loads, since: status.seq })
}

fn empty_report(subject: &Subject, seed: u64) -> DrillReport {
    DrillReport {
        name: subject.name.clone(),
        file: subject.file.clone(),
        sha256: subject.sha256.clone(),
        binary: None,
        seed,
        ablated: subject.ablated.iter().map(|mechanism| mechanism.as_str().to_owned()).collect(),
        loads: subject.loads.iter().map(|load| load.name.clone()).collect(),
        failures: Vec::new(),
        cleanup: Cleanup::Clean,
        cleanup_reason: None,
        interrupted: false,
        error: None,
    }
}
