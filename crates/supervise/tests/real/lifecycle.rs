//! Starts, exits, restarts and stops of real processes.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::common::{Bench, is_alive, kill, need, process, service, supervised, until, within};
use rustix::process::Signal;
use seaworthy_observe::{EndpointChange, EventKind, Processes};
use seaworthy_spec::plan::{Mechanism, ReplicaPlan};

fn exited(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ProcessExited { .. })
}

fn started(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ProcessStarted { .. })
}

#[tokio::test]
async fn replicas_start_in_their_zones_and_become_ready() {
    let mut api = service("api", &[]);
    supervised(&mut api).replicas = [("a-1", 0), ("a-2", 0), ("b-1", 1)]
        .map(|(id, zone)| ReplicaPlan { id: id.to_owned(), zone })
        .to_vec();
    let bench = Bench::new(vec![api]);
    let supervisor = bench.start_ready().await;
    let views = supervisor.list();
    let zones: Vec<(String, u16, bool)> =
        views.iter().map(|view| (view.id.replica.to_string(), view.zone, view.ready)).collect();
    assert_eq!(
        zones,
        [("a-1".to_owned(), 0, true), ("a-2".to_owned(), 0, true), ("b-1".to_owned(), 1, true)]
    );
    let ports: BTreeSet<u16> = views.iter().map(|view| view.address.port()).collect();
    assert_eq!(ports.len(), 3);
    assert!(ports.iter().all(|port| (20_000..32_000).contains(port)), "{ports:?}");
    for view in &views {
        let own: Vec<EndpointChange> = bench
            .changes()
            .into_iter()
            .filter(|change| match change {
                EndpointChange::Added { id, .. } | EndpointChange::Health { id, .. } => *id == view.id,
                EndpointChange::Removed { .. } => false,
            })
            .collect();
        let (id, address, zone) = (view.id.clone(), view.address, view.zone);
        let expected = [
            EndpointChange::Added { id: id.clone(), address, zone },
            EndpointChange::Health { id, ready: true, reason: "probes passed" },
        ];
        assert_eq!(own, expected);
        assert_eq!(view.id.incarnation, 1);
    }
    let state = bench.bus.state();
    assert!(state.services["api"].replicas.values().all(|replica| replica.ready && replica.pid.is_some()));
    within(supervisor.stop()).await;
    assert!(supervisor.list().is_empty());
    assert!(views.iter().all(|view| !is_alive(view.pid)));
}

#[tokio::test]
async fn a_killed_process_is_replaced_at_once_by_a_new_identity() {
    let bench = Bench::new(vec![service("api", &[])]);
    let supervisor = bench.start_ready().await;
    let old = process(&supervisor, "api");
    let before = bench.bus.newest();
    kill(old.pid, Signal::KILL);
    let exit = bench.event(before, exited).await;
    let EventKind::ProcessExited { how, expected, pid, .. } = &exit.kind else { unreachable!() };
    assert_eq!((how.as_str(), *expected, *pid), ("signal 9", false, old.pid));
    let scheduled = bench.event(before, |kind| matches!(kind, EventKind::RestartScheduled { .. })).await;
    let EventKind::RestartScheduled { in_ms, crash_loop, .. } = scheduled.kind else { unreachable!() };
    assert_eq!((in_ms, crash_loop), (0, false), "the first restart is immediate");
    let start = bench.event(before, started).await;
    // Far below any probe period: nothing polls for exits.
    assert!(start.at - exit.at < 2_000_000_000, "{} ns", start.at - exit.at);
    within(supervisor.all_ready()).await;
    let new = process(&supervisor, "api");
    assert_eq!(new.id.incarnation, 2);
    assert_ne!((new.pid, new.address), (old.pid, old.address));
    let tail: Vec<EndpointChange> = bench.changes().into_iter().skip(2).collect();
    let expected = [
        EndpointChange::Removed { id: old.id, reason: "process exited" },
        EndpointChange::Added { id: new.id.clone(), address: new.address, zone: 0 },
        EndpointChange::Health { id: new.id, ready: true, reason: "probes passed" },
    ];
    assert_eq!(tail, expected, "removed before added");
    within(supervisor.stop()).await;
}

