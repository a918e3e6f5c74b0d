//! Who is asked: stalls, ejection and the way back, refusals.

use std::time::Duration;

use seaworthy_policy::budget::BudgetConfig;
use seaworthy_policy::call::{AttemptKind, Call, Cause, Class, Event, Proof, Safety, Step};
use seaworthy_policy::pool::{EjectReason, EndpointKey, Pool, PoolConfig, PoolEvent};
use seaworthy_policy::time::Time;

use crate::world::{World, answered, attempt_of, failed, ms};

#[test]
fn a_hung_endpoint_is_out_after_the_stall_limit_and_its_requests_move_at_once() {
    let mut world = World::new(3, PoolConfig::default());
    world.config.hedge_percentile = None;
    world.warm_up(300, ms(5));
    let hung = world.endpoints[0];
    let mut stuck: Vec<Call> = (0..3).map(|_| world.start_at(hung, Safety::Keyed)).collect();
    let mut unsafe_one = world.start_at(hung, Safety::Unsafe);
    world.wait(ms(199));
    assert_eq!(world.on(&mut stuck[0], Event::Timer), [], "not before 200 ms");
    world.wait(ms(1));
    for call in &mut stuck {
        let steps = world.on(call, Event::Timer);
        let [Step::Cancel { .. }, Step::Attempt { endpoint, kind: AttemptKind::Retry, .. }] = steps[..]
        else {
            panic!("{steps:?}")
        };
        assert_ne!(endpoint, hung);
    }
    assert_eq!(world.on(&mut unsafe_one, Event::Timer), [], "an unsafe one may only wait");
    let events = world.pool.take_events();
    let ejected =
        PoolEvent::Ejected { endpoint: hung, reason: EjectReason::Stall, duration: Duration::from_secs(30) };
    assert_eq!(events.iter().filter(|event| **event == ejected).count(), 1, "{events:?}");
    for _ in 0..100 {
        let mut call = world.call(Safety::Safe);
        let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
        assert_ne!(endpoint, hung, "out means no client attempt");
        world.on(&mut call, answered(attempt, Class::Answered));
    }
}

#[test]
fn a_slow_lane_does_not_make_a_stall() {
    let mut world = World::new(3, PoolConfig::default());
    world.config.hedge_percentile = None;
    world.warm_up(300, ms(400));
    let slow = world.endpoints[0];
    let mut calls: Vec<Call> = (0..4).map(|_| world.start_at(slow, Safety::Safe)).collect();
    world.wait(ms(550));
    for call in &mut calls {
        assert_eq!(world.on(call, Event::Timer), [], "nothing unusual yet");
    }
    world.wait(ms(350));
    assert!(
        matches!(world.on(&mut calls[0], Event::Timer)[..], [Step::Cancel { .. }, Step::Attempt { .. }]),
        "unusual: moves"
    );
    assert_eq!(world.pool.view(world.now)[0].state, "available", "8 × 400 ms have not passed");
}

#[test]
fn readmission_takes_a_few_hedged_requests_and_no_probe() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(300, ms(5));
    let bad = world.endpoints[1];
    for _ in 0..5 {
        let mut call = world.start_at(bad, Safety::Unsafe);
        world.on(&mut call, answered(0, Class::Error));
        world.on(&mut call, Event::BodyEnded);
    }
    assert!(world.pool.take_events().iter().any(|event| matches!(event, PoolEvent::Ejected { .. })));
    world.wait(Duration::from_secs(29));
    world.pool.on_health(world.now, bad, true, "");
    world.pool.on_timer(world.now);
    assert_eq!(world.pool.view(world.now)[1].state, "ejected", "a good probe does not readmit");
    world.wait(Duration::from_secs(1));
    world.pool.on_timer(world.now);
    world.warm_up(100, Duration::ZERO);
    assert_eq!(world.pool.view(world.now)[1].state, "available", "three good requests did");
}

