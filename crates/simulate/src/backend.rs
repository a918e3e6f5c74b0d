//! `Backend`: a queue, a few workers, and what can be wrong with them.
//!
//! **Problem.** Most outages that feed on themselves have one ingredient in common: the server goes on working for people
//! who have given up. Whether it does must be a choice of the model.
//!
//! **Model.** Work comes in, waits in a bounded first-in-first-out queue, and is served by one of a number of workers. What
//! is wrong at the moment is a [`Condition`]: slower service, requests that are never answered, errors (fast or after the
//! usual work), refused connections, silent probes.
//!
//! **Not here.** Memory, garbage collection, disks, the network's bandwidth: what they do to a service is a longer service
//! time, and the model is told so.

use std::collections::VecDeque;
use std::time::Duration;

use seaworthy_policy::call::Class;
use seaworthy_policy::{Rng, Time};

use crate::distribution::Distribution;

/// What becomes of work in the queue that nobody waits for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// It is served all the same, as most servers do.
    Served,
    /// It is skipped when its turn comes.
    Skipped,
}

/// What becomes of work in the queue whose deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// It is served all the same: the server was not told of the deadline.
    Served,
    /// It is skipped when its turn comes.
    Skipped,
}

/// How a backend works.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendConfig {
    /// Requests served at once; at least 1.
    pub workers: u32,
    /// Requests that may wait; one more is answered 503 at once.
    pub queue_max: usize,
    /// What one request takes.
    pub service: Distribution,
    /// Work that nobody waits for.
    pub abandoned: Abandoned,
    /// Work that comes too late.
    pub expired: Expired,
}

impl Default for BackendConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            queue_max: 1_000_000,
            service: Distribution::Exponential(Duration::from_millis(50)),
            abandoned: Abandoned::Served,
            expired: Expired::Served,
        }
    }
}

/// What is wrong with a backend; by default, nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// Service takes this many times as long.
    pub slowness: f64,
    /// This share of requests gets no answer, ever.
    pub unanswered: f64,
    /// This share of requests is answered with an error.
    pub errors: f64,
    /// Which error.
    pub error: Class,
    /// When the error comes: `None` = after the usual work, otherwise after this time and without any work.
    pub error_after: Option<Duration>,
    /// Connections are refused.
    pub refuses: bool,
    /// Probes pass.
    pub answers_probes: bool,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            slowness: 1.0,
            unanswered: 0.0,
            errors: 0.0,
            error: Class::Error,
            error_after: None,
            refuses: false,
            answers_probes: true,
        }
    }
}

/// One request as its backend sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Whose it is.
    pub request: u32,
    /// Which of those that had this number in turn.
    pub generation: u32,
    /// Which attempt of it.
    pub attempt: u8,
    /// When it is of no use any more.
    pub deadline: Time,
    /// What it will be answered with.
    pub class: Class,
}

/// What a backend does with a request that reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// The connection is refused.
    Refused,
    /// It will never be answered.
    Lost,
    /// It is answered after this time, without work.
    Answered(Duration, Class),
    /// It waits.
    Queued,
    /// A worker begins at once.
    Begun(Begun),
}

/// A worker that has begun, and will end after `takes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Which worker.
    pub worker: u32,
    /// How long it will take.
    pub takes: Duration,
}

/// One backend. See the module's documentation.
#[derive(Debug)]
pub struct Backend {
    config: BackendConfig,
    condition: Condition,
    /// Its own randomness, so that what one backend meets changes nothing for the others.
    rng: Rng,
    queue: VecDeque<Job>,
    workers: Vec<Option<Job>>,
    idle: Vec<u32>,
    /// Requests served, useful or not.
    served: u64,
}

impl Backend {
    /// An idle backend.
    pub fn new(config: BackendConfig, rng: Rng) -> Self {
        Self {
            config,
            condition: Condition::default(),
            rng,
            queue: VecDeque::new(),
            workers: Vec::new(),
            idle: Vec::new(),
            served: 0,
        }
    }

    /// What is wrong with it from now on. What has begun already goes on as it began.
    pub fn set_condition(&mut self, condition: Condition) {
        self.condition = condition;
    }

    /// What is wrong with it.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Requests that wait or are being served, whether anybody waits for them or not.
    pub fn load(&self) -> usize {
        self.queue.len() + self.at_work() as usize
    }

    /// Requests served so far, useful or not.
    pub fn served(&self) -> u64 {
        self.served
    }

    /// A request arrives.
    pub fn on_request(&mut self, mut job: Job) -> Reaction {
        if self.condition.refuses {
            return Reaction::Refused;
        }
        if self.rng.chance(self.condition.unanswered) {
            return Reaction::Lost;
        }
        if self.rng.chance(self.condition.errors) {
            job.class = self.condition.error;
            if let Some(after) = self.condition.error_after {
                return Reaction::Answered(after, job.class);
            }
        }
        if self.at_work() < self.config.workers {
            return Reaction::Begun(self.begin(job));
        }
        if self.queue.len() >= self.config.queue_max {
            return Reaction::Answered(Duration::ZERO, Class::Unavailable);
        }
        self.queue.push_back(job);
        Reaction::Queued
    }

