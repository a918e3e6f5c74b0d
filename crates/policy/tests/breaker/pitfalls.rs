//! Defects that other breakers have, or had: one test each, named after where it was met.

use std::time::Duration;

use seaworthy_policy::breaker::{Outcome, Permit, Reason, Rejected, State};
use seaworthy_policy::{BreakerConfig, Time};

use crate::story::{FAILURE, QUICK, SUCCESS, Story, config, exact_wait, last_calls, rates_only, slow_from};

#[test]
fn failsafe_recloser_64_callers_meet_a_bounded_half_open() {
    let mut story = Story::new(config());
    story.half_open();
    let admitted: Vec<Permit> = (0..64).filter_map(|_| story.admit().ok()).collect();
    assert_eq!(admitted.len(), 3, "of 64 callers at the end of a wait");
    let mut outcomes = admitted.into_iter();
    story.complete(outcomes.next().unwrap(), FAILURE);
    assert!(story.admit().is_err(), "a probe that has decided keeps its place");
}

#[test]
fn polly_1979_stuck_half_open() {
    let mut story = Story::new(config());
    story.half_open();
    let lost: Vec<Permit> = std::iter::from_fn(|| story.admit().ok()).collect();
    assert_eq!(lost.len(), 3);
    story.wait(9_999);
    assert_eq!(story.state(), State::HalfOpen);
    story.wait(1);
    story.breaker.on_timer(story.now, &mut story.rng);
    assert!(story.is_open(), "probes that never return have failed");
    assert_eq!(story.last_reason(), Some(Reason::ProbesFailed));
}

#[test]
fn resilience4j_544_one_lost_probe_does_not_block_the_others() {
    let mut story = Story::new(config());
    story.half_open();
    let lost = story.admit().unwrap();
    story.wait(10_000).succeed().succeed();
    assert!(matches!(story.state(), State::Ramp { .. }), "two of three places were good");
    story.complete(lost, FAILURE);
    assert!(matches!(story.state(), State::Ramp { .. }));
}

#[test]
fn polly_217_late_result_of_another_generation() {
    let mut story = Story::new(config());
    let early: Vec<Permit> = (0..10).map(|_| story.admit().unwrap()).collect();
    story.half_open();
    let probe = story.admit().unwrap();
    for permit in early {
        assert_ne!(permit.generation(), probe.generation());
        story.complete(permit, Outcome::Success { elapsed: Duration::from_secs(2) });
    }
    assert_eq!(story.state(), State::HalfOpen, "calls let in before the outage decide nothing");
    assert_eq!(story.breaker.totals(story.now).calls(), 0, "and are not even counted");
    story.complete(probe, FAILURE);
    story.fail();
    assert!(story.is_open());
}

#[test]
fn polly_217_late_probe_of_another_half_open_state() {
    let mut story = Story::new(config());
    story.half_open();
    let early: Vec<Permit> = std::iter::from_fn(|| story.admit().ok()).collect();
    story.wait(10_000);
    story.breaker.on_timer(story.now, &mut story.rng);
    assert!(story.is_open(), "none of the first probes returned in time");
    story.now = story.breaker.next_deadline().unwrap();
    let present: Vec<Permit> = std::iter::from_fn(|| story.admit().ok()).collect();
    assert_eq!((early.len(), present.len()), (3, 3));
    for permit in early {
        story.complete(permit, Outcome::Success { elapsed: Duration::from_secs(12) });
    }
    assert_eq!(story.state(), State::HalfOpen, "they were asked about another state");
    drop(present);
}

#[test]
fn polly_217_late_failures_do_not_open_it_again() {
    let mut story = Story::new(config());
    let early: Vec<Permit> = (0..100).map(|_| story.admit().unwrap()).collect();
    story.half_open().succeed().succeed();
    for permit in early {
        story.complete(permit, Outcome::Failure { elapsed: Duration::from_secs(5) });
    }
    assert!(matches!(story.state(), State::Ramp { .. }));
    assert_eq!(story.breaker.totals(story.now).calls(), 0);
}