#[test]
fn a_readmission_request_is_hedged_even_without_budget() {
    let budget =
        BudgetConfig { burst: 0, floor_per_second: 0.0, retry_ratio: 0.0, ..BudgetConfig::default() };
    let mut world = World::new(3, PoolConfig { budget, ..PoolConfig::default() });
    world.warm_up(300, ms(5));
    let bad = world.endpoints[1];
    for _ in 0..5 {
        let mut call = world.start_at(bad, Safety::Unsafe);
        world.on(&mut call, answered(0, Class::Error));
        world.on(&mut call, Event::BodyEnded);
    }
    world.wait(Duration::from_secs(30));
    world.pool.on_timer(world.now);
    let mut call = world.call(Safety::Safe);
    let (_, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
    assert_eq!(endpoint, bad);
    world.wait(ms(10));
    let steps = world.on(&mut call, Event::Timer);
    assert!(matches!(steps[..], [Step::Attempt { kind: AttemptKind::Hedge, .. }]), "{steps:?}");
}

#[test]
fn never_the_last_endpoint_and_at_most_one_of_three_from_different_zones() {
    let mut world = World::new(3, PoolConfig::default());
    for round in 0..200 {
        let mut call = world.call(Safety::Unsafe);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        world.on(&mut call, answered(attempt, Class::Error));
        world.on(&mut call, Event::BodyEnded);
        let ejected = world.pool.view(world.now).iter().filter(|view| view.state == "ejected").count();
        assert!(ejected <= 1, "round {round}");
    }
}

#[test]
fn one_whole_zone_may_go_while_another_serves() {
    let mut pool = Pool::new(PoolConfig::default());
    let keys: Vec<_> = [0, 0, 1].into_iter().map(|zone| pool.on_added(Time::ZERO, zone)).collect();
    for key in &keys {
        pool.on_health(Time::ZERO, *key, true, "");
    }
    let mut world = World::new(0, PoolConfig::default());
    world.pool = pool;
    for bad in [keys[0], keys[1], keys[2]] {
        for _ in 0..5 {
            if world.pool.view(world.now).iter().any(|view| view.endpoint == bad && view.state == "ejected") {
                break;
            }
            let mut call = world.start_at(bad, Safety::Unsafe);
            world.on(&mut call, answered(0, Class::Error));
            world.on(&mut call, Event::BodyEnded);
        }
    }
    let states: Vec<_> = world.pool.view(world.now).iter().map(|view| view.state).collect();
    assert_eq!(states, ["ejected", "ejected", "available"]);
}

#[test]
fn a_refused_endpoint_is_avoided_at_once_and_comes_back() {
    let mut world = World::new(2, PoolConfig::default());
    let mut call = world.call(Safety::Unsafe);
    let (attempt, refused) = attempt_of(&world.on(&mut call, Event::Start));
    let (attempt, other) = attempt_of(&world.on(&mut call, failed(attempt, Proof::Refused, Cause::Connect)));
    assert_ne!(other, refused);
    world.on(&mut call, answered(attempt, Class::Answered));
    assert!(
        world
            .pool
            .take_events()
            .iter()
            .any(|event| matches!(event, PoolEvent::Suspect(key, _) if *key == refused))
    );
    for _ in 0..20 {
        let mut call = world.call(Safety::Safe);
        let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
        assert_eq!(endpoint, other);
        world.on(&mut call, answered(attempt, Class::Answered));
    }
    world.wait(ms(250));
    world.pool.on_timer(world.now);
    world.start_at(refused, Safety::Safe);
}

/// Starts calls at `endpoint` and answers them all like this.
fn answer_at(world: &mut World, endpoint: EndpointKey, class: Class, ending: Event) {
    let mut call = world.start_at(endpoint, Safety::Unsafe);
    world.on(&mut call, answered(0, class));
    world.on(&mut call, ending);
}

#[test]
fn without_budget_a_stalled_request_goes_on_waiting() {
    let budget =
        BudgetConfig { burst: 0, floor_per_second: 0.0, retry_ratio: 0.0, ..BudgetConfig::default() };
    let mut world = World::new(3, PoolConfig { budget, ..PoolConfig::default() });
    world.warm_up(300, ms(5));
    let hung = world.endpoints[0];
    let mut stuck: Vec<Call> = (0..3).map(|_| world.start_at(hung, Safety::Safe)).collect();
    world.wait(ms(200));
    for call in &mut stuck {
        assert_eq!(world.on(call, Event::Timer), [], "waiting beats failing");
    }
    assert_eq!(world.pool.view(world.now)[0].state, "ejected");
    let steps = world.on(&mut stuck[0], answered(0, Class::Answered));
    assert_eq!(steps, [Step::Commit { attempt: 0 }], "it woke up");
}

#[test]
fn a_stalled_request_moves_even_where_no_more_endpoints_may_be_ejected() {
    let mut world = World::new(3, PoolConfig::default());
    world.config.hedge_percentile = None;
    world.warm_up(600, ms(5));
    let [first, second, well] = world.endpoints[..] else { panic!("three") };
    let mut stuck: Vec<Call> = (0..3).map(|_| world.start_at(first, Safety::Safe)).collect();
    stuck.extend((0..3).map(|_| world.start_at(second, Safety::Safe)));
    world.wait(ms(200));
    for call in &mut stuck[..3] {
        world.on(call, Event::Timer);
        world.on(call, Event::Dropped);
    }
    assert_eq!(
        world.on(&mut stuck[3], Event::Timer),
        [],
        "nobody else has shown a byte lately: all may hang"
    );
    answer_at(&mut world, well, Class::Answered, Event::BodyEnded);
    world.wait(ms(25));
    for call in &mut stuck[3..] {
        let (attempt, endpoint) = attempt_of(&world.on(call, Event::Timer));
        assert_eq!(endpoint, well);
        world.on(call, answered(attempt, Class::Answered));
        world.on(call, Event::BodyEnded);
    }
    assert_eq!(world.pool.view(world.now)[1].state, "available", "never more than one of three");
    let suspicions = |event: &&PoolEvent| matches!(event, PoolEvent::Suspect(..));
    let count = world.pool.take_events().iter().filter(suspicions).count();
    assert_eq!(count, 2, "one suspicion per endpoint and quarter of a second");
}

#[test]
fn attempts_at_an_endpoint_that_left_the_pool_may_finish() {
    let mut world = World::new(3, PoolConfig::default());
    world.config.hedge_percentile = None;
    world.warm_up(300, ms(5));
    let leaving = world.endpoints[0];
    let mut calls: Vec<Call> = (0..3).map(|_| world.start_at(leaving, Safety::Safe)).collect();
    world.pool.on_removed(world.now, leaving, "left the spec");
    world.wait(ms(400));
    for call in &mut calls {
        assert_eq!(world.on(call, Event::Timer), [], "it drains");
        assert_eq!(world.on(call, answered(0, Class::Answered)), [Step::Commit { attempt: 0 }]);
        world.on(call, Event::BodyEnded);
    }
}

#[test]
fn bodies_that_break_off_in_a_row_eject() {
    let mut world = World::new(3, PoolConfig::default());
    let bad = world.endpoints[0];
    for _ in 0..4 {
        answer_at(&mut world, bad, Class::Answered, Event::BodyFailed);
    }
    answer_at(&mut world, bad, Class::Answered, Event::BodyEnded);
    for round in 0..5 {
        assert_eq!(world.pool.view(world.now)[0].state, "available", "round {round}");
        answer_at(&mut world, bad, Class::Answered, Event::BodyFailed);
    }
    assert_eq!(world.pool.view(world.now)[0].state, "ejected");
}

#[test]
fn slow_down_is_neither_good_nor_bad() {
    let mut world = World::new(3, PoolConfig::default());
    let bad = world.endpoints[0];
    for _ in 0..4 {
        answer_at(&mut world, bad, Class::Error, Event::BodyEnded);
    }
    for _ in 0..10 {
        answer_at(&mut world, bad, Class::Throttled, Event::BodyEnded);
    }
    assert_eq!(world.pool.view(world.now)[0].state, "available", "429 is no failure");
    answer_at(&mut world, bad, Class::Error, Event::BodyEnded);
    assert_eq!(world.pool.view(world.now)[0].state, "ejected", "and no success either");
}

#[test]
fn late_answers_of_an_ejected_endpoint_do_not_blind_the_stall_rule() {
    let mut world = World::new(5, PoolConfig::default());
    world.config.hedge_percentile = None;
    world.warm_up(300, ms(5));
    let [slow, hung, ..] = world.endpoints[..] else { panic!("five") };
    let mut late: Vec<Call> = (0..20).map(|_| world.start_at(slow, Safety::Unsafe)).collect();
    world.wait(ms(200));
    world.on(&mut late[0], Event::Timer);
    world.wait(ms(800));
    for call in &mut late {
        world.on(call, answered(0, Class::Answered));
        world.on(call, Event::BodyEnded);
    }
    let mut stuck: Vec<Call> = (0..3).map(|_| world.start_at(hung, Safety::Safe)).collect();
    world.wait(ms(200));
    for call in &mut stuck {
        attempt_of(&world.on(call, Event::Timer));
    }
    assert_eq!(world.pool.view(world.now)[1].state, "ejected", "200 ms, not 8 × 1 s");
}

/// One request at `endpoint` that is hedged, and whose hedge is faster.
fn overtake_at(world: &mut World, endpoint: EndpointKey) {
    let mut call = world.start_at(endpoint, Safety::Safe);
    world.wait(ms(10));
    let (hedge, _) = attempt_of(&world.on(&mut call, Event::Timer));
    world.on(&mut call, answered(hedge, Class::Answered));
    world.on(&mut call, Event::BodyEnded);
}

#[test]
fn hedges_do_not_hide_a_hang() {
    // Overtaken requests, pause after the first of them, a byte in between: is it out?
    for (overtaken, pause, byte, out) in
        [(3, 250, false, true), (2, 250, false, false), (3, 20, false, false), (3, 250, true, false)]
    {
        let mut world = World::new(3, PoolConfig::default());
        world.warm_up(1_000, ms(5));
        let hung = world.endpoints[0];
        for count in 0..overtaken {
            overtake_at(&mut world, hung);
            if count == 0 {
                world.wait(ms(pause));
            }
            if count == 1 && byte {
                answer_at(&mut world, hung, Class::Answered, Event::BodyEnded);
            }
        }
        let state = world.pool.view(world.now)[0].state;
        assert_eq!(state == "ejected", out, "{overtaken} {pause} {byte}: {state}");
    }
}

#[test]
fn one_old_request_and_new_ones_make_no_stall_when_an_endpoint_is_chosen() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(300, ms(5));
    let busy = world.endpoints[0];
    let mut old = world.start_at(busy, Safety::Unsafe);
    world.wait(ms(1_000));
    let mut new: Vec<Call> = (0..5).map(|_| world.start_at(busy, Safety::Unsafe)).collect();
    for call in &mut new {
        world.on(call, answered(0, Class::Answered));
    }
    world.on(&mut old, answered(0, Class::Answered));
    assert_eq!(world.pool.view(world.now)[0].state, "available");
}

