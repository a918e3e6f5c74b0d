//! The breaker: tables, and each defect that other breakers have had.

use std::time::Duration;

use seaworthy_policy::breaker::{Outcome, Permit, Reason, Rejected, State};
use seaworthy_policy::{Breaker, BreakerConfig, Rng, Time};

const QUICK: Duration = Duration::from_millis(1);
const SUCCESS: Outcome = Outcome::Success { elapsed: QUICK };
const FAILURE: Outcome = Outcome::Failure { elapsed: QUICK };

/// A breaker with its clock and its randomness, so that a test reads as a story.
struct Story {
    breaker: Breaker,
    rng: Rng,
    now: Time,
}

impl Story {
    fn new(config: BreakerConfig) -> Self {
        assert_eq!(config.validate(), Ok(()));
        Story { breaker: Breaker::new(config, Time::ZERO), rng: Rng::seeded(1), now: Time::ZERO }
    }

    fn wait(&mut self, millis: u64) -> &mut Self {
        self.now = self.now + Duration::from_millis(millis);
        self
    }

    fn admit(&mut self) -> Result<Permit, Rejected> {
        self.breaker.admit(self.now, &mut self.rng)
    }

    fn complete(&mut self, permit: Permit, outcome: Outcome) {
        self.breaker.complete(self.now, &mut self.rng, permit, outcome);
        self.breaker.check_invariants();
    }

    /// One call that is let in and ends at once.
    fn call(&mut self, outcome: Outcome) -> &mut Self {
        let permit = self.admit().expect("the call is let in");
        self.complete(permit, outcome);
        self
    }

    fn repeat(&mut self, times: u32, outcome: Outcome) -> &mut Self {
        for _ in 0..times {
            self.call(outcome);
        }
        self
    }

    fn succeed(&mut self) -> &mut Self {
        self.call(SUCCESS)
    }

    fn fail(&mut self) -> &mut Self {
        self.call(FAILURE)
    }

    fn state(&self) -> State {
        self.breaker.state(self.now)
    }

    fn is_open(&self) -> bool {
        matches!(self.state(), State::Open { .. })
    }

    /// Fails until the circuit is open, and returns for how long it is.
    fn open(&mut self) -> Duration {
        self.wait(500);
        for _ in 0..1_000 {
            match self.admit() {
                Ok(permit) => self.complete(permit, FAILURE),
                Err(Rejected::Ramping { .. }) => {}
                Err(rejected) => panic!("{rejected:?} while opening"),
            }
            if let State::Open { until } = self.state() {
                return until.saturating_since(self.now);
            }
        }
        panic!("a thousand failures do not open the circuit");
    }

    /// Goes to the end of the wait.
    fn half_open(&mut self) -> &mut Self {
        self.open();
        self.now = self.breaker.next_deadline().expect("an open circuit has an end");
        assert_eq!(self.state(), State::HalfOpen);
        self
    }

    fn last_reason(&mut self) -> Option<Reason> {
        std::iter::from_fn(|| self.breaker.take_transition()).last().map(|transition| transition.reason)
    }
}

fn config() -> BreakerConfig {
    BreakerConfig::default()
}

/// Nothing but rates may open this one.
fn rates_only() -> BreakerConfig {
    BreakerConfig { consecutive_failures: u32::MAX, ..config() }
}

fn slow_from(millis: u64) -> BreakerConfig {
    BreakerConfig { slow_call_duration: Some(Duration::from_millis(millis)), ..config() }
}

fn exact_wait() -> BreakerConfig {
    BreakerConfig { wait_jitter: 0.0, ..config() }
}

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
fn half_open_herd() {
    let mut story = Story::new(config());
    story.half_open();
    let admitted: Vec<Permit> = (0..64).filter_map(|_| story.admit().ok()).collect();
    assert_eq!(admitted.len(), 3, "of 64 callers at the end of a wait");
    let mut outcomes = admitted.into_iter();
    story.complete(outcomes.next().unwrap(), FAILURE);
    assert!(story.admit().is_err(), "a probe that has decided keeps its place");
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
fn stuck_half_open() {
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
fn one_lost_probe_does_not_block_the_others() {
    let mut story = Story::new(config());
    story.half_open();
    let lost = story.admit().unwrap();
    story.wait(10_000).succeed().succeed();
    assert!(matches!(story.state(), State::Ramp { .. }), "two of three places were good");
    story.complete(lost, FAILURE);
    assert!(matches!(story.state(), State::Ramp { .. }));
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
fn late_result_closes_the_circuit() {
    let mut story = Story::new(config());
    let early: Vec<Permit> = (0..10).map(|_| story.admit().unwrap()).collect();
    story.half_open();
    let probe = story.admit().unwrap();
    for permit in early {
        assert_ne!(permit.generation(), probe.generation());
        story.complete(permit, Outcome::Success { elapsed: Duration::from_secs(2) });
    }
    assert_eq!(story.state(), State::HalfOpen, "calls let in before the outage decide nothing");
    story.complete(probe, FAILURE);
    story.fail();
    assert!(story.is_open());
}

#[test]
fn late_probe_of_an_earlier_half_open_state_closes_the_circuit() {
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
fn late_failures_do_not_open_it_again() {
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
fn a_cancelled_probe_frees_its_place_and_never_closes() {
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
fn dropped_futures_blind_the_breaker() {
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
fn window_that_never_slides() {
    for successes in [100, 1_000, 100_000_u64] {
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
fn a_steady_flow_opens_within_half_a_window_whatever_came_before() {
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
fn backwards_clock() {
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
