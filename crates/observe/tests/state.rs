//! The fold of events into what people see.

use proptest::prelude::*;
use seaworthy_observe::state::BuildState;
use seaworthy_observe::{Event, EventKind, State};

fn fold(kinds: impl IntoIterator<Item = EventKind>) -> State {
    let mut state = State::default();
    for (seq, kind) in (1..).zip(kinds) {
        state.apply(&event(seq, kind));
    }
    state
}

fn event(seq: u64, kind: EventKind) -> Event {
    Event { seq, at: seq * 10, ts: format!("t{seq}"), kind }
}

fn api() -> (String, String) {
    ("api".to_owned(), "a-1".to_owned())
}

fn started(pid: u32) -> EventKind {
    let (service, replica) = api();
    EventKind::ProcessStarted { service, replica, pid, address: format!("127.0.0.1:{pid}") }
}

fn exited(expected: bool) -> EventKind {
    let (service, replica) = api();
    EventKind::ProcessExited { service, replica, pid: 1, how: "signal 9".to_owned(), expected }
}

fn scheduled(crash_loop: bool) -> EventKind {
    let (service, replica) = api();
    EventKind::RestartScheduled { service, replica, in_ms: 0, crash_loop }
}

fn crash_loop_ended() -> EventKind {
    let (service, replica) = api();
    EventKind::CrashLoopEnded { service, replica }
}

fn ready() -> EventKind {
    let (service, replica) = api();
    EventKind::EndpointReady { service, replica }
}

fn unready(reason: &str) -> EventKind {
    let (service, replica) = api();
    EventKind::EndpointUnready { service, replica, reason: reason.to_owned() }
}

fn ejected() -> EventKind {
    let (service, replica) = api();
    let (edge, reason) = ("ingress:api".to_owned(), "stall".to_owned());
    EventKind::EndpointEjected { edge, service, replica, reason, duration_ms: 30_000 }
}

fn readmitting() -> EventKind {
    let (service, replica) = api();
    EventKind::EndpointReadmitting { edge: "ingress:api".to_owned(), service, replica }
}

fn readmitted() -> EventKind {
    let (service, replica) = api();
    EventKind::EndpointReadmitted { edge: "ingress:api".to_owned(), service, replica }
}

fn breaker(to: &str) -> EventKind {
    let (service, replica) = api();
    EventKind::BreakerChanged {
        edge: "egress:api".to_owned(),
        service,
        replica,
        from: "x".to_owned(),
        to: to.to_owned(),
        reason: "r".to_owned(),
    }
}

fn panic(on: bool) -> EventKind {
    EventKind::PanicChanged { edge: "ingress:api".to_owned(), service: "api".to_owned(), on }
}

#[test]
fn a_replica_lives_dies_and_comes_back() {
    // (event, pid, ready, reason, restarts, crash_loop)
    let steps = [
        (started(1), Some(1), false, "starting", 0, false),
        (ready(), Some(1), true, "", 0, false),
        (unready("answered 503"), Some(1), false, "answered 503", 0, false),
        (ready(), Some(1), true, "", 0, false),
        (exited(false), None, false, "exited: signal 9", 0, false),
        (scheduled(true), None, false, "exited: signal 9", 0, true),
        (started(2), Some(2), false, "starting", 1, true),
        (scheduled(false), Some(2), false, "starting", 1, false),
        (scheduled(true), Some(2), false, "starting", 1, true),
        (crash_loop_ended(), Some(2), false, "starting", 1, false),
        (exited(true), None, false, "stopped", 1, false),
    ];
    let mut state = State::default();
    for (seq, (kind, pid, ready, reason, restarts, crash_loop)) in (1..).zip(steps) {
        let what = format!("after {kind:?}");
        state.apply(&event(seq, kind));
        let replica = &state.services["api"].replicas["a-1"];
        assert_eq!((replica.pid, replica.ready, replica.reason.as_str()), (pid, ready, reason), "{what}");
        assert_eq!((replica.restarts, replica.crash_loop), (restarts, crash_loop), "{what}");
    }
    let replica = &state.services["api"].replicas["a-1"];
    assert_eq!(replica.address, "127.0.0.1:2");
    let exit = replica.last_exit.as_ref().unwrap();
    assert_eq!((exit.how.as_str(), exit.expected, exit.ts.as_str()), ("signal 9", true, "t11"));
    assert_eq!((state.seq, state.at), (11, 110));
}

