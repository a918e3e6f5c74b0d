//! The instrument itself: outages, losses and duplicates of known size must be measured as what they are.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_drill::measure::{Measurements, Rto};
use seaworthy_drill::verdict::{Cleanup, Execution, Exercise, RecoveredBy, Verdict};
use seaworthy_drill::{
    DrillOptions, DrillReport, FailureReport, Interrupt, Silent, Subject, drill_subject, interrupt_pair,
};
use seaworthy_observe::event::EventKind;
use seaworthy_spec::plan::{FaultKind, Limit, Response, Word};
use support::backend::{Backend, Mood};
use support::node::{Ability, StubNode};
use support::subject::{at_most, failure, load_promise, promise, readers, subject, writers};

const MS: f64 = 1_000_000.0;
const PROVEN: Ability = Ability::Applies { proof: "seen", met: Some(7) };

async fn run_with(subject: &Subject, node: &StubNode, interrupt: &Interrupt) -> DrillReport {
    let options = DrillOptions { seed: 7, gateway: node.address, no_reset: false };
    drill_subject(subject, node, &options, &Silent, interrupt).await
}

fn run(subject: &Subject, node: &StubNode) -> DrillReport {
    let (_interrupter, interrupt) = interrupt_pair();
    runtime().block_on(sendable(run_with(subject, node, &interrupt)))
}

