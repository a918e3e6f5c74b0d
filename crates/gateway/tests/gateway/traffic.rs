//! How the gateway spreads requests over endpoints, caps them, hedges them, and speaks about deadlines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_observe::EventKind;
use seaworthy_policy::breaker::{BreakerConfig, Mode};
use seaworthy_policy::pool::{Guard, Strategy, Tier};
use seaworthy_spec::plan::{AffinitySource, MemberPlan, Plan, ServicePlan};

use crate::stub::Stub;
use crate::support::{Rig, Wire, call, plan, route, service};

fn with(change: impl FnOnce(&mut ServicePlan)) -> Plan {
    let mut api = service("api");
    // Nobody is new here: what is tested is not the warm-up.
    api.pool.balance.slow_start = Duration::ZERO;
    change(&mut api);
    plan(vec![api], vec![route("all", "/**")])
}

fn with_egress(change: impl FnOnce(&mut ServicePlan)) -> Plan {
    with(|api| {
        api.egress = Some(([127, 0, 0, 1], 0).into());
        change(api);
    })
}

/// A stub that answers with a text of its own, and an endpoint of the first service.
fn member(tier: Tier, weight: u32) -> MemberPlan {
    MemberPlan { tier, weight }
}

#[test]
fn in_turn_and_by_weight() {
    let (one, two) = (Stub::saying("one"), Stub::saying("two"));
    let plan = with(|api| {
        api.pool.balance.strategy = Strategy::RoundRobin;
        api.traffic.members = BTreeMap::from([("2".to_owned(), member(Tier::Active, 3))]);
    });
    let rig = Rig::of(&plan, &[&one, &two]);
    for _ in 0..40 {
        assert_eq!(rig.get("/").status, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (10, 30));
}

#[test]
fn a_session_stays_where_it_was() {
    let stubs = [Stub::saying("one"), Stub::saying("two"), Stub::saying("three")];
    let plan = with(|api| api.traffic.affinity = Some(AffinitySource::Cookie("session".to_owned())));
    let all: Vec<&Stub> = stubs.iter().collect();
    let (rig, other) = (Rig::of(&plan, &all), Rig::new(&plan));
    // Another gateway, or this one after restarts, meets them in another order.
    for replica in [3, 1, 2] {
        other.up("api", &replica.to_string(), stubs[replica - 1].address);
    }
    let home = |rig: &Rig, session: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: theme=dark; session={session}\r\n\r\n");
        rig.ask(&request).text().to_owned()
    };
    let mut homes = Vec::new();
    for session in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let first = home(&rig, session);
        for _ in 0..5 {
            assert_eq!(home(&rig, session), first, "{session}");
        }
        assert_eq!(home(&other, session), first, "{session} in another gateway");
        homes.push(first);
    }
    homes.sort_unstable();
    homes.dedup();
    assert!(homes.len() > 1, "sessions are spread: {homes:?}");
}

#[test]
fn a_standby_serves_only_while_nobody_else_does() {
    let (active, standby) = (Stub::saying("active"), Stub::saying("standby"));
    let plan = with(|api| {
        api.traffic.members = BTreeMap::from([("2".to_owned(), member(Tier::Standby, 1))]);
        api.pool.balance.failback_delay = Duration::from_mins(1);
    });
    let rig = Rig::of(&plan, &[&active, &standby]);
    for _ in 0..10 {
        assert_eq!(rig.get("/").text(), "active");
    }
    let view = rig.gateway.views().remove(0);
    assert_eq!(
        view.endpoints.iter().map(|(_, view)| view.tier).collect::<Vec<_>>(),
        [Tier::Active, Tier::Standby]
    );
    let id = view.endpoints[0].0.clone();
    let health = |ready| seaworthy_observe::EndpointChange::Health { id: id.clone(), ready, reason: "test" };
    seaworthy_observe::EndpointSink::apply(&rig.gateway, health(false));
    assert_eq!(rig.get("/").text(), "standby");
    let changed = |on: bool| {
        rig.events().iter().any(|kind| matches!(kind, EventKind::StandbyChanged { edge, on: is, .. } if edge == "ingress:api" && *is == on))
    };
    assert!(changed(true) && !changed(false));
    // It does not hand back at the first good sign.
    seaworthy_observe::EndpointSink::apply(&rig.gateway, health(true));
    assert_eq!(rig.get("/").text(), "standby");
}

#[test]
fn the_own_zone_comes_first() {
    let (home, abroad) = (Stub::saying("home"), Stub::saying("abroad"));
    let asked = |plan: &Plan| {
        let rig = Rig::new(plan);
        rig.up_in("api", "1", abroad.address, 0);
        rig.up_in("api", "2", home.address, 1);
        let mut texts: Vec<String> = (0..40).map(|_| rig.get("/").text().to_owned()).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    };
    let plan = with(|_| {});
    assert_eq!(asked(&plan.in_zone("b").unwrap()), ["home"]);
    assert_eq!(asked(&plan), ["abroad", "home"], "without a zone all are alike");
}

#[test]
fn who_has_enough_in_flight_gets_no_more() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let stub = Stub::answering(move |_| {
        wait.lock().unwrap().recv().unwrap();
        Some(crate::stub::ok("at last"))
    });
    let plan = with(|api| api.pool.max_in_flight = Some(1));
    let rig = Rig::of(&plan, &[&stub]);
    let mut first = rig.connect();
    first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    crate::support::eventually("the first request is there", || stub.seen().len() == 1);
    let refused = rig.get("/");
    assert_eq!((refused.status, refused.field("retry-after").is_some()), (503, true), "{refused:?}");
    assert!(refused.proxy_status().contains("max_in_flight"), "{refused:?}");
    refused.problem();
    release.send(()).unwrap();
    assert_eq!(first.reply(false).text(), "at last");
    release.send(()).unwrap();
    assert_eq!(rig.get("/").status, 200);
}

