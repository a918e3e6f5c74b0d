//! Calls driven over a scripted backend in virtual time: what is sent where and when, and what the client gets.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::budget::BudgetConfig;
use seaworthy_policy::call::{
    AttemptKind, Call, CallConfig, Cause, Class, Event, Failure, FailureKind, Proof, Safety, Step,
};
use seaworthy_policy::pool::{EjectReason, EndpointKey, Guard, ParkingConfig, Pool, PoolConfig, PoolEvent};
use seaworthy_policy::rng::Rng;
use seaworthy_policy::time::Time;
use seaworthy_policy::{BackoffConfig, BreakerConfig, Jitter};

/// One pool and a clock, with helpers that read like the story of a request.
struct World {
    pool: Pool,
    rng: Rng,
    now: Time,
    config: CallConfig,
    endpoints: Vec<EndpointKey>,
}

impl World {
    fn new(endpoints: usize, pool: PoolConfig) -> Self {
        let mut world = Self {
            pool: Pool::new(pool),
            rng: Rng::seeded(7),
            now: Time::ZERO,
            config: CallConfig::default(),
            endpoints: vec![],
        };
        for zone in 0..endpoints {
            let key = world.pool.on_added(world.now, zone as u16);
            world.pool.on_health(world.now, key, true, "");
            world.endpoints.push(key);
        }
        world
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    fn call(&self, safety: Safety) -> Call {
        Call::new(Arc::new(self.config.clone()), 0, safety, true, self.now.after(self.config.total_timeout))
    }

    fn on(&mut self, call: &mut Call, event: Event) -> Vec<Step> {
        let mut steps = Vec::new();
        call.on(self.now, &mut self.rng, &mut self.pool, event, &mut steps);
        self.pool.check_invariants();
        steps
    }

    /// Serves good requests so that the lane knows its latency.
    fn warm_up(&mut self, requests: usize, latency: Duration) {
        for _ in 0..requests {
            let mut call = self.call(Safety::Safe);
            let (attempt, _) = attempt_of(&self.on(&mut call, Event::Start));
            self.wait(latency);
            self.on(&mut call, answered(attempt, Class::Answered));
            self.on(&mut call, Event::BodyEnded);
        }
        self.pool.take_events();
    }

    /// Starts a call that is sent to `endpoint`. Those that went elsewhere stay open until then, because an idle peer
    /// would always be preferred.
    fn start_at(&mut self, endpoint: EndpointKey, safety: Safety) -> Call {
        let mut elsewhere = Vec::new();
        for _ in 0..1000 {
            let mut call = self.call(safety);
            let (attempt, chosen) = attempt_of(&self.on(&mut call, Event::Start));
            if chosen == endpoint {
                for (mut other, attempt) in elsewhere {
                    self.on(&mut other, answered(attempt, Class::Answered));
                    self.on(&mut other, Event::BodyEnded);
                }
                return call;
            }
            elsewhere.push((call, attempt));
        }
        panic!("no request was sent to {endpoint:?}");
    }
}

fn answered(attempt: u8, class: Class) -> Event {
    Event::Head { attempt, class, retry_after: None }
}

fn failed(attempt: u8, proof: Proof, cause: Cause) -> Event {
    Event::Failed { attempt, proof, cause }
}

fn attempt_of(steps: &[Step]) -> (u8, EndpointKey) {
    match steps {
        [.., Step::Attempt { attempt, endpoint, .. }] => (*attempt, *endpoint),
        other => panic!("an attempt was expected: {other:?}"),
    }
}

fn failure_of(steps: &[Step]) -> Failure {
    match steps {
        [.., Step::Fail(failure)] => *failure,
        other => panic!("a failure was expected: {other:?}"),
    }
}

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

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
    world.wait(ms(900));
    for call in &mut calls {
        assert_eq!(world.on(call, Event::Timer), [], "8 × 400 ms have not passed");
    }
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
