//! Lanes against a source in memory and real sockets: whatever the receiver does, each job ends as it should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use seaworthy_policy::BreakerConfig;
use seaworthy_policy::delivery::{Because, DeliveryConfig, Reason, Schedule, Step};
use seaworthy_queue::Command;

use crate::backend::{Backend, Seen, answer};
use crate::memory::{Memory, State};
use crate::support::{Running, millis};

fn config() -> DeliveryConfig {
    let waits: Arc<[Duration]> = [0, 50, 100].map(millis).into();
    DeliveryConfig {
        schedule: Schedule { waits, jitter: 0.0 },
        timeout: Duration::from_secs(5),
        breaker: None,
        concurrency: 4,
        prefetch: 4,
        ..DeliveryConfig::default()
    }
}

#[tokio::test]
async fn every_job_is_delivered_once_and_so_many_at_a_time() {
    let backend = Backend::start(|_| (millis(5), answer(200, ""))).await;
    let source = Memory::with(1..=60);
    let lane = Running::start(config(), &backend, &source);
    source.wait_until(|jobs| jobs.values().all(|job| job.state == State::Done)).await;
    let seen = backend.seen();
    let mut ids: Vec<&str> = seen.iter().map(|seen| seen.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), seen.len()), (60, 60));
    assert!((2..=4).contains(&backend.most_at_once()), "{} at once", backend.most_at_once());
    lane.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn what_fails_comes_again_under_the_same_id() {
    let backend = Backend::start(|nth| (millis(0), answer(if nth < 2 { 500 } else { 204 }, ""))).await;
    let source = Memory::with(1..=1);
    let lane = Running::start(config(), &backend, &source);
    source.wait_until(|jobs| jobs[&1].state == State::Done).await;
    let seen = backend.seen();
    assert_eq!(seen.iter().map(|seen| seen.id.as_str()).collect::<Vec<_>>(), ["job-1"; 3]);
    for (pair, wait) in seen.windows(2).zip([50, 100]) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= millis(wait), "{gap:?} instead of {wait} ms");
    }
    lane.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn what_never_succeeds_is_a_dead_letter_with_the_last_answer() {
    let backend = Backend::start(|nth| (millis(0), answer(500, &format!("failure {nth}")))).await;
    let source = Memory::with(1..=1);
    let lane = Running::start(config(), &backend, &source);
    source.wait_until(|jobs| jobs[&1].state.is_dead()).await;
    let dead = State::Dead(Reason::Exhausted, 3, "failure 2".to_owned());
    assert_eq!((source.state(1), backend.seen().len()), (dead, 3));
    lane.end(Duration::ZERO).await.unwrap();

    let backend = Backend::start(|_| (millis(0), answer(422, "no such buyer"))).await;
    let source = Memory::with(1..=1);
    let lane = Running::start(config(), &backend, &source);
    source.wait_until(|jobs| jobs[&1].state.is_dead()).await;
    let dead = State::Dead(Reason::Rejected { status: 422 }, 1, "no such buyer".to_owned());
    assert_eq!((source.state(1), backend.seen().len()), (dead, 1));
    lane.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn an_order_key_goes_one_at_a_time_and_holds_up_nobody_else() {
    // The very first attempt fails.
    let backend = Backend::start(|nth| (millis(3), answer(if nth == 0 { 500 } else { 200 }, ""))).await;
    let source = Memory::with(1..=12);
    source.order(|id| (id <= 8).then_some("a"));
    let lane = Running::start(config(), &backend, &source);
    source.wait_until(|jobs| jobs.values().all(|job| job.state == State::Done)).await;
    let ids: Vec<u64> = backend.seen().iter().map(Seen::number).collect();
    let of_key: Vec<u64> = ids.iter().copied().filter(|id| *id <= 8).collect();
    assert_eq!(of_key, [1, 1, 2, 3, 4, 5, 6, 7, 8], "{ids:?}");
    let retried = ids.iter().rposition(|id| *id == 1).unwrap();
    let others = ids[..retried].iter().filter(|id| **id > 8).count();
    assert_eq!(others, 4, "the others did not wait for the retry: {ids:?}");
    lane.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn gone_means_gone_until_somebody_says_otherwise() {
    let backend = Backend::start(|nth| (millis(0), answer(if nth == 0 { 410 } else { 200 }, ""))).await;
    let source = Memory::with(1..=1);
    let lane = Running::start(config(), &backend, &source);
    lane.wait_for(|step| matches!(step, Step::Disabled { .. })).await;
    source.add(2..=5);
    source.wait_until(|jobs| jobs[&1].state == State::Pending).await;
    assert_eq!(backend.seen().len(), 1);
    lane.command(Command::Enable).await;
    source.wait_until(|jobs| jobs.values().all(|job| job.state == State::Done)).await;
    assert_eq!(backend.seen().len(), 6);
    assert_eq!(source.attempts(1), 0, "being sent away is no attempt");
    lane.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn an_outage_costs_no_attempt_of_those_that_wait() {
    let breaker = BreakerConfig {
        consecutive_failures: 3,
        quiet: Duration::ZERO,
        wait_duration_in_open_state: millis(100),
        max_wait: millis(100),
        recovery_ramp: Duration::ZERO,
        ..BreakerConfig::default()
    };
    let waits: Arc<[Duration]> = std::iter::repeat_n(millis(100), 20).collect();
    let schedule = Schedule { waits, jitter: 0.0 };
    let config = DeliveryConfig { breaker: Some(Arc::new(breaker)), schedule, ..config() };
    let backend = Backend::start(|_| (millis(1), answer(200, ""))).await;
    backend.stop_listening();
    let source = Memory::with(1..=200);
    let lane = Running::start(config, &backend, &source);
    tokio::time::sleep(millis(500)).await;
    let spent: u32 = (1..=200).map(|id| source.attempts(id)).sum();
    assert!((1..100).contains(&spent), "{spent} attempts in half a second of outage");
    backend.listen_again().await;
    source.wait_until(|jobs| jobs.values().all(|job| job.state == State::Done)).await;
    lane.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_pause_lets_attempts_end_and_begins_none() {
    let backend = Backend::start(|_| (millis(30), answer(200, ""))).await;
    let source = Memory::with(1..=20);
    let lane = Running::start(config(), &backend, &source);
    lane.wait_for(|step| matches!(step, Step::Attempt { .. })).await;
    lane.command(Command::Pause).await;
    lane.wait_for(|step| matches!(step, Step::Defer { because: Because::Paused, .. })).await;
    source.wait_until(|jobs| jobs.values().all(|job| job.state != State::Claimed)).await;
    let before = backend.seen().len();
    tokio::time::sleep(millis(100)).await;
    assert_eq!(backend.seen().len(), before);
    lane.command(Command::Resume).await;
    source.wait_until(|jobs| jobs.values().all(|job| job.state == State::Done)).await;
    assert_eq!(backend.seen().len(), 20, "nothing twice");
    lane.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_attempts_as_long_as_it_may() {
    for (takes, grace, done) in [(100, 5_000, true), (5_000, 100, false)] {
        let backend = Backend::start(move |_| (millis(takes), answer(200, ""))).await;
        let source = Memory::with(1..=10);
        let lane = Running::start(config(), &backend, &source);
        lane.wait_for(|step| matches!(step, Step::Attempt { .. })).await;
        backend.wait_for(1).await;
        let ending = Instant::now();
        lane.end(millis(grace)).await.unwrap();
        assert!(ending.elapsed() < millis(4_000), "attempts were given up after {grace} ms");
        let begun = backend.seen().len();
        let states: Vec<State> = (1..=10).map(|id| source.state(id)).collect();
        let finished = states.iter().filter(|state| **state == State::Done).count();
        assert!(states.iter().all(|state| *state != State::Claimed), "nothing is left in our hands");
        assert_eq!(finished, if done { begun } else { 0 }, "{takes} ms within {grace} ms: {states:?}");
        assert!((1..=10).all(|id| source.attempts(id) == 0), "giving up ourselves is no attempt");
    }
}

#[tokio::test]
async fn a_long_attempt_keeps_its_claim_and_a_lost_one_is_given_up() {
    let lease = Duration::from_secs(1);
    let config = DeliveryConfig { lease, ..config() };
    let backend = Backend::start(|_| (millis(1_500), answer(200, ""))).await;
    let source = Memory::with(1..=1);
    let lane = Running::start(config.clone(), &backend, &source);
    source.wait_until(|jobs| jobs[&1].state == State::Done).await;
    assert!(source.extended() >= 1, "a lease of 1 s was extended for an attempt of 1.5 s");
    assert_eq!(backend.seen().len(), 1);
    lane.end(Duration::ZERO).await.unwrap();

    let backend = Backend::start(|_| (millis(15_000), answer(200, ""))).await;
    let source = Memory::with(1..=1);
    source.refuse_extensions();
    let lane = Running::start(config, &backend, &source);
    lane.wait_for(|step| matches!(step, Step::Lost { .. })).await;
    assert_eq!(source.state(1), State::Claimed, "nothing was said about it");
    let ending = Instant::now();
    lane.end(Duration::ZERO).await.unwrap();
    assert!(ending.elapsed() < millis(2_500), "its attempt was given up, long before its time-out");
}

#[tokio::test]
async fn a_slow_store_slows_deliveries_down_and_fills_no_memory() {
    let backend = Backend::start(|_| (millis(0), answer(200, ""))).await;
    let source = Memory::with(1..=500);
    source.set_slow(true);
    let lane = Running::start(config(), &backend, &source);
    backend.wait_for(9).await;
    tokio::time::sleep(millis(200)).await;
    let seen = backend.seen().len();
    assert!(seen <= 3 * 8, "{seen} were delivered while nothing could be settled");
    source.set_slow(false);
    source.wait_until(|jobs| jobs.values().all(|job| job.state == State::Done)).await;
    assert_eq!(backend.seen().len(), 500);
    lane.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_broken_source_ends_the_lane() {
    let backend = Backend::start(|_| (millis(0), answer(200, ""))).await;
    let source = Memory::with(1..=3);
    source.break_settling();
    let lane = Running::start(config(), &backend, &source);
    assert_eq!(lane.failure().await, "the disk is gone");
    assert!((1..=3).all(|id| source.state(id) == State::Claimed), "nothing was acknowledged");
}
