//! What each answer means, and when what happens next.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::admission::Priority;
use seaworthy_policy::delivery::{
    Answer, Because, DeliveryConfig, Fate, Guarantee, Job, JobId, Mode, Proof, Reason, Schedule, Step,
    Verdict, after_failure, before_attempt, judge, turn,
};
use seaworthy_policy::{BreakerConfig, RateLimitConfig, Rng, Time};

use crate::lane::{Lane, REFUSED, SECOND, START, deferred, job, plain, started, status, status_after, waits};

const UNKNOWN: Verdict = Verdict::Dead(Reason::OutcomeUnknown);
const FAILED: Verdict = Verdict::Failed { asked: None };

#[test]
fn what_an_answer_means() {
    let rejected = |status| Verdict::Dead(Reason::Rejected { status });
    let asked = |seconds| Verdict::Failed { asked: Some(Duration::from_secs(seconds)) };
    let not_now = |seconds| Verdict::NotNow { asked: Duration::from_secs(seconds) };
    let failed = |proof| Answer::Failed { proof };
    let abandoned = |proof| Answer::Abandoned { proof };
    let once = DeliveryConfig { guarantee: Guarantee::AtMostOnce, ..plain() };
    for (answer, at_least_once, at_most_once) in [
        (status(200), Verdict::Delivered, Verdict::Delivered),
        (status(202), Verdict::Delivered, Verdict::Delivered),
        (status(299), Verdict::Delivered, Verdict::Delivered),
        (status_after(200, 5), Verdict::Delivered, Verdict::Delivered),
        (status(301), FAILED, FAILED),
        (status(304), FAILED, FAILED),
        (status(400), rejected(400), rejected(400)),
        (status(401), FAILED, FAILED),
        (status(404), FAILED, FAILED),
        (status(408), FAILED, UNKNOWN),
        (status(409), FAILED, FAILED),
        (status(410), Verdict::Gone, Verdict::Gone),
        (status_after(410, 9), Verdict::Gone, Verdict::Gone),
        (status(413), rejected(413), rejected(413)),
        (status(422), rejected(422), rejected(422)),
        (status_after(422, 9), rejected(422), rejected(422)),
        (status(425), FAILED, FAILED),
        (status(429), FAILED, FAILED),
        (status_after(429, 7), not_now(7), not_now(7)),
        (status_after(429, 0), not_now(1), not_now(1)),
        (status_after(429, 1_000_000), not_now(86_400), not_now(86_400)),
        (status(500), FAILED, UNKNOWN),
        (status_after(500, 7), asked(7), UNKNOWN),
        (status(502), FAILED, UNKNOWN),
        (status(503), FAILED, UNKNOWN),
        (status_after(503, 7), not_now(7), not_now(7)),
        (status_after(404, 7), asked(7), asked(7)),
        (Answer::TimedOut, FAILED, UNKNOWN),
        (failed(Proof::NotSent), FAILED, FAILED),
        (REFUSED, FAILED, FAILED),
        (failed(Proof::HeadSent), FAILED, UNKNOWN),
        (failed(Proof::BodySent), FAILED, UNKNOWN),
        (abandoned(Proof::NotSent), Verdict::Again, Verdict::Again),
        (abandoned(Proof::BodySent), Verdict::Again, UNKNOWN),
    ] {
        assert_eq!(judge(&plain(), answer), at_least_once, "{answer:?}, at least once");
        assert_eq!(judge(&once, answer), at_most_once, "{answer:?}, at most once");
    }
}