#[tokio::test]
async fn a_crash_loop_is_visible_and_still_tried_and_ends() {
    let mut api = service("api", &["--exit-after", "1", "3"]);
    // Long enough that the test can change its mind between two starts.
    supervised(&mut api).restart.max = Duration::from_millis(20);
    let bench = Bench::new(vec![api]);
    let supervisor = bench.start().await;
    let is_loop = |kind: &EventKind| matches!(kind, EventKind::RestartScheduled { crash_loop: true, .. });
    let seen = bench.event(0, is_loop).await.seq;
    let exits = bench.events().iter().filter(|event| exited(&event.kind)).count();
    assert_eq!(exits, 5, "the fifth exit makes it a loop");
    assert!(bench.bus.state().services["api"].replicas["1"].crash_loop);
    // It goes on.
    let later = bench.event(seen, started).await.seq;
    bench.event(later, exited).await;
    let exit = bench.bus.state().services["api"].replicas["1"].last_exit.clone().unwrap();
    assert_eq!((exit.how.as_str(), exit.expected), ("code 3", false));
    within(supervisor.stop()).await;
    let ports: Vec<String> = bench
        .events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::ProcessStarted { address, .. } => Some(address),
            _ => None,
        })
        .collect();
    assert_eq!(ports.len(), ports.iter().collect::<BTreeSet<_>>().len(), "every start has a port of its own");
}

#[tokio::test]
async fn a_crash_loop_ends_after_a_while_of_health() {
    // Fails until the fifth start, by way of a file that counts.
    let mut api = service("api", &[]);
    let stub = supervised(&mut api).run[0].clone();
    let script = "echo x >> $SEAWORTHY_STATE_DIR/starts; \
                  [ $(wc -l < $SEAWORTHY_STATE_DIR/starts) -gt 5 ] || exit 1; exec \"$0\"";
    supervised(&mut api).run = ["sh", "-c", script, &stub].map(str::to_owned).to_vec();
    let bench = Bench::new(vec![api]);
    let supervisor = bench.start().await;
    let ended = bench.event(0, |kind| matches!(kind, EventKind::CrashLoopEnded { .. })).await;
    let ready = bench.event(0, |kind| matches!(kind, EventKind::EndpointReady { .. })).await;
    assert!(ended.at - ready.at >= 300_000_000, "only after `reset_after`");
    let replica = bench.bus.state().services["api"].replicas["1"].clone();
    assert!(replica.ready && !replica.crash_loop);
    assert_eq!(replica.restarts, 5);
    within(supervisor.stop()).await;
}

#[tokio::test]
async fn exits_that_are_final_stay_down_and_say_so() {
    for (code, ablated, words) in
        [("78", None, "exit code 78 is declared permanent"), ("1", Some(Mechanism::Restart), "switched off")]
    {
        let mut bench = Bench::new(vec![service("api", &["--exit-after", "1", code])]);
        bench.plan.ablated.extend(ablated);
        let supervisor = bench.start().await;
        let declined = bench.event(0, |kind| matches!(kind, EventKind::RestartDeclined { .. })).await;
        assert!(declined.kind.sentence().contains(words), "{}", declined.kind.sentence());
        within(supervisor.stop()).await;
        assert_eq!(bench.events().iter().filter(|event| started(&event.kind)).count(), 1);
        let reason = &bench.bus.state().services["api"].replicas["1"].reason;
        assert!(reason.starts_with("stays down: "), "{reason}");
    }
}

