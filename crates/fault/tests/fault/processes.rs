//! Kill and pause, on real processes.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::support::{Bench, FakeJournal, PATIENCE, Stub, get, id, state, until};
use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};
use seaworthy_fault::FaultError;
use tokio::time::timeout;

const PAUSE_API: &str = r#"{"faults":[{"kind":"pause","target":{"service":"api"}}],"deadline_ms":60000}"#;
const KILL_API: &str = r#"{"faults":[{"kind":"kill","target":{"service":"api"}}],"deadline_ms":60000}"#;

#[tokio::test]
async fn a_kill_takes_the_group_and_is_over_once_proven() {
    let mut stub = Stub::with_grandchild();
    let grandchild = stub.grandchild.expect("asked for");
    let bench = Bench::new(vec![stub.view("api", "a-1", 0)]);
    let applied = bench.apply(KILL_API).await.expect("applied");
    assert_eq!(applied.id, "f1");
    assert_eq!(applied.targets, ["api/a-1"]);
    assert!(applied.proof.contains(&format!("api/a-1 (process {}) is gone", stub.pid)), "{}", applied.proof);
    assert!(applied.applied_at > applied.requested_at);
    assert_eq!(stub.exited().expect("gone when proven").signal(), Some(9));
    until("the grandchild is gone", || matches!(state(grandchild), None | Some('Z'))).await;
    assert_eq!(bench.events(), ["f1 requested", "f1 applied", "f1 ended: effect proven"]);
    assert!(bench.engine().list().is_empty());
    let ended = bench.engine().clear("f1").await.expect("remembered");
    assert_eq!((ended.why.as_str(), ended.met), ("effect proven", None));
}

