//! The listeners through which our own services call others, and the detours that faults put in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaworthy_observe::{Detour, DetourScope};
use seaworthy_policy::admission::Priority;
use seaworthy_policy::restart::RestartConfig;
use seaworthy_spec::plan::{EntrancePlan, KeySource, Plan, ProcessPlan, ServiceKind};

use crate::entrance::{Held, bulkhead};
use crate::stub::{Stub, read_request};
use crate::support::{Rig, Wire, call, eventually, plan, route, service};

fn with_egress(change: impl FnOnce(&mut seaworthy_spec::plan::ServicePlan)) -> Plan {
    let mut payments = service("payments");
    payments.egress = Some(([127, 0, 0, 1], 0).into());
    change(&mut payments);
    plan(vec![payments], vec![route("pay", "/pay/**")])
}

fn supervised(service: &mut seaworthy_spec::plan::ServicePlan) {
    let ServiceKind::External { readiness, .. } = &service.kind else { unreachable!("built that way") };
    service.kind = ServiceKind::Supervised(ProcessPlan {
        build: None,
        run: vec!["true".to_owned()],
        environment: Vec::new(),
        replicas: Vec::new(),
        readiness: readiness.clone(),
        liveness: None,
        restart: RestartConfig::default(),
        stop_grace: Duration::from_secs(1),
    });
}

fn egress(rig: &Rig) -> SocketAddr {
    rig.gateway.egress_addresses()["payments"]
}

#[test]
fn a_call_through_the_egress_reaches_the_service_as_itself() {
    let stub = Stub::saying("paid");
    let rig = Rig::of(&with_egress(supervised), &[&stub]);
    let mut wire = Wire::to(egress(&rig));
    assert_eq!(wire.ask("POST /any/path HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx").text(), "paid");
    let seen = stub.seen().remove(0);
    assert_eq!(seen.line(), "POST /any/path HTTP/1.1");
    assert_eq!(seen.field("host"), Some(stub.address.to_string().as_str()));
    assert_eq!(seen.field("x-forwarded-for"), None);
    let left: u64 = seen.field("seaworthy-deadline-ms").unwrap().parse().unwrap();
    assert!((14_000..=15_000).contains(&left), "{left}");
}

#[test]
fn strangers_do_not_hear_of_deadlines() {
    let stub = Stub::saying("paid");
    let rig = Rig::of(&with_egress(|_| {}), &[&stub]);
    Wire::to(egress(&rig)).ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(stub.seen()[0].field("seaworthy-deadline-ms"), None);
}

