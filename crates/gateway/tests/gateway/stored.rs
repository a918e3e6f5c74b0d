//! Stored answers seen from both sides: what clients get, and how often the service was asked.

use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use seaworthy_observe::{EndpointChange, EndpointSink, EventKind, LogSink};
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::ladder::CALM;
use seaworthy_policy::pool::Strategy;
use seaworthy_spec::plan::{CacheLimits, CachePlan, DegradeStep, KeySource, Plan, RoutePlan};

use crate::entrance::bulkhead;
use crate::stub::{PATIENCE, Seen, Stub, ok, read_request, status};
use crate::support::{Reply, Rig, call, eventually, plan, route, service};

const LONG: Duration = Duration::from_mins(10);

fn with(change: impl FnOnce(&mut RoutePlan)) -> Plan {
    let mut all = route("all", "/**");
    change(&mut all);
    plan(vec![service("api")], vec![all])
}

fn cached(ttl: Duration) -> Plan {
    with(|route| route.cache = Some(CachePlan { ttl, stale_while_revalidate: Duration::ZERO }))
}

/// Keeps answers for bad times only.
fn kept() -> Plan {
    with(|route| route.degrade = vec![DegradeStep::Stale { max_age: LONG }])
}

/// Attempts are few and short.
fn hasty(plan: &mut Plan) {
    let config = CallConfig {
        attempt_timeout: Duration::from_millis(200),
        total_timeout: Duration::from_millis(400),
        max_attempts: 2,
        hedge_percentile: None,
        ..call()
    };
    plan.routes.iter_mut().for_each(|route| route.call = Arc::new(config.clone()));
}

