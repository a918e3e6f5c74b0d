//! What a server asks for, what is decided here without asking anybody, and what that costs.

use std::sync::Arc;

use seaworthy_policy::budget::BudgetConfig;
use seaworthy_policy::call::{
    Call, CallConfig, Cause, Class, Event, FailureKind, Proof, Pushback, Safety, Step,
};
use seaworthy_policy::pool::{Guard, PoolConfig, PoolEvent};
use seaworthy_policy::{BreakerConfig, Time};

use crate::world::{World, answered, attempt_of, failed, failure_of, ms};

fn single(breaker: BreakerConfig) -> World {
    World::new(1, PoolConfig { guard: Guard::Breaker(breaker), ..PoolConfig::default() })
}

fn start(world: &mut World) -> (Call, u8) {
    let mut call = world.call(Safety::Safe);
    let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
    (call, attempt)
}

#[test]
fn a_pause_that_is_too_long_is_the_clients_to_wait() {
    // (class, endpoints, Retry-After in ms, the longest one obeyed, sent again after)
    for (class, endpoints, asked, longest, again) in [
        (Class::Throttled, 3, 2_000, 10_000, Some(2_000)),
        (Class::Throttled, 3, 2_001, 2_000, None),
        (Class::Throttled, 3, 12_000, 10_000, None),
        (Class::Unavailable, 1, 2_000, 10_000, Some(2_000)),
        (Class::Unavailable, 1, 12_000, 10_000, None),
        // It speaks for the endpoint that sent it; another one may be asked at once.
        (Class::Unavailable, 3, 12_000, 10_000, Some(0)),
    ] {
        let mut world = World::new(endpoints, PoolConfig::default());
        world.config = CallConfig { max_retry_after: ms(longest), hedge_percentile: None, ..world.config };
        let (mut call, attempt) = start(&mut world);
        let head = Event::Head { attempt, class, retry_after: Some(ms(asked)), pushback: Pushback::None };
        let steps = world.on(&mut call, head);
        match again {
            None => assert_eq!(
                steps,
                [Step::Commit { attempt }],
                "passed on, with its Retry-After: {class:?} {asked}"
            ),
            Some(0) => assert!(matches!(steps[..], [Step::Cancel { .. }, Step::Attempt { .. }]), "{steps:?}"),
            Some(after) => {
                assert_eq!(steps, [Step::Cancel { attempt }], "{class:?} {asked}");
                world.wait(ms(after - 1));
                assert_eq!(world.on(&mut call, Event::Timer), [], "{class:?} {asked}");
                world.wait(ms(251));
                attempt_of(&world.on(&mut call, Event::Timer));
            }
        }
    }
}

#[test]
fn grpc_a6_a_server_may_say_do_not_retry() {
    for (pushback, sent_again) in [(Pushback::None, true), (Pushback::Never, false)] {
        for class in [Class::Unavailable, Class::BadGateway] {
            let mut world = World::new(3, PoolConfig::default());
            let (mut call, attempt) = start(&mut world);
            let steps = world.on(&mut call, Event::Head { attempt, class, retry_after: None, pushback });
            assert_eq!(!steps.contains(&Step::Commit { attempt }), sent_again, "{pushback:?} {class:?}");
        }
    }
}

#[test]
fn grpc_a6_do_not_retry_ends_the_hedge_as_well() {
    let mut world = World::new(3, PoolConfig::default());
    world.config.hedge_delay = Some(ms(10));
    world.warm_up(60, ms(5));
    let (mut call, attempt) = start(&mut world);
    world.wait(ms(10));
    let (hedge, _) = attempt_of(&world.on(&mut call, Event::Timer));
    let head =
        Event::Head { attempt, class: Class::Unavailable, retry_after: None, pushback: Pushback::Never };
    assert_eq!(world.on(&mut call, head), [Step::Cancel { attempt: hedge }, Step::Commit { attempt }]);
}

#[test]
fn grpc_a6_a_server_may_say_when() {
    let mut world = World::new(3, PoolConfig::default());
    world.config.hedge_percentile = None;
    let (mut call, attempt) = start(&mut world);
    let pushback = Pushback::Wait(ms(300));
    let head = Event::Head { attempt, class: Class::Unavailable, retry_after: None, pushback };
    assert_eq!(world.on(&mut call, head), [Step::Cancel { attempt }], "though other endpoints are there");
    assert_eq!(call.next_deadline(), Some(world.now.after(ms(300))));
    world.wait(ms(300));
    attempt_of(&world.on(&mut call, Event::Timer));
}

#[test]
fn pushback_is_read_without_trust() {
    for (value, expected) in [
        ("0", Pushback::Wait(ms(0))),
        ("250", Pushback::Wait(ms(250))),
        ("-1", Pushback::Never),
        ("", Pushback::Never),
        ("soon", Pushback::Never),
        ("99999999999999999999", Pushback::Never),
    ] {
        assert_eq!(Pushback::of_grpc(value.as_bytes()), expected, "{value:?}");
    }
}

