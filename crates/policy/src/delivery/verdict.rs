//! What an answer means for its job.

use std::time::Duration;

use super::config::{DeliveryConfig, Guarantee};
use super::vocabulary::{Answer, Job, Reason};
use crate::breaker;
use crate::call::Proof;
use crate::time::scaled;
use crate::{Rng, Time};

/// The shortest pause that is obeyed: `Retry-After: 0` is no invitation to try ten times in a millisecond.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// How long a receiver may ask for patience at least, however short the schedule is.
pub const THROTTLED_MIN: Duration = Duration::from_hours(1);

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered.
    Delivered,
    /// It failed, and counts as an attempt.
    Failed {
        /// The pause that the receiver wants, in place of the schedule's.
        asked: Option<Duration>,
    },
    /// The receiver takes nothing at present; no attempt.
    NotNow {
        /// For so long.
        asked: Duration,
    },
    /// The receiver takes nothing any more; no attempt.
    Gone,
    /// No attempt of ours is to count, and it may be sent again at once.
    Again,
    /// It will not get better.
    Dead(Reason),
}

/// What becomes of a job after an attempt that failed and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is due again then.
    Retry {
        /// When.
        until: Time,
        /// Attempts that count by now.
        attempts: u32,
    },
    /// It becomes a dead letter.
    Dead {
        /// Why.
        reason: Reason,
        /// Attempts that count.
        attempts: u32,
    },
}

/// What becomes of a job whose attempt failed: [`Delivery`](super::Delivery) decides so for what it sends, and whoever
/// hands jobs out to workers for what these give back. `asked` is a pause in place of the schedule's.
pub fn after_failure(
    config: &DeliveryConfig,
    now: Time,
    rng: &mut Rng,
    job: &Job,
    asked: Option<Duration>,
) -> Fate {
    let attempts = job.attempts.saturating_add(1);
    let Some(scheduled) = config.schedule.wait(rng, attempts) else {
        return Fate::Dead { reason: Reason::Exhausted, attempts };
    };
    let until = now + asked.map_or(scheduled, |asked| spread(config, rng, asked));
    if job.deadline.is_some_and(|deadline| deadline <= until) {
        return Fate::Dead { reason: Reason::Expired, attempts };
    }
    Fate::Retry { until, attempts }
}

/// Why a job must not be attempted at all, nor handed out to a worker.
pub fn before_attempt(config: &DeliveryConfig, now: Time, job: &Job) -> Option<Reason> {
    if job.interrupted && config.guarantee == Guarantee::AtMostOnce {
        return Some(Reason::OutcomeUnknown);
    }
    if job.attempts >= config.schedule.attempts() {
        return Some(Reason::Exhausted);
    }
    job.deadline.is_some_and(|deadline| deadline <= now).then_some(Reason::Expired)
}

/// A pause that was asked for: never shorter, and longer by up to the schedule's jitter, so that not all come back at
/// once.
pub(super) fn spread(config: &DeliveryConfig, rng: &mut Rng, asked: Duration) -> Duration {
    asked.saturating_add(scaled(asked, config.schedule.jitter * rng.unit()))
}

/// What an answer means under this configuration; the table is in the documentation of the module.
pub fn judge(config: &DeliveryConfig, answer: Answer) -> Verdict {
    let once = config.guarantee == Guarantee::AtMostOnce;
    match answer {
        Answer::Status { status, retry_after } => {
            let asked = retry_after.map(|asked| asked.clamp(RETRY_AFTER_MIN, config.max_retry_after));
            by_status(config, status, asked)
        }
        Answer::Failed { proof } | Answer::Abandoned { proof } if once && may_have_run(proof) => {
            Verdict::Dead(Reason::OutcomeUnknown)
        }
        Answer::TimedOut if once => Verdict::Dead(Reason::OutcomeUnknown),
        Answer::TimedOut | Answer::Failed { .. } => Verdict::Failed { asked: None },
        Answer::Abandoned { .. } => Verdict::Again,
    }
}

fn by_status(config: &DeliveryConfig, status: u16, asked: Option<Duration>) -> Verdict {
    let once = config.guarantee == Guarantee::AtMostOnce;
    match (status, asked) {
        (200..=299, _) => Verdict::Delivered,
        (410, _) => Verdict::Gone,
        (429 | 503, Some(asked)) => Verdict::NotNow { asked },
        _ if config.final_statuses.binary_search(&status).is_ok() => {
            Verdict::Dead(Reason::Rejected { status })
        }
        // It gave up on reading, or broke on the way: who knows how far it came.
        (408 | 500.., _) if once => Verdict::Dead(Reason::OutcomeUnknown),
        _ => Verdict::Failed { asked },
    }
}

fn may_have_run(proof: Proof) -> bool {
    matches!(proof, Proof::HeadSent | Proof::BodySent)
}

/// What an answer says about the receiver.
pub(super) fn for_breaker(answer: Answer, elapsed: Duration) -> breaker::Outcome {
    match answer {
        Answer::Status { status: 410, .. } => breaker::Outcome::Ignored,
        Answer::Status { status: 429, .. } => breaker::Outcome::Throttled { elapsed },
        Answer::Status { status: 500.., .. } | Answer::TimedOut | Answer::Failed { .. } => {
            breaker::Outcome::Failure { elapsed }
        }
        // Whatever it thinks of the job: it is there.
        Answer::Status { .. } => breaker::Outcome::Success { elapsed },
        Answer::Abandoned { .. } => breaker::Outcome::Cancelled { elapsed },
    }
}