#[test]
fn ten_attempts_and_then_a_dead_letter() {
    let mut lane = Lane::new(plain());
    let mut attempts = 0;
    for wait in [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400] {
        let lease_until = lane.now + Duration::from_mins(10);
        let steps = lane.deliver(Job { attempts, lease_until, ..job(1) }, REFUSED);
        attempts += 1;
        let until = lane.now + Duration::from_secs(wait);
        assert_eq!(steps, [Step::Retry { job: JobId(1), until, attempts }]);
        lane.after(Duration::from_secs(wait));
    }
    let lease_until = lane.now + Duration::from_mins(10);
    let steps = lane.deliver(Job { attempts, lease_until, ..job(1) }, status(500));
    assert_eq!(steps, [Step::Dead { job: JobId(1), attempts: 10, reason: Reason::Exhausted }]);
    assert_eq!(lane.delivery.held(), 0);
}

#[test]
fn waits_are_spread_by_a_fifth() {
    let schedule = Schedule::default();
    assert_eq!((schedule.attempts(), schedule.span()), (10, Duration::from_secs(272_105)));
    let mut rng = Rng::seeded(1);
    let drawn: Vec<Duration> = (0..1_000).filter_map(|_| schedule.wait(&mut rng, 1)).collect();
    let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
    assert!(*least >= 4 * SECOND && *least < Duration::from_millis(4_020), "{least:?}");
    assert!(*most <= 6 * SECOND && *most > Duration::from_millis(5_980), "{most:?}");
    assert_eq!(schedule.wait(&mut rng, 10), None);
    assert_eq!(schedule.wait(&mut rng, 0), Some(Duration::ZERO));
    for (attempts, last) in [(1, 0), (3, 300), (10, 86_400), (12, 86_400)] {
        let other = schedule.with_attempts(attempts);
        assert_eq!(other.attempts(), attempts);
        assert_eq!(other.waits.last(), Some(&Duration::from_secs(last)));
        assert_eq!(other.validate(), Ok(()));
    }
    assert_eq!(schedule.with_attempts(1_000).attempts(), 100);
}

#[test]
fn retry_after_wins_in_both_directions_and_is_never_cut_short() {
    for asked in [2, 3_600] {
        let mut lane = Lane::new(DeliveryConfig { schedule: Schedule::default(), ..plain() });
        let steps = lane.deliver(job(1), status_after(500, asked));
        let [Step::Retry { until, attempts: 1, .. }] = steps.as_slice() else { panic!("{steps:?}") };
        let wait = until.saturating_since(lane.now).as_secs_f64();
        let asked = asked as f64;
        assert!((asked..=asked * 1.2).contains(&wait), "asked for {asked}, waits {wait}");
    }
}

#[test]
fn not_now_rests_all_and_spends_no_attempt() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    assert_eq!(started(&lane.claim([job(1), job(2)])), [1]);
    let steps = lane.answer(1, status_after(429, 60));
    let until = lane.now + 60 * SECOND;
    let defer = |id| Step::Defer { job: JobId(id), until, attempts: 0, because: Because::Asked };
    assert_eq!(steps, [defer(1), defer(2)]);
    assert_eq!((lane.wanted(), lane.delivery.held_up(lane.now)), (0, Some((Because::Asked, until))));
    assert_eq!(lane.delivery.next_deadline(), Some(until));
    lane.after(60 * SECOND);
    assert_eq!((lane.wanted(), lane.delivery.held_up(lane.now)), (11, None));
}

#[test]
fn a_short_pause_is_waited_for() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    lane.claim([job(1), job(2)]);
    let steps = lane.answer(1, status_after(503, 5));
    assert_eq!(deferred(&steps), [(1, Because::Asked)], "the other one is held");
    assert_eq!(started(&lane.after(5 * SECOND)), [2]);
}

#[test]
fn whoever_always_asks_for_patience_runs_out_of_it() {
    let schedule = waits(&[0, 10]);
    let mut lane = Lane::new(DeliveryConfig { schedule, ..plain() });
    let old = |lane: &Lane, age| Job {
        born: Time::from_nanos(lane.now.as_nanos() - Duration::from_secs(age).as_nanos() as u64),
        ..job(1)
    };
    let mut young = old(&lane, 3_597);
    young.order_key = Some(7);
    let steps = lane.deliver(young, status_after(429, 2));
    assert_eq!(deferred(&steps), [(1, Because::Asked)]);
    lane.delivery.reset(lane.now, &mut lane.rng);
    let steps = lane.deliver(old(&lane, 3_598), status_after(429, 2));
    assert_eq!(steps, [Step::Dead { job: JobId(1), attempts: 0, reason: Reason::Throttled }]);
}

