//! One lane of deliveries under test, with its clock and its dice.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::admission::Priority;
use seaworthy_policy::delivery::{Answer, Because, DeliveryConfig, Job, JobId, Proof, Schedule, Step};
use seaworthy_policy::{Delivery, Rng, Time};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Jobs are due some time after the beginning of time.
pub(crate) const START: Time = Time::from_millis(10_000_000_000);

/// Without jitter, breaker and rate limit.
pub(crate) fn plain() -> DeliveryConfig {
    DeliveryConfig {
        schedule: Schedule { jitter: 0.0, ..Schedule::default() },
        breaker: None,
        ..DeliveryConfig::default()
    }
}

pub(crate) fn waits(seconds: &[u64]) -> Schedule {
    Schedule {
        waits: seconds.iter().map(|wait| Duration::from_secs(*wait)).collect::<Arc<[_]>>(),
        jitter: 0.0,
    }
}

/// A job that is due at the start, with a lease of ten minutes.
pub(crate) fn job(id: u64) -> Job {
    Job {
        id: JobId(id),
        attempts: 0,
        interrupted: false,
        born: START,
        due: START,
        deadline: None,
        priority: Priority::Critical,
        order_key: None,
        lease_until: START + Duration::from_mins(10),
    }
}

pub(crate) fn keyed(id: u64, key: u64) -> Job {
    Job { order_key: Some(key), ..job(id) }
}

pub(crate) fn status(status: u16) -> Answer {
    Answer::Status { status, retry_after: None }
}

pub(crate) fn status_after(status: u16, seconds: u64) -> Answer {
    Answer::Status { status, retry_after: Some(Duration::from_secs(seconds)) }
}

pub(crate) const REFUSED: Answer = Answer::Failed { proof: Proof::Refused };

pub(crate) struct Lane {
    pub(crate) delivery: Delivery,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
}

impl Lane {
    pub(crate) fn new(config: DeliveryConfig) -> Self {
        assert_eq!(config.validate(), Ok(()));
        let mut rng = Rng::seeded(1);
        Lane { delivery: Delivery::new(config, START, &mut rng), rng, now: START }
    }

    /// What is to be done since the last time.
    pub(crate) fn steps(&mut self) -> Vec<Step> {
        self.delivery.check_invariants();
        std::iter::from_fn(|| self.delivery.take_step()).collect()
    }

    pub(crate) fn claim(&mut self, jobs: impl IntoIterator<Item = Job>) -> Vec<Step> {
        for job in jobs {
            self.delivery.on_claimed(self.now, &mut self.rng, job);
        }
        self.steps()
    }

    pub(crate) fn answer(&mut self, id: u64, answer: Answer) -> Vec<Step> {
        self.delivery.on_answer(self.now, &mut self.rng, JobId(id), answer);
        self.steps()
    }

    /// Lets time pass without stopping at what is due meanwhile.
    pub(crate) fn after(&mut self, wait: Duration) -> Vec<Step> {
        self.now = self.now + wait;
        self.delivery.on_timer(self.now, &mut self.rng);
        self.steps()
    }

    pub(crate) fn wanted(&self) -> u32 {
        self.delivery.wanted(self.now)
    }

    /// One job is sent and answered; what follows from it.
    pub(crate) fn deliver(&mut self, job: Job, reply: Answer) -> Vec<Step> {
        let begun = self.claim([job]);
        assert_eq!(started(&begun), [job.id.0], "{begun:?}");
        self.answer(job.id.0, reply)
    }
}

/// The jobs of which an attempt begins.
pub(crate) fn started(steps: &[Step]) -> Vec<u64> {
    let of = |step: &Step| if let Step::Attempt { job, .. } = step { Some(job.0) } else { None };
    steps.iter().filter_map(of).collect()
}

/// The jobs that are given back, and why.
pub(crate) fn deferred(steps: &[Step]) -> Vec<(u64, Because)> {
    let of = |step: &Step| {
        if let Step::Defer { job, because, .. } = step { Some((job.0, *because)) } else { None }
    };
    steps.iter().filter_map(of).collect()
}
