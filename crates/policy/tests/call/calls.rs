//! What is sent where and when, and what the client gets.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::budget::BudgetConfig;
use seaworthy_policy::call::{
    AttemptKind, Call, CallConfig, Cause, Class, Event, FailureKind, Proof, Safety, Step,
};
use seaworthy_policy::pool::{Guard, PoolConfig, PoolEvent};
use seaworthy_policy::{BackoffConfig, BreakerConfig, Jitter};

use crate::world::{World, answered, attempt_of, failed, failure_of, ms};

#[test]
fn a_good_answer_is_committed() {
    let mut world = World::new(3, PoolConfig::default());
    let mut call = world.call(Safety::Unsafe);
    let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
    assert_eq!(world.on(&mut call, answered(attempt, Class::Answered)), [Step::Commit { attempt }]);
    assert_eq!(call.next_deadline(), None, "after the head the body has its own limits");
}

#[test]
fn what_is_sent_again_after_which_failure() {
    let cases = [
        // safety, proof, cause, sent again?
        (Safety::Safe, Proof::BodySent, Cause::Reset, true),
        (Safety::Keyed, Proof::BodySent, Cause::Reset, true),
        (Safety::Unsafe, Proof::BodySent, Cause::Reset, false),
        (Safety::Unsafe, Proof::HeadSent, Cause::Reset, false),
        (Safety::Unsafe, Proof::Refused, Cause::Connect, true),
        (Safety::Unsafe, Proof::NotSent, Cause::ConnectTimeout, true),
        (Safety::Safe, Proof::HeadSent, Cause::RequestBody, false),
    ];
    for (safety, proof, cause, again) in cases {
        let mut world = World::new(3, PoolConfig::default());
        let mut call = world.call(safety);
        let (attempt, first) = attempt_of(&world.on(&mut call, Event::Start));
        let steps = world.on(&mut call, failed(attempt, proof, cause));
        match steps[..] {
            [Step::Attempt { endpoint, kind: AttemptKind::Retry, .. }] => {
                assert!(again, "{safety:?} {proof:?} {cause:?} was sent again");
                assert_ne!(endpoint, first, "to another endpoint");
            }
            [Step::Fail(failure)] => {
                assert!(!again, "{safety:?} {proof:?} {cause:?} was not sent again");
                let sent = matches!(proof, Proof::HeadSent | Proof::BodySent);
                assert_eq!(failure.outcome_unknown, sent && safety != Safety::Safe);
            }
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_sent_again_after_which_answer() {
    let cases = [
        (Safety::Safe, Class::Error, true),
        (Safety::Keyed, Class::Error, true),
        (Safety::Unsafe, Class::Error, false),
        (Safety::Safe, Class::BadGateway, true),
        (Safety::Safe, Class::Unavailable, true),
        (Safety::Safe, Class::Throttled, false),
        (Safety::Safe, Class::Degraded, false),
        (Safety::Safe, Class::Answered, false),
    ];
    for (safety, class, again) in cases {
        let mut world = World::new(3, PoolConfig::default());
        let mut call = world.call(safety);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        let steps = world.on(&mut call, answered(attempt, class));
        let resent =
            matches!(steps[..], [Step::Cancel { .. }, Step::Attempt { kind: AttemptKind::Retry, .. }]);
        assert_eq!(resent, again, "{safety:?} {class:?}: {steps:?}");
        assert_eq!(steps.contains(&Step::Commit { attempt }), !again, "otherwise it is passed on");
    }
}

#[test]
fn an_error_is_not_sent_again_where_nobody_does_better() {
    let mut world = World::new(1, PoolConfig::default());
    let mut call = world.call(Safety::Safe);
    let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
    assert_eq!(world.on(&mut call, answered(attempt, Class::Error)), [Step::Commit { attempt }]);
}

#[test]
fn a_body_that_cannot_be_replayed_is_sent_again_only_on_proof() {
    for (proof, cause, again) in
        [(Proof::BodySent, Cause::Reset, false), (Proof::Refused, Cause::Connect, true)]
    {
        let mut world = World::new(2, PoolConfig::default());
        let deadline = world.now.after(ms(1000));
        let mut call = Call::new(Arc::new(CallConfig::default()), 0, Safety::Safe, false, deadline);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        let steps = world.on(&mut call, failed(attempt, proof, cause));
        assert_eq!(matches!(steps[..], [Step::Attempt { .. }]), again, "{proof:?}: {steps:?}");
    }
}

#[test]
fn three_attempts_in_all_each_elsewhere() {
    let mut world = World::new(5, PoolConfig::default());
    let mut call = world.call(Safety::Safe);
    let mut steps = world.on(&mut call, Event::Start);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (attempt, endpoint) = attempt_of(&steps);
        assert!(!seen.contains(&endpoint));
        seen.push(endpoint);
        steps = world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset));
    }
    assert_eq!(failure_of(&steps).kind, FailureKind::Reset);
}