#[test]
fn a_deadline_ends_a_job_before_an_attempt_never_during_one() {
    let late = |seconds: u64| Job { deadline: Some(START + Duration::from_secs(seconds)), ..job(1) };
    let expired = |attempts| [Step::Dead { job: JobId(1), attempts, reason: Reason::Expired }];
    let mut lane = Lane::new(plain());
    assert_eq!(lane.claim([late(0)]), expired(0), "on arrival");

    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    lane.claim([Job { priority: Priority::CriticalPlus, ..job(2) }, late(8)]);
    assert_eq!(lane.delivery.next_deadline(), Some(START + 8 * SECOND));
    assert_eq!(lane.after(8 * SECOND), expired(0), "while it waits");

    let mut lane = Lane::new(plain());
    assert_eq!(started(&lane.claim([late(8)])), [1]);
    assert_eq!(lane.after(9 * SECOND), [], "under way");
    assert_eq!(lane.answer(1, status(200)), [Step::Ack { job: JobId(1) }]);

    for (deadline, answer, dies) in [
        (5, status(500), true),
        (6, status(500), false),
        (20, status_after(500, 20), true),
        (20, status_after(429, 20), true),
        (21, status_after(429, 20), false),
    ] {
        let mut lane = Lane::new(plain());
        let steps = lane.deliver(late(deadline), answer);
        let dead = matches!(steps[0], Step::Dead { reason: Reason::Expired, .. });
        assert_eq!(dead, dies, "{deadline} s, {answer:?}: {steps:?}");
    }
}

#[test]
fn gone_disables_and_loses_nothing() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 2, ..plain() });
    lane.claim([job(1), job(2), job(3)]);
    let back = |id| Step::Defer { job: JobId(id), until: START, attempts: 0, because: Because::Disabled };
    assert_eq!(lane.answer(1, status(410)), [Step::Disabled { job: JobId(1) }, back(1), back(3)]);
    assert_eq!((lane.delivery.mode(), lane.wanted()), (Mode::Disabled, 0));
    assert_eq!(
        lane.answer(2, status(200)),
        [Step::Ack { job: JobId(2) }],
        "what was under way ends as it ends"
    );
    assert_eq!(lane.claim([job(4)]), [back(4)]);
    lane.delivery.enable(lane.now, &mut lane.rng);
    assert_eq!((lane.delivery.mode(), lane.wanted()), (Mode::Running, 12));
    assert_eq!(started(&lane.claim([job(1)])), [1]);
}

#[test]
fn pause_and_drain_let_attempts_end() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    lane.claim([job(1), job(2)]);
    lane.delivery.pause(lane.now, &mut lane.rng);
    assert_eq!(deferred(&lane.steps()), [(2, Because::Paused)]);
    assert_eq!(lane.wanted(), 0);
    lane.delivery.resume(lane.now, &mut lane.rng);
    assert_eq!(lane.wanted(), 10);
    assert_eq!(lane.claim([job(3)]), []);
    lane.delivery.drain(lane.now, &mut lane.rng);
    assert_eq!(deferred(&lane.steps()), [(3, Because::Draining)]);
    assert!(!lane.delivery.is_drained());
    let steps = lane.answer(1, Answer::Abandoned { proof: Proof::BodySent });
    assert_eq!(deferred(&steps), [(1, Because::Draining)]);
    assert!(lane.delivery.is_drained());
    lane.delivery.resume(lane.now, &mut lane.rng);
    assert_eq!(lane.wanted(), 0, "for good");
}

