//! What a drill does when things do not go their way: no effect, no ability, no node, no patience.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Instant;

use seaworthy_drill::node::NodeError;
use seaworthy_drill::verdict::{Cleanup, Execution, Exercise, Verdict};
use seaworthy_drill::{DrillReport, NODE_SILENT_MAX, interrupt_pair};
use seaworthy_observe::event::EventKind;
use seaworthy_spec::plan::{FaultKind, Limit, Response, Word};
use support::backend::{Backend, Mood};
use support::node::{Ability, StubNode};
use support::run::{PROVEN, run, run_with, runtime};
use support::subject::{failure, load_promise, readers, subject};

#[test]
fn a_fault_that_nothing_met_is_vacuous() {
    let backend = Backend::start();
    let promises = vec![load_promise(Word::Success, Limit::AtLeastShare(1.0))];
    let kind = FaultKind::Errors { status: 500, share: 1.0 };
    let plan = subject(vec![readers(100.0)], vec![failure(kind, 1_500, promises)]);
    // What nobody counts must show in events or answers.
    let cases = [
        (Ability::Applies { proof: "seen", met: Some(0) }, Exercise::Vacuous, Verdict::Inconclusive, 2),
        (Ability::Applies { proof: "seen", met: None }, Exercise::Vacuous, Verdict::Inconclusive, 2),
        (Ability::Applies { proof: "", met: Some(9) }, Exercise::Vacuous, Verdict::Inconclusive, 2),
        (Ability::Applies { proof: "seen", met: Some(9) }, Exercise::Effective, Verdict::Kept, 0),
    ];
    std::thread::scope(|scope| {
        for (ability, exercise, verdict, code) in cases {
            let (plan, address) = (&plan, backend.address);
            scope.spawn(move || {
                let node = StubNode::new(address, ability.clone());
                let report = run(plan, &node);
                let failure = &report.failures[0];
                assert_eq!((failure.exercise, failure.verdict), (exercise, verdict), "{ability:?}");
                assert_eq!(report.exit_code(false), code, "{ability:?}");
                assert_eq!(node.state.lock().unwrap().resets, 1);
            });
        }
    });
    backend.close();
}

#[test]
fn a_fault_that_nobody_counts_is_known_by_its_traces() {
    let promises = || vec![load_promise(Word::Served, Limit::AtLeastShare(1.0))];
    let plan = subject(vec![readers(100.0)], vec![failure(FaultKind::Refuse, 1_500, promises())]);
    let uncounted = || Ability::Applies { proof: "our own connection was refused", met: None };
    let backend = Backend::start();
    // In what users saw ...
    let mut node = StubNode::new(backend.address, uncounted());
    let (begin, end) = (backend.handle(), backend.handle());
    node.on_apply = Box::new(move || begin.set(Mood::Degraded));
    node.on_end = Box::new(move || end.set(Mood::Good));
    let seen = run(&plan, &node);
    // ... or in what the node said.
    let node = Arc::new(StubNode::new(backend.address, uncounted()));
    let watched = Arc::clone(&node);
    let watcher = std::thread::spawn(move || {
        watched.wait_for_fault();
        let (service, replica) = ("api".to_owned(), "a-1".to_owned());
        watched.emit(EventKind::EndpointUnready { service, replica, reason: "refused".to_owned() });
    });
    let (_interrupter, interrupt) = interrupt_pair();
    let told = runtime().block_on(run_with(&plan, &node, &interrupt));
    watcher.join().unwrap();
    for report in [seen, told] {
        let failure = &report.failures[0];
        assert_eq!((failure.exercise, failure.verdict), (Exercise::Effective, Verdict::Kept));
    }
    backend.close();
}

#[test]
fn what_is_not_tried_is_not_exercised() {
    let backend = Backend::start();
    let promises = || vec![load_promise(Word::Success, Limit::AtLeastShare(1.0))];
    let mut accepted = failure(FaultKind::Pause, 1_000, promises());
    accepted.response = Response::Accept;
    let plan = subject(vec![readers(100.0)], vec![accepted, failure(FaultKind::Pause, 1_000, promises())]);
    let node = StubNode::new(backend.address, Ability::Lacks);
    let report = run(&plan, &node);
    for failure in &report.failures {
        assert_eq!((failure.verdict, failure.exercise), (Verdict::NotExercised, Exercise::NotRun));
        assert_eq!((failure.execution, failure.cleanup), (Execution::Ok, Cleanup::Clean));
        assert_eq!(failure.promises.len(), 1);
    }
    assert_eq!(report.exit_code(false), 2);
    backend.close();
}

#[test]
fn a_node_that_cannot_apply_or_end_a_fault() {
    let backend = Backend::start();
    let promises = vec![load_promise(Word::Success, Limit::AtLeastShare(1.0))];
    let plan = subject(vec![readers(100.0)], vec![failure(FaultKind::Pause, 1_500, promises)]);
    let report = run(&plan, &StubNode::new(backend.address, Ability::Refuses));
    let failure = &report.failures[0];
    assert_eq!((failure.execution, failure.exercise), (Execution::Error, Exercise::NotRun));
    assert_eq!((failure.cleanup, report.exit_code(false)), (Cleanup::Clean, 2));
    // It says that the fault is over, and it is not.
    let node = StubNode::new(backend.address, PROVEN);
    node.state.lock().unwrap().ends_ignored = true;
    let report = run(&plan, &node);
    let failure = &report.failures[0];
    assert_eq!((failure.verdict, failure.cleanup), (Verdict::Kept, Cleanup::Dirty));
    assert_eq!(report.exit_code(false), 3);
    backend.close();
}

