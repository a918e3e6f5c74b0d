//! What the gateway does about upstreams that fail, seen from both sides: the client's answer, and how often a
//! request was executed.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use seaworthy_observe::{EndpointChange, EndpointId, EndpointSink, EventKind, SuspicionSink};
use seaworthy_policy::breaker::BreakerConfig;
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::pool::Guard;
use seaworthy_spec::plan::{DegradeStep, Plan, RoutePlan};

use crate::stub::{Stub, read_request, status};
use crate::support::{Reply, Rig, call, eventually, plan, route, service};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
const KEYED_POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 1\r\n\r\nx";

/// Reads each request and closes without an answer.
fn resetting() -> Stub {
    Stub::raw(|stream, record| record(read_request(stream).unwrap()))
}

/// Reads each request and never answers.
fn hanging() -> Stub {
    Stub::raw(|stream, record| {
        while let Some(seen) = read_request(stream) {
            record(seen);
        }
    })
}

fn with_route(change: impl FnOnce(&mut RoutePlan)) -> Plan {
    let mut all = route("all", "/**");
    change(&mut all);
    plan(vec![service("api")], vec![all])
}

fn with_call(change: impl FnOnce(&mut CallConfig)) -> Plan {
    let mut config = call();
    change(&mut config);
    with_route(|route| route.call = Arc::new(config))
}

fn executions(stubs: &[&Stub]) -> usize {
    stubs.iter().map(|stub| stub.seen().len()).sum()
}

/// An address where nobody listens.
fn nobody() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn refused_connections_are_tried_elsewhere_whatever_the_method() {
    let good = Stub::saying("good");
    let rig = Rig::with(&[&good]);
    let bad = rig.up("api", "bad", nobody());
    for _ in 0..20 {
        for request in [GET, POST] {
            assert_eq!(rig.ask(request).text(), "good");
        }
    }
    assert_eq!(executions(&[&good]), 40);
    // Some answer took a second attempt, and says so; traffic told whoever probes.
    eventually("a suspicion", || {
        rig.events().iter().any(
            |event| matches!(event, EventKind::EndpointSuspected { replica, .. } if *replica == *bad.replica),
        )
    });
}

#[test]
fn an_answer_after_a_retry_says_so() {
    let good = Stub::saying("good");
    let rig = Rig::with(&[&good]);
    rig.up("api", "bad", nobody());
    let replies: Vec<Reply> = (0..40).map(|_| rig.get("/")).collect();
    let altered =
        replies.iter().filter(|reply| reply.field("proxy-status") == Some("seaworthy; attempts=2")).count();
    assert!(altered >= 1, "{replies:?}");
    let retries = rig.metric(r#"seaworthy_attempts_total{edge="ingress:api",kind="retry"}"#);
    assert_eq!(retries, altered as u64);
}

#[test]
fn resets_are_tried_elsewhere_when_that_is_harmless() {
    let run = |request: &str, keyed: bool| {
        let (good, bad) = (Stub::saying("good"), resetting());
        let rig = Rig::of(&with_route(|route| route.keyed = keyed), &[&bad, &good]);
        // Which endpoint a request tries first is up to chance.
        let mut replies: Vec<Reply> = Vec::new();
        while bad.seen().is_empty() || replies.len() < 4 {
            assert!(replies.len() < 60, "the bad one was never tried");
            replies.push(rig.ask(request));
        }
        let failed = replies.iter().filter(|reply| reply.status == 502).count();
        (failed, good.seen().len(), bad.seen().len(), replies)
    };
    for (request, keyed) in [(GET, false), (KEYED_POST, true)] {
        let (failed, good, _, replies) = run(request, keyed);
        assert_eq!((failed, good), (0, replies.len()), "{request}");
    }
    let (failed, good, bad, replies) = run(POST, false);
    assert_eq!((failed, good + bad), (bad, replies.len()), "an unkeyed POST is executed once and no more");
    for reply in replies.iter().filter(|reply| reply.status == 502) {
        assert_eq!(reply.problem(), "outcome-unknown");
        assert!(reply.proxy_status().contains("sent=?1"));
    }
}

#[test]
fn bad_answers_are_tried_elsewhere() {
    for code in [500, 502, 503, 504] {
        let (good, bad) = (Stub::saying("good"), Stub::answering(move |_| Some(status(code, "bad"))));
        let rig = Rig::with(&[&bad, &good]);
        let mut asked = 0;
        while bad.seen().is_empty() || asked < 4 {
            assert!(asked < 60, "the bad one was never tried");
            assert_eq!(rig.get("/").text(), "good", "{code}");
            asked += 1;
        }
        assert_eq!(good.seen().len(), asked);
        let before = executions(&[&good, &bad]);
        let posts: Vec<u16> = (0..8).map(|_| rig.ask(POST).status).collect();
        assert!(posts.iter().all(|status| *status == 200 || *status == code), "{posts:?}");
        assert_eq!(executions(&[&good, &bad]), before + 8, "an unkeyed POST is executed once and no more");
    }
}

#[test]
fn what_all_say_is_passed_on() {
    for code in [404, 500, 503] {
        let stub = Stub::answering(move |_| Some(status(code, "theirs")));
        let rig = Rig::with(&[&stub]);
        let reply = rig.get("/");
        assert_eq!((reply.status, reply.text()), (code, "theirs"));
        assert!(!reply.field("proxy-status").unwrap_or_default().contains("error="), "{reply:?}");
    }
}

#[test]
fn a_degraded_answer_is_neither_a_failure_nor_sent_again() {
    let stub = Stub::answering(|_| {
        Some(b"HTTP/1.1 503 X\r\nDegraded: payments\r\nContent-Length: 5\r\n\r\nlater".to_vec())
    });
    let other = Stub::saying("other");
    let rig = Rig::with(&[&stub, &other]);
    for _ in 0..8 {
        let reply = rig.get("/");
        assert!(reply.status == 200 || reply.field("degraded") == Some("payments"), "{reply:?}");
    }
    assert_eq!(executions(&[&stub, &other]), 8);
}

#[test]
fn a_hang_costs_a_stall_and_not_a_timeout() {
    let (good, bad) = (Stub::saying("good"), hanging());
    let rig = Rig::with(&[&good]);
    // What is usual has to be known before anything can be unusual.
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let sent = Instant::now();
        assert_eq!(rig.get("/").text(), "good");
        slowest = slowest.max(sent.elapsed());
    }
    rig.up("api", "bad", bad.address);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| rig.get("/"));
        let asked: Vec<_> = (0..40).map(ask).collect();
        for reply in asked {
            assert_eq!(reply.join().unwrap().text(), "good");
        }
    });
    let took = begun.elapsed();
    // A stall is eight times what is usual; a machine that stood still meanwhile has made that long.
    let limit = Duration::from_secs(4).max(16 * slowest);
    assert!(took < limit, "{took:?}: {:?} {:?}", rig.events(), rig.gateway.views());
    assert!(!bad.seen().is_empty());
}

