//! What went wrong elsewhere, each as a test that it does not here.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::delivery::{Because, DeliveryConfig, Job, JobId, Reason, Schedule, Step};
use seaworthy_policy::{BreakerConfig, Time};

use crate::lane::{Lane, REFUSED, SECOND, START, deferred, job, plain, started, status, status_after, waits};

fn fresh(lane: &Lane, id: u64) -> Job {
    Job { due: lane.now, born: lane.now, lease_until: lane.now + 600 * SECOND, ..job(id) }
}

/// convoy#1926: one dead endpoint clogged the queue, and each of its jobs ran through its attempts.
#[test]
fn an_outage_of_an_hour_spends_few_attempts() {
    let mut lane = Lane::new(DeliveryConfig { breaker: DeliveryConfig::default().breaker, ..plain() });
    let (mut id, mut attempts) = (0, 0);
    while lane.now < START + Duration::from_hours(1) {
        for _ in 0..lane.wanted() {
            id += 1;
            let claimed = fresh(&lane, id);
            let mut begun = started(&lane.claim([claimed]));
            while let Some(job) = begun.pop() {
                attempts += 1;
                begun.extend(started(&lane.answer(job, REFUSED)));
            }
            if lane.wanted() == 0 {
                break;
            }
        }
        let next = lane.delivery.next_deadline().expect("the breaker has a time");
        assert!(next > lane.now, "time passes");
        lane.after(next.saturating_since(lane.now));
    }
    assert!((100..260).contains(&attempts), "{attempts} attempts");
}

/// Convoy, nango PR#5061: while one receiver is down its jobs go back to the store, and keep their attempts.
#[test]
fn a_deferred_job_keeps_its_attempts() {
    let breaker = Arc::new(BreakerConfig {
        consecutive_failures: 1,
        quiet: Duration::ZERO,
        wait_duration_in_open_state: 30 * SECOND,
        ..BreakerConfig::default()
    });
    let config = DeliveryConfig { breaker: Some(breaker), concurrency: 1, ..plain() };
    let mut lane = Lane::new(config);
    lane.claim([job(1), Job { attempts: 8, ..job(2) }]);
    let steps = lane.answer(1, REFUSED);
    assert!(
        matches!(steps[1], Step::Defer { job: JobId(2), attempts: 8, because: Because::Breaker, .. }),
        "{steps:?}"
    );
}

/// dapr#5511: dead letters skipped their retries; Cloud Tasks: what is spent is deleted without a trace.
#[test]
fn the_last_failure_makes_a_dead_letter_and_no_other_does() {
    for (attempts, dead) in [(0, false), (8, false), (9, true)] {
        let mut lane = Lane::new(plain());
        let steps = lane.deliver(Job { attempts, ..job(1) }, status(503));
        let is_dead = matches!(steps[0], Step::Dead { reason: Reason::Exhausted, attempts: 10, .. });
        assert_eq!(is_dead, dead, "after {attempts}: {steps:?}");
    }
}

/// Oban#364, River#1258, BullMQ#652: jobs stuck in `executing` after a crash. A job that crashes its worker each time
/// comes back each time, and its attempts end all the same.
#[test]
fn a_job_that_kills_its_worker_is_dead_in_the_end() {
    let crashed = Job { attempts: 10, interrupted: true, ..job(1) };
    let steps = Lane::new(plain()).claim([crashed]);
    assert_eq!(steps, [Step::Dead { job: JobId(1), attempts: 10, reason: Reason::Exhausted }]);
}

/// dapr#4568: every 4xx was retried; dapr#5862: none was. What can heal is retried, what cannot is not.
#[test]
fn of_the_client_errors_only_those_about_the_bytes_are_final() {
    for (code, is_final) in [(400, true), (401, false), (403, false), (404, false), (409, false), (422, true)]
    {
        let steps = Lane::new(plain()).deliver(job(1), status(code));
        assert_eq!(matches!(steps[0], Step::Dead { .. }), is_final, "{code}: {steps:?}");
    }
}

/// `Retry-After: 0`, or one that keeps coming, neither spins nor spends the attempts of a night in a minute.
#[test]
fn a_receiver_that_is_busy_for_an_hour_kills_no_job() {
    let schedule = waits(&[0, 1, 1, 7_200]);
    let mut lane = Lane::new(DeliveryConfig { schedule, ..plain() });
    let mut rounds = 0;
    while lane.now < START + Duration::from_hours(1) {
        let claimed = Job { lease_until: lane.now + 600 * SECOND, ..job(1) };
        let steps = lane.deliver(claimed, status_after(429, 0));
        let [Step::Defer { until, attempts: 0, because: Because::Asked, .. }] = steps.as_slice() else {
            panic!("{steps:?}")
        };
        assert!(*until >= lane.now + SECOND);
        lane.after(until.saturating_since(lane.now));
        rounds += 1;
    }
    assert_eq!(rounds, 3_600);
}

/// inngest-py#351: two minutes until anything moved again after saturation.
#[test]
fn an_answer_starts_the_next_one_in_the_same_moment() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    lane.claim([job(1), job(2)]);
    assert_eq!(started(&lane.answer(1, status(200))), [2]);
}

/// Svix#1844: after a restart jobs were in limbo. Whatever happens, what was claimed leaves by a step.
#[test]
fn every_claimed_job_leaves_by_a_step() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    let mut left: Vec<JobId> = Vec::new();
    let mut steps = lane.claim((1..=11).map(job));
    lane.delivery.drain(lane.now, &mut lane.rng);
    steps.extend(lane.steps());
    steps.extend(lane.answer(1, status(500)));
    for step in steps {
        match step {
            Step::Retry { job, .. } | Step::Defer { job, .. } => left.push(job),
            Step::Attempt { job, .. } => assert_eq!(job, JobId(1)),
            other => panic!("{other:?}"),
        }
    }
    left.sort_unstable();
    assert_eq!(left, (1..=11).map(JobId).collect::<Vec<_>>());
    assert!(lane.delivery.is_drained());
}

/// resilience4j and Polly: a result from before the outage closes the circuit during it. Here it changes nothing, and a
/// late answer of a job that was lost changes nothing either.
#[test]
fn what_comes_late_decides_nothing() {
    let mut lane = Lane::new(plain());
    lane.claim([job(1)]);
    lane.delivery.on_lost(lane.now, &mut lane.rng, JobId(1));
    lane.steps();
    assert_eq!(lane.answer(1, status(410)), []);
    assert!(lane.wanted() > 0, "not disabled");
}

/// Time that runs backwards neither repeats nor forgets anything.
#[test]
fn a_clock_that_jumps_back_is_read_as_standing() {
    let mut lane = Lane::new(DeliveryConfig { schedule: Schedule::default(), ..plain() });
    lane.claim([job(1)]);
    lane.now = Time::ZERO;
    let steps = lane.answer(1, status(500));
    let [Step::Retry { until, .. }] = steps.as_slice() else { panic!("{steps:?}") };
    assert!(*until >= START + 4 * SECOND);
    assert_eq!(deferred(&lane.after(Duration::ZERO)), []);
}