#[test]
fn a_route_degrades_until_it_does_no_longer() {
    let began = |step: &str| EventKind::DegradationBegan {
        service: "api".to_owned(),
        route: "list".to_owned(),
        step: step.to_owned(),
    };
    let ended = || EventKind::DegradationEnded { service: "api".to_owned(), route: "list".to_owned() };
    let seen = |kinds: Vec<EventKind>| {
        let state = fold(kinds);
        let degrading = state.services.get("api").and_then(|service| service.degrading.get("list"));
        degrading.map(|route| (route.step.clone(), route.since.clone()))
    };
    let of = |step: &str, since: &str| Some((step.to_owned(), since.to_owned()));
    assert_eq!(seen(vec![began("stale")]), of("stale", "t1"));
    assert_eq!(seen(vec![began("stale"), ended()]), None);
    assert_eq!(seen(vec![ended(), began("static")]), of("static", "t2"));
    assert_eq!(seen(vec![began("stale"), ended(), began("fallback")]), of("fallback", "t3"));
}

#[test]
fn gates_shed_and_calm_down_each_for_itself() {
    let began = |edge: &str| EventKind::SheddingBegan {
        gate: "services.pay.policy.concurrency".to_owned(),
        edge: edge.to_owned(),
        service: Some("pay".to_owned()),
        reason: "queue_full".to_owned(),
    };
    let ended = |edge: &str| EventKind::SheddingEnded {
        gate: "services.pay.policy.concurrency".to_owned(),
        edge: edge.to_owned(),
        service: Some("pay".to_owned()),
        refused: 3,
    };
    let state = fold(vec![began("ingress:pay"), began("egress:pay"), ended("ingress:pay")]);
    let names: Vec<&str> = state.shedding.keys().map(String::as_str).collect();
    assert_eq!(names, ["services.pay.policy.concurrency on egress:pay"]);
    let shedding = &state.shedding[names[0]];
    assert_eq!((shedding.reason.as_str(), shedding.since.as_str()), ("queue_full", "t2"));
    assert_eq!(began("e").service(), Some("pay"), "an event that names the service");
    assert_eq!(
        began("egress:pay").sentence(),
        "pay: shedding began at services.pay.policy.concurrency (queue_full)"
    );
}

#[test]
fn a_persons_word_outlives_what_was_learnt() {
    let forced = |mode: &str, forced| EventKind::BreakerModeChanged {
        edge: "egress:pay".to_owned(),
        service: "pay".to_owned(),
        mode: mode.to_owned(),
        forced,
    };
    let mode = |kinds: Vec<EventKind>| {
        fold(kinds).edges.get("egress:pay").and_then(|edge| edge.breaker_mode.clone())
    };
    assert_eq!(mode(vec![forced("force_open", true)]).as_deref(), Some("force_open"));
    assert_eq!(mode(vec![forced("force_open", true), EventKind::PolicyReset]).as_deref(), Some("force_open"));
    assert_eq!(mode(vec![forced("force_open", true), forced("automatic", false)]), None);
    assert_eq!(
        forced("force_open", true).sentence(),
        "pay: circuit breaker taken over on egress:pay (force_open)"
    );
}

#[test]
fn a_probation_ends_unless_something_worse_came() {
    let (edge, service, replica) = (|| "ingress:api".to_owned(), || "api".to_owned(), || "a-1".to_owned());
    let began = || EventKind::EndpointOnProbation {
        edge: edge(),
        service: service(),
        replica: replica(),
        reason: "slow".to_owned(),
    };
    let ended = || EventKind::EndpointProbationEnded { edge: edge(), service: service(), replica: replica() };
    let ejected = || EventKind::EndpointEjected {
        edge: edge(),
        service: service(),
        replica: replica(),
        reason: "slow".to_owned(),
        duration_ms: 30_000,
    };
    let guard = |kinds: Vec<EventKind>| {
        fold(kinds).edges["ingress:api"].guards.get("a-1").map(|guard| guard.state.clone())
    };
    assert_eq!(guard(vec![began()]).as_deref(), Some("probation"));
    assert_eq!(guard(vec![began(), ended()]), None);
    assert_eq!(guard(vec![began(), ejected(), ended()]).as_deref(), Some("ejected"));
}