    /// A worker has ended: its job, and what it does next. `awaited` tells whether anybody waits for a job.
    pub fn on_done(
        &mut self,
        now: Time,
        worker: u32,
        awaited: impl Fn(&Job) -> bool,
    ) -> (Job, Option<Begun>) {
        let job = self.workers[worker as usize].take();
        let job = job.expect("a worker ends what it began");
        self.idle.push(worker);
        self.served += 1;
        while let Some(next) = self.queue.pop_front() {
            let abandoned = self.config.abandoned == Abandoned::Skipped && !awaited(&next);
            let expired = self.config.expired == Expired::Skipped && now >= next.deadline;
            if !abandoned && !expired {
                return (job, Some(self.begin(next)));
            }
        }
        (job, None)
    }

    fn at_work(&self) -> u32 {
        (self.workers.len() - self.idle.len()) as u32
    }

    fn begin(&mut self, job: Job) -> Begun {
        let worker = self.idle.pop().unwrap_or_else(|| {
            self.workers.push(None);
            (self.workers.len() - 1) as u32
        });
        debug_assert!(self.workers[worker as usize].is_none(), "an idle worker has no job");
        self.workers[worker as usize] = Some(job);
        let at_work = self.at_work();
        let usual = self.config.service.draw(&mut self.rng, at_work);
        Begun { worker, takes: usual.mul_f64(self.condition.slowness) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(config: &BackendConfig) -> Backend {
        let service = Distribution::Constant(Duration::from_millis(10));
        Backend::new(BackendConfig { service, ..config.clone() }, Rng::seeded(1))
    }

    fn job(request: u32) -> Job {
        let deadline = Time::from_millis(100);
        Job { request, generation: 0, attempt: 0, deadline, class: Class::Answered }
    }

    #[test]
    fn the_queue_is_first_in_first_out_and_bounded() {
        let mut backend = backend(&BackendConfig { queue_max: 2, ..BackendConfig::default() });
        let takes = Duration::from_millis(10);
        assert_eq!(backend.on_request(job(0)), Reaction::Begun(Begun { worker: 0, takes }));
        assert_eq!(backend.on_request(job(1)), Reaction::Queued);
        assert_eq!(backend.on_request(job(2)), Reaction::Queued);
        assert_eq!(backend.on_request(job(3)), Reaction::Answered(Duration::ZERO, Class::Unavailable));
        assert_eq!(backend.load(), 3);
        let served: Vec<u32> = (0..3).map(|_| backend.on_done(Time::ZERO, 0, |_| true).0.request).collect();
        assert_eq!(served, [0, 1, 2]);
        assert_eq!((backend.load(), backend.served()), (0, 3));
    }

    #[test]
    fn work_that_is_of_no_use_is_skipped_only_on_request() {
        let (late, in_time) = (Time::from_millis(100), Time::from_millis(99));
        let good = BackendConfig::default();
        let skips_abandoned = BackendConfig { abandoned: Abandoned::Skipped, ..good.clone() };
        let skips_expired = BackendConfig { expired: Expired::Skipped, ..good.clone() };
        for (config, now, awaited, begins) in [
            (&good, late, false, true),
            (&skips_abandoned, late, true, true),
            (&skips_abandoned, in_time, false, false),
            (&skips_expired, in_time, false, true),
            (&skips_expired, late, true, false),
        ] {
            let mut backend = backend(config);
            let _ = backend.on_request(job(0));
            let _ = backend.on_request(job(1));
            let (_, next) = backend.on_done(now, 0, |_| awaited);
            assert_eq!(next.is_some(), begins, "{config:?} {now:?} {awaited}");
        }
    }

    #[test]
    fn each_condition_does_what_it_says() {
        let usual = Condition::default();
        let fast = Some(Duration::from_millis(1));
        let (begun, slow) = (Duration::from_millis(10), Duration::from_millis(45));
        for (condition, expected) in [
            (usual, Reaction::Begun(Begun { worker: 0, takes: begun })),
            (Condition { slowness: 4.5, ..usual }, Reaction::Begun(Begun { worker: 0, takes: slow })),
            (Condition { unanswered: 1.0, ..usual }, Reaction::Lost),
            (Condition { refuses: true, ..usual }, Reaction::Refused),
            (
                Condition { errors: 1.0, error_after: fast, ..usual },
                Reaction::Answered(Duration::from_millis(1), Class::Error),
            ),
        ] {
            let mut backend = backend(&BackendConfig::default());
            backend.set_condition(condition);
            assert_eq!(backend.on_request(job(0)), expected, "{condition:?}");
        }
        let mut backend = backend(&BackendConfig::default());
        backend.set_condition(Condition { errors: 1.0, ..usual });
        assert!(matches!(backend.on_request(job(0)), Reaction::Begun(_)), "an error after the usual work");
        assert_eq!(backend.on_done(Time::ZERO, 0, |_| true).0.class, Class::Error);
    }
}
