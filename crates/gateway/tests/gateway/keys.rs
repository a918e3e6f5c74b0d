//! Keys that are kept, seen from both sides: what clients get, and how often the service has executed.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use seaworthy_observe::{Destination, LogSink, Rendering};
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::idempotency::{Backend, Dialect};
use seaworthy_spec::plan::{DegradeStep, InFlight, KeysPlan, Plan};

use crate::memory::Memory;
use crate::stub::{Stub, ok, read_request, status};
use crate::support::{Reply, Rig, Wire, call, eventually, plan, route, service};

fn keys() -> KeysPlan {
    KeysPlan {
        required: true,
        backend: Backend::Unaware,
        keep: Some(Duration::from_hours(24)),
        in_flight: InFlight::Refuse,
        max_answer: 1 << 20,
        dialect: Dialect::Draft,
    }
}

fn with(change: impl FnOnce(&mut KeysPlan)) -> Plan {
    let mut all = route("all", "/**");
    let mut keys = keys();
    change(&mut keys);
    all.keys = Some(keys);
    plan(vec![service("api")], vec![all])
}

/// A gateway whose keys are kept in memory, with these upstreams.
fn rig(plan: &Plan, memory: &Arc<Memory>, stubs: &[&Stub]) -> Rig {
    let rig = Rig::keeping(plan, LogSink::discard(), 1, Some(Arc::clone(memory) as _));
    for (index, stub) in stubs.iter().enumerate() {
        rig.up("api", &(index + 1).to_string(), stub.address);
    }
    rig
}

fn post(key: &str, body: &str) -> String {
    post_to("/buy", key, body)
}