#[test]
fn concurrency_bounds_what_is_under_way() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 3, prefetch: 2, ..plain() });
    assert_eq!(lane.wanted(), 5);
    assert_eq!(started(&lane.claim((1..=5).map(job))), [1, 2, 3]);
    assert_eq!(lane.wanted(), 0);
    assert_eq!(deferred(&lane.claim([job(6)])), [(6, Because::Full)]);
    assert_eq!(started(&lane.answer(2, status(200))), [4]);
    assert_eq!((lane.wanted(), lane.delivery.under_way(), lane.delivery.held()), (1, 3, 4));
}

#[test]
fn the_rate_is_kept_and_costs_no_attempt() {
    let rate = RateLimitConfig { limit_for_period: 2, burst: Some(2), ..RateLimitConfig::default() };
    let mut lane = Lane::new(DeliveryConfig { rate: Some(rate), ..plain() });
    assert_eq!(lane.wanted(), 2, "no more than the rate has left");
    assert_eq!(started(&lane.claim((1..=4).map(job))), [1, 2]);
    assert_eq!(lane.wanted(), 0);
    assert_eq!(started(&lane.after(Duration::from_millis(499))), []);
    assert_eq!(started(&lane.after(Duration::from_millis(1))), [3]);

    let slow = RateLimitConfig { limit_for_period: 6, limit_refresh_period: Duration::from_mins(1), ..rate };
    let mut lane = Lane::new(DeliveryConfig { rate: Some(slow), ..plain() });
    let steps = lane.claim((1..=4).map(job));
    let until = START + 10 * SECOND;
    let defer = |id| Step::Defer { job: JobId(id), until, attempts: 0, because: Because::Rate };
    assert_eq!((started(&steps), &steps[2..]), (vec![1, 2], [defer(3), defer(4)].as_slice()));
    assert_eq!(lane.delivery.next_deadline(), Some(until));
}

#[test]
fn an_open_breaker_costs_no_attempt() {
    let breaker = Arc::new(BreakerConfig {
        consecutive_failures: 2,
        quiet: Duration::ZERO,
        wait_duration_in_open_state: 20 * SECOND,
        wait_jitter: 0.0,
        recovery_ramp: Duration::ZERO,
        ..BreakerConfig::default()
    });
    let mut lane = Lane::new(DeliveryConfig { breaker: Some(breaker), concurrency: 2, ..plain() });
    assert_eq!(started(&lane.claim((1..=4).map(job))), [1, 2]);
    assert_eq!(started(&lane.answer(1, REFUSED)), [3]);
    let steps = lane.answer(2, status(500));
    assert_eq!(deferred(&steps), [(4, Because::Breaker)]);
    let until = START + 20 * SECOND;
    assert_eq!(lane.delivery.held_up(lane.now), Some((Because::Breaker, until)));
    assert_eq!((lane.wanted(), lane.delivery.next_deadline()), (0, Some(until)));
    assert_eq!(lane.answer(3, status(200)), [Step::Ack { job: JobId(3) }], "let in before: closes nothing");
    assert_eq!(lane.wanted(), 0);
    lane.after(20 * SECOND);
    assert_eq!(lane.wanted(), 3, "as many as may probe");
    assert_eq!(started(&lane.claim((4..=6).map(job))), [4, 5]);
    lane.answer(4, status(200));
    lane.answer(5, status(404));
    assert_eq!(lane.wanted(), 11, "it answers: closed");
}