/// A drill may be spawned on a runtime of several threads.
fn sendable<T: Send>(future: T) -> T {
    future
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn only(report: &DrillReport) -> (&FailureReport, &Measurements) {
    assert_eq!(report.failures.len(), 1);
    let failure = &report.failures[0];
    let measured = failure.measured.as_ref().unwrap_or_else(|| panic!("not measured: {:?}", failure.reason));
    (failure, measured)
}

/// A node whose fault puts the backend into a mood for a known time; the time it really took ends up in the cell.
fn outage(backend: &Backend, mood: Mood, time: Duration) -> (StubNode, Arc<Mutex<Option<Duration>>>) {
    let mut node = StubNode::new(backend.address, PROVEN);
    let took = Arc::new(Mutex::new(None));
    let (handle, cell) = (backend.handle(), Arc::clone(&took));
    node.on_apply = Box::new(move || {
        let (handle, cell) = (handle.handle(), Arc::clone(&cell));
        std::thread::spawn(move || *cell.lock().unwrap() = Some(handle.set_for(mood, time)));
    });
    (node, took)
}

#[test]
fn an_outage_is_measured_to_the_resolution() {
    let backend = Backend::start();
    let (node, took) = outage(&backend, Mood::Failing, Duration::from_secs(2));
    let promises = vec![
        load_promise(Word::Success, Limit::AtLeastShare(1.0)),
        promise(Word::Rto, at_most(2_500)),
        promise(Word::RecoverWithin, at_most(5_000)),
    ];
    let report = run(&subject(vec![readers(200.0)], vec![failure(FaultKind::Pause, 4_000, promises)]), &node);
    let (failure, measured) = only(&report);
    let real = took.lock().unwrap().unwrap().as_nanos() as f64 / MS;
    let rto = measured.rto.nanos().unwrap() as f64 / MS;
    let resolution = measured.resolution.unwrap() as f64 / MS;
    assert!((5.0..20.0).contains(&resolution), "{resolution}");
    assert!(
        (rto - real).abs() <= resolution,
        "measured {rto} ms, real {real} ms, resolution {resolution} ms"
    );
    assert_eq!(failure.recovered_by, Some(RecoveredBy::Itself));
    assert_eq!((failure.verdict, failure.exercise), (Verdict::Broken, Exercise::Effective));
    let kept: Vec<Option<bool>> = failure.promises.iter().map(|promise| promise.kept).collect();
    assert_eq!(kept, [Some(false), Some(true), Some(true)]);
    assert_eq!(report.exit_code(false), 1);
    // 2 s of 4 s at 200/s, give or take what the resolution cannot tell.
    let whole = &measured.loads[0].whole;
    assert!((795..=805).contains(&whole.requests), "{}", whole.requests);
    assert!((395..=410).contains(&whole.failed), "{}", whole.failed);
    backend.close();
}

#[test]
fn a_pause_shows_in_latencies_that_a_closed_loop_would_hide() {
    const MAX_MS: u64 = 100;
    let backend = Backend::start();
    let (node, took) = outage(&backend, Mood::Paused, Duration::from_secs(2));
    let promises = vec![
        load_promise(Word::Success, Limit::AtLeastShare(1.0)),
        load_promise(Word::P99, at_most(MAX_MS)),
        load_promise(Word::Max, at_most(MAX_MS)),
        promise(Word::Rto, at_most(3_000)),
    ];
    let report = run(&subject(vec![readers(100.0)], vec![failure(FaultKind::Pause, 4_000, promises)]), &node);
    let (failure, measured) = only(&report);
    let real = took.lock().unwrap().unwrap().as_nanos() as f64 / MS;
    let whole = &measured.loads[0].whole;
    assert_eq!(whole.failed, 0);
    let quantile = |q: f64| whole.quantile(q).unwrap() as f64 / MS;
    // Half of the window is pause: its requests waited evenly from the whole pause down to nothing.
    assert!((quantile(0.99) - real * 0.98).abs() < 60.0, "p99 {} of {real}", quantile(0.99));
    assert!((quantile(0.75) - real * 0.5).abs() < 60.0, "p75 {} of {real}", quantile(0.75));
    // Answers that waited for less than the promised maximum are not bad.
    let rto = measured.rto.nanos().unwrap() as f64 / MS;
    let resolution = measured.resolution.unwrap() as f64 / MS;
    let expected = real - MAX_MS as f64;
    // The backlog of the pause is answered in a burst, which takes its own time.
    assert!(
        (rto - expected).abs() <= resolution + 40.0,
        "measured {rto}, expected {expected} ± {resolution}"
    );
    let kept: Vec<Option<bool>> = failure.promises.iter().map(|promise| promise.kept).collect();
    assert_eq!(kept, [Some(true), Some(false), Some(false), Some(true)]);
    backend.close();
}

#[test]
fn known_losses_and_duplicates_are_counted_exactly() {
    let backend = Backend::start();
    let mut node = StubNode::new(backend.address, PROVEN);
    let handle = backend.handle();
    node.on_apply = Box::new(move || {
        handle.drop_next(5);
        handle.double_next(3);
    });
    let promises = vec![
        load_promise(Word::Success, Limit::AtLeastShare(1.0)),
        promise(Word::Rpo, at_most(0)),
        promise(Word::Duplicates, Limit::AtMostCount(3)),
    ];
    let report = run(&subject(vec![writers(100.0)], vec![failure(FaultKind::Pause, 2_000, promises)]), &node);
    let (failure, measured) = only(&report);
    let writes = measured.loads[0].writes.as_ref().unwrap();
    let effects = writes.effects.as_ref().unwrap();
    assert_eq!((effects.lost, effects.duplicated), (5, 3));
    assert_eq!((writes.refused, writes.unknown), (0, 0));
    assert!(writes.acknowledged >= 300, "{}", writes.acknowledged);
    // Five writes in a row at 100/s, the first of them right after the fault: 40 ms from oldest to newest.
    let rpo = measured.rpo.unwrap() as f64 / MS;
    assert!((35.0..80.0).contains(&rpo), "{rpo}");
    let kept: Vec<Option<bool>> = failure.promises.iter().map(|promise| promise.kept).collect();
    assert_eq!(kept, [Some(true), Some(false), Some(true)]);
    assert_eq!(measured.rto, Rto::Masked);
    assert_eq!((failure.recovered_by, report.exit_code(false)), (None, 1));
    backend.close();
}

#[test]
fn nothing_lost_is_told_apart_from_nothing_known() {
    let promises = || vec![promise(Word::Rpo, at_most(0)), promise(Word::Duplicates, Limit::AtMostCount(0))];
    let backend = Backend::start();
    let plan = subject(vec![writers(100.0)], vec![failure(FaultKind::Pause, 1_500, promises())]);
    let report = run(&plan, &StubNode::new(backend.address, PROVEN));
    let (failure, measured) = only(&report);
    assert_eq!((failure.verdict, measured.rpo, measured.duplicates), (Verdict::Kept, Some(0), Some(0)));
    assert_eq!(report.exit_code(true), 0);
    backend.fail_exports();
    let report = run(&plan, &StubNode::new(backend.address, PROVEN));
    let (failure, measured) = only(&report);
    assert_eq!((failure.verdict, measured.rpo, measured.duplicates), (Verdict::Inconclusive, None, None));
    assert!(failure.reason.as_ref().unwrap().contains("answered 500"), "{:?}", failure.reason);
    assert_eq!(report.exit_code(false), 2);
    backend.close();
}

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
        while watched.state.lock().unwrap().faults.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
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
    let hour = failure(FaultKind::Pause, 3_600_000, promises());
    let plan = subject(vec![readers(100.0)], vec![hour.clone(), hour]);
    let node = Arc::new(StubNode::new(backend.address, PROVEN));
    let (interrupter, interrupt) = interrupt_pair();
    let watched = Arc::clone(&node);
    let watcher = std::thread::spawn(move || {
        while watched.state.lock().unwrap().faults.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
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
    let backend = Backend::start();
    let promises = vec![load_promise(Word::Success, Limit::AtLeastShare(1.0))];
    let plan = subject(vec![readers(100.0)], vec![failure(FaultKind::Pause, 30_000, promises)]);
    let node = Arc::new(StubNode::new(backend.address, PROVEN));
    let watched = Arc::clone(&node);
    let watcher = std::thread::spawn(move || {
        while watched.state.lock().unwrap().faults.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        watched.state.lock().unwrap().lost = true;
    });
    let (_interrupter, interrupt) = interrupt_pair();
    let report = runtime().block_on(run_with(&plan, &node, &interrupt));
    watcher.join().unwrap();
    let failure = &report.failures[0];
    assert_eq!((failure.verdict, failure.execution), (Verdict::Inconclusive, Execution::Error));
    assert!(failure.reason.as_ref().unwrap().contains("lost"), "{:?}", failure.reason);
    assert_eq!((failure.cleanup, report.exit_code(false)), (Cleanup::Dirty, 3));
    backend.close();
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
            while watched.state.lock().unwrap().faults.is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
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

#[test]
fn a_kill_is_over_at_once_and_its_successor_is_timed() {
    let backend = Backend::start();
    let node = Arc::new(StubNode::new(backend.address, PROVEN));
    let promises = vec![
        load_promise(Word::Success, Limit::AtLeastShare(1.0)),
        promise(Word::RestartedWithin, at_most(2_000)),
        promise(Word::RecoverWithin, at_most(2_000)),
    ];
    let plan = subject(vec![readers(100.0)], vec![failure(FaultKind::Kill, 1_500, promises)]);
    let told = Arc::clone(&node);
    let teller = std::thread::spawn(move || {
        while told.state.lock().unwrap().faults.is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let (service, replica) = ("api".to_owned(), "a-1".to_owned());
        let how = "signal 9".to_owned();
        told.emit(EventKind::ProcessExited {
            service: service.clone(),
            replica: replica.clone(),
            pid: 1,
            how,
            expected: false,
        });
        std::thread::sleep(Duration::from_millis(700));
        told.emit(EventKind::EndpointReady { service, replica });
    });
    let (_interrupter, interrupt) = interrupt_pair();
    let report = runtime().block_on(run_with(&plan, &node, &interrupt));
    teller.join().unwrap();
    let (failure, measured) = only(&report);
    let restarted = failure.promises[1].measured.unwrap();
    assert!((700.0..760.0).contains(&restarted), "{restarted}");
    assert!(measured.detect.unwrap() < 50_000_000, "{:?}", measured.detect);
    assert_eq!(measured.recover, Some(0));
    assert_eq!((failure.verdict, report.exit_code(true)), (Verdict::Kept, 0));
    let request = node.state.lock().unwrap().requests[0].clone();
    let body = serde_json::to_value(&request).unwrap();
    assert_eq!(body["faults"][0]["kind"], "kill");
    assert_eq!(body["faults"][0]["target"]["replica"]["replica"], "a-1");
    assert_eq!(body["deadline_ms"], 31_500);
    backend.close();
}

#[test]
fn a_system_that_never_recovers_by_itself_is_said_so() {
    let backend = Backend::start();
    let mut node = StubNode::new(backend.address, PROVEN);
    let (begin, end) = (backend.handle(), backend.handle());
    node.on_apply = Box::new(move || begin.set(Mood::Degraded));
    node.on_end = Box::new(move || end.set(Mood::Good));
    let promises = |word| {
        vec![load_promise(word, Limit::AtLeastShare(1.0)), promise(Word::RecoverWithin, at_most(2_000))]
    };
    let plan = |word| subject(vec![readers(100.0)], vec![failure(FaultKind::Pause, 2_000, promises(word))]);
    // Served throughout, though degraded: that is what was promised.
    let report = run(&plan(Word::Served), &node);
    let (failure, measured) = only(&report);
    assert_eq!((failure.verdict, measured.rto), (Verdict::Kept, Rto::Masked));
    // Held against a promise of success, it is broken, though nothing failed.
    let report = run(&plan(Word::Success), &node);
    assert_eq!(report.failures[0].verdict, Verdict::Broken);
    let (begin, end) = (backend.handle(), backend.handle());
    node.on_apply = Box::new(move || begin.set(Mood::HalfAnswers));
    node.on_end = Box::new(move || end.set(Mood::Good));
    let report = run(&plan(Word::Success), &node);
    let (failure, measured) = only(&report);
    assert_eq!(failure.recovered_by, Some(RecoveredBy::Revert));
    assert!(matches!(measured.rto, Rto::NotRecovered { .. }));
    assert!(measured.recover.unwrap() < 200_000_000, "{:?}", measured.recover);
    backend.close();
}
