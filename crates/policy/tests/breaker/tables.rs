//! What opens the circuit, for how long, and how it comes back.

use std::time::Duration;

use seaworthy_policy::breaker::{Outcome, Permit, Reason, Rejected, State};
use seaworthy_policy::{Breaker, BreakerConfig, Rng, Time};

use crate::story::{FAILURE, QUICK, SUCCESS, Story, config, exact_wait, last_calls, rates_only, slow_from};

#[test]
fn a_run_of_failures_opens_only_when_it_is_quiet_as_well() {
    // (failures, milliseconds since the last success, opens)
    for (failures, quiet_ms, opens) in [(5, 500, true), (4, 500, false), (5, 499, false), (9, 0, false)] {
        let mut story = Story::new(config());
        story.succeed();
        story.repeat(failures - 1, FAILURE);
        story.wait(quiet_ms).fail();
        assert_eq!(story.is_open(), opens, "{failures} failures, {quiet_ms} ms");
    }
}

#[test]
fn a_success_breaks_the_run() {
    let mut story = Story::new(config());
    for _ in 0..3 {
        story.wait(600).fail().fail().fail().fail().succeed();
    }
    assert_eq!(story.state(), State::Closed);
}

#[test]
fn rates_open_from_the_minimum_on() {
    // (good calls, then failed calls, opens)
    for (good, failed, opens) in
        [(10, 10, true), (11, 10, false), (10, 9, false), (0, 19, false), (0, 20, true)]
    {
        let mut story = Story::new(rates_only());
        story.repeat(good, SUCCESS);
        story.repeat(failed, FAILURE);
        assert_eq!(story.is_open(), opens, "{good} good, {failed} failed");
    }
}

#[test]
fn slow_calls_open_the_circuit_however_they_end() {
    let elapsed = Duration::from_millis(50);
    for outcome in [Outcome::Success { elapsed }, Outcome::Cancelled { elapsed }] {
        let mut story = Story::new(slow_from(50));
        story.repeat(4, SUCCESS);
        story.repeat(15, outcome);
        assert_eq!(story.state(), State::Closed, "15 of 19 are too few calls");
        story.call(outcome);
        assert_eq!(story.last_reason(), Some(Reason::SlowCallRate { slow: 16, calls: 20 }), "{outcome:?}");
    }
}

#[test]
fn ignored_and_quickly_cancelled_calls_do_not_count() {
    for outcome in [Outcome::Ignored, Outcome::Cancelled { elapsed: QUICK }] {
        let mut story = Story::new(slow_from(50));
        story.wait(500).fail().fail().fail().fail();
        story.repeat(100, outcome);
        assert_eq!(story.breaker.totals(story.now).calls(), 4, "{outcome:?}");
        story.fail();
        assert!(story.is_open(), "and they do not break a run of failures: {outcome:?}");
    }
}

#[test]
fn what_is_rejected_says_why_and_when_to_try_again() {
    let mut story = Story::new(exact_wait());
    story.open();
    story.wait(400);
    assert_eq!(story.admit(), Err(Rejected::Open { retry_after: Duration::from_millis(600) }));
    story.wait(600);
    let probes: Vec<Permit> = std::iter::from_fn(|| story.admit().ok()).collect();
    assert!(probes.iter().all(Permit::is_probe));
    assert_eq!(story.admit(), Err(Rejected::ProbesBusy { retry_after: Duration::from_secs(1) }));
    for probe in probes {
        story.complete(probe, SUCCESS);
    }
    let rejected = (0..1_000).find_map(|_| story.admit().err()).expect("a ramp of 10 % rejects some");
    assert_eq!(rejected, Rejected::Ramping { retry_after: Duration::from_secs(1) });
    story.wait(9_999);
    let rejected =
        (0..1_000_000).find_map(|_| story.admit().err()).expect("and some are rejected to the end");
    assert_eq!(rejected.retry_after(), QUICK, "at the end of a ramp, what is left of it");
}

#[test]
fn probes_close_or_open_by_majority() {
    // (places, the probes' results in order, closed at the end)
    for (places, results, closes) in [
        (1, "g", true),
        (1, "b", false),
        (2, "gg", true),
        (2, "b", false),
        (3, "gg", true),
        (3, "bb", false),
        (3, "gbg", true),
        (3, "bgb", false),
        (4, "bggg", true),
        (4, "gbgb", false),
        (5, "bbggg", true),
    ] {
        let permitted = BreakerConfig { permitted_number_of_calls_in_half_open_state: places, ..config() };
        let mut story = Story::new(permitted);
        story.half_open();
        for (number, result) in results.chars().enumerate() {
            assert_eq!(story.state(), State::HalfOpen, "{results}: decided before probe {number}");
            if result == 'g' {
                story.succeed()
            } else {
                story.fail()
            };
        }
        let closed = matches!(story.state(), State::Ramp { .. });
        assert_eq!((closed, story.is_open()), (closes, !closes), "{places} places, {results}");
    }
}