#[tokio::test]
async fn who_ignores_a_polite_request_is_killed_with_the_whole_group() {
    let mut api = service("api", &[]);
    let stub = supervised(&mut api).run[0].clone();
    let script = "trap '' TERM; exec \"$0\" --grandchild";
    supervised(&mut api).run = ["sh", "-c", script, &stub].map(str::to_owned).to_vec();
    supervised(&mut api).stop_grace = Duration::from_millis(200);
    let bench = Bench::new(vec![api]);
    let supervisor = bench.start_ready().await;
    let leader = process(&supervisor, "api").pid;
    let grandchild: u32 =
        fs::read_to_string(bench.state("api", "1").join("grandchild")).unwrap().parse().unwrap();
    assert!(is_alive(leader) && is_alive(grandchild));
    let before = bench.bus.newest();
    let begun = std::time::Instant::now();
    within(supervisor.stop()).await;
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(200) && taken < Duration::from_secs(4), "its grace: {taken:?}");
    let EventKind::ProcessExited { how, expected, .. } = bench.event(before, exited).await.kind else {
        unreachable!()
    };
    assert_eq!((how.as_str(), expected), ("signal 9", true));
    until("the grandchild is gone", || !is_alive(grandchild)).await;
    let unready = bench.changes().into_iter().rev().nth(1).unwrap();
    assert!(
        matches!(unready, EndpointChange::Health { ready: false, reason: "stopping", .. }),
        "{unready:?}"
    );
}

#[tokio::test]
async fn a_leader_that_dies_takes_its_group_with_it() {
    let bench = Bench::new(vec![service("api", &["--grandchild"])]);
    let supervisor = bench.start_ready().await;
    let path = bench.state("api", "1").join("grandchild");
    let grandchild: u32 = fs::read_to_string(path).unwrap().parse().unwrap();
    kill(process(&supervisor, "api").pid, Signal::KILL);
    until("the grandchild is gone", || !is_alive(grandchild)).await;
    within(supervisor.stop()).await;
}

#[tokio::test]
async fn a_paused_process_hears_the_polite_request() {
    // Its answer to SIGTERM takes code of its own, which a paused process cannot run.
    let mut api = service("api", &[]);
    let stub = supervised(&mut api).run[0].clone();
    let script = "trap 'exit 7' TERM; \"$0\" & wait";
    supervised(&mut api).run = ["sh", "-c", script, &stub].map(str::to_owned).to_vec();
    let bench = Bench::new(vec![api]);
    let supervisor = bench.start_ready().await;
    kill(process(&supervisor, "api").pid, Signal::STOP);
    let begun = std::time::Instant::now();
    within(supervisor.stop()).await;
    assert!(begun.elapsed() < Duration::from_secs(9), "it did not need its grace of 10 s");
    let last = bench.events().pop().unwrap().kind;
    assert!(matches!(&last, EventKind::ProcessExited { how, .. } if how == "code 7"), "{last:?}");
}

#[tokio::test]
async fn users_stop_before_what_they_need() {
    let mut services = vec![service("ledger", &[]), service("api", &[]), service("web", &[])];
    services[1].needs = vec![need(0)];
    services[2].needs = vec![need(1)];
    let mut bench = Bench::new(services);
    for name in ["ledger", "api"] {
        bench.egress.insert(name.to_owned(), ([127, 0, 0, 1], 7).into());
    }
    let supervisor = bench.start_ready().await;
    let before = bench.bus.newest();
    // Twice at once: both wait for the end, and nothing happens twice.
    within(async { tokio::join!(supervisor.stop(), supervisor.stop()) }).await;
    let order: Vec<String> = bench
        .bus
        .since(before, usize::MAX)
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::ProcessExited { service, expected: true, .. } => Some(service),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["web", "api", "ledger"]);
}

#[tokio::test]
async fn nothing_outlives_the_last_handle() {
    let bench = Bench::new(vec![service("api", &[])]);
    let supervisor = bench.start_ready().await;
    let pid = process(&supervisor, "api").pid;
    drop(supervisor);
    until("the process is gone", || !is_alive(pid)).await;
}

#[test]
fn nothing_outlives_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = Bench::new(vec![service("api", &["--grandchild"])]);
    let supervisor = runtime.block_on(bench.start_ready());
    let pid = process(&supervisor, "api").pid;
    let path = bench.state("api", "1").join("grandchild");
    let grandchild: u32 = fs::read_to_string(path).unwrap().parse().unwrap();
    drop(runtime);
    assert!(!is_alive(pid));
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    while is_alive(grandchild) {
        assert!(std::time::Instant::now() < deadline, "the grandchild is still there");
        std::thread::yield_now();
    }
}