#[test]
fn a_breaker_held_open_lets_nobody_through_and_one_held_closed_everybody() {
    let broken = || Stub::answering(|_| Some(crate::stub::status(500, "broken")));
    let held = |mode| {
        with(|api| {
            let config = BreakerConfig {
                consecutive_failures: 1,
                quiet: Duration::ZERO,
                mode,
                ..BreakerConfig::default()
            };
            api.pool.guard = Guard::Breaker(config);
        })
    };
    for (mode, expected) in [
        (Mode::ForceOpen, [503, 503, 503]),
        (Mode::ForceClosed, [500, 500, 500]),
        (Mode::Disabled, [500, 500, 500]),
        (Mode::MetricsOnly, [500, 500, 500]),
        (Mode::Automatic, [500, 503, 503]),
    ] {
        let stub = broken();
        let rig = Rig::of(&held(mode), &[&stub]);
        assert_eq!([0; 3].map(|_| rig.get("/").status), expected, "{mode:?}");
        let opened = rig
            .events()
            .iter()
            .any(|kind| matches!(kind, EventKind::BreakerChanged { to, .. } if to == "open"));
        assert_eq!(opened, matches!(mode, Mode::Automatic | Mode::MetricsOnly), "{mode:?}");
    }
}

#[test]
fn a_hedge_after_a_fixed_delay_needs_no_history() {
    // The first request to arrive anywhere hangs; its hedge does not.
    let stubs: [Stub; 2] = std::array::from_fn(|_| {
        Stub::answering(|seen| {
            if seen.field("seaworthy-attempt") == Some("1") {
                std::thread::sleep(Duration::from_millis(1_500));
            }
            Some(crate::stub::ok("answered"))
        })
    });
    // Usually hedges are a small share of the requests, and here there is only one.
    let mut plan = with(|api| api.pool.budget.hedge_ratio = 1.0);
    let mut call = call();
    (call.hedge_delay, call.hedge_percentile) = (Some(Duration::from_millis(50)), None);
    plan.routes[0].call = Arc::new(call);
    let rig = Rig::of(&plan, &[&stubs[0], &stubs[1]]);
    let reply = rig.get("/");
    assert_eq!((reply.status, reply.text()), (200, "answered"));
    assert_eq!(rig.metric(r#"seaworthy_attempts_total{edge="ingress:api",kind="hedge"}"#), 1);
    assert!(reply.proxy_status().contains("attempts=2"), "{reply:?}");
}

#[test]
fn every_dialect_of_deadlines_is_understood_from_our_own_services() {
    let stub = Stub::saying("paid");
    let plan = with_egress(|api| api.traffic.deadline_margin = Duration::from_millis(100));
    let rig = Rig::of(&plan, &[&stub]);
    let egress = rig.gateway.egress_addresses()["api"];
    for (said, field, least, most) in [
        ("grpc-timeout: 2S", "grpc-timeout", 1_000, 1_900),
        ("X-Envoy-Expected-Rq-Timeout-Ms: 2000", "x-envoy-expected-rq-timeout-ms", 1_000, 1_900),
        // The shortest holds for all of them.
        ("grpc-timeout: 9S\r\nSeaworthy-Deadline-Ms: 2000", "grpc-timeout", 1_000, 1_900),
        // What cannot be believed says nothing; ours holds, and the header is written anew.
        ("grpc-timeout: soon", "grpc-timeout", 14_000, 14_900),
    ] {
        let reply = Wire::to(egress).ask(&format!("GET / HTTP/1.1\r\nHost: x\r\n{said}\r\n\r\n"));
        assert_eq!(reply.status, 200, "{said}");
        let seen = stub.seen().pop().unwrap();
        let value = seen.field(field).unwrap();
        let told: u64 = match value.strip_suffix('u') {
            Some(micros) => micros.parse::<u64>().unwrap() / 1_000,
            None => value.trim_end_matches('m').parse().unwrap(),
        };
        assert!((least..=most).contains(&told), "{said}: {field}: {value}");
        // A stranger's endpoint is told in its own dialect only.
        assert_eq!(seen.field("seaworthy-deadline-ms"), None, "{said}");
    }
    let late = Wire::to(egress).ask("GET / HTTP/1.1\r\nHost: x\r\ngrpc-timeout: 0S\r\n\r\n");
    assert_eq!((late.status, late.problem().as_str()), (504, "deadline-passed"));
}

#[test]
fn clients_steer_no_timers_and_tell_no_deadlines() {
    let stub = Stub::saying("served");
    let plan = with(|api| api.traffic.deadline_header = "x-deadline".to_owned());
    let rig = Rig::of(&plan, &[&stub]);
    for said in
        ["grpc-timeout: 0S", "X-Envoy-Expected-Rq-Timeout-Ms: 0", "Seaworthy-Deadline-Ms: 0", "X-Deadline: 0"]
    {
        let reply = rig.ask(&format!("GET / HTTP/1.1\r\nHost: x\r\n{said}\r\n\r\n"));
        assert_eq!(reply.status, 200, "{said}");
        let name = said.split(':').next().unwrap().to_ascii_lowercase();
        assert_eq!(stub.seen().pop().unwrap().field(&name), None, "{said} goes no farther");
    }
}