#[test]
fn a_probe_that_timed_out_is_not_counted_again_when_it_returns() {
    let mut story = Story::new(config());
    story.half_open();
    let late = story.admit().unwrap();
    story.wait(10_000);
    story.complete(late, Outcome::Failure { elapsed: Duration::from_secs(10) });
    assert_eq!(story.state(), State::HalfOpen, "one failure, not two");
    story.fail();
    assert!(story.is_open());
}

#[test]
fn waits_double_up_to_the_maximum_and_begin_anew_after_a_full_ramp() {
    let mut story = Story::new(exact_wait());
    let mut waits = vec![story.open().as_secs()];
    for _ in 0..7 {
        story.now = story.breaker.next_deadline().unwrap();
        story.fail().fail();
        let State::Open { until } = story.state() else { panic!("probes failed") };
        waits.push(until.saturating_since(story.now).as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);

    story.now = story.breaker.next_deadline().unwrap();
    story.succeed().succeed().wait(5_000);
    assert_eq!(story.open().as_secs(), 60, "a relapse within the ramp goes on doubling");
    story.now = story.breaker.next_deadline().unwrap();
    story.succeed().succeed().wait(10_000);
    assert_eq!(story.state(), State::Closed);
    assert_eq!(story.open().as_secs(), 1, "a full ramp is a new beginning");
}

#[test]
fn waits_are_spread() {
    let waits: Vec<Duration> = (0..500)
        .map(|seed| {
            let mut story = Story::new(config());
            story.rng = Rng::seeded(seed);
            story.open()
        })
        .collect();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!((800..810).contains(&least.as_millis()) && (1_190..=1_200).contains(&most.as_millis()));
}

#[test]
fn the_ramp_grows_evenly_to_all() {
    let ramping = || {
        let mut story = Story::new(config());
        story.half_open().succeed().succeed();
        story
    };
    for (after_ms, share) in [(0, 0.10), (2_500, 0.325), (5_000, 0.55), (7_500, 0.775), (9_999, 1.0)] {
        let mut story = ramping();
        story.wait(after_ms);
        let admitted = (0..10_000).filter(|_| story.admit().is_ok()).count();
        assert!((admitted as f64 / 10_000.0 - share).abs() < 0.02, "{admitted} of 10000 after {after_ms} ms");
        let State::Ramp { share: shown } = story.state() else { panic!("still ramping") };
        assert!((shown.get() - share).abs() < 0.001, "{shown}");
    }
    let mut story = ramping();
    story.wait(10_000);
    assert!((0..1_000).all(|_| story.admit().is_ok()));
    assert_eq!(story.last_reason(), Some(Reason::RampFinished));
}

#[test]
fn a_relapse_of_the_failure_rate_ends_the_ramp() {
    let mut story = Story::new(BreakerConfig { recovery_ramp: Duration::from_secs(1), ..rates_only() });
    story.repeat(20, FAILURE);
    assert!(story.is_open());
    story.now = story.breaker.next_deadline().unwrap();
    story.succeed().succeed().wait(900);
    story.open();
    assert_eq!(story.last_reason(), Some(Reason::FailureRate { failed: 20, calls: 20 }));
}

#[test]
fn without_a_ramp_the_circuit_closes_at_once() {
    let mut story = Story::new(BreakerConfig { recovery_ramp: Duration::ZERO, ..exact_wait() });
    story.half_open().succeed().succeed();
    assert_eq!(story.state(), State::Closed);
    assert_eq!(story.open().as_secs(), 1, "and that ends the doubling");
}

#[test]
fn the_evidence_of_a_ramp_outlives_it() {
    let mut story = Story::new(BreakerConfig { quiet: Duration::ZERO, ..exact_wait() });
    story.half_open().succeed().succeed().wait(9_990);
    for _ in 0..4 {
        let permit = (0..1_000).find_map(|_| story.admit().ok()).unwrap();
        story.complete(permit, FAILURE);
    }
    story.wait(10).fail();
    assert!(story.is_open(), "four failures in the ramp and one after it are five in a row");
}

#[test]
fn transitions_are_told_once_in_order_and_bounded() {
    let mut story = Story::new(exact_wait());
    story.half_open().succeed().succeed().wait(10_000).succeed();
    let reasons: Vec<Reason> =
        std::iter::from_fn(|| story.breaker.take_transition()).map(|transition| transition.reason).collect();
    let failures = Reason::ConsecutiveFailures { failures: 5 };
    assert_eq!(reasons, [failures, Reason::WaitOver, Reason::ProbesPassed, Reason::RampFinished]);

    story.open();
    for _ in 0..100 {
        story.now = story.breaker.next_deadline().unwrap();
        story.fail().fail();
    }
    let kept = std::iter::from_fn(|| story.breaker.take_transition()).count();
    assert_eq!(kept, seaworthy_policy::breaker::TRANSITIONS_MAX);
}

#[test]
fn next_deadline_is_when_something_happens() {
    let mut story = Story::new(exact_wait());
    assert_eq!(story.breaker.next_deadline(), None);
    story.open();
    assert_eq!(story.breaker.next_deadline(), Some(story.now + Duration::from_secs(1)));
    story.wait(1_000);
    story.breaker.on_timer(story.now, &mut story.rng);
    assert_eq!(story.breaker.next_deadline(), None, "no probe is under way");
    let _lost = story.admit().unwrap();
    assert_eq!(story.breaker.next_deadline(), Some(story.now + Duration::from_secs(10)));
    story.succeed().succeed();
    assert_eq!(story.breaker.next_deadline(), Some(story.now + Duration::from_secs(10)), "the ramp's end");
}

#[test]
fn a_reset_closes_and_forgets() {
    let mut story = Story::new(exact_wait());
    story.open();
    story.breaker.reset(story.now);
    assert_eq!(story.last_reason(), Some(Reason::Reset));
    assert_eq!((story.state(), story.breaker.totals(story.now).calls()), (State::Closed, 0));
    assert_eq!(story.open().as_secs(), 1);
}

#[test]
fn validation_names_the_field() {
    let good = config();
    assert_eq!(good.validate(), Ok(()));
    let second = Duration::from_secs(1);
    let zero = Duration::ZERO;
    for (config, field) in [
        (BreakerConfig { consecutive_failures: 0, ..good }, "consecutive_failures"),
        (BreakerConfig { failure_rate_threshold: 0.0, ..good }, "failure_rate_threshold"),
        (BreakerConfig { failure_rate_threshold: f64::NAN, ..good }, "failure_rate_threshold"),
        (BreakerConfig { minimum_number_of_calls: 0, ..good }, "minimum_number_of_calls"),
        (BreakerConfig { sliding_window: zero, ..good }, "sliding_window"),
        (BreakerConfig { slow_call_duration: Some(zero), ..good }, "slow_call_duration"),
        (BreakerConfig { sliding_window_size: 0, ..good }, "sliding_window_size"),
        (last_calls(65_537, 20), "sliding_window_size"),
        (last_calls(19, 20), "minimum_number_of_calls"),
        (BreakerConfig { slow_call_rate_threshold: 1.1, ..good }, "slow_call_rate_threshold"),
        (BreakerConfig { wait_duration_in_open_state: zero, ..good }, "wait_duration_in_open_state"),
        (BreakerConfig { max_wait: second / 2, ..good }, "max_wait"),
        (BreakerConfig { wait_jitter: -0.1, ..good }, "wait_jitter"),
        (BreakerConfig { probe_timeout: zero, ..good }, "probe_timeout"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
    for places in [0, 101] {
        let config = BreakerConfig { permitted_number_of_calls_in_half_open_state: places, ..good };
        assert_eq!(config.validate().unwrap_err().field, "permitted_number_of_calls_in_half_open_state");
    }
}

#[test]
fn rates_over_the_last_calls_open_from_the_minimum_on_even_below_the_window_size() {
    // (size, minimum, good calls, then failed calls, opens)
    for (size, minimum, good, failed, opens) in [
        (100, 20, 10, 10, true),
        (100, 20, 10, 9, false),
        (100, 20, 60, 49, false),
        (100, 20, 60, 50, true),
        (10, 10, 1_000, 4, false),
        (10, 10, 1_000, 5, true),
        (1, 1, 5, 1, true),
    ] {
        let mut story = Story::new(last_calls(size, minimum));
        story.repeat(good, SUCCESS);
        story.repeat(failed, FAILURE);
        assert_eq!(story.is_open(), opens, "last {size}, at least {minimum}: {good} good, {failed} failed");
    }
}

#[test]
fn rates_over_the_last_calls_do_not_age() {
    let mut story = Story::new(last_calls(10, 10));
    story.repeat(6, SUCCESS).repeat(3, FAILURE);
    story.wait(86_400_000).fail();
    assert_eq!(story.state(), State::Closed, "4 of 10");
    story.wait(86_400_000).fail();
    assert_eq!(story.last_reason(), Some(Reason::FailureRate { failed: 5, calls: 10 }));
}

#[test]
fn too_many_requests_count_for_the_rate_and_a_probe_but_not_in_a_row() {
    let throttled = Outcome::Throttled { elapsed: QUICK };
    let mut story = Story::new(config());
    story.wait(500).repeat(19, throttled);
    assert_eq!(story.state(), State::Closed, "any number in a row, below the minimum for a rate");
    story.call(throttled);
    assert_eq!(story.last_reason(), Some(Reason::FailureRate { failed: 20, calls: 20 }));

    let mut story = Story::new(config());
    story.wait(500).repeat(4, FAILURE).repeat(3, throttled).fail();
    let run = Some(Reason::ConsecutiveFailures { failures: 5 });
    assert_eq!(story.last_reason(), run, "nor does it break a run");

    let mut story = Story::new(config());
    story.half_open().call(throttled).call(throttled);
    assert!(story.is_open(), "a probe that is told to go away has failed");
}

#[test]
fn a_key_is_small() {
    assert!(size_of::<Breaker>() <= 256, "{} bytes", size_of::<Breaker>());
    // And all keys share one configuration.
    let config = std::sync::Arc::new(config());
    let keys: Vec<Breaker> =
        (0..1_000).map(|_| Breaker::new(std::sync::Arc::clone(&config), Time::ZERO)).collect();
    assert_eq!(std::sync::Arc::strong_count(&config), 1 + keys.len());
}