#[test]
fn what_an_answer_says_about_the_receiver() {
    let patient = BreakerConfig { minimum_number_of_calls: 1_000, ..BreakerConfig::default() };
    let failed = |proof| Answer::Failed { proof };
    for (answer, calls, bad) in [
        (status(200), 1, 0),
        (status(302), 1, 0),
        (status(404), 1, 0),
        (status(422), 1, 0),
        (status(410), 0, 0),
        (status(429), 1, 1),
        (status_after(429, 1), 1, 1),
        (status(500), 1, 1),
        (status_after(503, 1), 1, 1),
        (REFUSED, 1, 1),
        (failed(Proof::BodySent), 1, 1),
        (Answer::TimedOut, 1, 1),
        (Answer::Abandoned { proof: Proof::BodySent }, 0, 0),
    ] {
        let breaker = Some(Arc::new(patient));
        let mut lane = Lane::new(DeliveryConfig { breaker, ..plain() });
        lane.deliver(job(1), answer);
        let totals = lane.delivery.breaker().unwrap().totals(lane.now);
        assert_eq!((totals.calls(), totals.failed), (calls, bad), "{answer:?}");
    }
}

#[test]
fn while_probes_are_out_the_others_stay_and_then_go_at_once() {
    let breaker = Arc::new(BreakerConfig {
        consecutive_failures: 1,
        quiet: Duration::ZERO,
        wait_duration_in_open_state: 20 * SECOND,
        wait_jitter: 0.0,
        recovery_ramp: Duration::ZERO,
        ..BreakerConfig::default()
    });
    let mut lane = Lane::new(DeliveryConfig { breaker: Some(breaker), concurrency: 5, ..plain() });
    lane.deliver(job(1), REFUSED);
    lane.after(20 * SECOND);
    let steps = lane.claim((2..=6).map(job));
    assert_eq!((started(&steps), deferred(&steps)), (vec![2, 3, 4], vec![]));
    assert_eq!(lane.wanted(), 0, "nobody else may go now");
    assert_eq!(lane.answer(2, status(200)), [Step::Ack { job: JobId(2) }]);
    assert_eq!(started(&lane.answer(3, status(200))), [5, 6], "the majority is good");
}

#[test]
fn a_rate_that_lets_others_wait_in_line_is_kept_all_the_same() {
    let rate = RateLimitConfig {
        limit_for_period: 2,
        burst: Some(2),
        timeout_duration: 10 * SECOND,
        ..RateLimitConfig::default()
    };
    let mut lane = Lane::new(DeliveryConfig { rate: Some(rate), ..plain() });
    assert_eq!(started(&lane.claim((1..=6).map(job))), [1, 2]);
    for id in 3..=6 {
        assert_eq!(started(&lane.after(Duration::from_millis(499))), []);
        assert_eq!(started(&lane.after(Duration::from_millis(1))), [id]);
    }
}

#[test]
fn whoever_hands_jobs_to_workers_asks_the_same() {
    let config = DeliveryConfig { schedule: waits(&[0, 5, 60]), ..plain() };
    let mut rng = Rng::seeded(1);
    let mut fate = |job: &Job, asked: Option<u64>| {
        after_failure(&config, START, &mut rng, job, asked.map(Duration::from_secs))
    };
    let retry = |seconds, attempts| Fate::Retry { until: START + Duration::from_secs(seconds), attempts };
    let dead = |reason, attempts| Fate::Dead { reason, attempts };
    let after = |attempts| Job { attempts, ..job(1) };
    let late = Job { deadline: Some(START + 5 * SECOND), ..job(1) };
    for (job, asked, expected) in [
        (after(0), None, retry(5, 1)),
        (after(1), None, retry(60, 2)),
        (after(1), Some(7), retry(7, 2)),
        (after(2), None, dead(Reason::Exhausted, 3)),
        (after(2), Some(7), dead(Reason::Exhausted, 3)),
        (late, None, dead(Reason::Expired, 1)),
        (late, Some(4), retry(4, 1)),
    ] {
        assert_eq!(fate(&job, asked), expected, "{job:?} {asked:?}");
    }
    let once = DeliveryConfig { guarantee: Guarantee::AtMostOnce, ..config.clone() };
    let interrupted = Job { interrupted: true, ..job(1) };
    for (config, now, job, expected) in [
        (&config, START, after(2), None),
        (&config, START, after(3), Some(Reason::Exhausted)),
        (&config, START + 4 * SECOND, late, None),
        (&config, START + 5 * SECOND, late, Some(Reason::Expired)),
        (&config, START, interrupted, None),
        (&once, START, interrupted, Some(Reason::OutcomeUnknown)),
    ] {
        assert_eq!(before_attempt(config, now, &job), expected, "{job:?}");
    }
}