#[test]
fn the_budget_is_charged_when_a_retry_is_decided_and_its_end_ends_retries() {
    let budget = BudgetConfig { burst: 2, floor_per_second: 0.0, ..BudgetConfig::default() };
    let mut world = World::new(1, PoolConfig { budget, guard: Guard::Off, ..PoolConfig::default() });
    world.config.backoff = BackoffConfig { jitter: Jitter::None, ..BackoffConfig::default() };
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut call = world.call(Safety::Safe);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        let steps = world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset));
        assert_eq!(steps, [], "the only endpoint is tried again after a back-off");
        waiting.push(call);
    }
    let mut call = world.call(Safety::Safe);
    let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
    let steps = world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset));
    assert_eq!(failure_of(&steps).kind, FailureKind::Reset, "two back-offs have used the budget up");
    world.wait(ms(25));
    for call in &mut waiting {
        attempt_of(&world.on(call, Event::Timer));
    }
}

#[test]
fn no_attempt_starts_that_cannot_finish() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(100, ms(100));
    let deadline = world.now.after(ms(150));
    let mut call = Call::new(Arc::new(world.config.clone()), 0, Safety::Safe, true, deadline);
    let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
    world.wait(ms(80));
    let steps = world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset));
    assert_eq!(failure_of(&steps).kind, FailureKind::Reset, "70 ms are left, an attempt takes 100");
}

#[test]
fn an_attempt_timeout_moves_on_and_names_itself_in_the_end() {
    let mut world = World::new(3, PoolConfig { guard: Guard::Off, ..PoolConfig::default() });
    world.config = CallConfig { attempt_timeout: ms(600), hedge_percentile: None, ..world.config };
    let mut call = world.call(Safety::Keyed);
    world.on(&mut call, Event::Start);
    for _ in 0..2 {
        world.wait(ms(600));
        let steps = world.on(&mut call, Event::Timer);
        assert!(matches!(steps[..], [Step::Cancel { .. }, Step::Attempt { .. }]), "{steps:?}");
    }
    world.wait(ms(600));
    let failure = failure_of(&world.on(&mut call, Event::Timer));
    assert_eq!((failure.kind, failure.outcome_unknown), (FailureKind::AttemptTimeout, true));
}

#[test]
fn the_total_deadline_ends_everything() {
    let mut world = World::new(2, PoolConfig::default());
    let mut call = world.call(Safety::Unsafe);
    world.on(&mut call, Event::Start);
    world.wait(world.config.total_timeout);
    let failure = failure_of(&world.on(&mut call, Event::Timer));
    assert_eq!((failure.kind, failure.outcome_unknown), (FailureKind::TotalTimeout, true));
}

#[test]
fn a_hedge_goes_elsewhere_after_the_p95_and_the_faster_wins() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(200, ms(20));
    let mut call = world.call(Safety::Safe);
    let (first, slow) = attempt_of(&world.on(&mut call, Event::Start));
    world.wait(ms(15));
    assert_eq!(world.on(&mut call, Event::Timer), [], "not before the p95");
    world.wait(ms(10));
    let steps = world.on(&mut call, Event::Timer);
    let [Step::Attempt { attempt: hedge, endpoint, kind: AttemptKind::Hedge }] = steps[..] else {
        panic!("{steps:?}")
    };
    assert_ne!(endpoint, slow);
    let steps = world.on(&mut call, answered(hedge, Class::Answered));
    assert_eq!(steps, [Step::Cancel { attempt: first }, Step::Commit { attempt: hedge }]);
}