/// Answers with the number of the request and these fields.
fn counting(fields: &'static str) -> Stub {
    let count = AtomicUsize::new(0);
    Stub::answering(move |_| {
        let body = format!("answer {}", count.fetch_add(1, Ordering::SeqCst) + 1);
        Some(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    })
}

/// Answers like `good` until told to fail with a 503.
fn failing_when(bad: &Arc<AtomicBool>) -> Stub {
    let bad = Arc::clone(bad);
    Stub::answering(move |_| Some(if bad.load(Ordering::SeqCst) { status(503, "no") } else { ok("good") }))
}

fn get(rig: &Rig, path: &str, fields: &str) -> Reply {
    rig.ask(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"))
}

fn count(rig: &Rig, outcome: &str) -> u64 {
    rig.metric(&format!(
        "seaworthy_cache_requests_total{{edge=\"ingress:api\",route=\"all\",outcome=\"{outcome}\"}}"
    ))
}

/// A whole answer was put into the store once more than before: the next request finds it.
fn asked(stub: &Stub) -> usize {
    stub.seen().len()
}

#[test]
fn a_fresh_answer_is_given_again() {
    let stub = counting("");
    let rig = Rig::of(&cached(LONG), &[&stub]);
    assert_eq!(rig.get("/a").text(), "answer 1");
    let again = rig.get("/a");
    assert_eq!((again.text(), again.field("age"), again.field("degraded")), ("answer 1", Some("0"), None));
    assert_eq!(again.field("cache-status"), Some("seaworthy; hit; ttl=600"));
    assert_eq!(rig.get("/a?x").text(), "answer 2", "the query belongs to the name");
    assert_eq!(rig.get("/b").text(), "answer 3");
    let other_host = rig.ask("GET /a HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(other_host.text(), "answer 4");
    assert_eq!((count(&rig, "hit"), count(&rig, "miss"), asked(&stub)), (1, 4, 4));
    assert!(rig.metric("seaworthy_cache_bytes") > 4 * 512 && rig.metric("seaworthy_cache_entries") == 4);
}

#[test]
fn a_head_is_answered_from_a_gets_answer_and_leaves_none() {
    let stub = counting("");
    let rig = Rig::of(&cached(LONG), &[&stub]);
    let head = "HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n";
    let heads = Stub::answering(|_| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n".to_vec()));
    let apart = Rig::of(&cached(LONG), &[&heads]);
    apart.ask(head);
    apart.ask(head);
    assert_eq!(asked(&heads), 2);
    rig.get("/a");
    let reply = rig.ask(head);
    assert_eq!(
        (reply.status, reply.field("content-length"), reply.field("age")),
        (200, Some("8"), Some("0"))
    );
    assert_eq!(asked(&stub), 1);
}

#[test]
fn what_must_not_be_stored_is_not() {
    for fields in [
        "Set-Cookie: a=b\r\n",
        "Cache-Control: no-store\r\n",
        "Cache-Control: public, no-store\r\n",
        "Cache-Control: private, max-age=60\r\n",
        "Cache-Control: no-cache\r\n",
        "Cache-Control: max-age=0\r\n",
        "Vary: *\r\n",
        "Degraded: static\r\n",
        "Content-Encoding: gzip\r\n",
    ] {
        let stub = counting(fields);
        let rig = Rig::of(&cached(LONG), &[&stub]);
        assert_eq!(rig.get("/").text(), "answer 1", "{fields}");
        assert_eq!(rig.get("/").text(), "answer 2", "{fields}");
    }
}

#[test]
fn only_some_statuses_are_stored() {
    for (code, stored) in
        [(200, true), (301, true), (404, true), (410, true), (201, false), (302, false), (403, false)]
    {
        let stub = Stub::answering(move |_| Some(status(code, "x")));
        let rig = Rig::of(&cached(LONG), &[&stub]);
        for _ in 0..3 {
            assert_eq!(rig.get("/").status, code);
        }
        assert_eq!(asked(&stub), if stored { 1 } else { 3 }, "{code}");
    }
}

#[test]
fn what_is_somebodys_own_is_not_given_to_others() {
    for own in ["Authorization: Bearer x\r\n", "Cookie: session=1\r\n"] {
        let stub = counting("");
        let rig = Rig::of(&cached(LONG), &[&stub]);
        assert_eq!(get(&rig, "/", own).text(), "answer 1");
        assert_eq!(get(&rig, "/", own).text(), "answer 2", "{own}");
        assert_eq!(get(&rig, "/", "").text(), "answer 3");
        assert_eq!(get(&rig, "/", own).text(), "answer 4", "nor anybody's to them");
        assert_eq!(get(&rig, "/", "").text(), "answer 3", "and theirs wipes out nothing");
        let public = counting("Cache-Control: public\r\n");
        let rig = Rig::of(&cached(LONG), &[&public]);
        assert_eq!(get(&rig, "/", own).text(), "answer 1");
        assert_eq!(get(&rig, "/", "").text(), "answer 1");
        assert_eq!(get(&rig, "/", own).text(), "answer 1");
    }
}

#[test]
fn ranges_and_writes_pass_the_store() {
    let stub = counting("");
    let rig = Rig::of(&cached(LONG), &[&stub]);
    rig.get("/");
    assert_eq!(get(&rig, "/", "Range: bytes=0-1\r\n").text(), "answer 2");
    assert_eq!(get(&rig, "/", "Cache-Control: no-store\r\n").text(), "answer 3");
    let post = rig.ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post.text(), "answer 4");
    let with_body = rig.ask("GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(with_body.text(), "answer 5");
    assert_eq!(rig.get("/").text(), "answer 1");
}

#[test]
fn variants_are_kept_apart() {
    let stub = Stub::answering(|seen: &Seen| {
        let language = seen.field("accept-language").unwrap_or("none").to_owned();
        let length = language.len();
        Some(
            format!("HTTP/1.1 200 OK\r\nVary: Accept-Language\r\nContent-Length: {length}\r\n\r\n{language}")
                .into_bytes(),
        )
    });
    let rig = Rig::of(&cached(LONG), &[&stub]);
    for _ in 0..3 {
        for language in ["de", "en", "fr"] {
            let reply = get(&rig, "/", &format!("Accept-Language: {language}\r\n"));
            assert_eq!(reply.text(), language);
        }
        assert_eq!(rig.get("/").text(), "none");
    }
    assert_eq!(asked(&stub), 4);
}

#[test]
fn an_answer_shortens_its_own_life() {
    let stub = counting("Cache-Control: max-age=1\r\nAge: 1\r\n");
    let rig = Rig::of(&cached(LONG), &[&stub]);
    assert_eq!(rig.get("/").text(), "answer 1");
    assert_eq!(rig.get("/").text(), "answer 2", "it was a second old when it came");
}

#[test]
fn whoever_has_the_answer_hears_only_that() {
    let stub = counting("ETag: W/\"v1\"\r\n");
    let rig = Rig::of(&cached(LONG), &[&stub]);
    let conditional = |tag: &str| get(&rig, "/", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(conditional("\"v1\"").status, 200, "what is fetched for everybody is fetched whole");
    assert!(stub.seen()[0].field("if-none-match").is_none());
    let known = conditional("\"v0\", \"v1\"");
    assert_eq!((known.status, known.field("etag")), (304, Some("W/\"v1\"")));
    assert_eq!(conditional("\"v2\"").text(), "answer 1");
    assert_eq!(asked(&stub), 1);
}

#[test]
fn long_broken_and_endless_answers_are_not_stored() {
    let mut small = cached(LONG);
    small.cache = CacheLimits { max_answer_bytes: 4, ..CacheLimits::default() };
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    let trailer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    for (plan, answer) in [
        (small.clone(), ok("hello")),
        (small.clone(), chunked.to_vec()),
        (cached(LONG), trailer.to_vec()),
        (cached(LONG), b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end".to_vec()),
    ] {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let stub = Stub::raw(move |stream, record| {
            if let Some(seen) = read_request(stream) {
                record(seen);
                stream.write_all(&answer).unwrap();
            }
        });
        let rig = Rig::of(&plan, &[&stub]);
        rig.get("/");
        rig.get("/");
        assert_eq!(asked(&stub), 2, "{shown}");
    }
    let fits = Stub::saying("four");
    let rig = Rig::of(&small, &[&fits]);
    rig.get("/");
    assert_eq!((rig.get("/").text(), asked(&fits)), ("four", 1));
}

#[test]
fn an_answer_that_breaks_off_is_not_stored() {
    let first = AtomicBool::new(true);
    let stub = Stub::raw(move |stream, record| {
        while let Some(seen) = read_request(stream) {
            record(seen);
            if first.swap(false, Ordering::SeqCst) {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
                return;
            }
            stream.write_all(&ok("whole")).unwrap();
        }
    });
    let rig = Rig::of(&cached(LONG), &[&stub]);
    assert_eq!(rig.get("/").body.unwrap_err(), b"half");
    assert_eq!(rig.get("/").text(), "whole");
}

#[test]
fn refreshes_that_outgrow_the_store_are_no_failures_of_their_endpoint() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nnine long\r\n0\r\n\r\n";
    let grown = Arc::new(AtomicBool::new(false));
    let long = Arc::clone(&grown);
    let growing = Stub::answering(move |_| {
        Some(if long.load(Ordering::SeqCst) { chunked.to_vec() } else { ok("four") })
    });
    let steady = Stub::saying("four");
    let mut plan = with(|route| {
        let ttl = Duration::from_nanos(1);
        route.cache = Some(CachePlan { ttl, stale_while_revalidate: LONG });
        // Each is to be asked once.
        route.call = Arc::new(CallConfig { hedge_percentile: None, ..call() });
    });
    plan.cache = CacheLimits { max_answer_bytes: 4, ..CacheLimits::default() };
    plan.services[0].pool.balance.strategy = Strategy::RoundRobin;
    let rig = Rig::of(&plan, &[&growing, &steady]);
    let paths: Vec<String> = (0..100).map(|number| format!("/{number}")).collect();
    for path in &paths {
        assert_eq!(rig.get(path).text(), "four");
    }
    grown.store(true, Ordering::SeqCst);
    for path in &paths {
        assert_eq!(rig.get(path).text(), "four", "a refresh goes out for it");
    }
    let idle = || rig.gateway.views()[0].endpoints.iter().all(|(_, view)| view.in_flight == 0);
    eventually("all refreshes", || asked(&growing) + asked(&steady) == 2 * paths.len() && idle());
    assert!(asked(&growing) >= 80, "many of them outgrew it");
    assert!(!rig.events().iter().any(|event| matches!(event, EventKind::EndpointEjected { .. })));
}

/// A stub whose answers wait for a word each.
fn held() -> (Stub, Sender<Vec<u8>>) {
    let (say, words): (Sender<Vec<u8>>, Receiver<Vec<u8>>) = channel();
    let words = Mutex::new(words);
    let stub = Stub::answering(move |_| words.lock().unwrap().recv_timeout(PATIENCE).ok());
    (stub, say)
}

#[test]
fn many_ask_and_one_is_sent_by_all_threads_together() {
    let (stub, say) = held();
    let plan = cached(LONG);
    let rig = Rig::logging(&plan, LogSink::discard(), 2);
    rig.up("api", "1", stub.address);
    let mut wires: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    for wire in &mut wires {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    eventually("all of them are in", || {
        rig.metric("seaworthy_requests_in_flight{edge=\"ingress:api\",route=\"all\"}") == 20
    });
    say.send(ok("one")).unwrap();
    for wire in &mut wires {
        assert_eq!(wire.reply(false).text(), "one");
    }
    assert_eq!(asked(&stub), 1);
    assert_eq!(count(&rig, "miss"), 1);
    assert_eq!(count(&rig, "coalesced") + count(&rig, "hit"), 19);
}

#[test]
fn a_client_that_leaves_hands_its_flight_on() {
    let (stub, say) = held();
    let rig = Rig::of(&cached(LONG), &[&stub]);
    let mut first = rig.connect();
    first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("the first is sent", || asked(&stub) == 1);
    let mut second = rig.connect();
    second.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("the second waits", || {
        rig.metric("seaworthy_requests_in_flight{edge=\"ingress:api\",route=\"all\"}") == 2
    });
    drop(first);
    say.send(ok("to nobody")).unwrap();
    say.send(ok("to the second")).unwrap();
    let reply = second.reply(false);
    assert!(reply.text().starts_with("to "), "{reply:?}");
    eventually("the second is sent", || asked(&stub) == 2);
}

#[test]
fn waiting_ends_with_the_deadline() {
    let (stub, _say) = held();
    let mut plan = cached(LONG);
    hasty(&mut plan);
    let rig = Rig::of(&plan, &[&stub]);
    let mut wires: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    for wire in &mut wires {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    for wire in &mut wires {
        assert_eq!(wire.reply(false).status, 504);
    }
}

#[test]
fn a_stale_answer_is_given_while_a_new_one_is_fetched() {
    let (stub, say) = held();
    let plan = with(|route| {
        let ttl = Duration::from_millis(1);
        route.cache = Some(CachePlan { ttl, stale_while_revalidate: LONG });
    });
    let rig = Rig::of(&plan, &[&stub]);
    say.send(ok("old")).unwrap();
    assert_eq!(rig.get("/").text(), "old");
    std::thread::sleep(Duration::from_millis(2));
    // One refresh, which hangs, whoever asks; and nobody waits for it.
    for _ in 0..5 {
        let stale = rig.get("/");
        assert_eq!((stale.text(), stale.field("degraded")), ("old", None));
        assert_eq!(stale.field("cache-status"), Some("seaworthy; hit; ttl=0; detail=stale-while-revalidate"));
    }
    eventually("the refresh is sent", || asked(&stub) == 2);
    say.send(ok("new")).unwrap();
    eventually("it is stored", || rig.get("/").text() == "new" || say.send(ok("new")).is_err());
}

#[test]
fn a_failed_answer_is_replaced_by_the_last_good_one() {
    let bad = Arc::new(AtomicBool::new(false));
    let stub = failing_when(&bad);
    let rig = Rig::of(&kept(), &[&stub]);
    let began = Instant::now();
    for _ in 0..3 {
        let good = rig.get("/");
        assert_eq!((good.text(), good.field("cache-status")), ("good", None), "nothing is shared");
    }
    assert_eq!(asked(&stub), 3);
    bad.store(true, Ordering::SeqCst);
    let before = asked(&stub);
    for _ in 0..50 {
        let stale = rig.get("/");
        assert_eq!((stale.status, stale.text(), stale.field("degraded")), (200, "good", Some("stale")));
        let age: u64 = stale.field("age").expect("an age").parse().expect("a number");
        assert!(age <= began.elapsed().as_secs(), "{age}");
        assert_eq!(stale.field("cache-status"), Some("seaworthy; hit; ttl=0; detail=stale-if-error"));
    }
    // One flight, of three attempts at most, every five seconds.
    let asked_at_most = 3 * (1 + began.elapsed().as_secs() / 5);
    let asked = (asked(&stub) - before) as u64;
    assert!(asked <= asked_at_most, "a sick service is left alone: {asked}");
    let head = rig.ask("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!((head.status, head.field("degraded")), (200, Some("stale")));
    let fresh_one = rig.get("/never-seen");
    assert_eq!((fresh_one.status, fresh_one.field("degraded")), (503, None), "nothing is stored for that");
    let post = rig.ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        (post.status, post.field("degraded")),
        (503, None),
        "a write is never answered from the store"
    );
    let begun = rig.events().into_iter().filter(|event| matches!(event, EventKind::DegradationBegan { .. }));
    assert_eq!(begun.count(), 1);
}

#[test]
fn degradation_lasts_as_long_as_stored_answers_hide_a_failure() {
    let bad = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&bad);
    let stub = Stub::answering(move |seen| {
        let fails = failing.load(Ordering::SeqCst) && seen.line().contains("/bad");
        Some(if fails { status(503, "no") } else { ok("good") })
    });
    let rig = Rig::of(&kept(), &[&stub]);
    rig.get("/bad");
    bad.store(true, Ordering::SeqCst);
    // Only the first of them fails at the service; nobody asks it on behalf of the others for a while.
    let begun = Instant::now();
    while begun.elapsed() < CALM + Duration::from_millis(200) {
        assert_eq!(rig.get("/bad").field("degraded"), Some("stale"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(rig.get("/good").field("degraded"), None);
    assert!(!rig.events().iter().any(|event| matches!(event, EventKind::DegradationEnded { .. })));
}

#[test]
fn what_stands_above_the_store_is_asked_every_time() {
    let bad = Arc::new(AtomicBool::new(false));
    let (first, spare) = (failing_when(&bad), Stub::saying("spare"));
    let above = DegradeStep::Service { to: 1, max_concurrent_calls: 9, time_kept: Duration::from_secs(5) };
    let mut all = route("all", "/**");
    all.degrade = vec![above, DegradeStep::Stale { max_age: LONG }];
    for cache in
        [None, Some(CachePlan { ttl: Duration::from_nanos(1), stale_while_revalidate: Duration::ZERO })]
    {
        bad.store(false, Ordering::SeqCst);
        all.cache = cache;
        let rig = Rig::new(&plan(vec![service("api"), service("spare")], vec![all.clone()]));
        rig.up("api", "1", first.address);
        let id = rig.up("spare", "1", spare.address);
        assert_eq!(rig.get("/").text(), "good");
        bad.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let reply = rig.get("/");
            assert_eq!((reply.text(), reply.field("degraded")), ("spare", Some("fallback")), "{cache:?}");
        }
        rig.gateway.apply(EndpointChange::Removed { id, reason: "gone" });
        let reply = rig.get("/");
        assert_eq!((reply.text(), reply.field("degraded")), ("good", Some("stale")), "{cache:?}");
    }
}

#[test]
fn a_service_that_is_gone_or_hangs_is_replaced_too() {
    let stub = Stub::saying("good");
    let mut plan = kept();
    hasty(&mut plan);
    let rig = Rig::new(&plan);
    let id = rig.up("api", "1", stub.address);
    assert_eq!(rig.get("/").text(), "good");
    rig.gateway.apply(EndpointChange::Removed { id, reason: "gone" });
    let stale = rig.get("/");
    assert_eq!((stale.text(), stale.field("degraded")), ("good", Some("stale")));
    assert!(stale.proxy_status().contains("destination_unavailable"), "{stale:?}");

    let (hanging, say) = held();
    let rig = Rig::of(&plan, &[&hanging]);
    say.send(ok("good")).unwrap();
    assert_eq!(rig.get("/").text(), "good");
    let stale = rig.get("/");
    assert_eq!((stale.text(), stale.field("degraded")), ("good", Some("stale")));
}

#[test]
fn must_revalidate_is_never_shown_stale() {
    let bad = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&bad);
    let stub = Stub::answering(move |_| {
        let good = b"HTTP/1.1 200 OK\r\nCache-Control: must-revalidate\r\nContent-Length: 0\r\n\r\n";
        Some(if flag.load(Ordering::SeqCst) { status(503, "no") } else { good.to_vec() })
    });
    let rig = Rig::of(&kept(), &[&stub]);
    rig.get("/");
    bad.store(true, Ordering::SeqCst);
    assert_eq!(rig.get("/").status, 503);
}

#[test]
fn the_least_recently_used_go_first() {
    let stub = counting("");
    let mut plan = cached(LONG);
    plan.cache = CacheLimits { max_entries: 2, ..CacheLimits::default() };
    let rig = Rig::of(&plan, &[&stub]);
    for path in ["/1", "/2", "/1", "/3"] {
        rig.get(path);
    }
    assert_eq!(rig.get("/1").text(), "answer 1");
    assert_eq!(rig.get("/2").text(), "answer 4", "it was pushed out");
    assert_eq!(rig.metric("seaworthy_cache_entries"), 2);
    assert_eq!(rig.metric("seaworthy_cache_evictions_total"), 2);
    let mut tight = cached(LONG);
    tight.cache = CacheLimits { max_bytes: 2_000, ..CacheLimits::default() };
    let rig = Rig::of(&tight, &[&stub]);
    for number in 0..50 {
        rig.get(&format!("/{number}"));
        assert!(rig.metric("seaworthy_cache_bytes") <= 2_000);
    }
}

#[test]
fn another_service_stands_in() {
    let (good, other) = (Stub::saying("good"), Stub::saying("other"));
    let step = DegradeStep::Service { to: 1, max_concurrent_calls: 1, time_kept: Duration::from_secs(5) };
    let fixed = DegradeStep::Static { status: 503, json: "{}".to_owned() };
    let mut all = route("all", "/**");
    all.degrade = vec![step, fixed];
    let plan = plan(vec![service("api"), service("spare")], vec![all]);
    let rig = Rig::new(&plan);
    let id = rig.up("api", "1", good.address);
    rig.up("spare", "1", other.address);
    assert_eq!(rig.get("/").text(), "good");
    rig.gateway.apply(EndpointChange::Removed { id, reason: "gone" });
    let reply = rig.get("/x");
    assert_eq!((reply.text(), reply.field("degraded")), ("other", Some("fallback")));
    // Nothing of a write was sent to the first, so the second may have it.
    let post = rig.ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!((post.text(), post.field("degraded")), ("other", Some("fallback")));
    assert_eq!(other.seen().last().unwrap().body, b"x");
    drop(other);
    eventually("the last rung", || rig.get("/").field("degraded") == Some("static"));
}

#[test]
fn a_write_that_may_have_been_executed_stays_where_it_was() {
    let resetting = Stub::raw(|stream, record| record(read_request(stream).unwrap()));
    let other = Stub::saying("other");
    let mut all = route("all", "/**");
    all.degrade = vec![
        DegradeStep::Stale { max_age: LONG },
        DegradeStep::Service { to: 1, max_concurrent_calls: 1, time_kept: Duration::from_secs(5) },
        DegradeStep::Static { status: 200, json: "{}".to_owned() },
    ];
    let rig = Rig::new(&plan(vec![service("api"), service("spare")], vec![all]));
    rig.up("api", "1", resetting.address);
    rig.up("spare", "1", other.address);
    let post = rig.ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(
        (post.status, post.problem().as_str(), post.field("degraded")),
        (502, "outcome-unknown", None)
    );
    assert_eq!((asked(&resetting), asked(&other)), (1, 0));
}

#[test]
fn a_write_that_the_second_service_may_have_executed_stays_there() {
    let failing = Stub::answering(|_| Some(status(500, "half done")));
    let resetting = Stub::raw(|stream, record| record(read_request(stream).unwrap()));
    let mut all = route("all", "/**");
    all.degrade = vec![
        DegradeStep::Service { to: 1, max_concurrent_calls: 1, time_kept: Duration::from_secs(5) },
        DegradeStep::Static { status: 200, json: "{}".to_owned() },
    ];
    let plan = plan(vec![service("api"), service("spare")], vec![all]);
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx";
    // Nothing was sent to the first, and yet nobody may say so.
    let rig = Rig::new(&plan);
    rig.up("spare", "1", failing.address);
    let answered = rig.ask(post);
    assert_eq!(
        (answered.status, answered.text(), answered.field("degraded")),
        (500, "half done", Some("fallback"))
    );
    let read = rig.get("/");
    assert_eq!((read.status, read.field("degraded")), (200, Some("static")), "a read falls on");
    let rig = Rig::new(&plan);
    rig.up("spare", "1", resetting.address);
    let unknown = rig.ask(post);
    assert_eq!(
        (unknown.status, unknown.problem().as_str(), unknown.field("degraded")),
        (502, "outcome-unknown", None)
    );
    // A PUT may be sent again, so its outcome is not called unknown; it is not degraded either.
    let put = rig.ask("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!((put.status, put.field("degraded")), (502, None), "{put:?}");
}

#[test]
fn a_refusal_at_a_gate_is_answered_from_the_store() {
    let (stub, say) = held();
    let mut plan = kept();
    plan.routes[0].entrance = bulkhead(1, 0, KeySource::All);
    let rig = Rig::of(&plan, &[&stub]);
    say.send(ok("good")).unwrap();
    assert_eq!(rig.get("/").text(), "good");
    let mut first = rig.connect();
    first.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("it is asked", || asked(&stub) == 2);
    let stale = rig.get("/");
    assert_eq!((stale.status, stale.text(), stale.field("degraded")), (200, "good", Some("stale")));
    let unknown = rig.get("/never-seen");
    assert_eq!(
        (unknown.status, unknown.problem().as_str()),
        (503, "overloaded"),
        "nothing is stored for that"
    );
    let post = rig.ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((post.status, post.problem().as_str()), (503, "overloaded"), "nor for a write");
    assert_eq!(asked(&stub), 2, "none of them was sent");
    say.send(ok("slow")).unwrap();
    assert_eq!(first.reply(false).text(), "slow");
}

#[test]
fn the_second_service_has_few_places() {
    let (other, say) = held();
    let mut all = route("all", "/**");
    all.degrade =
        vec![DegradeStep::Service { to: 1, max_concurrent_calls: 1, time_kept: Duration::from_secs(5) }];
    let rig = Rig::new(&plan(vec![service("api"), service("spare")], vec![all]));
    rig.up("spare", "1", other.address);
    let mut first = rig.connect();
    first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("it is asked", || asked(&other) == 1);
    assert_eq!(rig.get("/").problem(), "no-endpoint");
    say.send(ok("other")).unwrap();
    assert_eq!(first.reply(false).text(), "other");
    say.send(ok("again")).unwrap();
    assert_eq!(rig.get("/").text(), "again", "the place is free again");
}
