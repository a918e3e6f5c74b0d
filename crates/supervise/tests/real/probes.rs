//! Probes of real processes: readiness, suspicions, liveness and its gate, external endpoints.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{
    ALIVE, Bench, fast_health, kill, liveness, need, process, readiness, service, supervised, until, within,
};
use rustix::process::Signal;
use seaworthy_observe::{Detour, DetourScope, EndpointChange, EventKind, Processes, SuspicionSink};
use seaworthy_policy::health::HealthConfig;
use seaworthy_spec::plan::{Mechanism, ProbeAction, ProbePlan, ReplicaPlan, ServiceKind, ServicePlan};
use tokio::net::TcpListener;

fn unready(kind: &EventKind) -> bool {
    matches!(kind, EventKind::EndpointUnready { .. })
}

fn ready(kind: &EventKind) -> bool {
    matches!(kind, EventKind::EndpointReady { .. })
}

fn last_health(bench: &Bench) -> (bool, &'static str) {
    let changes = bench.changes();
    let health = changes.iter().rev().find_map(|change| match change {
        EndpointChange::Health { ready, reason, .. } => Some((*ready, *reason)),
        _ => None,
    });
    health.expect("health was reported")
}

#[tokio::test]
async fn bad_answers_take_an_endpoint_out_and_good_ones_put_it_back() {
    let bench = Bench::new(vec![service("api", &[])]);
    let supervisor = bench.start_ready().await;
    let before = bench.bus.newest();
    bench.write_state("api", "1", "status", "503");
    let event = bench.event(before, unready).await;
    assert!(event.kind.sentence().contains("answered 503"), "{}", event.kind.sentence());
    assert_eq!(last_health(&bench), (false, "probe answered with an error"));
    assert!(!process(&supervisor, "api").ready);
    bench.write_state("api", "1", "status", "200");
    bench.event(event.seq, ready).await;
    assert_eq!(last_health(&bench), (true, "probes passed"));
    let exits =
        bench.events().into_iter().filter(|event| matches!(event.kind, EventKind::ProcessExited { .. }));
    assert_eq!(exits.count(), 0, "readiness restarts nothing");
    within(supervisor.stop()).await;
}

#[tokio::test]
async fn a_paused_process_times_out() {
    let mut api = service("api", &[]);
    let health = HealthConfig { timeout: Duration::from_millis(50), ..fast_health() };
    supervised(&mut api).readiness = readiness(health);
    let bench = Bench::new(vec![api]);
    let supervisor = bench.start_ready().await;
    let before = bench.bus.newest();
    let pid = process(&supervisor, "api").pid;
    kill(pid, Signal::STOP);
    let event = bench.event(before, unready).await;
    assert!(event.kind.sentence().contains("probe timed out after 50ms"), "{}", event.kind.sentence());
    assert_eq!(last_health(&bench), (false, "probe timed out"));
    kill(pid, Signal::CONT);
    bench.event(event.seq, ready).await;
    within(supervisor.stop()).await;
}

#[tokio::test]
async fn a_start_that_does_not_get_ready_says_why() {
    let bench = Bench::new(vec![service("api", &["--no-listen"])]);
    let supervisor = bench.start().await;
    let event = bench.event(0, unready).await;
    assert!(event.kind.sentence().contains("connection refused"), "{}", event.kind.sentence());
    assert_eq!(bench.changes().len(), 1, "routing knows that it is not ready: {:?}", bench.changes());
    within(supervisor.stop()).await;
}

