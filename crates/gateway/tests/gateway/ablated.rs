//! Control runs: each mechanism of the gateway does something that people notice, and `--ablate` takes exactly that away.
//! (What processes and probes do about it, `replicas` and `restart`, is tested where they are run.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seaworthy_observe::{EndpointChange, EndpointId, EndpointSink, EventKind};
use seaworthy_policy::breaker::BreakerConfig;
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::pool::{Guard, Strategy};
use seaworthy_spec::plan::{CachePlan, DegradeStep, Mechanism, Plan};

use crate::stub::{Stub, ok, read_request, status};
use crate::support::{Rig, plan, route, service};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Two replicas in turn, without hedges.
fn base(change: impl FnOnce(&mut Plan)) -> Plan {
    let mut api = service("api");
    api.pool.balance.strategy = Strategy::RoundRobin;
    api.pool.balance.slow_start = Duration::ZERO;
    let mut plan = plan(vec![api], vec![route("all", "/**")]);
    with_call(&mut plan, |call| call.hedge_percentile = None);
    change(&mut plan);
    plan
}

fn with_call(plan: &mut Plan, change: impl FnOnce(&mut CallConfig)) {
    let mut config = CallConfig { ..(*plan.routes[0].call).clone() };
    change(&mut config);
    plan.routes[0].call = Arc::new(config);
}

/// With everything, and without one thing.
fn both(plan: &Plan, without: Mechanism, stubs: &[&Stub]) -> [Rig; 2] {
    [Rig::of(plan, stubs), Rig::of(&plan.ablate(without), stubs)]
}

fn statuses(rig: &Rig, count: usize) -> Vec<u16> {
    let mut wire = rig.connect();
    (0..count).map(|_| wire.ask(GET).status).collect()
}

fn failing(code: u16) -> Stub {
    Stub::answering(move |_| Some(status(code, "bad")))
}

/// Answers after so long.
fn slow(time: Duration) -> Stub {
    Stub::answering(move |_| {
        std::thread::sleep(time);
        Some(ok("late"))
    })
}

fn ejections(rig: &Rig) -> usize {
    rig.events().iter().filter(|event| matches!(event, EventKind::EndpointEjected { .. })).count()
}

#[test]
fn retry() {
    let (bad, good) = (failing(503), Stub::saying("good"));
    let [with, without] = both(&base(|_| {}), Mechanism::Retry, &[&bad, &good]);
    assert_eq!(statuses(&with, 8), [200; 8]);
    assert!(statuses(&without, 8).contains(&503));
    // Not even where nothing was sent for sure.
    let nobody = Stub::saying("");
    let address = nobody.address;
    drop(nobody);
    let alone = Rig::new(&base(|_| {}).ablate(Mechanism::Retry));
    alone.up("api", "1", address);
    alone.up("api", "2", good.address);
    assert!(statuses(&alone, 2).contains(&502));
}

#[test]
fn hedge() {
    let late = Duration::from_millis(600);
    let (slow, good) = (slow(late), Stub::saying("good"));
    // Usually hedges are a small share of the requests, and here there are few.
    let plan = base(|plan| {
        plan.services[0].pool.budget.hedge_ratio = 1.0;
        with_call(plan, |call| call.hedge_delay = Some(Duration::from_millis(30)));
    });
    let longest = |rig: &Rig| {
        let took = (0..2).map(|_| {
            let begun = Instant::now();
            assert_eq!(rig.get("/").status, 200);
            begun.elapsed()
        });
        took.max().unwrap()
    };
    let [with, without] = both(&plan, Mechanism::Hedge, &[&slow, &good]);
    assert!(longest(&with) < late);
    assert!(longest(&without) >= late);
}

#[test]
fn ejection() {
    let (bad, good) = (failing(500), Stub::saying("good"));
    let others = [Stub::saying("good"), Stub::saying("good")];
    let [with, without] = both(&base(|_| {}), Mechanism::Ejection, &[&bad, &good, &others[0], &others[1]]);
    assert_eq!(statuses(&with, 100), [200; 100]);
    assert_eq!(ejections(&with), 1);
    let before = bad.seen().len();
    assert!(before < 20, "it was left alone: {before}");
    statuses(&without, 100);
    assert_eq!(ejections(&without), 0);
    assert!(bad.seen().len() - before >= 25, "it keeps its turns: {}", bad.seen().len() - before);
}