#[test]
fn guards_come_and_go() {
    let guard = |kinds: &[EventKind], edge: &str| {
        let state = fold(kinds.iter().cloned());
        state.edges.get(edge).and_then(|edge| edge.guards.get("a-1")).map(|guard| guard.state.clone())
    };
    let cases: [(&[EventKind], Option<&str>); 6] = [
        (&[ejected()], Some("ejected")),
        (&[ejected(), readmitting()], Some("readmitting")),
        (&[ejected(), readmitting(), readmitted()], None),
        (&[ejected(), exited(false)], None),
        (&[ejected(), EventKind::PolicyReset], None),
        (&[readmitted()], None),
    ];
    for (kinds, expected) in cases {
        assert_eq!(guard(kinds, "ingress:api").as_deref(), expected, "{kinds:?}");
    }
    assert_eq!(guard(&[breaker("open")], "egress:api").as_deref(), Some("open"));
    assert_eq!(guard(&[breaker("open"), breaker("half_open")], "egress:api").as_deref(), Some("half_open"));
    assert_eq!(guard(&[breaker("open"), breaker("closed")], "egress:api"), None);
    assert!(fold([panic(true)]).edges["ingress:api"].panic);
    assert!(!fold([panic(true), panic(false)]).edges["ingress:api"].panic);
}

#[test]
fn faults_node_and_builds() {
    let (fault, what) = (|| "f1".to_owned(), || "kill api".to_owned());
    let requested = EventKind::FaultRequested { fault: fault(), what: what() };
    let applied = EventKind::FaultApplied { fault: fault(), what: what(), proof: "pid 7 is gone".to_owned() };
    let ended = EventKind::FaultEnded { fault: fault(), why: "cleared".to_owned() };
    let failed = EventKind::FaultFailed { fault: fault(), reason: "no such process".to_owned() };
    assert!(!fold([requested.clone()]).faults["f1"].applied);
    let state = fold([requested.clone(), applied.clone()]);
    assert!(state.faults["f1"].applied);
    assert_eq!(state.faults["f1"].proof, "pid 7 is gone");
    assert!(fold([requested.clone(), applied, ended]).faults.is_empty());
    assert!(fold([requested, failed]).faults.is_empty());

    let state = fold([EventKind::NodeStarted { pid: 5 }, EventKind::NodeDraining]);
    assert_eq!(
        (state.node.pid, state.node.started.as_deref(), state.node.draining),
        (Some(5), Some("t1"), true)
    );
    let build = |ok| EventKind::BuildEnded { service: "api".to_owned(), ok };
    assert_eq!(fold([build(true)]).services["api"].build, Some(BuildState::Succeeded));
    assert_eq!(fold([build(true), build(false)]).services["api"].build, Some(BuildState::Failed));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("api".to_owned()), Just("pay".to_owned()), "[a-c]{0,2}"]
}

fn replica() -> impl Strategy<Value = String> {
    prop_oneof![Just("a-1".to_owned()), "[a-c]{0,2}"]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("closed".to_owned()), "[a-z]{0,4}"]
}

fn any_kind() -> impl Strategy<Value = EventKind> {
    prop_oneof![any_process_kind(), any_endpoint_kind(), any_edge_kind(), any_fault_kind()]
}