#[test]
fn nothing_begins_with_too_little_left() {
    for (left_ms, min_ms, kind) in [
        (10, 10, None),
        (9, 10, Some(FailureKind::DeadlineInsufficient)),
        (0, 10, Some(FailureKind::TotalTimeout)),
        (1, 0, None),
    ] {
        let mut world = World::new(3, PoolConfig::default());
        let config = CallConfig { min_remaining: ms(min_ms), ..CallConfig::default() };
        let deadline = world.now.after(ms(left_ms));
        let mut call = Call::new(Arc::new(config), 0, Safety::Safe, true, deadline);
        let steps = world.on(&mut call, Event::Start);
        let failed = matches!(steps[..], [Step::Fail(_)]).then(|| failure_of(&steps).kind);
        assert_eq!(failed, kind, "{left_ms} ms left of at least {min_ms}");
        assert!(!call.maybe_executed(), "and nothing was sent");
    }
}

#[test]
fn no_retry_begins_with_too_little_left() {
    for (min_ms, again) in [(100, true), (101, false)] {
        let mut world = World::new(3, PoolConfig::default());
        world.config = CallConfig { min_remaining: ms(min_ms), total_timeout: ms(201), ..world.config };
        let (mut call, attempt) = start(&mut world);
        world.wait(ms(100));
        let steps = world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset));
        assert_eq!(matches!(steps[..], [Step::Attempt { .. }]), again, "{min_ms}: {steps:?}");
    }
}

#[test]
fn what_we_rejected_ourselves_never_counts_against_the_backend() {
    let mut world = single(BreakerConfig { wait_jitter: 0.0, ..BreakerConfig::default() });
    world.config = CallConfig { retry: false, park: false, ..world.config };
    world.wait(ms(500));
    for _ in 0..5 {
        let (mut call, attempt) = start(&mut world);
        world.on(&mut call, answered(attempt, Class::Error));
        world.on(&mut call, Event::BodyEnded);
    }
    let rejected_at = world.now;
    for _ in 0..1_000 {
        let mut call = world.call(Safety::Safe);
        let failure = failure_of(&world.on(&mut call, Event::Start));
        assert!(failure.kind.is_ours() && failure.retry_after.is_some(), "{failure:?}");
        // And neither does a call whose time was up before it began.
        let late = world.now;
        let mut call = Call::new(Arc::new(world.config.clone()), 0, Safety::Safe, true, late);
        world.on(&mut call, Event::Start);
    }
    world.wait(ms(1_000));
    assert_eq!(world.now.saturating_since(rejected_at), ms(1_000), "the wait is what it was");
    for _ in 0..2 {
        let (mut call, attempt) = start(&mut world);
        world.on(&mut call, answered(attempt, Class::Answered));
        world.on(&mut call, Event::BodyEnded);
    }
    let events = world.pool.take_events();
    let states: Vec<&str> = events
        .iter()
        .filter_map(|event| if let PoolEvent::Breaker { to, .. } = event { Some(*to) } else { None })
        .collect();
    assert_eq!(states, ["open", "half_open", "ramp"]);
}

#[test]
fn which_failures_are_ours() {
    for (kind, ours) in [
        (FailureKind::NoEndpoint, true),
        (FailureKind::BreakerOpen, true),
        (FailureKind::DeadlineInsufficient, true),
        (FailureKind::Connect, false),
        (FailureKind::Reset, false),
        (FailureKind::AttemptTimeout, false),
        (FailureKind::TotalTimeout, false),
    ] {
        assert_eq!(kind.is_ours(), ours, "{kind:?}");
    }
}

#[test]
fn envoy_30205_retries_in_backoff_are_charged_when_decided() {
    // A thousand calls fail in one instant at the only endpoint there is, so each retry would wait for its backoff.
    let budget = BudgetConfig { floor_per_second: 0.0, ..BudgetConfig::default() };
    let guard = Guard::Off;
    let mut world = World::new(1, PoolConfig { guard, budget, ..PoolConfig::default() });
    world.config.hedge_percentile = None;
    let mut waiting = Vec::new();
    for _ in 0..1_000 {
        let (mut call, attempt) = start(&mut world);
        if world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset)).is_empty() {
            waiting.push(call);
        }
    }
    assert_eq!(waiting.len(), 10, "the burst, though no retry has been sent yet");
    assert!(world.pool.budget_balance(world.now) < 1.0);
    // Giving one up gives its place back, but not its token.
    world.on(&mut waiting.pop().unwrap(), Event::Dropped);
    let (mut call, attempt) = start(&mut world);
    assert_eq!(
        failure_of(&world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset))).kind,
        FailureKind::Reset
    );
    world.now = waiting.iter().filter_map(Call::next_deadline).max().unwrap_or(Time::ZERO);
    for call in &mut waiting {
        attempt_of(&world.on(call, Event::Timer));
    }
}
