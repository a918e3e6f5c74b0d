//! Stopping without cutting anybody off, and the log of what was done.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use seaworthy_observe::metrics::Registry;
use seaworthy_observe::{Destination, LogSink, Rendering};

use crate::stub::{Stub, ok, status};
use crate::support::{Rig, Wire, eventually, plan, route, service};

fn quiet() -> seaworthy_spec::plan::Plan {
    plan(vec![service("api")], vec![route("all", "/**")])
}

/// Sends request after request, on each connection until an answer says that it was the last.
fn ask_until_refused(address: SocketAddr, answered: &Mutex<usize>) {
    while let Ok(stream) = TcpStream::connect(address) {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut wire = Wire(stream);
        let mut last = false;
        while !last {
            let reply = wire.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(reply.text(), "fine");
            *answered.lock().unwrap() += 1;
            last = reply.field("connection") == Some("close");
        }
    }
}

#[test]
fn a_drain_under_load_cuts_nothing() {
    let stub = Stub::answering(|_| {
        std::thread::sleep(Duration::from_millis(5));
        Some(ok("fine"))
    });
    let rig = Rig::logging(&quiet(), LogSink::discard(), 2);
    rig.up("api", "1", stub.address);
    let address = rig.ingress();
    let (answered, stop) = (Mutex::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                ask_until_refused(address, &answered);
                assert!(stop.load(Ordering::SeqCst), "refused before the drain");
            });
        }
        eventually("load", || *answered.lock().unwrap() > 200);
        stop.store(true, Ordering::SeqCst);
        let drained = rig.drain(Duration::from_secs(10));
        assert_eq!(drained.cut, 0);
    });
}

#[test]
fn a_drain_finishes_what_is_in_flight_and_cuts_what_does_not_end() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let stub = Stub::answering(move |seen| {
        if seen.line().contains("slow") {
            wait.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        }
        Some(ok("done"))
    });
    let rig = Rig::with(&[&stub]);
    let (mut slow, mut idle) = (rig.connect(), rig.connect());
    assert_eq!(idle.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "done");
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request", || stub.seen().len() == 2);
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| rig.drain(Duration::from_secs(8)));
        eventually("the last answer", || {
            let reply = idle.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            reply.field("connection") == Some("close")
        });
        assert!(idle.is_closed());
        eventually("refusal", || TcpStream::connect(rig.ingress()).is_err());
        go.send(()).unwrap();
        let reply = slow.reply(false);
        assert_eq!((reply.text(), reply.field("connection")), ("done", Some("close")));
        assert_eq!(draining.join().unwrap().cut, 0);
    });
    let hang = Stub::raw(|stream, record| {
        while let Some(seen) = crate::stub::read_request(stream) {
            record(seen);
        }
    });
    let rig = Rig::with(&[&hang]);
    let mut wire = rig.connect();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request", || hang.seen().len() == 1);
    let begun = Instant::now();
    assert_eq!(rig.drain(Duration::from_millis(200)).cut, 1);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn idle_connections_do_not_hold_up_a_drain() {
    let rig = Rig::with(&[&Stub::saying("x")]);
    let mut idle = rig.connect();
    let begun = Instant::now();
    assert_eq!(rig.drain(Duration::from_secs(20)).cut, 0);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(idle.is_closed());
}

/// A writer that tests can read.
#[derive(Clone, Default)]
pub(crate) struct Shared(pub(crate) Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_request_leaves_one_line() {
    let written = Shared::default();
    let logs = LogSink::start(vec![Destination::writer(Box::new(written.clone()), Rendering::Json)]).unwrap();
    let (bad, good) = (Stub::answering(|_| Some(status(503, "bad"))), Stub::saying("good"));
    let rig = Rig::logging(&quiet(), logs, 1);
    rig.up("api", "bad", bad.address);
    rig.up("api", "good", good.address);
    for _ in 0..20 {
        assert_eq!(
            rig.ask("GET /x\"y?secret=1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: id-1\r\n\r\n").status,
            200
        );
    }
    rig.ask("GET / HTTP/1.1\nHost: a\n\n");
    let text = || String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    eventually("the last line", || rig.logs.flush() && text().lines().count() >= 21);
    let text = text();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 21, "{text}");
    for line in &lines[..20] {
        for (name, value) in [
            ("message", "request"),
            ("service", "seaworthy"),
            ("level", "info"),
            ("request_id", "id-1"),
            ("edge", "ingress:api"),
            ("route", "all"),
            ("client", "127.0.0.1"),
            ("method", "GET"),
            ("path", "/x\"y"),
            ("zone", "a"),
        ] {
            assert_eq!(line[name], value, "{name} in {line}");
        }
        assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &4.into()));
        let attempts = line["attempts"].as_array().unwrap();
        let last = attempts.last().unwrap();
        assert_eq!((&last["endpoint"], &last["outcome"]), (&"good".into(), &"answered".into()));
        assert!(last["ms"].as_f64().unwrap() <= line["duration_ms"].as_f64().unwrap());
    }
    let retried =
        lines.iter().find(|line| line["attempts"].as_array().is_some_and(|attempts| attempts.len() == 2));
    let attempts = &retried.unwrap_or_else(|| panic!("no line shows a retry: {text}"))["attempts"];
    assert_eq!((&attempts[0]["outcome"], &attempts[1]["kind"]), (&"answered_badly".into(), &"retry".into()));
    assert_eq!(
        (&lines[20]["status"], &lines[20]["proxy_error"]),
        (&400.into(), &"http_request_error".into())
    );
}

#[test]
fn metrics_count_requests_attempts_and_bytes() {
    let stub = Stub::saying("good");
    let rig = Rig::with(&[&stub]);
    for _ in 0..3 {
        rig.get("/");
    }
    assert_eq!(rig.metric(r#"seaworthy_requests_total{edge="ingress:api",route="all",code_class="2xx"}"#), 3);
    assert_eq!(rig.metric(r#"seaworthy_attempts_total{edge="ingress:api",kind="first"}"#), 3);
    assert_eq!(rig.metric(r#"seaworthy_request_duration_seconds_count{edge="ingress:api",route="all"}"#), 3);
    eventually("bytes", || rig.metric(r#"seaworthy_client_received_bytes_total{listener="ingress"}"#) > 0);
    eventually("connections", || rig.metric(r#"seaworthy_upstream_connections{edge="ingress:api"}"#) == 1);
    // One registry serves one gateway: the second one would count into nothing.
    let ports = seaworthy_gateway::GatewayPorts {
        bus: rig.bus.clone(),
        logs: LogSink::discard(),
        clock: seaworthy_observe::Clock,
        dial: Arc::default(),
        metrics: Registry::clone(&rig.metrics),
        keys: None,
        threads: 1,
    };
    assert!(seaworthy_gateway::Gateway::start(&quiet(), ports).is_err());
}
