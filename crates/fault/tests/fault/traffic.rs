//! Refuse, blackhole, latency and errors, on real sockets.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use seaworthy_observe::{ProcessView, Via};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::{Bench, FakeJournal, KeptAlive, PATIENCE, Stub, get, send, until};

/// One replica of `api` behind a fault of this kind; returns where ingress traffic goes now.
async fn broken(fault: &str) -> (Stub, ProcessView, Bench, SocketAddr) {
    let stub = Stub::start();
    let view = stub.view("api", "a-1", 0);
    let bench = Bench::new(vec![view.clone()]);
    let target = r#"{"replica":{"service":"api","replica":"a-1"}}"#;
    bench.apply(&format!(r#"{{"faults":[{{"target":{target},{fault}}}],"seed":7}}"#)).await.expect(fault);
    let dialled = bench.dialled(&view, Via::Ingress);
    assert_ne!(dialled, view.address, "{fault}");
    (stub, view, bench, dialled)
}

async fn cleared(bench: &Bench, view: &ProcessView) -> Option<u64> {
    let ended = bench.engine().clear("f1").await.expect("ends");
    assert_eq!(ended.why, "cleared");
    for via in [Via::Ingress, Via::Egress, Via::Probe] {
        assert_eq!(bench.dialled(view, via), view.address, "{via:?}");
    }
    let answer = get(view.address, "/").await.expect("an answer");
    assert_eq!(answer.status, 200);
    ended.met
}

/// Nobody listens there any more.
async fn closed(address: SocketAddr) {
    until("the fault's port is closed", || {
        TcpStream::connect_timeout(&address, Duration::from_millis(50)).is_err()
    })
    .await;
}

#[tokio::test]
async fn refused_means_refused_and_the_port_stays_ours() {
    let (_stub, view, bench, dialled) = broken(r#""kind":"refuse""#).await;
    assert_eq!(bench.dialled(&view, Via::Probe), dialled, "probes are refused too");
    for _ in 0..50 {
        let error = TcpStream::connect(dialled).expect_err("never accepted");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    let taken = TcpListener::bind(dialled).expect_err("held by us");
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    assert!(bench.engine().list()[0].applied.proof.contains("was refused"));
    assert_eq!(cleared(&bench, &view).await, Some(1));
    TcpListener::bind(dialled).expect("given back");
}

#[tokio::test]
async fn a_whole_blackhole_lets_connections_hang() {
    let (_stub, view, bench, dialled) = broken(r#""kind":"blackhole""#).await;
    assert_eq!(bench.dialled(&view, Via::Probe), dialled, "probes hang too");
    let tries: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(move || TcpStream::connect_timeout(&dialled, Duration::from_millis(400))))
        .collect();
    for one in tries {
        let error = one.join().expect("no panic").expect_err("never open");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
    assert_eq!(cleared(&bench, &view).await, Some(1));
    closed(dialled).await;
}

#[tokio::test]
async fn latency_is_what_the_client_measures() {
    let (stub, view, bench, dialled) = broken(r#""kind":"latency","add_ms":150"#).await;
    assert_eq!(bench.dialled(&view, Via::Probe), view.address, "probes stay healthy");
    assert_eq!(stub.count().await, 0, "the proof does not reach the service");
    let mut kept = KeptAlive::open(dialled).await;
    for _ in 0..3 {
        let start = Instant::now();
        let answer = kept.get("/").await.expect("an answer");
        let took = start.elapsed();
        assert_eq!((answer.status, answer.body.starts_with(&stub.pid.to_string())), (200, true));
        assert!(answer.head.contains("X-Stub: Yes"), "passed on unchanged: {}", answer.head);
        assert!(took >= Duration::from_millis(150) && took < Duration::from_millis(1500), "{took:?}");
    }
    assert_eq!(stub.count().await, 3);
    assert_eq!(bench.engine().list()[0].met, Some(3));
    assert_eq!(cleared(&bench, &view).await, Some(3));
    let start = Instant::now();
    kept.get("/").await.expect("an open connection goes on, unharmed");
    assert!(start.elapsed() < Duration::from_millis(150));
    closed(dialled).await;
}

#[tokio::test]
async fn errors_are_marked_and_not_executed() {
    let (stub, view, bench, dialled) = broken(r#""kind":"errors","status":500"#).await;
    assert_eq!(bench.dialled(&view, Via::Probe), view.address);
    for (method, body) in [("GET", 0), ("POST", 0), ("POST", 700_000)] {
        let answer = send(dialled, method, "/", body).await.expect("an answer");
        assert_eq!(answer.status, 500, "{method} {body}");
        assert!(answer.head.to_ascii_lowercase().contains("seaworthy-fault: errors"), "{}", answer.head);
    }
    let mut kept = KeptAlive::open(dialled).await;
    for body in [700_000, 0, 700_000, 0] {
        assert_eq!(kept.post("/", body).await.expect("an answer on the same connection").status, 500);
    }
    assert_eq!(stub.count().await, 0);
    assert_eq!(cleared(&bench, &view).await, Some(7));
    assert_eq!(
        kept.post("/", 9).await.expect("an answer").status,
        200,
        "no more errors on an open connection"
    );
}

#[tokio::test]
async fn shares_on_one_edge_are_drawn_once_per_request() {
    const N: usize = 900;
    const AT_ONCE: usize = 300;
    let stub = Stub::start();
    let view = stub.view("pay", "b-1", 1);
    let bench = Bench::new(vec![view.clone()]);
    let applied = bench
        .apply(
            r#"{"faults":[{"kind":"blackhole","target":{"egress":"pay"},"share":0.3},
                {"kind":"errors","target":{"egress":"pay"},"share":0.1,"status":502}],"seed":11}"#,
        )
        .await
        .expect("applied");
    assert_eq!(applied.targets, ["egress:pay"]);
    assert_eq!(bench.dialled(&view, Via::Ingress), view.address, "routes to it are not touched");
    assert_eq!(bench.dialled(&view, Via::Probe), view.address);
    let dialled = bench.dialled(&view, Via::Egress);
    assert_ne!(dialled, view.address);

    // Not all at once, so that a busy machine does not turn answers into silence.
    let (mut good, mut errors, mut silent) = (0, 0, 0);
    for _ in 0..N / AT_ONCE {
        let batch: Vec<_> = (0..AT_ONCE)
            .map(|_| tokio::spawn(timeout(Duration::from_millis(1500), get(dialled, "/"))))
            .collect();
        for one in batch {
            match one.await.expect("no panic") {
                Ok(Ok(answer)) if answer.status == 200 => good += 1,
                Ok(Ok(answer)) if answer.status == 502 => errors += 1,
                Err(_) => silent += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    let within = |got: usize, share: f64| {
        let sigma = (N as f64 * share * (1.0 - share)).sqrt();
        assert!((got as f64 - N as f64 * share).abs() <= 4.0 * sigma, "seed 11: {got} of {N} for {share}");
    };
    within(silent, 0.3);
    within(errors, 0.1);
    assert_eq!(good + errors + silent, N);
    assert_eq!(stub.count().await, good as u64, "what was swallowed or answered was not executed");
    let ended = bench.engine().clear("f1").await.expect("ends");
    assert_eq!(ended.met, Some((errors + silent) as u64));
}

#[tokio::test]
async fn the_end_of_a_fault_lets_go_of_what_it_held() {
    let stubs = [Stub::start(), Stub::start()];
    let views = [stubs[0].view("api", "a-1", 0), stubs[1].view("api", "a-2", 0)];
    let bench = Bench::new(views.to_vec());
    bench
        .apply(
            r#"{"faults":[{"kind":"blackhole","target":{"replica":{"service":"api","replica":"a-1"}},"share":0.999},
            {"kind":"latency","target":{"replica":{"service":"api","replica":"a-2"}},"add_ms":60000}],"seed":1}"#,
        )
        .await
        .expect("applied");
    let swallowed = tokio::spawn(get(bench.dialled(&views[0], Via::Ingress), "/"));
    let delayed = tokio::spawn(get(bench.dialled(&views[1], Via::Ingress), "/"));
    until("both have met the fault", || bench.engine().list()[0].met == Some(2)).await;
    assert!(!swallowed.is_finished() && !delayed.is_finished());
    bench.engine().clear("f1").await.expect("ends");
    let closed = timeout(PATIENCE, swallowed).await.expect("in time").expect("no panic");
    assert!(closed.is_err(), "closed without an answer: {closed:?}");
    let answer = timeout(PATIENCE, delayed).await.expect("in time").expect("no panic");
    assert_eq!(answer.expect("goes on at once").status, 200);
    assert_eq!(stubs[0].count().await, 0);
}

#[tokio::test]
async fn a_client_that_gives_up_waiting_executes_nothing() {
    let (stub, view, bench, dialled) = broken(r#""kind":"latency","add_ms":400"#).await;
    assert!(timeout(Duration::from_millis(50), get(dialled, "/")).await.is_err());
    // Later than the request would have been forwarded: another one has come through by then.
    get(dialled, "/").await.expect("an answer");
    assert_eq!(stub.count().await, 1);
    assert_eq!(cleared(&bench, &view).await, Some(2));
}

#[tokio::test]
async fn answers_are_streamed() {
    let (_stub, _view, _bench, dialled) = broken(r#""kind":"latency","add_ms":1,"share":0.001"#).await;
    let mut stream = tokio::net::TcpStream::connect(dialled).await.expect("connects");
    stream.write_all(b"GET /stream HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("sends");
    let (mut bytes, mut first_at) = (Vec::new(), None);
    loop {
        stream.read_buf(&mut bytes).await.expect("reads");
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("first") && !text.contains("second") {
            first_at.get_or_insert_with(Instant::now);
        }
        if text.contains("second") {
            break;
        }
    }
    let ahead = first_at.expect("the first part came alone").elapsed();
    assert!(ahead > Duration::from_millis(200), "{ahead:?}");
}

#[tokio::test]
async fn the_real_thing_is_found_anew() {
    let (old, mut view, bench, dialled) = broken(r#""kind":"latency","add_ms":1"#).await;
    let mut kept = KeptAlive::open(dialled).await;
    assert!(kept.get("/").await.expect("an answer").body.starts_with(&old.pid.to_string()));
    drop(old);
    bench.processes.0.lock().expect("not poisoned").clear();
    assert!(get(dialled, "/").await.is_err(), "closed when nobody is there");
    let new = Stub::start();
    view = ProcessView {
        id: seaworthy_observe::EndpointId { incarnation: 2, ..view.id },
        ..new.view("api", "a-1", 0)
    };
    bench.processes.0.lock().expect("not poisoned").push(view);
    assert!(get(dialled, "/").await.expect("an answer").body.starts_with(&new.pid.to_string()));
    let again = kept.get("/").await.expect("an idle connection finds the successor");
    assert!(again.body.starts_with(&new.pid.to_string()));
}

#[tokio::test]
async fn traffic_to_the_outside_is_spread_over_its_endpoints() {
    let stubs = [Stub::start(), Stub::start()];
    let external = BTreeMap::from([("pay".to_owned(), stubs.iter().map(Stub::address).collect())]);
    let bench = Bench::build(Vec::new(), FakeJournal::default(), external);
    let request = r#"{"faults":[{"kind":"latency","target":{"egress":"pay"},"add_ms":1}]}"#;
    bench.apply(request).await.expect("applied");
    let view = stubs[0].view("pay", "1", 0);
    let dialled = bench.dialled(&view, Via::Egress);
    for _ in 0..6 {
        assert_eq!(get(dialled, "/").await.expect("an answer").status, 200);
    }
    assert_eq!((stubs[0].count().await, stubs[1].count().await), (3, 3));
    assert_eq!(cleared(&bench, &view).await, Some(6));

    let request = r#"{"faults":[{"kind":"refuse","target":{"service":"pay"}}]}"#;
    let applied = bench.apply(request).await.expect("applied");
    assert_eq!(applied.targets, ["pay/1", "pay/2"]);
    assert_ne!(bench.dialled(&view, Via::Ingress), view.address);
}
