//! Keys of ejection, retries and zones, each seen to decide something: with it, and with another value of it alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use seaworthy_observe::EventKind;
use seaworthy_policy::backoff::{BackoffConfig, Jitter};
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::pool::{EjectionConfig, Guard, Strategy};
use seaworthy_spec::plan::Plan;

use crate::stub::{PATIENCE, Stub, ok, status};
use crate::support::{Rig, Wire, call, plan, route, service};

/// One key, set otherwise.
type Change = fn(&mut EjectionConfig);

/// Ejection by comparison only: nothing here fails so often in a row, and nothing hangs.
fn compared(change: impl FnOnce(&mut EjectionConfig)) -> Plan {
    let mut config = EjectionConfig {
        consecutive_failures: 1_000,
        sweep_interval: Duration::from_millis(50),
        persistence: 2,
        failure_calls_min: 10,
        ..EjectionConfig::default()
    };
    change(&mut config);
    let mut api = service("api");
    api.pool.guard = Guard::Ejection(config);
    api.pool.balance.strategy = Strategy::RoundRobin;
    api.pool.balance.slow_start = Duration::ZERO;
    let mut all = route("all", "/**");
    all.call = Arc::new(CallConfig { hedge_percentile: None, ..call() });
    plan(vec![api], vec![all])
}

/// Why the first replica was found to be worse, as soon as it was, and after how many requests.
fn found(rig: &Rig, requests_max: usize) -> Option<(String, usize)> {
    let mut wire = rig.connect();
    for sent in 0..requests_max {
        wire.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let worse = rig.events().into_iter().find_map(|event| match event {
            EventKind::EndpointEjected { replica, reason, .. }
            | EventKind::EndpointOnProbation { replica, reason, .. } => {
                assert_eq!(replica, "1");
                Some(reason)
            }
            _ => None,
        });
        if let Some(reason) = worse {
            return Some((reason, sent));
        }
    }
    None
}

/// Five replicas, of which the first is this one.
fn among_good(plan: &Plan, first: &Stub, good: &[Stub]) -> Rig {
    let all: Vec<&Stub> = std::iter::once(first).chain(good).collect();
    Rig::of(plan, &all)
}

/// Fails every so many requests, beginning with the first.
fn failing_each(period: usize) -> Stub {
    let count = AtomicUsize::new(0);
    Stub::answering(move |_| {
        let fails = count.fetch_add(1, Ordering::SeqCst).is_multiple_of(period);
        Some(if fails { status(500, "bad") } else { ok("good") })
    })
}

#[test]
fn a_failing_replica_is_found_by_comparison_as_its_keys_say() {
    let good: Vec<Stub> = (0..4).map(|_| slowly(Duration::from_millis(1))).collect();
    let look = |change: Change, requests_max| {
        let failing = failing_each(6);
        found(&among_good(&compared(change), &failing, &good), requests_max)
    };
    let (reason, soon) = look(|config| config.persistence = 1, 3_000).expect("it is found");
    assert_eq!(reason, "fails much more often than its peers");
    assert_eq!(look(|config| config.failure_excess = 0.9, 4 * soon + 400), None);
}

/// Answers after so long.
fn slowly(time: Duration) -> Stub {
    Stub::answering(move |_| {
        std::thread::sleep(time);
        Some(ok("good"))
    })
}

#[test]
fn a_slow_replica_is_found_by_comparison_as_its_key_says() {
    let good: Vec<Stub> = (0..4).map(|_| slowly(Duration::from_millis(1))).collect();
    let slow = slowly(Duration::from_millis(40));
    let rig = among_good(&compared(|_| {}), &slow, &good);
    let (reason, took) = found(&rig, 2_000).expect("it is found");
    assert_eq!(reason, "much slower than its peers");
    let controls: [(&str, Change); 3] = [
        ("slow_factor", |config| config.slow_factor = 500.0),
        ("persistence", |config| config.persistence = 1_000_000),
        ("sweep_interval", |config| config.sweep_interval = Duration::from_hours(1)),
    ];
    for (key, change) in controls {
        let rig = among_good(&compared(change), &slow, &good);
        assert_eq!(found(&rig, 2 * took + 50), None, "{key}");
    }
}

/// One replica, whose first answer is a 503 with these fields; how long the client waited for what.
fn after_one_failure(call: &CallConfig, fields: &'static str) -> (u16, Duration) {
    let count = AtomicUsize::new(0);
    let stub = Stub::answering(move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let busy = format!("HTTP/1.1 503 X\r\n{fields}Content-Length: 0\r\n\r\n");
        Some(if first { busy.into_bytes() } else { ok("good") })
    });
    let mut all = route("all", "/**");
    all.call = Arc::new(CallConfig { hedge_percentile: None, ..call.clone() });
    let rig = Rig::of(&plan(vec![service("api")], vec![all]), &[&stub]);
    let begun = Instant::now();
    (rig.get("/").status, begun.elapsed())
}

