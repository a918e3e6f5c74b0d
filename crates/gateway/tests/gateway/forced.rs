//! Breakers in the hands of a person, and gates that say when they shed.

use std::time::Duration;

use seaworthy_gateway::ForceError;
use seaworthy_observe::{EndpointChange, EndpointSink, EventKind};
use seaworthy_policy::breaker::{BreakerConfig, Mode};
use seaworthy_policy::entrance::CALM;
use seaworthy_policy::pool::Guard;
use seaworthy_spec::plan::{KeySource, Plan};

use crate::entrance::{Held, bulkhead};
use crate::stub::{Stub, status};
use crate::support::{Rig, Wire, call, eventually, plan, route, service};

fn guarded(guard: Guard) -> Plan {
    let mut api = service("api");
    api.pool.guard = guard;
    let mut all = route("all", "/**");
    all.call = std::sync::Arc::new(seaworthy_policy::call::CallConfig { retry: false, ..call() });
    plan(vec![api], vec![all])
}

fn breaking(mode: Mode) -> Plan {
    guarded(Guard::Breaker(BreakerConfig {
        consecutive_failures: 2,
        quiet: Duration::ZERO,
        mode,
        ..BreakerConfig::default()
    }))
}

fn modes(rig: &Rig) -> Vec<(String, bool)> {
    let changes = rig.events().into_iter().filter_map(|event| match event {
        EventKind::BreakerModeChanged { edge, service, mode, forced } => {
            assert_eq!((edge.as_str(), service.as_str()), ("ingress:api", "api"));
            Some((mode, forced))
        }
        _ => None,
    });
    changes.collect()
}

#[test]
fn a_person_opens_a_circuit_and_gives_it_back() {
    let stub = Stub::saying("good");
    let rig = Rig::of(&breaking(Mode::Automatic), &[&stub]);
    assert_eq!(rig.get("/").status, 200);
    assert_eq!(rig.gateway.force_breaker("ingress:api", Some(Mode::ForceOpen)), Ok(Mode::ForceOpen));
    let refused = rig.get("/");
    assert_eq!((refused.status, refused.problem().as_str()), (503, "breaker-open"));
    assert!(refused.field("retry-after").is_some());
    // Neither a new process nor a reset between drills undoes what a person decided.
    let id = rig.gateway.views()[0].endpoints[0].0.clone();
    rig.gateway.apply(EndpointChange::Removed { id, reason: "restarted" });
    rig.up("api", "2", stub.address);
    rig.gateway.reset();
    assert_eq!(rig.get("/").status, 503);
    assert_eq!(rig.gateway.views()[0].breaker_mode, Some(Mode::ForceOpen));
    assert_eq!(rig.bus.state().edges["ingress:api"].breaker_mode.as_deref(), Some("force_open"));
    assert_eq!(stub.seen().len(), 1);
    assert_eq!(rig.gateway.force_breaker("ingress:api", None), Ok(Mode::Automatic));
    assert_eq!(rig.gateway.force_breaker("ingress:api", None), Ok(Mode::Automatic), "twice is once");
    assert_eq!(rig.get("/").status, 200);
    assert_eq!(modes(&rig), [("force_open".to_owned(), true), ("automatic".to_owned(), false)]);
    assert_eq!(rig.bus.state().edges["ingress:api"].breaker_mode, None);
}

#[test]
fn a_person_keeps_a_circuit_closed() {
    let stub = Stub::answering(|_| Some(status(500, "bad")));
    let rig = Rig::of(&breaking(Mode::ForceOpen), &[&stub]);
    assert_eq!(rig.get("/").status, 503, "what the spec says");
    for mode in [Mode::ForceClosed, Mode::Disabled, Mode::MetricsOnly] {
        assert_eq!(rig.gateway.force_breaker("ingress:api", Some(mode)), Ok(mode));
        for _ in 0..5 {
            assert_eq!(rig.get("/").status, 500, "{mode:?}");
        }
    }
    assert_eq!(rig.gateway.force_breaker("ingress:api", Some(Mode::Automatic)), Ok(Mode::Automatic));
    let statuses: Vec<u16> = (0..4).map(|_| rig.get("/").status).collect();
    assert_eq!(statuses, [500, 500, 503, 503]);
    assert_eq!(rig.gateway.force_breaker("ingress:api", None), Ok(Mode::ForceOpen), "back to the spec");
}

#[test]
fn only_a_breaker_can_be_taken_over() {
    let rig = Rig::new(&guarded(Guard::Off));
    let unknown = rig.gateway.force_breaker("egress:api", None).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no edge `egress:api`; there are ingress:api");
    let none = rig.gateway.force_breaker("ingress:api", Some(Mode::ForceOpen));
    assert_eq!(none, Err(ForceError::NoBreaker { name: "ingress:api".to_owned() }));
    assert!(modes(&rig).is_empty());
}

const EDGE: &str = "ingress:api";
const GATE: &str = "services.api.policy.concurrency";

#[test]
fn shedding_is_told_when_it_begins_and_when_it_is_over() {
    let held = Held::new();
    let mut api = service("api");
    api.entrance = bulkhead(1, 0, KeySource::All);
    let rig = Rig::of(&plan(vec![api], vec![route("all", "/**")]), &[&held.stub]);
    let mut first: Wire = rig.connect();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is asked", || held.stub.seen().len() == 1);
    assert!(rig.bus.state().shedding.is_empty());
    for _ in 0..7 {
        assert_eq!(rig.get("/").status, 503);
    }
    let shedding = rig.bus.state().shedding[&format!("{GATE} on {EDGE}")].clone();
    assert_eq!((shedding.service.as_deref(), shedding.reason.as_str()), (Some("api"), "limit_reached"));
    held.let_go();
    assert_eq!(first.reply(false).status, 200);
    // Nobody comes any more, and it ends all the same.
    assert!(CALM < crate::stub::PATIENCE);
    eventually("it is over", || rig.bus.state().shedding.is_empty());
    let told: Vec<EventKind> = rig
        .events()
        .into_iter()
        .filter(|event| matches!(event, EventKind::SheddingBegan { .. } | EventKind::SheddingEnded { .. }))
        .collect();
    let (gate, edge, service) = (|| GATE.to_owned(), || EDGE.to_owned(), || Some("api".to_owned()));
    let reason = "limit_reached".to_owned();
    assert_eq!(
        told,
        [
            EventKind::SheddingBegan { gate: gate(), edge: edge(), service: service(), reason },
            EventKind::SheddingEnded { gate: gate(), edge: edge(), service: service(), refused: 7 },
        ]
    );
}