#[tokio::test]
async fn a_zone_is_killed_as_a_whole_and_alone() {
    let mut stubs: Vec<Stub> = (0..4).map(|_| Stub::start()).collect();
    let views = vec![
        stubs[0].view("api", "a-1", 0),
        stubs[1].view("api", "b-1", 1),
        stubs[2].view("chat", "b-1", 1),
        stubs[3].view("mail", "b-1", 1),
    ];
    let bench = Bench::new(views);
    let applied =
        bench.apply(r#"{"faults":[{"kind":"kill","target":{"zone":"b"}}]}"#).await.expect("applied");
    assert_eq!(applied.targets, ["api/b-1", "chat/b-1", "mail/b-1"]);
    for stub in &mut stubs[1..] {
        assert_eq!(stub.exited().expect("gone when proven").signal(), Some(9));
    }
    assert!(stubs[0].exited().is_none(), "zone a is not touched");
}

#[tokio::test]
async fn a_pause_is_journalled_proven_and_undone() {
    let stub = Stub::with_grandchild();
    let grandchild = stub.grandchild.expect("asked for");
    let bench = Bench::new(vec![stub.view("api", "a-1", 0)]);
    let applied = bench.apply(PAUSE_API).await.expect("applied");
    assert!(applied.proof.contains("is in state T"), "{}", applied.proof);
    assert_eq!(state(stub.pid), Some('T'));
    until("the grandchild is stopped too", || state(grandchild) == Some('T')).await;
    let silent = timeout(Duration::from_millis(300), get(stub.address(), "/")).await;
    assert!(silent.is_err(), "a paused service does not answer");
    assert_eq!(bench.journal.calls(), ["intend 1: not stopped", "applied 1: stopped"]);
    let intent = &bench.journal.intents()[0];
    assert_eq!((intent.pid, intent.label.as_str()), (stub.pid, "api/a-1"));
    assert!(intent.limit > Duration::from_mins(1), "the healer waits longer than we do");
    let listed = bench.engine().list();
    assert_eq!((listed.len(), listed[0].what.as_str()), (1, "pause every replica of api"));
    assert_eq!(listed[0].deadline_at, applied.applied_at + 60_000_000_000);

    let ended = bench.engine().clear("f1").await.expect("ends");
    assert_eq!(ended.why, "cleared");
    assert!(ended.ended_at > applied.applied_at);
    assert_ne!(state(stub.pid), Some('T'));
    until("the grandchild goes on", || state(grandchild) != Some('T')).await;
    let answer = timeout(PATIENCE, get(stub.address(), "/")).await.expect("in time").expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(bench.journal.calls()[2..], ["reverted 1: not stopped"]);
    assert_eq!(bench.events(), ["f1 requested", "f1 applied", "f1 ended: cleared"]);
    assert!(bench.engine().list().is_empty());
}

#[tokio::test]
async fn what_cannot_be_journalled_is_not_applied() {
    for fail in ["intend 1", "intend 2", "applied 1", "applied 2"] {
        let stubs = [Stub::start(), Stub::start()];
        let views = vec![stubs[0].view("api", "a-1", 0), stubs[1].view("api", "a-2", 0)];
        let bench = Bench::with_journal(views, FakeJournal { fail: Some(fail), ..FakeJournal::default() });
        let error = bench.apply(PAUSE_API).await.expect_err(fail);
        assert!(matches!(error, FaultError::Journal(_)), "{fail}: {error}");
        assert!(error.to_string().contains("disk full"), "{fail}: {error}");
        for stub in &stubs {
            until("it goes on", || state(stub.pid) != Some('T')).await;
        }
        let calls = bench.journal.calls();
        if fail.starts_with("intend") {
            assert!(calls.iter().all(|call| call.ends_with("not stopped")), "{fail}: {calls:?}");
        } else {
            assert!(calls.iter().any(|call| call.starts_with("reverted 1")), "{fail}: {calls:?}");
            assert!(calls.iter().any(|call| call.starts_with("reverted 2")), "{fail}: {calls:?}");
        }
        assert_eq!(bench.events(), ["f1 requested", "f1 failed"], "{fail}");
        assert!(bench.engine().list().is_empty(), "{fail}");
    }
}

#[tokio::test]
async fn a_deadline_ends_a_pause_without_being_asked() {
    let stub = Stub::start();
    let bench = Bench::new(vec![stub.view("api", "a-1", 0)]);
    let request = r#"{"faults":[{"kind":"pause","target":{"zone":0}}],"deadline_ms":150}"#;
    let applied = bench.apply(request).await.expect("applied");
    let seen = bench.bus.newest();
    timeout(PATIENCE, bench.bus.wait_beyond(seen)).await.expect("it ends");
    assert_eq!(bench.events().last().map(String::as_str), Some("f1 ended: deadline"));
    assert_ne!(state(stub.pid), Some('T'));
    let ended = bench.engine().clear("f1").await.expect("remembered");
    assert_eq!(ended.why, "deadline");
    let lasted = Duration::from_nanos(ended.ended_at - applied.applied_at);
    assert!(lasted >= Duration::from_millis(145), "{lasted:?}");
    assert!(lasted < Duration::from_secs(3), "{lasted:?}");
}

#[tokio::test]
async fn a_pause_does_not_survive_the_engine() {
    let stub = Stub::start();
    let mut bench = Bench::new(vec![stub.view("api", "a-1", 0)]);
    bench.apply(PAUSE_API).await.expect("applied");
    assert_eq!(state(stub.pid), Some('T'));
    drop(bench.engine.take());
    until("it goes on", || state(stub.pid) != Some('T')).await;
    assert_eq!(bench.journal.calls().len(), 3, "the journal knows");
    assert_eq!(bench.events().last().map(String::as_str), Some("f1 ended: engine stopped"));
}

#[tokio::test]
async fn a_target_may_end_during_its_pause() {
    // As under a keeper, the orphans become ours; otherwise the kernel itself would continue an orphaned group.
    set_child_subreaper(Some(getpid())).expect("always allowed");
    let mut stub = Stub::with_grandchild();
    let grandchild = stub.grandchild.expect("asked for");
    let bench = Bench::new(vec![stub.view("api", "a-1", 0)]);
    bench.apply(PAUSE_API).await.expect("applied");
    until("the grandchild is stopped too", || state(grandchild) == Some('T')).await;
    // Only the leader, so that the rest of its group stays behind, stopped.
    let pid = Pid::from_raw(i32::try_from(stub.pid).expect("small")).expect("not zero");
    kill_process(pid, Signal::KILL).expect("ours");
    stub.child.wait().expect("ours");
    let ended = bench.engine().clear("f1").await.expect("a target that is gone is fine");
    assert_eq!(ended.why, "cleared");
    until("the grandchild lives and sleeps on", || state(grandchild) == Some('S')).await;
}

#[tokio::test]
async fn nobody_else_is_hit() {
    let mut gone = Stub::start();
    let gone_view = gone.view("api", "a-1", 0);
    gone.child.kill().expect("ours");
    gone.child.wait().expect("ours");
    let mut foreign = Stub::in_our_group();
    let rows = [
        (gone_view, "has ended"),
        (foreign.view("api", "a-1", 0), "does not lead a process group of its own"),
    ];
    for (view, expected) in rows {
        let bench = Bench::new(vec![view]);
        for request in [KILL_API, PAUSE_API] {
            let error = bench.apply(request).await.expect_err(expected);
            assert!(matches!(error, FaultError::TargetGone { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(bench.events(), ["f1 requested", "f1 failed", "f2 requested", "f2 failed"]);
    }
    assert!(foreign.exited().is_none());
    assert_ne!(state(foreign.pid), Some('T'));
}

#[tokio::test]
async fn one_replica_is_picked_by_the_seed_among_the_ready() {
    let stubs: Vec<Stub> = (0..4).map(|_| Stub::start()).collect();
    let names = ["a-1", "a-2", "a-3", "a-4"];
    let mut views: Vec<_> = stubs.iter().zip(names).map(|(stub, name)| stub.view("api", name, 0)).collect();
    views[2].ready = false;
    let bench = Bench::new(views);
    let mut picked = Vec::new();
    for seed in 0..40 {
        let request = format!(
            r#"{{"faults":[{{"kind":"pause","target":{{"replica":{{"service":"api"}}}}}}],"seed":{seed}}}"#
        );
        let applied = bench.apply(&request).await.expect("applied");
        let again = bench.apply(&request).await.expect_err("the same one, so it is taken");
        assert!(matches!(again, FaultError::Conflict { .. }), "seed {seed}: {again}");
        bench.engine().clear(&applied.id).await.expect("ends");
        picked.extend(applied.targets);
    }
    picked.sort_unstable();
    picked.dedup();
    assert_eq!(picked, ["api/a-1", "api/a-2", "api/a-4"]);
    assert_eq!(id("api", "a-1").to_string(), "api/a-1");
}