#[test]
fn a_move_takes_a_place_of_the_budget_and_gives_it_back() {
    let budget = BudgetConfig { max_concurrent: 1, ..BudgetConfig::default() };
    let mut world = World::new(3, PoolConfig { budget, ..PoolConfig::default() });
    world.config.hedge_percentile = None;
    world.warm_up(300, ms(5));
    let hung = world.endpoints[0];
    let mut stuck: Vec<Call> = (0..3).map(|_| world.start_at(hung, Safety::Safe)).collect();
    world.wait(ms(200));
    for call in &mut stuck {
        let (attempt, _) = attempt_of(&world.on(call, Event::Timer));
        let mut waiting = world.start_at(world.endpoints[1], Safety::Safe);
        let steps = world.on(&mut waiting, failed(0, Proof::BodySent, Cause::Reset));
        assert!(matches!(steps[..], [Step::Fail(_)]), "the move holds the only place: {steps:?}");
        world.on(call, answered(attempt, Class::Answered));
        world.on(call, Event::BodyEnded);
    }
}

#[test]
fn what_a_fast_lane_finds_out_saves_a_slow_one_at_once() {
    let mut world = World::new(3, PoolConfig { lanes: 2, ..PoolConfig::default() });
    world.config.hedge_percentile = None;
    world.lane = 1;
    world.warm_up(30, ms(110));
    world.lane = 0;
    world.warm_up(300, ms(5));
    world.lane = 1;
    let hung = world.endpoints[0];
    let mut slow: Vec<Call> = (0..3).map(|_| world.start_at(hung, Safety::Keyed)).collect();
    world.lane = 0;
    let mut fast = world.start_at(hung, Safety::Safe);
    world.wait(ms(200));
    assert!(matches!(world.on(&mut fast, Event::Timer)[..], [Step::Cancel { .. }, Step::Attempt { .. }]));
    for call in &mut slow {
        assert!(call.next_deadline().is_some_and(|at| at <= world.now), "looks at 200 ms, not at 8 × 110 ms");
        assert!(matches!(world.on(call, Event::Timer)[..], [Step::Cancel { .. }, Step::Attempt { .. }]));
    }
}