#[test]
fn polly_1979_a_cancelled_probe_frees_its_place_and_never_closes() {
    let mut story = Story::new(slow_from(1_000));
    story.half_open();
    for _ in 0..50 {
        story.call(Outcome::Cancelled { elapsed: QUICK }).call(Outcome::Ignored);
    }
    assert_eq!(story.state(), State::HalfOpen);
    let slow = Outcome::Cancelled { elapsed: Duration::from_secs(1) };
    story.call(slow).call(slow);
    assert!(story.is_open(), "given up after having been slow is a failed probe");
}

#[test]
fn tower_resilience_dropped_futures_do_not_blind_the_breaker() {
    // A timeout outside the breaker drops every call; the breaker sees nothing but cancellations.
    let mut story = Story::new(slow_from(1));
    let hung: Vec<Permit> = (0..200).filter_map(|_| story.admit().ok()).collect();
    story.wait(100);
    for permit in hung {
        story.complete(permit, Outcome::Cancelled { elapsed: Duration::from_millis(100) });
    }
    assert!(story.is_open());
    assert_eq!(story.last_reason(), Some(Reason::SlowCallRate { slow: 20, calls: 20 }));
}

#[test]
fn tower_resilience_window_slides_after_a_million_successes() {
    for successes in [100, 1_000, 1_000_000_u64] {
        let mut story = Story::new(rates_only());
        for _ in 0..successes {
            story.succeed();
        }
        story.wait(10_000);
        let mut failures = 0;
        while !story.is_open() {
            story.fail();
            failures += 1;
            assert!(failures <= 20, "{successes} successes of ten seconds ago still weigh");
        }
        assert_eq!(failures, 20, "after {successes} successes");
    }
}

#[test]
fn linkerd_ema_an_outage_opens_within_half_a_window_whatever_came_before() {
    // 1000 calls per second for a minute, then all fail: half of the window must have failed, plus at most
    // the failures that fall into the newest, unfinished bucket.
    let mut story = Story::new(rates_only());
    for _ in 0..60_000 {
        story.wait(1).succeed();
    }
    let mut failures = 0;
    while !story.is_open() {
        story.wait(1).fail();
        failures += 1;
        assert!(failures <= 5_000, "half of the window has failed by now");
    }
    assert!((4_500..=5_000).contains(&failures), "{failures}");
}

#[test]
fn polly_utc_now_a_clock_that_goes_back_changes_nothing() {
    let mut story = Story::new(exact_wait());
    story.wait(60_000).open();
    let opened_at = story.now;
    story.now = Time::ZERO;
    assert_eq!(story.admit(), Err(Rejected::Open { retry_after: Duration::from_secs(1) }));
    story.now = opened_at + Duration::from_secs(1);
    let probe = story.admit().unwrap();
    story.now = Time::from_millis(5);
    story.complete(probe, SUCCESS);
    story.succeed();
    assert!(matches!(story.state(), State::Ramp { .. }));
    assert!(story.breaker.next_deadline() > Some(opened_at));
    story.breaker.check_invariants();
}

#[test]
fn tower_resilience_a_window_by_count_slides_as_well() {
    let mut story = Story::new(last_calls(100, 20));
    for _ in 0..1_000_000 {
        story.breaker.admit(story.now, &mut story.rng).map(drop).unwrap();
        let permit = story.breaker.admit(story.now, &mut story.rng).unwrap();
        story.breaker.complete(story.now, &mut story.rng, permit, SUCCESS);
    }
    let mut failures = 0;
    while !story.is_open() {
        story.fail();
        failures += 1;
    }
    assert_eq!(failures, 50, "half of a hundred, after a million successes");
}

#[test]
fn mcp_proxy_221_the_minimum_counts_before_the_window_is_full() {
    let mut story = Story::new(last_calls(1_000, 5));
    story.repeat(5, FAILURE);
    assert_eq!(story.last_reason(), Some(Reason::FailureRate { failed: 5, calls: 5 }));
}