#[test]
fn the_timer_that_fired_is_named() {
    let stub = hanging();
    let timeouts = |attempt: u64, total: u64| {
        with_call(|call| {
            call.attempt_timeout = Duration::from_millis(attempt);
            call.total_timeout = Duration::from_millis(total);
            call.max_attempts = 1;
        })
    };
    for (attempt, total, problem, details) in [
        (60, 5000, "attempt-timeout", "attempt_timeout 60ms; 1 attempt"),
        (5000, 70, "total-timeout", "total_timeout 70ms; 1 attempt"),
    ] {
        let rig = Rig::of(&timeouts(attempt, total), &[&stub]);
        let reply = rig.get("/");
        assert_eq!((reply.status, reply.problem().as_str()), (504, problem));
        assert!(reply.proxy_status().contains(&format!("details=\"{details}\"")), "{reply:?}");
        assert!(reply.proxy_status().contains("error=http_response_timeout; "), "{reply:?}");
        assert_eq!(rig.ask(POST).problem(), "outcome-unknown");
    }
}

#[test]
fn nobody_there_is_ours_and_says_when_to_come_back() {
    let rig = Rig::with(&[]);
    let reply = rig.get("/");
    assert_eq!((reply.status, reply.problem().as_str()), (503, "no-endpoint"));
    assert!(reply.field("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    assert!(reply.proxy_status().contains("error=destination_unavailable; "), "{reply:?}");
    assert!(reply.proxy_status().contains("sent=?0"), "{reply:?}");
}

#[test]
fn a_refused_post_was_surely_not_executed() {
    let rig = Rig::with(&[]);
    rig.up("api", "1", nobody());
    let reply = rig.ask(POST);
    assert_eq!((reply.status, reply.problem().as_str()), (502, "connection-refused"));
    assert!(reply.proxy_status().contains("error=connection_refused; "), "{reply:?}");
    assert!(reply.proxy_status().contains("sent=?0"), "{reply:?}");
}

#[test]
fn an_open_breaker_answers_at_once() {
    let stub = Stub::answering(|_| Some(status(500, "bad")));
    let mut breaking = with_call(|call| call.retry = false);
    breaking.services[0].pool.guard =
        Guard::Breaker(BreakerConfig { quiet: Duration::ZERO, ..BreakerConfig::default() });
    let rig = Rig::of(&breaking, &[&stub]);
    let mut last = rig.get("/");
    for _ in 0..50 {
        if last.status == 503 {
            break;
        }
        last = rig.get("/");
    }
    assert_eq!((last.status, last.problem().as_str()), (503, "breaker-open"));
    assert!(last.field("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    let executed = stub.seen().len();
    assert_eq!(rig.get("/").status, 503);
    assert_eq!(stub.seen().len(), executed);
    eventually("an event", || {
        rig.events().iter().any(|event| matches!(event, EventKind::BreakerChanged { to, .. } if to == "open"))
    });
    rig.gateway.reset();
    assert_eq!(rig.get("/").status, 500, "the reset closed the breaker");
    assert!(rig.events().contains(&EventKind::PolicyReset));
}

#[test]
fn an_ejected_endpoint_gets_no_traffic() {
    let (bad, good) = (Stub::answering(|_| Some(status(500, "bad"))), Stub::saying("good"));
    let rig = Rig::with(&[&bad, &good]);
    let ejected = |rig: &Rig| {
        rig.events()
            .iter()
            .any(|event| matches!(event, EventKind::EndpointEjected { replica, .. } if replica == "1"))
    };
    for _ in 0..200 {
        assert_eq!(rig.get("/").text(), "good");
        if ejected(&rig) {
            break;
        }
    }
    assert!(ejected(&rig), "{:?}", rig.gateway.views());
    let before = bad.seen().len();
    for _ in 0..20 {
        assert_eq!(rig.get("/").text(), "good");
    }
    assert_eq!(bad.seen().len(), before);
    let views = rig.gateway.views();
    assert_eq!((views[0].name.as_str(), views[0].endpoints[0].1.state), ("ingress:api", "ejected"));
    assert_eq!(rig.metric(r#"seaworthy_ejections_total{edge="ingress:api"}"#), 1);
}

#[test]
fn parked_requests_are_served_when_an_endpoint_comes() {
    let stub = Stub::saying("late");
    let rig = Rig::new(&with_call(|call| call.park = true));
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| rig.ask(POST))).collect();
        eventually("parking", || rig.metric(r#"seaworthy_parked_requests{edge="ingress:api"}"#) == 8);
        rig.up("api", "1", stub.address);
        for reply in asked {
            assert_eq!(reply.join().unwrap().text(), "late");
        }
    });
    assert_eq!(stub.seen().len(), 8);
}

#[test]
fn a_restarted_replica_is_another_endpoint() {
    let (old, new) = (Stub::saying("old"), Stub::saying("new"));
    let rig = Rig::with(&[]);
    let id = rig.up("api", "1", old.address);
    assert_eq!(rig.get("/").text(), "old");
    rig.gateway.apply(EndpointChange::Removed { id: id.clone(), reason: "exited" });
    assert_eq!(rig.get("/").status, 503);
    let id = EndpointId { incarnation: 2, ..id };
    rig.gateway.apply(EndpointChange::Added { id: id.clone(), address: new.address, zone: 0 });
    assert_eq!(rig.get("/").status, 503, "not ready yet");
    rig.gateway.apply(EndpointChange::Health { id, ready: true, reason: "passes" });
    assert_eq!(rig.get("/").text(), "new");
}

#[test]
fn suspicions_reach_the_prober() {
    struct Sink(AtomicUsize);
    impl SuspicionSink for Sink {
        fn suspect(&self, id: &EndpointId, _reason: &'static str) {
            assert_eq!(&*id.replica, "1");
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let rig = Rig::with(&[]);
    let sink = Arc::new(Sink(AtomicUsize::new(0)));
    rig.gateway.set_suspicion_sink(Arc::<Sink>::clone(&sink));
    rig.up("api", "1", nobody());
    assert_eq!(rig.get("/").status, 502);
    assert!(sink.0.load(Ordering::SeqCst) > 0);
}

#[test]
fn the_ladder_answers_what_failed_and_marks_it() {
    let fixed = DegradeStep::Static { status: 200, json: "{\"items\":[]}".to_owned() };
    let rig = Rig::new(&with_route(|route| route.degrade = vec![fixed.clone()]));
    let reply = rig.get("/");
    assert_eq!((reply.status, reply.text()), (200, "{\"items\":[]}"));
    assert_eq!(
        (reply.field("degraded"), reply.field("content-type")),
        (Some("static"), Some("application/json"))
    );
    assert!(reply.proxy_status().contains("error=destination_unavailable"), "{reply:?}");
    let stub = resetting();
    let rig = Rig::of(&with_route(|route| route.degrade = vec![fixed]), &[&stub]);
    assert_eq!(rig.ask(POST).problem(), "outcome-unknown", "never soothing about what may have happened");
}

#[test]
fn a_stale_connection_is_replaced_without_blame() {
    // Closes each connection after its first answer without saying so beforehand.
    let stub = Stub::raw(|stream, record| {
        record(read_request(stream).unwrap());
        stream.write_all(&crate::stub::ok("once")).unwrap();
    });
    let rig = Rig::with(&[&stub]);
    let mut wire = rig.connect();
    for round in 1..=5 {
        let reply = wire.ask(GET);
        assert_eq!((reply.text(), reply.field("proxy-status")), ("once", None));
        // Until the gateway has seen the close too: what it would do before that is a race it cannot win.
        eventually("the close", || {
            rig.metric(r#"seaworthy_requests_in_flight{edge="ingress:api",route="all"}"#) == 0
        });
        assert_eq!(stub.connections(), round);
        std::thread::sleep(Duration::from_millis(20));
    }
}