fn any_process_kind() -> impl Strategy<Value = EventKind> {
    let subject = || (name(), replica());
    prop_oneof![
        any::<u32>().prop_map(|pid| EventKind::NodeStarted { pid }),
        Just(EventKind::NodeDraining),
        name().prop_map(|service| EventKind::BuildStarted { service }),
        (name(), any::<bool>()).prop_map(|(service, ok)| EventKind::BuildEnded { service, ok }),
        (subject(), any::<u32>(), text()).prop_map(|((service, replica), pid, address)| {
            EventKind::ProcessStarted { service, replica, pid, address }
        }),
        (subject(), text()).prop_map(|((service, replica), reason)| EventKind::ProcessStartFailed {
            service,
            replica,
            reason
        }),
        (subject(), any::<u32>(), text(), any::<bool>()).prop_map(
            |((service, replica), pid, how, expected)| {
                EventKind::ProcessExited { service, replica, pid, how, expected }
            }
        ),
        (subject(), any::<u64>(), any::<bool>()).prop_map(|((service, replica), in_ms, crash_loop)| {
            EventKind::RestartScheduled { service, replica, in_ms, crash_loop }
        }),
        (subject(), text()).prop_map(|((service, replica), reason)| EventKind::RestartHeld {
            service,
            replica,
            reason
        }),
        (subject(), text()).prop_map(|((service, replica), reason)| EventKind::RestartDeclined {
            service,
            replica,
            reason
        }),
        subject().prop_map(|(service, replica)| EventKind::CrashLoopEnded { service, replica }),
    ]
}

fn any_endpoint_kind() -> impl Strategy<Value = EventKind> {
    let subject = || (name(), replica());
    prop_oneof![
        subject().prop_map(|(service, replica)| EventKind::EndpointReady { service, replica }),
        (subject(), text()).prop_map(|((service, replica), reason)| EventKind::EndpointUnready {
            service,
            replica,
            reason
        }),
        (subject(), text()).prop_map(|((service, replica), reason)| EventKind::EndpointSuspected {
            service,
            replica,
            reason
        }),
    ]
}

fn any_edge_kind() -> impl Strategy<Value = EventKind> {
    let subject = || (name(), name(), replica());
    prop_oneof![
        Just(EventKind::PolicyReset),
        (subject(), text(), any::<u64>()).prop_map(|((edge, service, replica), reason, duration_ms)| {
            EventKind::EndpointEjected { edge, service, replica, reason, duration_ms }
        }),
        subject().prop_map(|(edge, service, replica)| EventKind::EndpointReadmitting {
            edge,
            service,
            replica
        }),
        subject().prop_map(|(edge, service, replica)| EventKind::EndpointReadmitted {
            edge,
            service,
            replica
        }),
        (subject(), text(), text()).prop_map(|((edge, service, replica), reason, to)| {
            EventKind::BreakerChanged { edge, service, replica, from: String::new(), to, reason }
        }),
        (name(), name(), any::<bool>()).prop_map(|(edge, service, on)| EventKind::PanicChanged {
            edge,
            service,
            on
        }),
    ]
}

fn any_fault_kind() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        (text(), text()).prop_map(|(fault, what)| EventKind::FaultRequested { fault, what }),
        (text(), text(), text()).prop_map(|(fault, what, proof)| EventKind::FaultApplied {
            fault,
            what,
            proof
        }),
        (text(), text()).prop_map(|(fault, reason)| EventKind::FaultFailed { fault, reason }),
        (text(), text()).prop_map(|(fault, why)| EventKind::FaultEnded { fault, why }),
    ]
}

proptest! {
    /// Any order of events folds without a panic; the events survive their own JSON; and folding what was written
    /// down gives the same state.
    #[test]
    fn a_replay_shows_the_same(kinds in proptest::collection::vec(any_kind(), 0..60)) {
        let state = fold(kinds.clone());
        let replayed = kinds.iter().map(|kind| {
            let json = serde_json::to_string(&event(1, kind.clone())).unwrap();
            serde_json::from_str::<Event>(&json).unwrap().kind
        });
        prop_assert_eq!(&fold(replayed), &state);
        prop_assert_eq!(state.seq, kinds.len() as u64);
        serde_json::to_string(&state).unwrap();
    }

    /// A process that is gone is never shown as running or ready, and nothing is held against its successor.
    #[test]
    fn a_dead_process_leaves_no_trace_of_life(kinds in proptest::collection::vec(any_kind(), 0..60)) {
        let state = fold(kinds.into_iter().chain([exited(false)]));
        let replica = &state.services["api"].replicas["a-1"];
        prop_assert!(replica.pid.is_none() && !replica.ready);
        for edge in state.edges.values().filter(|edge| edge.service == "api") {
            prop_assert!(!edge.guards.contains_key("a-1"));
        }
    }
}