#[test]
fn at_most_once_does_not_repeat_what_was_interrupted() {
    let interrupted = Job { interrupted: true, attempts: 1, ..job(1) };
    let once = DeliveryConfig { guarantee: Guarantee::AtMostOnce, ..plain() };
    let dead = Step::Dead { job: JobId(1), attempts: 1, reason: Reason::OutcomeUnknown };
    assert_eq!(Lane::new(once).claim([interrupted]), [dead]);
    let steps = Lane::new(plain()).claim([interrupted]);
    assert_eq!(steps, [Step::Attempt { job: JobId(1), number: 2, until: START + 30 * SECOND }]);
}

#[test]
fn higher_priorities_overtake_and_nobody_starves() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, priority_patience: 30 * SECOND, ..plain() });
    lane.claim([job(1)]);
    let of = |id, priority, due: u64| Job { priority, due: START + Duration::from_secs(due), ..job(id) };
    lane.claim([
        of(2, Priority::Sheddable, 0),
        of(3, Priority::Critical, 0),
        of(4, Priority::CriticalPlus, 29),
        of(5, Priority::CriticalPlus, 31),
        of(6, Priority::CriticalPlus, 100),
    ]);
    let mut order = Vec::new();
    for next in [1, 4, 3, 5, 2] {
        order.extend(started(&lane.answer(next, status(200))));
    }
    assert_eq!(order, [4, 3, 5, 2, 6]);
    for (priority, seconds) in Priority::ALL.into_iter().zip([0, 30, 60, 90]) {
        assert_eq!(turn(START, priority, 30 * SECOND), START + Duration::from_secs(seconds));
    }
}

#[test]
fn a_wrong_configuration_names_its_field() {
    let statuses = |list: &[u16]| DeliveryConfig { final_statuses: list.into(), ..plain() };
    let with = |change: fn(&mut DeliveryConfig)| {
        let mut config = plain();
        change(&mut config);
        config
    };
    for (config, field) in [
        (DeliveryConfig { schedule: waits(&[]), ..plain() }, "schedule"),
        (DeliveryConfig { schedule: waits(&[0; 101]), ..plain() }, "schedule"),
        (DeliveryConfig { schedule: waits(&[0, 32 * 86_400]), ..plain() }, "schedule"),
        (DeliveryConfig { schedule: Schedule { jitter: 1.1, ..Schedule::default() }, ..plain() }, "jitter"),
        (with(|config| config.timeout = Duration::ZERO), "timeout"),
        (with(|config| config.lease = Duration::from_millis(999)), "lease"),
        (with(|config| config.concurrency = 0), "concurrency"),
        (with(|config| config.concurrency = 10_001), "concurrency"),
        (with(|config| config.prefetch = 0), "prefetch"),
        (statuses(&[422, 400]), "final_statuses"),
        (statuses(&[400, 400]), "final_statuses"),
        (statuses(&[204]), "final_statuses"),
        (statuses(&[410]), "final_statuses"),
        (with(|config| config.max_retry_after = Duration::ZERO), "max_retry_after"),
        (with(|config| config.max_retry_after = Duration::from_hours(32 * 24)), "max_retry_after"),
        (with(|config| config.order_jobs_max = 0), "order_jobs_max"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
    assert_eq!(DeliveryConfig::default().validate(), Ok(()));
    assert_eq!(statuses(&[]).validate(), Ok(()));
}
