//! The proof that nothing of a fault is left.
//!
//! This is judged apart from the failure: a system may break every promise and still be left as it was found, and
//! the other way round.

use std::collections::BTreeSet;
use std::time::Duration;

use seaworthy_spec::plan::FailurePlan;

use super::course::{Course, is_point, restarts_are_off};
use super::session::Session;
use crate::clock;
use crate::node::{Node, NodeError};
use crate::subject::Subject;
use crate::verdict::Cleanup;

/// Longest time to prove that nothing is left.
const PUT_BACK_MAX: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const ATTEMPT_EVERY: Duration = Duration::from_millis(200);

/// Ends what is still in effect and proves that nothing of it is left. An interruption does not shorten this.
pub(super) async fn put_back<N: Node>(
    session: &Session<'_, N>,
    failure: &FailurePlan,
    course: &Course,
    stopped: bool,
) -> Cleanup {
    if course.opened.is_none() {
        return Cleanup::Clean;
    }
    let until = clock::now().saturating_add(clock::nanos(PUT_BACK_MAX));
    let mut must_end = stopped || course.ended.is_none();
    loop {
        if must_end {
            // Whether it worked shows in the list.
            let _ = session.node.end_all().await;
        }
        match session.node.faults().await {
            Ok(faults) if is_gone(&faults, course) => break,
            Ok(_) => must_end = true,
            // Nobody can be asked any more; what became of the fault is for those to say who clean up after the node.
            Err(NodeError::Gone(_)) => return Cleanup::Dirty,
            Err(_) => {}
        }
        if clock::now() >= until {
            return Cleanup::Dirty;
        }
        tokio::time::sleep(ATTEMPT_EVERY).await;
    }
    // A process that was killed is the system's own to replace: that is judged by its promises.
    if is_point(&failure.faults) || restarts_are_off(session.subject) {
        return Cleanup::Clean;
    }
    processes_run(session, course, until).await
}

/// Ours is gone; when its id never reached us, only an empty list proves it.
fn is_gone(faults: &[String], course: &Course) -> bool {
    match &course.applied {
        Some(applied) => !faults.contains(&applied.id),
        None => faults.is_empty(),
    }
}

async fn processes_run<N: Node>(session: &Session<'_, N>, course: &Course, until: u64) -> Cleanup {
    let expected = supervised_victims(session.subject, course);
    loop {
        if let Ok(status) = session.node.status().await {
            let runs = |(service, replica): &(&str, &str)| {
                let found = status.services.get(*service).and_then(|replicas| replicas.get(*replica));
                found.is_some_and(|replica| replica.pid.is_some())
            };
            if expected.iter().all(runs) {
                return Cleanup::Clean;
            }
        }
        if clock::now() >= until {
            return Cleanup::Dirty;
        }
        tokio::time::sleep(ATTEMPT_EVERY).await;
    }
}

fn supervised_victims<'a>(subject: &'a Subject, course: &Course) -> BTreeSet<(&'a str, &'a str)> {
    let mut found = BTreeSet::new();
    for service in &subject.services {
        for replica in service.replicas.iter().filter(|replica| replica.external.is_none()) {
            if course.victims.iter().any(|victim| victim.is_named_by(&service.name, Some(&replica.id))) {
                found.insert((service.name.as_str(), replica.id.as_str()));
            }
        }
    }
    found
}
