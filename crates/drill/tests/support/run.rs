//! Running a drill against a stub node.

use seaworthy_drill::measure::Measurements;
use seaworthy_drill::{
    DrillOptions, DrillReport, FailureReport, Interrupt, Silent, Subject, drill_subject, interrupt_pair,
};

use super::node::{Ability, StubNode};

pub const PROVEN: Ability = Ability::Applies { proof: "seen", met: Some(7) };

pub async fn run_with(subject: &Subject, node: &StubNode, interrupt: &Interrupt) -> DrillReport {
    let options = DrillOptions { seed: 7, gateway: node.address, no_reset: false };
    drill_subject(subject, node, &options, &Silent, interrupt).await
}

pub fn run(subject: &Subject, node: &StubNode) -> DrillReport {
    let (_interrupter, interrupt) = interrupt_pair();
    runtime().block_on(sendable(run_with(subject, node, &interrupt)))
}

/// A drill may be spawned on a runtime of several threads.
fn sendable<T: Send>(future: T) -> T {
    future
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn only(report: &DrillReport) -> (&FailureReport, &Measurements) {
    assert_eq!(report.failures.len(), 1);
    let failure = &report.failures[0];
    let measured = failure.measured.as_ref().unwrap_or_else(|| panic!("not measured: {:?}", failure.reason));
    (failure, measured)
}