#[test]
fn an_interruption_clears_faults_first() {
    let backend = Backend::start();
    let promises = || vec![load_promise(Word::Success, Limit::AtLeastShare(1.0))];
    let hour = failure(FaultKind::Pause, 300_000, promises());
    let plan = subject(vec![readers(100.0)], vec![hour.clone(), hour]);
    let node = Arc::new(StubNode::new(backend.address, PROVEN));
    let (interrupter, interrupt) = interrupt_pair();
    let watched = Arc::clone(&node);
    let watcher = std::thread::spawn(move || {
        watched.wait_for_fault();
        interrupter.interrupt();
        interrupter
    });
    let report = runtime().block_on(run_with(&plan, &node, &interrupt));
    drop(watcher.join().unwrap());
    let state = node.state.lock().unwrap();
    assert!(state.faults.is_empty());
    let apply = state.calls.iter().position(|call| *call == "apply").unwrap();
    let next = state.calls[apply + 1..].iter().find(|call| **call != "events").unwrap();
    assert_eq!(*next, "end_all");
    let verdicts: Vec<Verdict> = report.failures.iter().map(|failure| failure.verdict).collect();
    assert_eq!(verdicts, [Verdict::Inconclusive, Verdict::NotExercised]);
    assert!(report.interrupted);
    assert_eq!(report.exit_code(false), 130);
    backend.close();
}

#[test]
fn a_lost_node_is_an_error_and_leaves_no_proof() {
    let report = drill_that_loses_its_node(NodeError::Unreachable("refused".to_owned()));
    let failure = &report.failures[0];
    assert_eq!((failure.verdict, failure.execution), (Verdict::Inconclusive, Execution::Error));
    assert!(failure.reason.as_ref().unwrap().contains("lost"), "{:?}", failure.reason);
    assert_eq!((failure.cleanup, report.exit_code(false)), (Cleanup::Dirty, 3));
}

#[test]
fn a_node_that_nobody_will_start_again_is_not_waited_for() {
    let begun = Instant::now();
    let report = drill_that_loses_its_node(NodeError::Gone("refused".to_owned()));
    let failure = &report.failures[0];
    assert_eq!(failure.reason.as_deref(), Some("the node is lost: nobody will start it again: refused"));
    assert_eq!((failure.cleanup, report.exit_code(false)), (Cleanup::Dirty, 3));
    assert!(begun.elapsed() < NODE_SILENT_MAX, "{:?}", begun.elapsed());
}

/// The node is lost as soon as the fault is in effect.
fn drill_that_loses_its_node(error: NodeError) -> DrillReport {
    let backend = Backend::start();
    let promises = vec![load_promise(Word::Success, Limit::AtLeastShare(1.0))];
    let plan = subject(vec![readers(100.0)], vec![failure(FaultKind::Pause, 30_000, promises)]);
    let node = Arc::new(StubNode::new(backend.address, PROVEN));
    let watched = Arc::clone(&node);
    let watcher = std::thread::spawn(move || {
        watched.wait_for_fault();
        watched.state.lock().unwrap().lost = Some(error);
    });
    let (_interrupter, interrupt) = interrupt_pair();
    let report = runtime().block_on(run_with(&plan, &node, &interrupt));
    watcher.join().unwrap();
    backend.close();
    report
}

#[test]
fn what_interferes_with_a_drill_makes_it_inconclusive() {
    type Interference = fn(&StubNode);
    let cases: [(Interference, &str); 2] = [
        (|node| node.emit(EventKind::NodeStarted { pid: 9 }), "started again"),
        (|node| node.state.lock().unwrap().faults.clear(), "over before its window closed"),
    ];
    for (interfere, words) in cases {
        let backend = Backend::start();
        let promises = vec![load_promise(Word::Success, Limit::AtLeastShare(1.0))];
        let plan = subject(vec![readers(100.0)], vec![failure(FaultKind::Pause, 1_500, promises)]);
        let node = Arc::new(StubNode::new(backend.address, PROVEN));
        let watched = Arc::clone(&node);
        let watcher = std::thread::spawn(move || {
            watched.wait_for_fault();
            interfere(&watched);
        });
        let (_interrupter, interrupt) = interrupt_pair();
        let report = runtime().block_on(run_with(&plan, &node, &interrupt));
        watcher.join().unwrap();
        let failure = &report.failures[0];
        assert_eq!((failure.verdict, failure.execution), (Verdict::Inconclusive, Execution::Error));
        assert!(failure.reason.as_ref().unwrap().contains(words), "{:?}", failure.reason);
        assert_eq!((failure.cleanup, report.exit_code(false)), (Cleanup::Clean, 2));
        backend.close();
    }
}

#[test]
fn a_drill_does_not_start_on_a_faulty_node() {
    let backend = Backend::start();
    let promises = vec![load_promise(Word::Success, Limit::AtLeastShare(1.0))];
    let plan = subject(vec![readers(100.0)], vec![failure(FaultKind::Pause, 1_500, promises)]);
    let node = StubNode::new(backend.address, PROVEN);
    node.state.lock().unwrap().faults.push("f9".to_owned());
    let report = run(&plan, &node);
    assert!(report.error.as_ref().unwrap().contains("f9"), "{:?}", report.error);
    assert_eq!((report.failures.len(), report.exit_code(false)), (1, 2));
    assert_eq!(backend.requests(), 0);
    backend.close();
}