#[tokio::test]
async fn a_suspicion_makes_probes_follow_at_once() {
    let mut api = service("api", &[]);
    // Without a suspicion, the next probe is a minute away.
    let health = HealthConfig { period: Duration::from_mins(1), jitter: 0.0, ..fast_health() };
    supervised(&mut api).readiness = readiness(health);
    let bench = Bench::new(vec![api]);
    let supervisor = bench.start_ready().await;
    let id = process(&supervisor, "api").id;
    let before = bench.bus.newest();
    bench.write_state("api", "1", "status", "500");
    let stale = seaworthy_observe::EndpointId { incarnation: 7, ..id.clone() };
    supervisor.suspect(&stale, "another incarnation");
    for _ in 0..100 {
        supervisor.suspect(&id, "no byte for 200 ms");
    }
    bench.event(before, unready).await;
    let suspected: Vec<String> = bench
        .bus
        .since(before, usize::MAX)
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::EndpointSuspected { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(suspected, ["no byte for 200 ms"], "once, and only for the one that is meant");
    within(supervisor.stop()).await;
}

#[tokio::test]
async fn liveness_restarts_a_hung_process() {
    let mut api = service("api", &[]);
    supervised(&mut api).liveness = Some(liveness());
    let bench = Bench::new(vec![api]);
    let supervisor = bench.start_ready().await;
    let old = process(&supervisor, "api");
    bench.answered(("api", "1"), "/livez", ALIVE).await;
    let before = bench.bus.newest();
    bench.write_state("api", "1", "hang", "");
    let exit = bench.event(before, |kind| matches!(kind, EventKind::ProcessExited { .. })).await;
    assert!(matches!(exit.kind, EventKind::ProcessExited { expected: true, .. }), "{exit:?}");
    let told = bench.event(before, |kind| kind.sentence().contains("liveness: probe timed out")).await;
    assert!(told.seq < exit.seq);
    fs::remove_file(bench.state("api", "1").join("hang")).unwrap();
    bench.event(exit.seq, ready).await;
    assert!(process(&supervisor, "api").id.incarnation > old.id.incarnation);
    within(supervisor.stop()).await;
}

#[tokio::test]
async fn liveness_restarts_nobody_while_a_dependency_is_down() {
    let mut api = service("api", &[]);
    let process = supervised(&mut api);
    process.liveness = Some(liveness());
    process.readiness = ProbePlan { action: ProbeAction::Tcp, health: fast_health() };
    process.replicas = ["1", "2", "3"].map(|id| ReplicaPlan { id: id.to_owned(), zone: 0 }).to_vec();
    let mut services = vec![api, service("ledger", &["--no-listen"])];
    services[0].needs = vec![need(1)];
    let mut bench = Bench::new(services);
    bench.egress.insert("ledger".to_owned(), ([127, 0, 0, 1], 7).into());
    let supervisor = bench.start().await;
    for replica in ["1", "2", "3"] {
        let is_ready = move |kind: &EventKind| matches!(kind, EventKind::EndpointReady { replica: other, .. } if other == replica);
        bench.event(0, is_ready).await;
    }
    for replica in ["1", "2", "3"] {
        bench.answered(("api", replica), "/livez", ALIVE).await;
    }
    let before = bench.bus.newest();
    for replica in ["1", "2", "3"] {
        bench.write_state("api", replica, "hang", "");
    }
    for replica in ["1", "2", "3"] {
        let held = move |kind: &EventKind| matches!(kind, EventKind::RestartHeld { replica: other, .. } if other == replica);
        let event = bench.event(before, held).await;
        assert!(event.kind.sentence().contains("a service that it needs is down"), "{event:?}");
    }
    let reason = &bench.bus.state().services["api"].replicas["1"].reason;
    assert!(reason.starts_with("restart held back"), "{reason}");
    assert_eq!(supervisor.list().iter().filter(|view| &*view.id.service == "api").count(), 3);
    assert!(
        !bench
            .events()
            .iter()
            .any(|event| matches!(&event.kind, EventKind::ProcessExited { service, .. } if service == "api"))
    );
    within(supervisor.stop()).await;
}

/// Replicas whose liveness restarts take long, because they ignore SIGTERM: who falls meanwhile meets the gate.
fn stubborn(replicas: &[&str]) -> ServicePlan {
    let mut api = service("api", &[]);
    let process = supervised(&mut api);
    process.liveness = Some(liveness());
    process.readiness = ProbePlan { action: ProbeAction::Tcp, health: fast_health() };
    process.stop_grace = Duration::from_millis(800);
    let stub = process.run[0].clone();
    process.run = ["sh", "-c", "trap '' TERM; exec \"$0\"", &stub].map(str::to_owned).to_vec();
    process.replicas = replicas.iter().map(|id| ReplicaPlan { id: (*id).to_owned(), zone: 0 }).collect();
    api
}

#[tokio::test]
async fn the_gate_holds_restarts_that_would_not_help() {
    // (replicas, how many of them hang, why the second one is left alone)
    let cases: [(&[&str], usize, &str); 2] = [
        (&["1", "2", "3"], 3, "overload"),
        (&["1", "2", "3", "4", "5", "6"], 2, "another replica is being restarted"),
    ];
    for (replicas, hanging, reason) in cases {
        let bench = Bench::new(vec![stubborn(replicas)]);
        let supervisor = bench.start_ready().await;
        for replica in replicas {
            bench.answered(("api", replica), "/livez", ALIVE).await;
        }
        let before = bench.bus.newest();
        for replica in &replicas[..hanging] {
            bench.write_state("api", replica, "hang", "");
        }
        let held = |kind: &EventKind| matches!(kind, EventKind::RestartHeld { .. });
        let event = bench.event(before, held).await;
        assert!(event.kind.sentence().contains(reason), "{event:?}");
        let events = bench.bus.since(before, usize::MAX);
        let exits = events.iter().filter(|event| matches!(event.kind, EventKind::ProcessExited { .. }));
        assert!(exits.count() <= 1, "at most the first");
        within(supervisor.stop()).await;
    }
}

#[tokio::test]
async fn without_readiness_everything_counts_as_ready() {
    let mut bench = Bench::new(vec![service("api", &["--no-listen"])]);
    bench.plan.ablated.push(Mechanism::Readiness);
    let supervisor = bench.start_ready().await;
    assert!(process(&supervisor, "api").ready);
    let path = bench.state("api", "1").join("env");
    let told = || fs::read_to_string(&path).unwrap_or_default();
    until("the service is told", || told().lines().any(|line| line == "SEAWORTHY_ABLATE=readiness")).await;
    within(supervisor.stop()).await;
}

#[tokio::test]
async fn external_endpoints_are_probed_and_never_started() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut payments = service("payments", &[]);
    payments.kind = ServiceKind::External {
        endpoints: vec![(open, 0), (closed, 1)],
        readiness: ProbePlan { action: ProbeAction::Tcp, health: fast_health() },
    };
    let bench = Bench::new(vec![payments]);
    let supervisor = bench.start().await;
    let about = |number: &'static str| {
        move |kind: &EventKind| kind.subject().is_some_and(|(_, replica)| replica == Some(number))
    };
    let first = bench.event(0, about("1")).await;
    assert!(ready(&first.kind), "{first:?}");
    let second = bench.event(0, about("2")).await;
    assert!(second.kind.sentence().contains("connection refused"), "{second:?}");
    assert!(supervisor.list().is_empty(), "no process of ours");
    drop(listener);
    let gone = bench.event(first.seq, |kind| unready(kind) && about("1")(kind)).await;
    assert!(gone.kind.sentence().contains("connection refused"), "{gone:?}");
    assert_eq!(last_health(&bench), (false, "connection refused"));
    within(supervisor.stop()).await;
    let removed =
        bench.changes().into_iter().filter(|change| matches!(change, EndpointChange::Removed { .. }));
    assert_eq!(removed.count(), 2);
}

#[tokio::test]
async fn probes_take_the_detours_that_are_meant_for_them() {
    let bench = Bench::new(vec![service("api", &[])]);
    let supervisor = bench.start_ready().await;
    let dead: SocketAddr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let scope = DetourScope::Replica { service: "api".to_owned(), replica: "1".to_owned() };
    let before = bench.bus.newest();
    bench.dial.set(scope.clone(), Detour { address: dead, probes: true });
    let event = bench.event(before, unready).await;
    bench.dial.clear(&scope);
    bench.event(event.seq, ready).await;
    within(supervisor.stop()).await;
}
