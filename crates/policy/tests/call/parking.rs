//! Calls that wait for an endpoint.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::call::{Call, Cause, Event, FailureKind, Proof, Safety};
use seaworthy_policy::pool::{ParkingConfig, PoolConfig, PoolEvent};

use crate::world::{World, attempt_of, failed, failure_of, ms};

#[test]
fn a_parked_call_goes_when_an_endpoint_comes() {
    let mut world = World::new(1, PoolConfig::default());
    let gone = world.endpoints[0];
    world.pool.on_removed(world.now, gone, "exited");
    let mut calls: Vec<Call> = (0..3).map(|_| world.call(Safety::Unsafe)).collect();
    for call in &mut calls {
        assert_eq!(world.on(call, Event::Start), []);
        assert!(call.is_parked());
    }
    world.wait(ms(2000));
    let back = world.pool.on_added(world.now, 0);
    world.pool.on_health(world.now, back, true, "");
    assert!(world.pool.take_events().contains(&PoolEvent::Available));
    for call in &mut calls {
        // The first goes at once, the others take their turns.
        let mut steps = world.on(call, Event::Timer);
        while steps.is_empty() {
            world.now = call.next_deadline().expect("a turn");
            steps = world.on(call, Event::Timer);
        }
        assert_eq!(attempt_of(&steps).1, back);
    }
    assert_eq!(world.pool.parked(), 0);
}

#[test]
fn parking_ends_at_the_deadline_and_is_bounded() {
    let parking = ParkingConfig { max_requests: 1, ..ParkingConfig::default() };
    let mut world = World::new(0, PoolConfig { parking, ..PoolConfig::default() });
    let mut first = world.call(Safety::Safe);
    assert_eq!(world.on(&mut first, Event::Start), []);
    let mut second = world.call(Safety::Safe);
    assert_eq!(failure_of(&world.on(&mut second, Event::Start)).kind, FailureKind::NoEndpoint);
    world.now = first.next_deadline().expect("a deadline");
    let failure = failure_of(&world.on(&mut first, Event::Timer));
    assert_eq!(failure.kind, FailureKind::NoEndpoint);
    assert!(failure.retry_after.is_some(), "what is ours says when to try again");
    assert_eq!(world.pool.parked(), 0);
}

#[test]
fn parked_calls_are_woken_when_refusals_are_over() {
    let mut world = World::new(3, PoolConfig::default());
    let mut call = world.call(Safety::Unsafe);
    let mut steps = world.on(&mut call, Event::Start);
    for _ in 0..3 {
        let (attempt, _) = attempt_of(&steps);
        steps = world.on(&mut call, failed(attempt, Proof::Refused, Cause::Connect));
    }
    while !call.is_parked() {
        world.now = call.next_deadline().expect("a back-off");
        world.on(&mut call, Event::Timer);
    }
    world.pool.take_events();
    world.now = world.pool.next_deadline().expect("the end of a refusal");
    world.pool.on_timer(world.now);
    assert!(world.pool.take_events().contains(&PoolEvent::Available), "nobody would wake them");
    attempt_of(&world.on(&mut call, Event::Timer));
}

#[test]
fn a_turn_after_the_deadline_does_not_keep_a_call_waiting() {
    let parking = ParkingConfig { release_interval: Duration::from_secs(1), ..ParkingConfig::default() };
    let mut world = World::new(0, PoolConfig { parking, ..PoolConfig::default() });
    let deadline = world.now.after(ms(1500));
    let config = Arc::new(world.config.clone());
    let mut calls: Vec<Call> =
        (0..4).map(|_| Call::new(config.clone(), 0, Safety::Safe, true, deadline)).collect();
    for call in &mut calls {
        world.on(call, Event::Start);
    }
    world.wait(ms(10));
    let key = world.pool.on_added(world.now, 0);
    world.pool.on_health(world.now, key, true, "");
    for call in &mut calls {
        world.on(call, Event::Timer);
    }
    let last = calls.last_mut().expect("four");
    assert_eq!(last.next_deadline(), Some(deadline), "its turn would come a second after it");
    world.now = deadline;
    assert_eq!(failure_of(&world.on(last, Event::Timer)).kind, FailureKind::NoEndpoint);
}

#[test]
fn the_limit_of_waiting_counts_from_the_latest_loss() {
    let parking = ParkingConfig { only_within: Some(Duration::from_secs(10)), ..ParkingConfig::default() };
    let mut world = World::new(1, PoolConfig { parking, ..PoolConfig::default() });
    let only = world.endpoints[0];
    world.pool.on_health(world.now, only, false, "failed probes");
    let mut call = world.call(Safety::Safe);
    world.on(&mut call, Event::Start);
    world.wait(ms(9_000));
    world.pool.on_health(world.now, only, true, "");
    world.pool.on_health(world.now, only, false, "failed probes");
    world.wait(ms(1_000));
    assert_eq!(world.on(&mut call, Event::Timer), [], "the last endpoint went a second ago");
    assert!(call.is_parked());
}

#[test]
fn a_parked_call_that_cannot_finish_any_more_is_not_sent() {
    let mut world = World::new(1, PoolConfig::default());
    world.warm_up(50, ms(100));
    let only = world.endpoints[0];
    world.pool.on_health(world.now, only, false, "failed probes");
    let deadline = world.now.after(ms(1_000));
    let mut call = Call::new(Arc::new(world.config.clone()), 0, Safety::Unsafe, true, deadline);
    world.on(&mut call, Event::Start);
    world.wait(ms(950));
    world.pool.on_health(world.now, only, true, "");
    let failure = failure_of(&world.on(&mut call, Event::Timer));
    assert_eq!((failure.kind, failure.outcome_unknown), (FailureKind::NoEndpoint, false));
    assert_eq!(world.pool.parked(), 0);
}
