//! The way back of an endpoint that live traffic ejected: tried by few requests, with growing pauses, and never lost.

use std::time::Duration;

use seaworthy_policy::call::{AttemptKind, Class, Event, Safety, Step};
use seaworthy_policy::pool::{EjectReason, EndpointKey, PoolConfig, PoolEvent};

use crate::world::{World, answered, attempt_of, ms};

/// Ejects `bad` by five errors in a row.
fn eject_by_errors(world: &mut World, bad: EndpointKey) {
    for _ in 0..5 {
        let mut call = world.start_at(bad, Safety::Unsafe);
        world.on(&mut call, answered(0, Class::Error));
        world.on(&mut call, Event::BodyEnded);
    }
    assert_eq!(state_of(world, bad), "ejected");
}

/// Ejects `bad` by the stall rule. What waits there is dropped.
fn eject_by_stall(world: &mut World, bad: EndpointKey) {
    let mut stuck: Vec<_> = (0..3).map(|_| world.start_at(bad, Safety::Unsafe)).collect();
    world.wait(ms(200));
    for call in &mut stuck {
        world.on(call, Event::Timer);
        world.on(call, Event::Dropped);
    }
    assert_eq!(state_of(world, bad), "ejected");
}

fn state_of(world: &World, endpoint: EndpointKey) -> &'static str {
    let views = world.pool.view(world.now);
    views.iter().find(|view| view.endpoint == endpoint).expect("it is there").state
}

/// Waits for the end of the ejection.
fn begin_readmission(world: &mut World) {
    world.now = world.pool.next_deadline().expect("an ejection ends");
    world.pool.on_timer(world.now);
}

#[test]
fn a_trial_that_its_hedge_overtakes_again_and_again_ends_the_readmission() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(300, ms(5));
    let hung = world.endpoints[1];
    eject_by_stall(&mut world, hung);
    for seconds in [60, 90] {
        begin_readmission(&mut world);
        world.pool.take_events();
        let mut trials = 0;
        while state_of(&world, hung) == "readmitting" {
            trials += 1;
            assert!(trials <= 3, "the endpoint still hangs, and every request still pays for it");
            let mut call = world.call(Safety::Safe);
            let (_, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
            assert_eq!(endpoint, hung);
            world.wait(ms(10));
            let (hedge, _) = attempt_of(&world.on(&mut call, Event::Timer));
            world.wait(ms(5));
            world.on(&mut call, answered(hedge, Class::Answered));
            world.on(&mut call, Event::BodyEnded);
        }
        let longer = PoolEvent::Ejected {
            endpoint: hung,
            reason: EjectReason::Relapse,
            duration: Duration::from_secs(seconds),
        };
        assert!(world.pool.take_events().contains(&longer), "out for {seconds} s");
    }
}

#[test]
fn an_endpoint_on_trial_that_only_says_slow_down_has_not_proved_itself() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(300, ms(5));
    let bad = world.endpoints[1];
    eject_by_errors(&mut world, bad);
    begin_readmission(&mut world);
    for _ in 0..3 {
        let mut call = world.call(Safety::Safe);
        let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
        assert_eq!(endpoint, bad);
        world.on(&mut call, answered(attempt, Class::Throttled));
        world.on(&mut call, Event::BodyEnded);
    }
    assert_eq!(state_of(&world, bad), "ejected");
}

#[test]
fn what_panic_lets_through_says_nothing_about_a_trial() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(300, ms(5));
    let [bad, ..] = world.endpoints[..] else { panic!("three") };
    eject_by_errors(&mut world, bad);
    begin_readmission(&mut world);
    for other in world.endpoints.clone() {
        world.pool.on_health(world.now, other, other == bad, "failed probes");
    }
    let trial = {
        let mut call = world.call(Safety::Safe);
        attempt_of(&world.on(&mut call, Event::Start));
        call
    };
    for _ in 0..5 {
        let mut call = world.call(Safety::Unsafe);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        world.on(&mut call, answered(attempt, Class::Answered));
        world.on(&mut call, Event::BodyEnded);
    }
    assert_eq!(state_of(&world, bad), "readmitting", "these were not hedged trials");
    drop(trial);
}