fn post_to(path: &str, key: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn count(rig: &Rig, outcome: &str) -> u64 {
    rig.metric(&format!(
        "seaworthy_idempotency_requests_total{{edge=\"ingress:api\",route=\"all\",outcome=\"{outcome}\"}}"
    ))
}

/// Counts what it executes, and says so.
fn counting() -> Stub {
    let count = AtomicUsize::new(0);
    Stub::answering(move |_| {
        let body = format!("ticket {}", count.fetch_add(1, Ordering::SeqCst) + 1);
        let head = "HTTP/1.1 201 Created\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Ticket: yes\r\n";
        Some(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    })
}

/// Answers nothing until told what.
fn held() -> (Stub, Sender<Vec<u8>>) {
    let (answers, told): (_, Receiver<Vec<u8>>) = channel();
    let told = Mutex::new(told);
    (Stub::answering(move |_| told.lock().unwrap().recv().ok()), answers)
}

fn executions(stub: &Stub) -> usize {
    stub.seen().len()
}

#[test]
fn the_answer_is_given_again() {
    let (stub, memory) = (counting(), Memory::new());
    let rig = rig(&with(|_| {}), &memory, &[&stub]);
    let first = rig.ask(&post("k-1", "one"));
    let again = rig.ask(&post("\"k-1\"", "one"));
    assert_eq!((first.status, first.text(), first.field("idempotent-replayed")), (201, "ticket 1", None));
    assert_eq!(
        (again.status, again.text(), again.field("idempotent-replayed")),
        (201, "ticket 1", Some("true"))
    );
    assert_eq!(again.field("x-ticket"), Some("yes"));
    assert_eq!(again.head.matches("et-cookie:").count(), 2, "{}", again.head);
    assert_ne!(first.field("x-request-id"), again.field("x-request-id"));
    assert_eq!((rig.ask(&post("k-2", "one")).text(), executions(&stub)), ("ticket 2", 2));
    assert_eq!((count(&rig, "executed"), count(&rig, "replayed")), (2, 1));
}

#[test]
fn a_key_is_durable_before_anything_is_sent_and_its_answer_before_the_client_sees_it() {
    let memory = Memory::new();
    let seen_by = Arc::clone(&memory);
    let order = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&order);
    let stub = Stub::answering(move |_| {
        log.lock().unwrap().push(seen_by.log());
        Some(ok("x"))
    });
    *memory.delay.lock().unwrap() = Duration::from_millis(100);
    let rig = rig(&with(|_| {}), &memory, &[&stub]);
    let begun = Instant::now();
    assert_eq!(rig.ask(&post("k", "")).status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(200), "the answer waits for both");
    assert_eq!(*order.lock().unwrap(), [vec!["begin"]]);
    assert_eq!(memory.log(), ["begin", "done"]);
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    for (dialect, expected) in [(Dialect::Draft, 422), (Dialect::Stripe, 400)] {
        let (stub, memory) = (counting(), Memory::new());
        let rig = rig(&with(|keys| keys.dialect = dialect), &memory, &[&stub]);
        rig.ask(&post("k", "one"));
        let typed = post("k", "one").replace("Host: a\r\n", "Host: a\r\nContent-Type: text/plain\r\n");
        for other in [post("k", "two"), post_to("/buy?x", "k", "one"), typed] {
            let reply = rig.ask(&other);
            assert_eq!((reply.status, reply.problem().as_str()), (expected, "idempotency-key-mismatch"));
            let told = (dialect == Dialect::Stripe).then_some("false");
            assert_eq!(reply.field("stripe-should-retry"), told);
        }
        assert_eq!((executions(&stub), count(&rig, "mismatch")), (1, 3));
    }
}

#[test]
fn keys_belong_to_a_caller_a_method_and_a_route() {
    let (stub, memory) = (counting(), Memory::new());
    let mut plan = with(|_| {});
    let mut other = route("other", "/other");
    other.keys = Some(keys());
    plan.routes.insert(0, other);
    let rig = rig(&plan, &memory, &[&stub]);
    let one = post("k", "one");
    let by = |who: &str| one.replace("Host: a\r\n", &format!("Host: a\r\nAuthorization: {who}\r\n"));
    for (request, expected) in [
        (one.clone(), "ticket 1"),
        (by("Bearer a"), "ticket 2"),
        (by("Bearer b"), "ticket 3"),
        (one.replace("POST", "PATCH"), "ticket 4"),
        (post_to("/other", "k", "one"), "ticket 5"),
        (by("Bearer a"), "ticket 2"),
        (one, "ticket 1"),
    ] {
        assert_eq!(rig.ask(&request).text(), expected, "{request}");
    }
}

#[test]
fn what_needs_no_key_is_not_kept() {
    let (stub, memory) = (counting(), Memory::new());
    let rig = rig(&with(|keys| keys.required = false), &memory, &[&stub]);
    let get = "GET /buy HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\n\r\n";
    let plain = "POST /buy HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    for request in [get, get, plain, plain] {
        assert_eq!(rig.ask(request).status, 201);
    }
    assert_eq!((executions(&stub), memory.log().len()), (4, 0));
    let bad = rig.ask(&post("a b", ""));
    assert_eq!((bad.status, bad.problem().as_str()), (400, "idempotency-key-invalid"));
}