#[test]
fn a_reset_forgets_what_was_held_against_an_endpoint() {
    let mut world = World::new(3, PoolConfig::default());
    world.config.hedge_percentile = None;
    world.warm_up(300, ms(5));
    let hung = world.endpoints[0];
    let mut stuck: Vec<Call> = (0..3).map(|_| world.start_at(hung, Safety::Keyed)).collect();
    world.wait(ms(200));
    for call in &mut stuck {
        let (retry, _) = attempt_of(&world.on(call, Event::Timer));
        world.on(call, answered(retry, Class::Answered));
        world.on(call, Event::BodyEnded);
    }
    assert_eq!(world.pool.view(world.now)[0].state, "ejected");
    world.pool.reset(world.now);
    world.wait(ms(500));
    let mut served = [0; 3];
    for _ in 0..300 {
        let mut call = world.call(Safety::Safe);
        let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
        served[world.endpoints.iter().position(|key| *key == endpoint).unwrap()] += 1;
        world.wait(ms(5));
        world.on(&mut call, answered(attempt, Class::Answered));
        world.on(&mut call, Event::BodyEnded);
    }
    assert_eq!(world.pool.view(world.now)[0].state, "available");
    assert!(served.iter().all(|count| *count > 30), "its slow past is forgotten: {served:?}");
}

#[test]
fn a_reserve_of_hedges_is_kept_for_those_that_hang() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(1000, ms(20));
    // One in ten is somewhat slow, more than the hedges' share can pay for.
    for number in 0..1000 {
        let mut call = world.call(Safety::Safe);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        world.wait(ms(if number % 10 == 0 { 30 } else { 20 }));
        world.on(&mut call, Event::Timer);
        world.on(&mut call, answered(attempt, Class::Answered));
        world.on(&mut call, Event::BodyEnded);
    }
    // The next that finds ordinary hedges spent does not find the reserve spent.
    let mut hanging = loop {
        let mut call = world.call(Safety::Safe);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        world.wait(ms(25));
        if world.on(&mut call, Event::Timer).is_empty() {
            break call;
        }
        world.on(&mut call, answered(attempt, Class::Answered));
        world.on(&mut call, Event::BodyEnded);
    };
    world.now = hanging.next_deadline().unwrap();
    let steps = world.on(&mut hanging, Event::Timer);
    assert!(matches!(steps[..], [Step::Attempt { kind: AttemptKind::Hedge, .. }]), "{steps:?}");
}