#[test]
fn resilience4j_2334_window_1() {
    let mut story = Story::new(last_calls(1, 1));
    story.succeed().fail();
    assert_eq!(story.last_reason(), Some(Reason::FailureRate { failed: 1, calls: 1 }));
    story.now = story.breaker.next_deadline().unwrap();
    story.succeed().succeed().wait(10_000);
    assert_eq!(story.state(), State::Closed);
    story.succeed();
    assert_eq!(story.breaker.totals(story.now).calls(), 1, "one call, the last one");
    story.fail();
    assert!(story.is_open());
}

#[test]
fn nora_585_a_client_error_does_not_leave_the_circuit_half_open() {
    // A probe that is answered 404 says that the backend is up; one that says nothing frees its place.
    let mut story = Story::new(config());
    story.half_open().call(Outcome::Ignored).call(Outcome::Ignored).call(Outcome::Ignored);
    assert_eq!(story.state(), State::HalfOpen);
    story.succeed().succeed();
    assert!(matches!(story.state(), State::Ramp { .. }), "and real answers close it, without a restart");
}

#[test]
fn resilience4j_2488_a_permit_that_is_lost_costs_one_probe_timeout() {
    let mut story = Story::new(config());
    story.half_open();
    drop((story.admit().unwrap(), story.admit().unwrap(), story.admit().unwrap()));
    for _ in 0..10 {
        assert!(matches!(story.admit(), Err(Rejected::ProbesBusy { .. })));
    }
    story.wait(10_000);
    assert!(matches!(story.admit(), Err(Rejected::Open { .. })), "they count as failed, and the wait begins");
    story.now = story.breaker.next_deadline().unwrap();
    story.succeed().succeed();
    assert!(matches!(story.state(), State::Ramp { .. }));
}

#[test]
fn resilience4j_903_the_slow_probe_of_a_recovered_backend_is_judged_once() {
    let mut story = Story::new(slow_from(1_000));
    story.half_open();
    let slow = Outcome::Success { elapsed: Duration::from_secs(1) };
    story.call(slow).succeed().succeed();
    assert!(matches!(story.state(), State::Ramp { .. }), "one slow probe of three is a minority");
    let mut story = Story::new(slow_from(1_000));
    story.half_open().call(slow).call(slow);
    assert!(story.is_open());
}

#[test]
fn opossum_volume_threshold_0_the_first_error_does_not_open_the_circuit() {
    let mut story = Story::new(config());
    story.wait(60_000).fail();
    assert_eq!(story.state(), State::Closed);
}

#[test]
fn failsafe_ema_an_outage_in_the_first_window_opens_the_circuit() {
    let mut story = Story::new(rates_only());
    story.repeat(20, FAILURE);
    assert!(story.is_open(), "nothing has to fill up first");
    let sub_second = BreakerConfig { sliding_window: Duration::from_millis(50), ..rates_only() };
    let mut story = Story::new(sub_second);
    story.repeat(20, FAILURE);
    assert!(story.is_open(), "nor is a window below a second no window");
}

#[test]
fn failsafe_rs_a_clock_that_jumps_does_not_panic() {
    let mut story = Story::new(slow_from(50));
    for millis in [0, 5_000, 1, u64::MAX, 3, 60_000, u64::MAX - 1, 0] {
        story.now = Time::from_millis(millis);
        for _ in 0..30 {
            if let Ok(permit) = story.admit() {
                story.complete(permit, FAILURE);
            }
        }
        story.breaker.on_timer(story.now, &mut story.rng);
        story.breaker.check_invariants();
    }
}

#[test]
fn polly_utc_now_a_clock_that_jumps_forward_ends_a_wait_and_nothing_else() {
    let mut story = Story::new(exact_wait());
    story.open();
    story.wait(86_400_000);
    let admitted = (0..64).filter_map(|_| story.admit().ok()).count();
    assert_eq!(admitted, 3, "a day later the first to come are still probes");
}

#[test]
fn libraries_jump_from_nothing_to_all_after_closing() {
    let mut story = Story::new(config());
    story.half_open().succeed().succeed();
    let admitted = (0..1_000).filter(|_| story.admit().is_ok()).count();
    assert!((50..160).contains(&admitted), "{admitted} of 1000 in the first moment after closing");
}