#[test]
fn unsafe_requests_are_never_hedged() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(200, ms(20));
    let mut call = world.call(Safety::Unsafe);
    world.on(&mut call, Event::Start);
    world.wait(ms(100));
    assert_eq!(world.on(&mut call, Event::Timer), []);
}

#[test]
fn hedges_are_at_most_two_in_a_hundred() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(1000, ms(20));
    let mut hedges = 0;
    for _ in 0..1000 {
        let mut call = world.call(Safety::Safe);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        world.wait(ms(30));
        let hedged = !world.on(&mut call, Event::Timer).is_empty();
        hedges += usize::from(hedged);
        world.on(&mut call, answered(attempt, Class::Answered));
        world.on(&mut call, Event::BodyEnded);
    }
    assert!((20..=41).contains(&hedges), "2 % of 1,000, and what the warm-up stored: {hedges}");
}

#[test]
fn an_open_breaker_answers_at_once_and_says_when() {
    let mut world = World::new(
        1,
        PoolConfig { guard: Guard::Breaker(BreakerConfig::default()), ..PoolConfig::default() },
    );
    for _ in 0..30 {
        let mut call = world.call(Safety::Unsafe);
        let steps = world.on(&mut call, Event::Start);
        if let [Step::Attempt { attempt, .. }] = steps[..] {
            world.wait(ms(30));
            world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset));
        }
    }
    let mut call = world.call(Safety::Safe);
    let failure = failure_of(&world.on(&mut call, Event::Start));
    assert_eq!(failure.kind, FailureKind::BreakerOpen);
    assert!(failure.retry_after.is_some_and(|after| after > Duration::ZERO));
    assert!(
        world.pool.take_events().iter().any(|event| matches!(event, PoolEvent::Breaker { to: "open", .. }))
    );
}

#[test]
fn a_dropped_call_leaves_nothing_behind() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(200, ms(20));
    let mut call = world.call(Safety::Safe);
    world.on(&mut call, Event::Start);
    world.wait(ms(30));
    world.on(&mut call, Event::Timer);
    let steps = world.on(&mut call, Event::Dropped);
    assert_eq!(steps.len(), 2, "both attempts are cancelled: {steps:?}");
    assert!(world.pool.view(world.now).iter().all(|view| view.in_flight == 0));
    assert_eq!(call.next_deadline(), None);
}

#[test]
fn retry_switched_off_means_not_even_with_proof() {
    let mut world = World::new(3, PoolConfig::default());
    world.config.retry = false;
    let mut call = world.call(Safety::Safe);
    let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
    let steps = world.on(&mut call, failed(attempt, Proof::Refused, Cause::Connect));
    assert_eq!(failure_of(&steps).kind, FailureKind::Connect);
}

#[test]
fn a_bad_answer_waits_for_the_hedge_that_is_under_way() {
    let mut world = World::new(2, PoolConfig::default());
    world.warm_up(200, ms(20));
    let mut call = world.call(Safety::Safe);
    let (first, _) = attempt_of(&world.on(&mut call, Event::Start));
    world.wait(ms(25));
    let (hedge, _) = attempt_of(&world.on(&mut call, Event::Timer));
    let steps = world.on(&mut call, answered(first, Class::Error));
    assert_eq!(steps, [Step::Cancel { attempt: first }], "the other endpoint may know better");
    let steps = world.on(&mut call, answered(hedge, Class::Answered));
    assert_eq!(steps, [Step::Commit { attempt: hedge }]);
}

#[test]
fn a_retry_is_hedged_after_its_own_p95() {
    let mut world = World::new(3, PoolConfig::default());
    world.warm_up(200, ms(20));
    let mut call = world.call(Safety::Safe);
    let (first, _) = attempt_of(&world.on(&mut call, Event::Start));
    world.wait(ms(18));
    attempt_of(&world.on(&mut call, failed(first, Proof::BodySent, Cause::Reset)));
    world.wait(ms(7));
    assert_eq!(world.on(&mut call, Event::Timer), [], "the retry has had 7 ms of 20");
    world.wait(ms(18));
    let steps = world.on(&mut call, Event::Timer);
    assert!(matches!(steps[..], [Step::Attempt { kind: AttemptKind::Hedge, .. }]), "{steps:?}");
}