#[test]
fn the_stall_rule_is_part_of_ejection() {
    let stop = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&stop);
    let hung = Stub::answering(move |_| {
        while !held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    });
    let (good, more) = (Stub::saying("good"), Stub::saying("good"));
    let plan = base(|plan| {
        with_call(plan, |call| {
            call.attempt_timeout = Duration::from_secs(2);
            call.total_timeout = Duration::from_secs(2);
        });
    });
    let seen = both(&plan, Mechanism::Ejection, &[&good, &more]).map(|rig| {
        assert_eq!(statuses(&rig, 30), [200; 30], "what is usual has to be known");
        rig.up("api", "3", hung.address);
        let mut wires: Vec<_> = (0..40).map(|_| rig.connect()).collect();
        // While some wait for the one, others hear from its peers.
        for wave in wires.chunks_mut(5) {
            for wire in wave {
                wire.send(GET);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let statuses: Vec<u16> = wires.iter_mut().map(|wire| wire.reply(false).status).collect();
        let late = statuses.iter().filter(|status| **status == 504).count();
        (late, ejections(&rig))
    });
    stop.store(true, Ordering::SeqCst);
    let [(late, with), (later, without)] = seen;
    assert_eq!((with, without), (1, 0));
    assert!(late < later && later >= 10, "{late} of 40 waited until the end, {later} without the rule");
}

#[test]
fn readiness() {
    let stub = Stub::saying("good");
    let unready = |plan: &Plan| {
        let rig = Rig::new(plan);
        let id = EndpointId { service: "api".into(), replica: "1".into(), incarnation: 1 };
        rig.gateway.apply(EndpointChange::Added { id, address: stub.address, zone: 0 });
        rig.get("/").status
    };
    let plan = base(|_| {});
    assert_eq!((unready(&plan), unready(&plan.ablate(Mechanism::Readiness))), (503, 200));
}

#[test]
fn parking() {
    let stub = Stub::saying("good");
    let plan = base(|plan| with_call(plan, |call| call.park = true));
    let [with, without] = [plan.clone(), plan.ablate(Mechanism::Parking)].map(|plan| {
        let rig = Rig::new(&plan);
        let mut wire = rig.connect();
        wire.send(GET);
        let parked = || rig.metric("seaworthy_parked_requests{edge=\"ingress:api\"}");
        let begun = Instant::now();
        while parked() == 0 && begun.elapsed() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let waited = parked();
        rig.up("api", "1", stub.address);
        (waited, wire.reply(false).status)
    });
    assert_eq!((with, without), ((1, 200), (0, 503)));
}

#[test]
fn breaker() {
    let bad = failing(500);
    let plan = base(|plan| {
        plan.services[0].pool.guard = Guard::Breaker(BreakerConfig {
            consecutive_failures: 3,
            quiet: Duration::ZERO,
            ..BreakerConfig::default()
        });
        with_call(plan, |call| call.retry = false);
    });
    let [with, without] = both(&plan, Mechanism::Breaker, &[&bad]);
    assert_eq!(statuses(&with, 6), [500, 500, 500, 503, 503, 503]);
    assert_eq!(statuses(&without, 30), [500; 30]);
}

#[test]
fn attempt_timeout() {
    let (slow, good) = (slow(Duration::from_secs(3)), Stub::saying("good"));
    let plan = base(|plan| {
        with_call(plan, |call| {
            call.attempt_timeout = Duration::from_millis(100);
            call.total_timeout = Duration::from_millis(800);
        });
    });
    let [with, without] = both(&plan, Mechanism::AttemptTimeout, &[&slow, &good]);
    assert_eq!(statuses(&with, 2), [200, 200]);
    let mut seen = statuses(&without, 2);
    seen.sort_unstable();
    assert_eq!(seen, [200, 504]);
}

#[test]
fn degrade() {
    let bad = Arc::new(AtomicBool::new(false));
    let is_bad = Arc::clone(&bad);
    let stub = Stub::answering(move |_| (!is_bad.load(Ordering::SeqCst)).then(|| ok("good")));
    let spare = Stub::saying("spare");
    let ttl = Duration::from_millis(1);
    let ladder = [
        vec![DegradeStep::Stale { max_age: Duration::from_mins(10) }],
        vec![DegradeStep::Service { to: 1, max_concurrent_calls: 9, time_kept: Duration::from_secs(5) }],
        vec![DegradeStep::Static { status: 200, json: "{}".to_owned() }],
    ];
    for (steps, step) in ladder.into_iter().zip(["stale", "fallback", "static"]) {
        // Stored answers that are not fresh any more are part of the ladder, too, with a cache and without.
        for cache in [None, Some(CachePlan { ttl, stale_while_revalidate: Duration::ZERO })] {
            let plan = base(|plan| {
                plan.services.push(service("spare"));
                plan.routes[0].degrade.clone_from(&steps);
                plan.routes[0].cache = cache;
            });
            for (plan, expected) in [(plan.clone(), Some(step)), (plan.ablate(Mechanism::Degrade), None)] {
                bad.store(false, Ordering::SeqCst);
                let rig = Rig::of(&plan, &[&stub]);
                rig.up("spare", "1", spare.address);
                assert_eq!(rig.get("/").text(), "good");
                std::thread::sleep(2 * ttl);
                bad.store(true, Ordering::SeqCst);
                for _ in 0..3 {
                    let reply = rig.get("/");
                    assert_eq!(reply.field("degraded"), expected, "{step} {cache:?}");
                    assert_eq!(reply.status >= 500, expected.is_none(), "{step} {cache:?}");
                }
                let told = rig.events().into_iter();
                let told = told.filter(|event| matches!(event, EventKind::DegradationBegan { .. })).count();
                assert_eq!(told, usize::from(expected.is_some()));
            }
        }
    }
}

#[test]
fn idempotency() {
    let resetting = Stub::raw(|stream, record| record(read_request(stream).unwrap()));
    let good = Stub::saying("done");
    let plan = base(|plan| plan.routes[0].keyed = true);
    let post = |rig: &Rig, key: &str| {
        let reply = rig.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 1\r\n\r\nx"));
        (reply.status, if reply.status == 200 { String::new() } else { reply.problem() })
    };
    let [with, without] = both(&plan, Mechanism::Idempotency, &[&resetting, &good]);
    for _ in 0..2 {
        assert_eq!(post(&with, "Idempotency-Key: k\r\n"), (200, String::new()));
    }
    let mut seen = [(); 2].map(|()| post(&without, "Idempotency-Key: k\r\n"));
    seen.sort();
    assert_eq!(seen, [(200, String::new()), (502, "outcome-unknown".to_owned())]);
    assert_eq!(post(&with, ""), (400, "idempotency-key-missing".to_owned()));
    assert_ne!(post(&without, "").0, 400);
}