#[test]
fn jitter_spreads_the_waits() {
    let initial = Duration::from_millis(120);
    let waits = |jitter| {
        let backoff = BackoffConfig { initial, max: initial, jitter, ..BackoffConfig::default() };
        let waits = (0..8).map(|_| {
            let (status, took) = after_one_failure(&CallConfig { backoff, ..call() }, "");
            assert_eq!(status, 200);
            took
        });
        waits.min().unwrap()
    };
    assert!(waits(Jitter::None) >= initial);
    assert!(waits(Jitter::Equal) >= initial / 2);
    // Eight waits that are all in the upper half happen once in 256 times; in the upper tenth, never.
    assert!(waits(Jitter::Full) < initial * 9 / 10);
}

#[test]
fn a_pause_is_kept_up_to_max_retry_after_and_passed_on_above() {
    let most = |seconds| CallConfig { max_retry_after: Duration::from_secs(seconds), ..call() };
    let (status, took) = after_one_failure(&most(1), "Retry-After: 1\r\n");
    assert_eq!(status, 200);
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let (status, took) = after_one_failure(&most(1), "Retry-After: 2\r\n");
    assert_eq!(status, 503);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let (status, _) = after_one_failure(&most(0), "Retry-After: 1\r\n");
    assert_eq!(status, 503);
}

#[test]
fn an_egress_asks_its_own_zone_first() {
    let (home, abroad) = (Stub::saying("home"), Stub::saying("abroad"));
    let mut api = service("api");
    api.egress = Some(([127, 0, 0, 1], 0).into());
    api.pool.balance.slow_start = Duration::ZERO;
    let plan = plan(vec![api], Vec::new());
    let asked = |plan: &Plan| {
        let rig = Rig::new(plan);
        rig.up_in("api", "1", abroad.address, 0);
        let id = rig.up_in("api", "2", home.address, 1);
        let mut wire = Wire::to(rig.gateway.egress_addresses()["api"]);
        let mut ask = || wire.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").text().to_owned();
        let mut texts: Vec<String> = (0..40).map(|_| ask()).collect();
        texts.sort_unstable();
        texts.dedup();
        // Nobody at home: then anybody.
        seaworthy_observe::EndpointSink::apply(
            &rig.gateway,
            seaworthy_observe::EndpointChange::Removed { id, reason: "gone" },
        );
        assert_eq!(ask(), "abroad");
        texts
    };
    assert_eq!(asked(&plan.in_zone("b").unwrap()), ["home"]);
    assert_eq!(asked(&plan), ["abroad", "home"], "without a zone all are alike");
}

/// A plan whose clients may pause for so long.
fn patient(limit: Duration) -> Plan {
    let mut plan = plan(vec![service("api")], vec![route("all", "/**")]);
    plan.client_body_timeout = limit;
    plan
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_given_up() {
    let stub = Stub::saying("done");
    let limit = Duration::from_millis(200);
    let rig = Rig::of(&patient(limit), &[&stub]);
    // Collected before anybody is asked; then streamed, as long bodies and those of unknown length are.
    for (framing, problem) in [
        ("Content-Length: 10\r\n\r\nhalf ", "request-body"),
        ("Content-Length: 1000000\r\n\r\nhalf ", "outcome-unknown"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhalf \r\n", "outcome-unknown"),
    ] {
        let before = stub.connections();
        let begun = Instant::now();
        let mut wire = rig.connect();
        wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"));
        let reply = wire.reply(false);
        let took = begun.elapsed();
        assert_eq!((reply.status, reply.problem().as_str()), (400, problem), "{framing}");
        assert!(took >= limit && took < PATIENCE, "{framing}: {took:?}");
        assert!(wire.is_closed(), "{framing}: what would come next is not a request");
        assert!(stub.seen().is_empty(), "{framing}: nobody got half of a request as a whole one");
        assert_eq!(stub.connections() > before, problem == "outcome-unknown", "{framing}");
    }
}

#[test]
fn a_client_that_goes_on_is_waited_for() {
    let stub = Stub::answering(|seen| Some(ok(&seen.body.len().to_string())));
    let limit = Duration::from_millis(600);
    let rig = Rig::of(&patient(limit), &[&stub]);
    let (begun, bytes) = (Instant::now(), 8);
    for head in ["Content-Length: 8\r\n\r\n", "Content-Length: 100008\r\n\r\n"] {
        let mut wire = rig.connect();
        wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}"));
        if head.contains("100008") {
            wire.send("x".repeat(100_000));
        }
        for _ in 0..bytes {
            std::thread::sleep(limit / 6);
            wire.send("x");
        }
        assert_eq!(wire.reply(false).status, 200, "{head}");
    }
    assert!(begun.elapsed() > limit, "longer than one pause may be");
}