#[test]
fn a_missing_key_is_said_where_one_is_required() {
    let (stub, memory) = (counting(), Memory::new());
    let rig = rig(&with(|_| {}), &memory, &[&stub]);
    let reply = rig.ask("POST /buy HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!((reply.status, reply.problem().as_str()), (400, "idempotency-key-missing"));
    assert_eq!((executions(&stub), memory.log().len()), (0, 0));
}

#[test]
fn a_key_in_flight_is_refused_for_the_time_being() {
    let ((stub, answers), memory) = (held(), Memory::new());
    let rig = rig(&with(|_| {}), &memory, &[&stub]);
    let mut first = rig.connect();
    first.send(post("k", "one"));
    eventually("the first is executed", || executions(&stub) == 1);
    let reply = rig.ask(&post("k", "one"));
    assert_eq!((reply.status, reply.problem().as_str()), (409, "idempotency-key-in-flight"));
    assert_eq!(reply.field("retry-after"), Some("1"));
    assert_eq!(rig.ask(&post("k", "two")).status, 422, "that it is another request is known at once");
    answers.send(ok("done")).unwrap();
    assert_eq!(first.reply(false).text(), "done");
    assert_eq!(rig.ask(&post("k", "one")).field("idempotent-replayed"), Some("true"));
    assert_eq!(executions(&stub), 1);
}

#[test]
fn or_waits_for_the_first_where_the_route_wants_that() {
    let ((stub, answers), memory) = (held(), Memory::new());
    let rig = rig(&with(|keys| keys.in_flight = InFlight::Wait), &memory, &[&stub]);
    let mut wires: Vec<Wire> = (0..5).map(|_| rig.connect()).collect();
    for wire in &mut wires {
        wire.send(post("k", "one"));
    }
    eventually("all have asked", || memory.log().len() >= 5);
    answers.send(ok("done")).unwrap();
    let replies: Vec<Reply> = wires.iter_mut().map(|wire| wire.reply(false)).collect();
    assert!(replies.iter().all(|reply| (reply.status, reply.text()) == (200, "done")), "{replies:?}");
    let replayed = replies.iter().filter(|reply| reply.field("idempotent-replayed").is_some()).count();
    assert_eq!((replayed, executions(&stub)), (4, 1));
}

#[test]
fn who_waits_too_long_is_told_to_come_back() {
    let ((stub, answers), memory) = (held(), Memory::new());
    let mut plan = with(|keys| keys.in_flight = InFlight::Wait);
    let slow = CallConfig {
        total_timeout: Duration::from_secs(8),
        attempt_timeout: Duration::from_secs(8),
        ..call()
    };
    plan.routes[0].call = Arc::new(slow);
    let mut hasty = route("hasty", "/hasty");
    hasty.keys = plan.routes[0].keys;
    let rig = rig(&plan, &memory, &[&stub]);
    let mut first = rig.connect();
    first.send(post("k", "one"));
    eventually("the first is executed", || executions(&stub) == 1);
    // One who leaves while it waits takes nothing along.
    let mut second = rig.connect();
    second.send(post("k", "one"));
    eventually("the second has asked", || memory.log().len() >= 2);
    second.0.shutdown(Shutdown::Both).unwrap();
    eventually("it has left", || count(&rig, "left") == 1);
    answers.send(ok("done")).unwrap();
    assert_eq!(first.reply(false).text(), "done");
    assert_eq!((memory.log().last(), executions(&stub)), (Some(&"done"), 1));
}

#[test]
fn a_client_that_leaves_does_not_stop_its_execution() {
    let ((stub, answers), memory) = (held(), Memory::new());
    let rig = rig(&with(|_| {}), &memory, &[&stub]);
    let mut first = rig.connect();
    first.send(post("k", "one"));
    eventually("it is executed", || executions(&stub) == 1);
    first.0.shutdown(Shutdown::Both).unwrap();
    drop(first);
    eventually("it is noticed", || rig.metric("seaworthy_client_connections{listener=\"ingress\"}") == 0);
    answers.send(ok("done")).unwrap();
    eventually("its answer is kept", || memory.log().last() == Some(&"done"));
    let again = rig.ask(&post("k", "one"));
    assert_eq!(
        (again.text(), again.field("idempotent-replayed"), executions(&stub)),
        ("done", Some("true"), 1)
    );
}

#[test]
fn what_was_sent_and_not_answered_is_unknown() {
    let memory = Memory::new();
    let stub = Stub::raw(|stream, record| {
        if let Some(seen) = read_request(stream) {
            record(seen);
        }
    });
    let rig = rig(&with(|_| {}), &memory, &[&stub]);
    let first = rig.ask(&post("k", "one"));
    assert_eq!((first.status, first.problem().as_str()), (502, "outcome-unknown"));
    let again = rig.ask(&post("k", "one"));
    assert_eq!((again.status, again.problem().as_str()), (409, "outcome-unknown"));
    assert!(again.proxy_status().contains("sent=?1"), "{again:?}");
    assert_eq!((executions(&stub), count(&rig, "unknown")), (1, 1));
}

#[test]
fn and_is_sent_again_only_to_a_backend_that_honours_keys() {
    let (fails, memory) = (Arc::new(AtomicBool::new(true)), Memory::new());
    let failing = Arc::clone(&fails);
    let stub = Stub::answering(move |_| (!failing.load(Ordering::SeqCst)).then(|| ok("done")));
    let mut plan = with(|keys| keys.backend = Backend::Honours);
    plan.routes[0].call = Arc::new(CallConfig { retry: false, hedge_percentile: None, ..call() });
    let rig = rig(&plan, &memory, &[&stub]);
    assert_eq!(rig.ask(&post("k", "one")).status, 502);
    fails.store(false, Ordering::SeqCst);
    assert_eq!(rig.ask(&post("k", "one")).text(), "done");
    assert_eq!(rig.ask(&post("k", "one")).field("idempotent-replayed"), Some("true"));
    let seen = stub.seen();
    assert_eq!(seen.iter().map(|seen| seen.field("idempotency-key")).collect::<Vec<_>>(), [Some("k"); 2]);
    assert_eq!((count(&rig, "executed"), count(&rig, "resent"), count(&rig, "replayed")), (1, 1, 1));
}

#[test]
fn what_an_answer_says_about_the_execution() {
    // Kept, new again, or unknown.
    let draft = [
        (200, "done"),
        (404, "done"),
        (302, "done"),
        (409, "not executed"),
        (425, "not executed"),
        (429, "not executed"),
        (408, "unknown"),
        (500, "unknown"),
        (503, "unknown"),
    ];
    let stripe = [(500, "done"), (503, "done"), (409, "not executed"), (408, "unknown")];
    let cases = draft
        .map(|case| (Dialect::Draft, case))
        .into_iter()
        .chain(stripe.map(|case| (Dialect::Stripe, case)));
    for (dialect, (code, expected)) in cases {
        let (stub, memory) = (Stub::answering(move |_| Some(status(code, "said"))), Memory::new());
        let rig = rig(&with(|keys| keys.dialect = dialect), &memory, &[&stub]);
        let first = rig.ask(&post("k", "one"));
        assert_eq!((first.status, first.text()), (code, "said"));
        assert_eq!(memory.log(), ["begin", expected], "{dialect:?} {code}");
        let again = rig.ask(&post("k", "one"));
        let (status, replayed, executed) = match expected {
            "done" => (code, Some("true"), 1),
            "unknown" => (409, None, 1),
            _ => (code, None, 2),
        };
        assert_eq!(
            (again.status, again.field("idempotent-replayed")),
            (status, replayed),
            "{dialect:?} {code}"
        );
        assert_eq!(executions(&stub), executed, "{dialect:?} {code}");
    }
}

#[test]
fn proof_that_nothing_was_sent_makes_a_key_new() {
    let memory = Memory::new();
    let gone = Stub::saying("x");
    let rig = rig(&with(|_| {}), &memory, &[]);
    let nobody = rig.ask(&post("k", "one"));
    assert_eq!((nobody.status, nobody.problem().as_str()), (503, "no-endpoint"));
    rig.up("api", "1", gone.address);
    drop(gone);
    let refused = rig.ask(&post("k", "one"));
    assert_eq!((refused.status, refused.problem().as_str()), (502, "connection-refused"));
    let good = Stub::saying("good");
    rig.up("api", "2", good.address);
    eventually("it is executed", || rig.ask(&post("k", "one")).status == 200);
    let log = memory.log();
    assert_eq!(log[..4], ["begin", "not executed", "begin", "not executed"]);
    assert_eq!((log.last(), executions(&good)), (Some(&"done"), 1));
}

#[test]
fn a_large_request_is_refused_and_nothing_is_sent() {
    let (stub, memory) = (counting(), Memory::new());
    let rig = rig(&with(|_| {}), &memory, &[&stub]);
    let announced = "POST /buy HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 65537\r\n\r\n";
    let mut wire = rig.connect();
    wire.send(announced);
    let reply = wire.reply(false);
    assert_eq!((reply.status, reply.problem().as_str()), (413, "idempotency-body-too-large"));
    assert!(reply.text().contains("65536"), "{}", reply.text());
    let chunked = "POST /buy HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut wire = rig.connect();
    wire.send(format!("{chunked}10001\r\n{}\r\n0\r\n\r\n", "x".repeat(65_537)));
    assert_eq!(wire.reply(false).status, 413);
    assert_eq!((executions(&stub), memory.log().len()), (0, 0));
    let small = format!("{chunked}3\r\none\r\n0\r\n\r\n");
    assert_eq!(rig.ask(&small).status, 201);
    assert_eq!(stub.seen()[0].body, b"one");
    assert_eq!(
        rig.ask(&post("k", "one")).field("idempotent-replayed"),
        Some("true"),
        "it is the same request"
    );
}

#[test]
fn a_long_answer_goes_out_whole_and_is_not_given_again() {
    let memory = Memory::new();
    let stub = Stub::answering(|_| Some(ok(&"x".repeat(5_000))));
    let rig = rig(&with(|keys| keys.max_answer = 4_999), &memory, &[&stub]);
    assert_eq!(rig.ask(&post("k", "one")).text().len(), 5_000);
    eventually("its digest is kept", || memory.log().last() == Some(&"done"));
    let again = rig.ask(&post("k", "one"));
    assert_eq!((again.status, again.problem().as_str()), (409, "idempotency-not-replayable"));
    assert_eq!(executions(&stub), 1);
    let fits = Memory::new();
    let rig = self::rig(&with(|keys| keys.max_answer = 5_000), &fits, &[&stub]);
    rig.ask(&post("k", "one"));
    assert_eq!(rig.ask(&post("k", "one")).text().len(), 5_000);
}

#[test]
fn an_answer_that_breaks_off_is_unknown_and_never_looks_whole() {
    for (limit, expected) in [(1 << 20, Some("outcome-unknown")), (10, None)] {
        let memory = Memory::new();
        let stub = Stub::raw(|stream, record| {
            if let Some(seen) = read_request(stream) {
                record(seen);
                let half = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
                stream.write_all(format!("{half}{}", "x".repeat(500)).as_bytes()).unwrap();
            }
        });
        let rig = rig(&with(|keys| keys.max_answer = limit), &memory, &[&stub]);
        let first = rig.ask(&post("k", "one"));
        match expected {
            Some(problem) => assert_eq!((first.status, first.problem().as_str()), (502, problem)),
            None => assert_eq!(first.body.as_ref().unwrap_err().len(), 500),
        }
        eventually("it is kept as unknown", || memory.log().last() == Some(&"unknown"));
        assert_eq!(rig.ask(&post("k", "one")).problem(), "outcome-unknown");
        assert_eq!(executions(&stub), 1);
    }
}

#[test]
fn without_a_store_nothing_is_sent() {
    let (stub, memory) = (counting(), Memory::new());
    memory.break_down();
    let broken = rig(&with(|_| {}), &memory, &[&stub]);
    let none = Rig::of(&with(|_| {}), &[&stub]);
    for rig in [&broken, &none] {
        let reply = rig.ask(&post("k", "one"));
        assert_eq!((reply.status, reply.problem().as_str()), (503, "store-unavailable"));
        assert!(reply.proxy_status().contains("proxy_internal_error"), "{reply:?}");
        assert!(reply.proxy_status().contains("sent=?0"), "{reply:?}");
        assert_eq!((reply.field("retry-after"), count(rig, "unavailable")), (Some("1"), 1));
    }
    assert_eq!(executions(&stub), 0);
}

#[test]
fn an_answer_that_could_not_be_kept_is_not_told() {
    let memory = Memory::new();
    let breaking = Arc::clone(&memory);
    let stub = Stub::answering(move |_| {
        breaking.break_down();
        Some(ok("done"))
    });
    let rig = rig(&with(|_| {}), &memory, &[&stub]);
    let reply = rig.ask(&post("k", "one"));
    assert_eq!((reply.status, reply.problem().as_str()), (503, "store-unavailable"));
    assert!(reply.proxy_status().contains("sent=?1"), "{reply:?}");
}

#[test]
fn a_restart_in_the_middle_leaves_an_unknown_outcome() {
    let ((stub, answers), memory) = (held(), Memory::new());
    let plan = with(|_| {});
    let first = rig(&plan, &memory, &[&stub]);
    let mut wire = first.connect();
    wire.send(post("k", "one"));
    eventually("it is executed", || executions(&stub) == 1);
    drop(first);
    assert_eq!(memory.log(), ["begin", "unknown"], "whoever stops in the middle says so");
    memory.restart();
    let second = rig(&plan, &memory, &[&stub]);
    assert_eq!(second.ask(&post("k", "one")).problem(), "outcome-unknown");
    drop(answers);
    assert_eq!(executions(&stub), 1);
}

#[test]
fn a_fixed_answer_in_place_of_a_failure_is_not_the_answer() {
    let memory = Memory::new();
    let stub = Stub::answering(|_| Some(status(500, "oh")));
    let mut plan = with(|_| {});
    plan.routes[0].degrade = vec![DegradeStep::Static { status: 202, json: "{}".to_owned() }];
    let rig = rig(&plan, &memory, &[&stub]);
    rig.ask(&post("k", "one"));
    assert_eq!(memory.log(), ["begin", "unknown"]);
    let memory = Memory::new();
    let rig = self::rig(&plan, &memory, &[]);
    assert_eq!(rig.ask(&post("k", "one")).field("degraded"), Some("static"));
    assert_eq!(memory.log(), ["begin", "not executed"]);
}

#[test]
fn a_late_proof_says_nothing_about_an_earlier_attempt() {
    // The first attempt dies after it was sent; the second says that there is a conflict, with the first.
    let memory = Memory::new();
    let dies = Stub::raw(|stream, record| {
        if let Some(seen) = read_request(stream) {
            record(seen);
        }
    });
    let conflicts = Stub::answering(|_| Some(status(409, "busy")));
    let rig = rig(&with(|keys| keys.backend = Backend::Honours), &memory, &[&dies, &conflicts]);
    let mut both = 0;
    for index in 0..20 {
        let (died, refused) = (executions(&dies), executions(&conflicts));
        rig.ask(&post(&format!("k-{index}"), "one"));
        let expected = match (executions(&dies) - died, executions(&conflicts) - refused) {
            (0, _) => "not executed",
            _ => "unknown",
        };
        both += usize::from(expected == "unknown");
        assert_eq!(memory.log().last(), Some(&expected));
    }
    assert!(both > 0, "both were asked at least once");
}

/// A route and an egress that keep keys; the egress leads to `pay`.
fn both() -> Plan {
    let mut plan = with(|keys| keys.backend = Backend::Honours);
    let mut pay = service("pay");
    pay.egress = Some(([127, 0, 0, 1], 0).into());
    pay.keys = Some(keys());
    plan.services.push(pay);
    plan
}

#[test]
fn calls_on_behalf_of_a_request_with_a_key_get_keys_of_their_own() {
    let memory = Memory::new();
    let paid = counting();
    let egress: Arc<Mutex<Option<std::net::SocketAddr>>> = Arc::default();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (known, told) = (Arc::clone(&egress), Arc::clone(&calls));
    // Charges three times, passes the request id on, and then dies the first time.
    let dies = AtomicBool::new(true);
    let api = Stub::answering(move |seen| {
        let address = known.lock().unwrap().unwrap();
        let id = seen.field("x-request-id").unwrap();
        let charge = |path: &str, ordinal: &str, body: &str| {
            let length = body.len();
            let head = format!("POST {path} HTTP/1.1\r\nHost: pay\r\nX-Request-ID: {id}\r\n{ordinal}");
            Wire::to(address).ask(&format!("{head}Content-Length: {length}\r\n\r\n{body}"))
        };
        let replies = [
            charge("/charges", "", "one"),
            charge("/charges", "Seaworthy-Ordinal: 2\r\n", "one"),
            charge("/mails", "", "one"),
            charge("/charges", "", "another"),
        ];
        let told_now: Vec<(u16, String)> =
            replies.iter().map(|reply| (reply.status, reply.text().to_owned())).collect();
        told.lock().unwrap().push(told_now);
        (!dies.swap(false, Ordering::SeqCst)).then(|| ok("sold"))
    });
    let mut plan = both();
    plan.routes[0].call = Arc::new(CallConfig { retry: false, hedge_percentile: None, ..call() });
    let rig = rig(&plan, &memory, &[&api]);
    rig.up("pay", "1", paid.address);
    *egress.lock().unwrap() = Some(rig.gateway.egress_addresses()["pay"]);
    assert_eq!(rig.ask(&post("k", "one")).status, 502);
    assert_eq!(rig.ask(&post("k", "one")).text(), "sold");
    let calls = calls.lock().unwrap();
    let tickets: Vec<&str> = calls[0][..3].iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(tickets, ["ticket 1", "ticket 2", "ticket 3"]);
    assert_eq!((calls[0][3].0, calls[1][3].0), (422, 422), "another body is no silent repetition");
    assert_eq!(calls[0][..3], calls[1][..3], "the second time nothing was charged");
    assert_eq!(executions(&paid), 3);
    let keys: std::collections::BTreeSet<String> =
        paid.seen().iter().map(|seen| seen.field("idempotency-key").unwrap().to_owned()).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| key.len() == 64), "{keys:?}");
    assert!(paid.seen().iter().all(|seen| seen.field("seaworthy-ordinal").is_none()));
}

