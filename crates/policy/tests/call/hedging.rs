//! When a request is sent a second time beside the first, and when it is not.

use seaworthy_policy::budget::BudgetConfig;
use seaworthy_policy::call::{
    AttemptKind, Call, CallConfig, Cause, Class, Event, Proof, Safety, Step, attempt_number,
};
use seaworthy_policy::pool::PoolConfig;

use crate::world::{World, answered, attempt_of, failed, ms};

/// Every request may be hedged, as far as the budget is concerned.
fn generous() -> PoolConfig {
    let budget =
        BudgetConfig { hedge_ratio: 1.0, burst: 1_000, max_concurrent: 1_000, ..BudgetConfig::default() };
    PoolConfig { budget, ..PoolConfig::default() }
}

/// After twenty requests, which bring as many hedges.
fn world(endpoints: usize, config: CallConfig) -> World {
    let mut world = unknown_world(endpoints, config);
    world.warm_up(20, ms(5));
    world
}

fn unknown_world(endpoints: usize, config: CallConfig) -> World {
    let mut world = World::new(endpoints, generous());
    world.config = config;
    assert_eq!(world.config.validate(), Ok(()));
    world
}

fn hedges_at(fixed_ms: u64, hedges: u8) -> CallConfig {
    CallConfig {
        hedge_delay: Some(ms(fixed_ms)),
        max_hedged_attempts: hedges,
        max_attempts: 5,
        ..CallConfig::default()
    }
}

fn start(world: &mut World) -> (Call, u8) {
    let mut call = world.call(Safety::Safe);
    let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
    (call, attempt)
}

fn is_hedge(steps: &[Step]) -> bool {
    matches!(steps, [Step::Attempt { kind: AttemptKind::Hedge, .. }])
}

#[test]
fn a_fixed_delay_needs_no_observations_and_is_exact() {
    let mut world = unknown_world(3, hedges_at(7, 1));
    let (mut call, _) = start(&mut world);
    assert_eq!(call.next_deadline(), Some(world.now.after(ms(7))));
    world.wait(ms(6));
    assert_eq!(world.on(&mut call, Event::Timer), []);
    world.wait(ms(1));
    assert!(is_hedge(&world.on(&mut call, Event::Timer)));
}

#[test]
fn a_fixed_delay_wins_over_a_percentile() {
    let config = CallConfig { hedge_percentile: Some(0.95), ..hedges_at(100, 1) };
    let mut world = world(3, config);
    world.warm_up(200, ms(20));
    let (mut call, _) = start(&mut world);
    world.wait(ms(99));
    assert_eq!(world.on(&mut call, Event::Timer), []);
    world.wait(ms(1));
    assert!(is_hedge(&world.on(&mut call, Event::Timer)));
}

#[test]
fn as_many_hedges_as_allowed_each_elsewhere_and_each_after_its_delay() {
    for (allowed, endpoints, expected) in [(0, 5, 0), (1, 5, 1), (2, 5, 2), (4, 5, 4), (4, 3, 2)] {
        let mut world = world(endpoints, hedges_at(10, allowed));
        let (mut call, _) = start(&mut world);
        let mut hedges = 0;
        for _ in 0..10 {
            world.wait(ms(10));
            hedges += usize::from(is_hedge(&world.on(&mut call, Event::Timer)));
        }
        assert_eq!(hedges, expected, "{allowed} allowed, {endpoints} endpoints");
        let mut tried: Vec<_> = call.trail().iter().map(|trace| trace.endpoint).collect();
        tried.sort();
        tried.dedup();
        assert_eq!(tried.len(), expected + 1, "never two at one endpoint");
    }
}

#[test]
fn grpc_a6_a_failure_that_is_not_fatal_fires_the_next_hedge_at_once() {
    for (allowed, fires) in [(1, false), (2, true)] {
        let mut world = world(5, hedges_at(10, allowed));
        let (mut call, first) = start(&mut world);
        world.wait(ms(10));
        assert!(is_hedge(&world.on(&mut call, Event::Timer)));
        world.wait(ms(1));
        let steps = world.on(&mut call, failed(first, Proof::BodySent, Cause::Reset));
        assert_eq!(is_hedge(&steps), fires, "{allowed} hedges allowed: {steps:?}");
    }
}

#[test]
fn grpc_a6_a_bad_answer_fires_the_next_hedge_as_well() {
    let mut world = world(5, hedges_at(10, 2));
    let (mut call, first) = start(&mut world);
    world.wait(ms(10));
    assert!(is_hedge(&world.on(&mut call, Event::Timer)));
    let steps = world.on(&mut call, answered(first, Class::Unavailable));
    assert!(
        matches!(steps[..], [Step::Cancel { .. }, Step::Attempt { kind: AttemptKind::Hedge, .. }]),
        "{steps:?}"
    );
}

