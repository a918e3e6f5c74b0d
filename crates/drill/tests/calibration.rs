//! The instrument itself: outages, losses and duplicates of known size must be measured as what they are.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_drill::interrupt_pair;
use seaworthy_drill::measure::Rto;
use seaworthy_drill::verdict::{Exercise, RecoveredBy, Verdict};
use seaworthy_observe::event::EventKind;
use seaworthy_spec::plan::{FaultKind, Limit, LoadPlan, Word};
use support::backend::{Backend, Mood};
use support::node::StubNode;
use support::run::{PROVEN, only, run, run_with, runtime};
use support::subject::{at_most, failure, load_promise, promise, readers, subject, writers};

const MS: f64 = 1_000_000.0;

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
    assert!(resolution >= 5.0, "{resolution}");
    // Once the resolution at each end of the outage; it includes how late the senders of a busy machine are.
    let slack = 2.0 * resolution;
    assert!((rto - real).abs() <= slack, "measured {rto} ms, real {real} ms, resolution {resolution} ms");
    assert_eq!(failure.recovered_by, Some(RecoveredBy::Itself));
    assert_eq!((failure.verdict, failure.exercise), (Verdict::Broken, Exercise::Effective));
    let kept: Vec<Option<bool>> = failure.promises.iter().map(|promise| promise.kept).collect();
    assert_eq!(kept, [Some(false), Some(true), Some(true)]);
    assert_eq!(report.exit_code(false), 1);
    // 2 s of 4 s at 200/s, give or take what the resolution cannot tell.
    let whole = &measured.loads[0].whole;
    assert!((795..=805).contains(&whole.requests), "{}", whole.requests);
    let expected = real * 0.2;
    let off = (whole.failed as f64 - expected).abs();
    assert!(off <= slack * 0.2 + 1.0, "{} failed, expected {expected}", whole.failed);
    backend.close();
}

#[test]
fn a_pause_shows_in_latencies_that_a_closed_loop_would_hide() {
    const MAX_MS: u64 = 300;
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
    let resolution = measured.resolution.unwrap() as f64 / MS;
    // The backlog of the pause is answered in a burst, which takes its own time.
    let slack = 2.0 * resolution + 40.0;
    // Half of the window is pause: its requests waited evenly from the whole pause down to nothing.
    assert!((quantile(0.99) - real * 0.98).abs() < slack, "p99 {} of {real} ± {slack}", quantile(0.99));
    assert!((quantile(0.75) - real * 0.5).abs() < slack, "p75 {} of {real} ± {slack}", quantile(0.75));
    // Answers that waited for less than the promised maximum are not bad.
    let rto = measured.rto.nanos().unwrap() as f64 / MS;
    let expected = real - MAX_MS as f64;
    assert!((rto - expected).abs() <= slack, "measured {rto}, expected {expected} ± {slack}");
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
    assert!((35.0..300.0).contains(&rpo), "{rpo}");
    let kept: Vec<Option<bool>> = failure.promises.iter().map(|promise| promise.kept).collect();
    assert_eq!(kept, [Some(true), Some(false), Some(true)]);
    assert_eq!(measured.rto, Rto::Masked);
    assert_eq!((failure.recovered_by, report.exit_code(false)), (None, 1));
    backend.close();
}

#[test]
fn what_turns_up_before_it_is_settled_is_not_lost() {
    let backend = Backend::start();
    let mut node = StubNode::new(backend.address, PROVEN);
    let handle = backend.handle();
    node.on_apply = Box::new(move || handle.drop_next(5));
    let late = backend.handle();
    let executor = std::thread::spawn(move || late.execute_withheld_after(2));
    let mut failure = failure(FaultKind::Pause, 1_500, vec![promise(Word::Rpo, at_most(0))]);
    failure.settle = Duration::from_secs(20);
    let report = run(&subject(vec![writers(100.0)], vec![failure]), &node);
    executor.join().unwrap();
    let (failure, measured) = only(&report);
    assert_eq!((failure.verdict, measured.rpo), (Verdict::Kept, Some(0)));
    backend.close();
}

#[test]
fn nothing_lost_is_told_apart_from_nothing_known() {
    let promises = || vec![promise(Word::Rpo, at_most(0)), promise(Word::Duplicates, Limit::AtMostCount(0))];
    let backend = Backend::start();
    // Both loads write to the same place, and each must only count its own.
    let loads = vec![writers(100.0), LoadPlan { name: "others".to_owned(), ..writers(100.0) }];
    let plan = subject(loads, vec![failure(FaultKind::Pause, 1_500, promises())]);
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
        told.wait_for_fault();
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
    let at = |event: usize| node.state.lock().unwrap().events[event].at;
    assert!((restarted - (at(1) - at(0)) as f64 / MS).abs() < 0.001, "{restarted}");
    assert!(measured.detect.unwrap() < 1_000_000_000, "{:?}", measured.detect);
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
    assert!(measured.recover.unwrap() < 1_000_000_000, "{:?}", measured.recover);
    backend.close();
}