#[test]
fn nothing_is_derived_from_a_request_that_is_not_known() {
    let (memory, paid) = (Memory::new(), counting());
    let rig = rig(&both(), &memory, &[]);
    rig.up("pay", "1", paid.address);
    let egress = rig.gateway.egress_addresses()["pay"];
    let call = "POST /charges HTTP/1.1\r\nHost: pay\r\nX-Request-ID: strange\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(Wire::to(egress).ask(call).problem(), "idempotency-key-missing");
    let own = call.replace("Host: pay\r\n", "Host: pay\r\nIdempotency-Key: own\r\n");
    assert_eq!(Wire::to(egress).ask(&own).text(), "ticket 1");
    assert_eq!(Wire::to(egress).ask(&own).field("idempotent-replayed"), Some("true"));
    assert_eq!(executions(&paid), 1);
}

#[test]
fn two_requests_that_claim_one_name_derive_nothing() {
    let ((api, answers), memory, paid) = (held(), Memory::new(), counting());
    let rig = rig(&both(), &memory, &[&api]);
    rig.up("pay", "1", paid.address);
    let egress = rig.gateway.egress_addresses()["pay"];
    let claim = |key: &str| post(key, "x").replace("Host: a\r\n", "Host: a\r\nX-Request-ID: same\r\n");
    let charge = "POST /charges HTTP/1.1\r\nHost: pay\r\nX-Request-ID: same\r\nContent-Length: 0\r\n\r\n";
    let (mut first, mut second) = (rig.connect(), rig.connect());
    first.send(claim("a"));
    eventually("the first is executed", || executions(&api) == 1);
    assert_eq!(Wire::to(egress).ask(charge).status, 201);
    second.send(claim("b"));
    eventually("the second has begun", || memory.log().iter().filter(|what| **what == "begin").count() == 3);
    assert_eq!(Wire::to(egress).ask(charge).problem(), "idempotency-key-missing");
    answers.send(ok("x")).unwrap();
    answers.send(ok("x")).unwrap();
    assert_eq!((first.reply(false).status, second.reply(false).status), (200, 200));
    assert_eq!(Wire::to(egress).ask(charge).problem(), "idempotency-key-missing", "nothing is left of them");
}