#[test]
fn a_body_that_streams_holds_no_place_of_the_budget() {
    let budget = BudgetConfig { max_concurrent: 1, ..BudgetConfig::default() };
    let mut world = World::new(3, PoolConfig { budget, ..PoolConfig::default() });
    let mut streaming = Vec::new();
    for round in 0..3 {
        let mut call = world.call(Safety::Safe);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        let steps = world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset));
        assert!(matches!(steps[..], [Step::Attempt { .. }]), "round {round}: {steps:?}");
        world.on(&mut call, answered(attempt_of(&steps).0, Class::Answered));
        streaming.push(call);
    }
}

#[test]
fn a_reset_while_a_retry_is_under_way_is_harmless() {
    let budget = BudgetConfig { max_concurrent: 1, ..BudgetConfig::default() };
    let mut world = World::new(3, PoolConfig { budget, ..PoolConfig::default() });
    let retry = |world: &mut World| {
        let mut call = world.call(Safety::Safe);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        (world.on(&mut call, failed(attempt, Proof::BodySent, Cause::Reset)), call)
    };
    let (steps, mut running) = retry(&mut world);
    world.pool.reset(world.now);
    let (refused, _) = retry(&mut world);
    assert_eq!(failure_of(&refused).kind, FailureKind::Reset, "the one before the reset still runs");
    world.on(&mut running, answered(attempt_of(&steps).0, Class::Answered));
    let (steps, _) = retry(&mut world);
    assert!(matches!(steps[..], [Step::Attempt { .. }]), "{steps:?}");
}

#[test]
fn a_deadline_that_passes_is_a_failure_of_who_had_a_fair_chance() {
    // Usual latency, time to the deadline, does the breaker open?
    for (usual, deadline, opens) in [(Some(20), 300, true), (None, 300, true), (Some(200), 150, false)] {
        let breaker = BreakerConfig { recovery_ramp: Duration::ZERO, ..BreakerConfig::default() };
        let guard = Guard::Breaker(breaker);
        let mut world = World::new(1, PoolConfig { guard, ..PoolConfig::default() });
        if let Some(usual) = usual {
            world.warm_up(50, ms(usual));
        }
        for _ in 0..60 {
            let mut call = Call::new(
                Arc::new(world.config.clone()),
                0,
                Safety::Unsafe,
                true,
                world.now.after(ms(deadline)),
            );
            world.on(&mut call, Event::Start);
            world.wait(ms(deadline));
            world.on(&mut call, Event::Timer);
        }
        let opened = |event: &PoolEvent| matches!(event, PoolEvent::Breaker { to: "open", .. });
        assert_eq!(world.pool.take_events().iter().any(opened), opens, "{usual:?} {deadline}");
    }
}

#[test]
fn events_of_an_attempt_that_is_committed_or_over_are_ignored() {
    let mut world = World::new(3, PoolConfig::default());
    let mut call = world.call(Safety::Safe);
    let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
    world.on(&mut call, answered(attempt, Class::Answered));
    for event in [
        answered(attempt, Class::Error),
        failed(attempt, Proof::BodySent, Cause::Reset),
        Event::Timer,
        answered(attempt + 1, Class::Answered),
    ] {
        assert_eq!(world.on(&mut call, event), [], "{event:?}");
        assert_eq!(world.pool.view(world.now).iter().map(|view| view.in_flight).sum::<u32>(), 1);
    }
    world.on(&mut call, Event::BodyEnded);
    assert!(world.pool.view(world.now).iter().all(|view| view.in_flight == 0));
}

#[test]
fn an_open_breaker_is_passed_over_while_another_endpoint_serves() {
    let guard = Guard::Breaker(BreakerConfig::default());
    let mut world = World::new(2, PoolConfig { guard, ..PoolConfig::default() });
    let bad = world.endpoints[0];
    for _ in 0..200 {
        let mut call = world.call(Safety::Unsafe);
        let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
        world.wait(ms(30));
        let class = if endpoint == bad { Class::Error } else { Class::Answered };
        world.on(&mut call, answered(attempt, class));
        world.on(&mut call, Event::BodyEnded);
    }
    assert_ne!(world.pool.view(world.now)[0].state, "available");
}