#[test]
fn a_deadline_on_the_wire_only_shortens() {
    let stub = Stub::raw(|stream, record| {
        while let Some(seen) = read_request(stream) {
            record(seen);
        }
    });
    let rig = Rig::of(
        &with_egress(|service| {
            supervised(service);
            let mut config = call();
            config.total_timeout = Duration::from_millis(700);
            service.call = Arc::new(config);
        }),
        &[&stub],
    );
    for (field, least, most) in [
        ("Seaworthy-Deadline-Ms: 80\r\n", 60, 600),
        ("Seaworthy-Deadline-Ms: 60000\r\n", 600, 3000),
        ("", 600, 3000),
    ] {
        let begun = Instant::now();
        let reply = Wire::to(egress(&rig)).ask(&format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n"));
        let took = begun.elapsed().as_millis();
        assert_eq!((reply.status, reply.problem().as_str()), (504, "total-timeout"), "{field}");
        assert!((least..most).contains(&took), "{field}: {took} ms");
    }
    let lefts: Vec<u64> = stub
        .seen()
        .iter()
        .map(|seen| seen.field("seaworthy-deadline-ms").unwrap().parse().unwrap())
        .collect();
    assert!(lefts[0] <= 80 && lefts[1] > 80 && lefts[1] <= 700, "{lefts:?}");
    let reply = Wire::to(egress(&rig)).ask("GET / HTTP/1.1\r\nHost: x\r\nSeaworthy-Deadline-Ms: 0\r\n\r\n");
    assert_eq!((reply.status, reply.problem().as_str()), (504, "deadline-passed"));
    assert!(reply.proxy_status().contains("sent=?0"));
}

#[test]
fn a_priority_is_told_and_a_clients_own_word_is_not() {
    let stub = Stub::saying("paid");
    let mut plan = with_egress(supervised);
    let told = |plan: &Plan, field: &str| {
        let rig = Rig::of(plan, &[&stub]);
        rig.ask(&format!("GET /pay/ HTTP/1.1\r\nHost: x\r\n{field}\r\n"));
        stub.seen().last().unwrap().field("seaworthy-priority").map(str::to_owned)
    };
    assert_eq!(
        told(&plan, "Seaworthy-Priority: critical_plus\r\n"),
        None,
        "what matters as usual is not told"
    );
    plan.routes[0].entrance = EntrancePlan { priority: Priority::Sheddable, ..EntrancePlan::default() };
    for field in ["", "Seaworthy-Priority: critical_plus\r\n"] {
        assert_eq!(told(&plan, field).as_deref(), Some("sheddable"), "{field}");
    }
    plan.services[0].kind = service("payments").kind;
    assert_eq!(told(&plan, ""), None, "strangers do not hear of it");
}

#[test]
fn a_priority_that_a_service_carries_on_counts_at_the_next_door() {
    let held = Held::new();
    let mut plan = with_egress(supervised);
    plan.services[0].entrance = bulkhead(1, 8, KeySource::All);
    let rig = Rig::of(&plan, &[&held.stub]);
    let gate = "gate=\"services.payments.policy.concurrency\"";
    let waiting =
        |rig: &Rig| rig.metric(&format!("seaworthy_queued_requests{{{gate},edge=\"egress:payments\"}}"));
    let begin = |path: &str, priority: &str| {
        let mut wire = Wire::to(egress(&rig));
        wire.send(format!("GET /{path} HTTP/1.1\r\nHost: x\r\nSeaworthy-Priority: {priority}\r\n\r\n"));
        wire
    };
    let mut wires = vec![begin("first", "critical")];
    eventually("it is asked", || held.order().len() == 1);
    for (count, (path, priority)) in
        [("low", "sheddable"), ("odd", "urgent"), ("high", "critical_plus"), ("middle", "sheddable_plus")]
            .into_iter()
            .enumerate()
    {
        wires.push(begin(path, priority));
        eventually("it waits", || waiting(&rig) == count as u64 + 1);
    }
    for _ in 0..5 {
        held.let_go();
    }
    for wire in &mut wires {
        assert_eq!(wire.reply(false).status, 200);
    }
    assert_eq!(held.order(), ["first", "high", "odd", "middle", "low"]);
    assert_eq!(held.stub.seen()[4].field("seaworthy-priority"), Some("sheddable"), "and goes on from there");
}

#[test]
fn egress_wants_keys_where_the_service_does() {
    let stub = Stub::saying("paid");
    let rig = Rig::of(&with_egress(|service| service.keyed = true), &[&stub]);
    let reply = Wire::to(egress(&rig)).ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(reply.problem(), "idempotency-key-missing");
}

#[test]
fn a_detour_catches_its_edge_and_leaves_no_old_connection_in_use() {
    let (real, fault) = (Stub::saying("real"), Stub::saying("fault"));
    let rig = Rig::of(&with_egress(|_| {}), &[&real]);
    let (mut inside, mut outside) = (Wire::to(egress(&rig)), rig.connect());
    let mut check = |expected_inside: &str, expected_outside: &str| {
        for _ in 0..3 {
            let get = "GET /pay/x HTTP/1.1\r\nHost: x\r\n\r\n";
            assert_eq!(
                (inside.ask(get).text(), outside.ask(get).text()),
                (expected_inside, expected_outside)
            );
        }
    };
    check("real", "real");
    let edge = DetourScope::Egress { service: "payments".to_owned() };
    let detour = Detour { address: fault.address, probes: false };
    rig.dial.set(edge.clone(), detour);
    check("fault", "real");
    rig.dial.clear(&edge);
    check("real", "real");
    let replica = DetourScope::Replica { service: "payments".to_owned(), replica: "1".to_owned() };
    rig.dial.set(replica.clone(), detour);
    check("fault", "fault");
    rig.dial.clear(&replica);
    check("real", "real");
}

#[test]
fn a_busy_address_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut planned = with_egress(|_| {});
    planned.services[0].egress = Some(taken.local_addr().unwrap());
    let bus = seaworthy_observe::EventBus::new(seaworthy_observe::LogSink::discard());
    let ports = seaworthy_gateway::GatewayPorts {
        bus,
        logs: seaworthy_observe::LogSink::discard(),
        clock: seaworthy_observe::Clock,
        dial: Arc::default(),
        metrics: seaworthy_observe::metrics::Registry::new(1),
        keys: None,
        threads: 2,
    };
    let error = seaworthy_gateway::Gateway::start(&planned, ports).unwrap_err().to_string();
    assert!(
        error.contains("egress:payments") && error.contains(&taken.local_addr().unwrap().to_string()),
        "{error}"
    );
}