#[test]
fn a_hedge_that_was_refused_is_replaced_at_once() {
    let mut world = world(5, hedges_at(10, 1));
    let (mut call, _) = start(&mut world);
    world.wait(ms(10));
    let (hedge, _) = attempt_of(&world.on(&mut call, Event::Timer));
    let steps = world.on(&mut call, failed(hedge, Proof::Refused, Cause::Connect));
    assert!(is_hedge(&steps), "nobody has executed it, so it was no hedge: {steps:?}");
}

#[test]
fn an_exhausted_budget_suppresses_the_hedge_and_nothing_else() {
    for (hedge_ratio, burst, hedged) in [(1.0, 10, true), (0.0, 10, false), (1.0, 0, false)] {
        let budget = BudgetConfig {
            hedge_ratio,
            burst,
            floor_per_second: 0.0,
            retry_ratio: 0.0,
            ..BudgetConfig::default()
        };
        let mut world = World::new(3, PoolConfig { budget, ..PoolConfig::default() });
        world.config = hedges_at(10, 1);
        let (mut call, first) = start(&mut world);
        world.wait(ms(10));
        let steps = world.on(&mut call, Event::Timer);
        assert_eq!(is_hedge(&steps), hedged, "share {hedge_ratio}, burst {burst}");
        let steps = world.on(&mut call, answered(first, Class::Answered));
        assert!(steps.contains(&Step::Commit { attempt: first }), "the first one goes on as ever");
    }
}

#[test]
fn nothing_is_hedged_above_seventy_percent_of_the_cap() {
    for (others, hedged) in [(5, true), (6, true), (7, false), (9, false)] {
        let mut world = world(3, CallConfig { in_flight_cap: Some(10), ..hedges_at(10, 1) });
        let running: Vec<Call> = (0..others).map(|_| start(&mut world).0).collect();
        let (mut call, _) = start(&mut world);
        world.wait(ms(10));
        let steps = world.on(&mut call, Event::Timer);
        assert_eq!(is_hedge(&steps), hedged, "{} of 10 in flight", running.len() + 1);
    }
}

#[test]
fn attempts_are_told_their_number_from_one() {
    let mut world = world(3, hedges_at(10, 1));
    let (mut call, first) = start(&mut world);
    world.wait(ms(10));
    let (hedge, _) = attempt_of(&world.on(&mut call, Event::Timer));
    assert_eq!((attempt_number(first), attempt_number(hedge)), (1, 2));
}

#[test]
fn validation_names_the_field() {
    let good = CallConfig::default();
    assert_eq!(good.validate(), Ok(()));
    for (config, field) in [
        (CallConfig { total_timeout: ms(0), ..good.clone() }, "total_timeout"),
        (CallConfig { attempt_timeout: ms(0), ..good.clone() }, "attempt_timeout"),
        (CallConfig { attempt_timeout: ms(15_001), ..good.clone() }, "attempt_timeout"),
        (CallConfig { connect_timeout: ms(5_001), ..good.clone() }, "connect_timeout"),
        (CallConfig { max_attempts: 0, ..good.clone() }, "max_attempts"),
        (CallConfig { max_attempts: 6, ..good.clone() }, "max_attempts"),
        (CallConfig { hedge_percentile: Some(1.0), ..good.clone() }, "hedge_percentile"),
        (CallConfig { hedge_percentile: Some(f64::NAN), ..good.clone() }, "hedge_percentile"),
        (CallConfig { max_hedged_attempts: 5, ..good.clone() }, "max_hedged_attempts"),
        (CallConfig { in_flight_cap: Some(0), ..good.clone() }, "in_flight_cap"),
        (CallConfig { min_remaining: ms(15_001), ..good.clone() }, "min_remaining"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}

#[test]
fn a_loser_counts_as_at_least_this_long_unless_its_endpoint_hangs() {
    for (alive, least_ms, most_ms) in [(true, 30, 45), (false, 18, 22)] {
        let mut world =
            unknown_world(2, CallConfig { hedge_percentile: Some(0.95), ..CallConfig::default() });
        world.warm_up(20, ms(20));
        let slow = world.endpoints[0];
        for _ in 0..4 {
            let mut loser = world.start_at(slow, Safety::Safe);
            if alive {
                let mut other = world.start_at(slow, Safety::Safe);
                world.wait(ms(20));
                world.on(&mut other, answered(0, Class::Answered));
                world.on(&mut other, Event::BodyEnded);
                world.wait(ms(20));
            } else {
                world.wait(ms(40));
            }
            let (hedge, _) = attempt_of(&world.on(&mut loser, Event::Timer));
            world.wait(ms(1));
            world.on(&mut loser, answered(hedge, Class::Answered));
            world.on(&mut loser, Event::BodyEnded);
        }
        world.wait(ms(260));
        let (call, _) = start(&mut world);
        let delay = call.next_deadline().unwrap().saturating_since(world.now);
        assert!((ms(least_ms)..ms(most_ms)).contains(&delay), "alive {alive}: hedged after {delay:?}");
    }
}
