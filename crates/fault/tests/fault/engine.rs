//! What holds for all faults: all or nothing, one per scope, undone at the end.

use std::net::TcpStream;

use seaworthy_fault::{FaultError, FaultKind};
use seaworthy_observe::Via;

use crate::support::{Bench, FakeJournal, Stub, state, until};

#[tokio::test]
async fn one_part_that_fails_undoes_the_others() {
    let (mut stub, other) = (Stub::start(), Stub::start());
    let views = vec![stub.view("api", "a-1", 0), other.view("mail", "a-1", 0)];
    // A process that does not exist: beyond the largest process id of Linux.
    let gone = seaworthy_observe::ProcessView { pid: 1 << 23, ..stub.view("gone", "a-1", 0) };
    let network =
        r#"{"kind":"errors","target":{"service":"api"}},{"kind":"refuse","target":{"egress":"mail"}}"#;
    let pause = r#"{"kind":"pause","target":{"service":"mail"}}"#;
    let rows = [
        (
            "journal",
            FakeJournal { fail: Some("intend 1"), ..FakeJournal::default() },
            format!("{network},{pause}"),
        ),
        (
            "applied",
            FakeJournal { fail: Some("applied 1"), ..FakeJournal::default() },
            format!("{pause},{network}"),
        ),
        (
            "gone",
            FakeJournal::default(),
            format!(
                r#"{network},{pause},{{"kind":"kill","target":{{"service":"gone"}}}},{{"kind":"kill","target":{{"service":"api"}}}}"#
            ),
        ),
    ];
    for (name, journal, faults) in rows {
        let all = views.iter().chain([&gone]).cloned().collect();
        let bench = Bench::with_journal(all, journal);
        bench.apply(&format!(r#"{{"faults":[{faults}]}}"#)).await.expect_err(name);
        for view in &views {
            for via in [Via::Ingress, Via::Egress, Via::Probe] {
                assert_eq!(bench.dialled(view, via), view.address, "{name} {via:?}");
            }
        }
        until("nothing is stopped", || state(other.pid) != Some('T')).await;
        assert!(stub.exited().is_none(), "{name}: kills come last");
        assert_eq!(bench.events(), ["f1 requested", "f1 failed"], "{name}");
        assert!(bench.engine().list().is_empty(), "{name}");
        bench
            .apply(r#"{"faults":[{"kind":"refuse","target":{"service":"api"}}]}"#)
            .await
            .expect("the scope is free");
    }
}

#[tokio::test]
async fn a_scope_takes_one_fault_at_a_time() {
    let stubs = [Stub::start(), Stub::start()];
    let bench = Bench::new(vec![stubs[0].view("api", "a-1", 0), stubs[1].view("api", "a-2", 0)]);
    let first = r#"{"faults":[{"kind":"refuse","target":{"replica":{"service":"api","replica":"a-2"}}}]}"#;
    let second = r#"{"faults":[{"kind":"latency","add_ms":5,"target":{"service":"api"}}]}"#;
    let process = r#"{"faults":[{"kind":"pause","target":{"replica":{"service":"api","replica":"a-2"}}}]}"#;
    let edge = r#"{"faults":[{"kind":"refuse","target":{"egress":"api"}}]}"#;
    bench.apply(first).await.expect("applied");
    let error = bench.apply(second).await.expect_err("taken");
    assert!(matches!(error, FaultError::Conflict { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "faults[0]: the traffic to api/a-2 is already under fault f1; clear that first"
    );
    bench.apply(process).await.expect("another scope");
    bench.apply(edge).await.expect("another scope");
    assert_eq!(bench.engine().list().len(), 3);
    bench.engine().clear("f1").await.expect("ends");
    bench.apply(second).await.expect("free again");
}

#[tokio::test]
async fn everything_is_cleared_at_once() {
    let stub = Stub::start();
    let view = stub.view("api", "a-1", 0);
    let bench = Bench::new(vec![view.clone()]);
    for fault in [
        r#""kind":"pause","target":{"service":"api"}"#,
        r#""kind":"refuse","target":{"service":"api"}"#,
        r#""kind":"errors","target":{"egress":"api"},"share":0.5"#,
    ] {
        bench.apply(&format!(r#"{{"faults":[{{{fault}}}]}}"#)).await.expect(fault);
    }
    let ended = bench.engine().clear_all().await.expect("ends");
    let short: Vec<_> = ended.iter().map(|(id, ended)| (id.as_str(), ended.met)).collect();
    assert_eq!(short, [("f1", None), ("f2", Some(0)), ("f3", Some(0))]);
    assert_ne!(state(stub.pid), Some('T'));
    assert_eq!(bench.dialled(&view, Via::Ingress), view.address);
    assert_eq!(bench.dialled(&view, Via::Egress), view.address);
    assert!(bench.engine().list().is_empty());
    assert!(bench.engine().clear_all().await.expect("nothing to do").is_empty());
    for unknown in ["f4", "f0", "x", ""] {
        let error = bench.engine().clear(unknown).await.expect_err(unknown);
        assert!(matches!(error, FaultError::UnknownFault(_)), "{error}");
    }
}

#[tokio::test]
async fn nothing_survives_the_engine() {
    let stub = Stub::start();
    let view = stub.view("api", "a-1", 0);
    let mut bench = Bench::new(vec![view.clone()]);
    let request = r#"{"faults":[{"kind":"errors","target":{"service":"api"}},
        {"kind":"blackhole","target":{"egress":"api"}}]}"#;
    bench.apply(request).await.expect("applied");
    let ports = [bench.dialled(&view, Via::Ingress), bench.dialled(&view, Via::Egress)];
    let edge = bench.dial.address(&crate::support::id("api", "a-9"), Via::Egress, view.address);
    assert_ne!(edge, view.address);
    drop(bench.engine.take());
    assert_eq!(bench.dialled(&view, Via::Ingress), view.address);
    assert_eq!(
        bench.dial.address(&crate::support::id("api", "a-9"), Via::Egress, view.address),
        view.address
    );
    for port in ports.into_iter().chain([edge]) {
        until("the port is closed", || TcpStream::connect(port).is_err()).await;
    }
}

#[tokio::test]
async fn a_caller_that_stops_waiting_leaves_a_fault_that_can_be_cleared() {
    let stub = Stub::start();
    let view = stub.view("api", "a-1", 0);
    let bench = Bench::new(vec![view.clone()]);
    let request = r#"{"faults":[{"kind":"latency","add_ms":300,"target":{"service":"api"}}]}"#;
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), bench.apply(request)).await;
    assert!(early.is_err(), "the proof takes as long as the delay");
    // Waits for the one that is being applied.
    let ended = bench.engine().clear_all().await.expect("ends");
    assert_eq!(ended.len(), 1);
    assert_eq!(bench.events(), ["f1 requested", "f1 applied", "f1 ended: cleared"]);
    assert_eq!(bench.dialled(&view, Via::Ingress), view.address);
}

#[tokio::test]
async fn this_host_can_do_all_of_them() {
    let bench = Bench::new(Vec::new());
    let found = bench.engine().capabilities().await.expect("runs");
    let expected: Vec<_> = FaultKind::ALL.into_iter().map(|kind| (kind, Ok(()))).collect();
    assert_eq!(found, expected);
}