#[test]
fn a_drain_waits_for_executions_whose_clients_have_left() {
    let ((stub, answers), memory) = (held(), Memory::new());
    let rig = rig(&with(|_| {}), &memory, &[&stub]);
    let mut wire = rig.connect();
    wire.send(post("k", "one"));
    eventually("it is executed", || executions(&stub) == 1);
    drop(wire);
    eventually("it is noticed", || rig.metric("seaworthy_client_connections{listener=\"ingress\"}") == 0);
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        answers.send(ok("done")).unwrap();
        answers
    });
    assert_eq!(rig.drain(Duration::from_secs(10)).cut, 0);
    assert_eq!(memory.log(), ["begin", "done"]);
    drop(late.join().unwrap());
}

#[test]
fn the_access_log_says_what_a_key_did() {
    let written = crate::drain::Shared::default();
    let writer = Destination::writer(Box::new(written.clone()), Rendering::Json);
    let (stub, memory) = (counting(), Memory::new());
    let logs = LogSink::start(vec![writer]).unwrap();
    let rig = Rig::keeping(&with(|_| {}), logs, 1, Some(Arc::clone(&memory) as _));
    rig.up("api", "1", stub.address);
    for body in ["one", "one", "two"] {
        rig.ask(&post("k", body));
    }
    rig.get("/");
    let text = || String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    eventually("all lines", || rig.logs.flush() && text().lines().count() == 4);
    let words: Vec<serde_json::Value> = text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["idempotency"].clone())
        .collect();
    assert_eq!(words, ["executed".into(), "replayed".into(), "mismatch".into(), serde_json::Value::Null]);
}