#[test]
fn a_relapse_never_takes_the_last_endpoint() {
    let mut world = World::new(2, PoolConfig::default());
    world.warm_up(300, ms(5));
    let [shaky, gone] = world.endpoints[..] else { panic!("two") };
    eject_by_stall(&mut world, shaky);
    begin_readmission(&mut world);
    world.pool.on_removed(world.now, gone, "exited");
    let mut call = world.call(Safety::Safe);
    let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
    world.on(&mut call, answered(attempt, Class::BadGateway));
    world.on(&mut call, Event::Dropped);
    let mut call = world.call(Safety::Unsafe);
    let (_, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
    assert_eq!(endpoint, shaky, "bad answers beat none");
}

#[test]
fn a_stalled_endpoint_whose_probes_recovered_is_tried_early_when_it_is_the_last() {
    let mut world = World::new(2, PoolConfig::default());
    world.warm_up(300, ms(5));
    let [paused, killed] = world.endpoints[..] else { panic!("two") };
    eject_by_stall(&mut world, paused);
    world.pool.on_health(world.now, paused, false, "no answer in time");
    world.wait(ms(5_000));
    world.pool.on_health(world.now, paused, true, "");
    assert_eq!(state_of(&world, paused), "ejected", "a probe takes nobody back");
    world.pool.on_removed(world.now, killed, "exited");
    let mut call = world.call(Safety::Unsafe);
    let (_, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
    assert_eq!(endpoint, paused, "its process answers again, and there is nobody else");
}

#[test]
fn a_stalled_endpoint_without_a_sign_of_life_stays_out_even_when_it_is_the_last() {
    let mut world = World::new(2, PoolConfig::default());
    world.warm_up(300, ms(5));
    let [hung, killed] = world.endpoints[..] else { panic!("two") };
    eject_by_stall(&mut world, hung);
    world.pool.on_removed(world.now, killed, "exited");
    let mut call = world.call(Safety::Unsafe);
    assert_eq!(world.on(&mut call, Event::Start), []);
    assert!(call.is_parked());
}

#[test]
fn where_nothing_can_be_hedged_somebody_tries_it_all_the_same() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(300, ms(5));
    let bad = world.endpoints[1];
    eject_by_errors(&mut world, bad);
    begin_readmission(&mut world);
    let mut first_at_bad = None;
    for round in 0..100_u64 {
        let mut call = world.call(Safety::Unsafe);
        let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
        if endpoint == bad {
            first_at_bad.get_or_insert(round);
        }
        world.wait(ms(100));
        world.on(&mut call, answered(attempt, Class::Answered));
        world.on(&mut call, Event::BodyEnded);
    }
    assert_eq!(state_of(&world, bad), "available", "it would stay out for ever");
    assert!(
        first_at_bad.is_some_and(|round| round >= 50),
        "those that can be hedged go first: {first_at_bad:?}"
    );
}

#[test]
fn a_trial_that_cannot_be_hedged_is_left_to_others() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(300, ms(5));
    let bad = world.endpoints[1];
    eject_by_errors(&mut world, bad);
    begin_readmission(&mut world);
    world.config.max_attempts = 1;
    let mut call = world.call(Safety::Safe);
    assert_ne!(
        attempt_of(&world.on(&mut call, Event::Start)).1,
        bad,
        "no attempt would be left for the hedge"
    );
    world.config.max_attempts = 3;
    let mut call = world.call(Safety::Safe);
    assert_eq!(attempt_of(&world.on(&mut call, Event::Start)).1, bad);
    world.wait(ms(10));
    let steps = world.on(&mut call, Event::Timer);
    assert!(matches!(steps[..], [Step::Attempt { kind: AttemptKind::Hedge, .. }]), "{steps:?}");
}

#[test]
fn a_trial_whose_client_leaves_frees_the_place_and_proves_nothing() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(300, ms(5));
    let bad = world.endpoints[1];
    eject_by_errors(&mut world, bad);
    begin_readmission(&mut world);
    for _ in 0..20 {
        let mut call = world.call(Safety::Safe);
        assert_eq!(attempt_of(&world.on(&mut call, Event::Start)).1, bad);
        world.on(&mut call, Event::Dropped);
        assert_eq!(state_of(&world, bad), "readmitting");
    }
}
