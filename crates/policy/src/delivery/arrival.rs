//! A job that was claimed: held, given back, or dead already.

use super::held::Phase;
use super::machine::Delivery;
use super::order::Place;
use super::verdict::before_attempt;
use super::vocabulary::{Because, Job, JobId, Mode, Step};
use crate::Time;

impl Delivery {
    pub(super) fn receive(&mut self, now: Time, job: Job) {
        if job.lease_until <= now {
            self.steps.push_back(Step::Lost { job: job.id });
            return;
        }
        if let Some(reason) = before_attempt(&self.config, now, &job) {
            let Job { id, attempts, .. } = job;
            if let Some(key) = job.order_key {
                let next = self.order.forget(key, id);
                self.let_go(next);
            }
            self.steps.push_back(Step::Dead { job: id, attempts, reason });
            return;
        }
        let because = match self.mode() {
            Mode::Running if self.held.len() < self.config.held_max() => None,
            Mode::Running => Some(Because::Full),
            Mode::Paused => Some(Because::Paused),
            Mode::Disabled => Some(Because::Disabled),
            Mode::Draining => Some(Because::Draining),
        };
        if let Some(because) = because {
            if let Some(key) = job.order_key {
                self.bar(key, job.id, now);
            }
            self.defer(now, &job, job.due, because);
            return;
        }
        let ready = Phase::Ready(self.turn_of(&job));
        let place = match job.order_key {
            None => Place::First(None),
            Some(key) => {
                let full = self.held.behind() >= self.config.behind_max();
                let held = &self.held;
                self.order.arrive(now, (key, job.id), |other| held.is_started(other), full)
            }
        };
        let look = self.lease_look(now, job.lease_until);
        match place {
            Place::First(overtaken) => {
                if let Some(overtaken) = overtaken {
                    self.held.enter(overtaken, Phase::Behind);
                }
                self.held.insert(job, ready, look);
            }
            Place::Behind => self.held.insert(job, Phase::Behind, look),
            Place::Later(until) => self.defer(now, &job, until, Because::Order),
        }
    }

    /// A job that is not here comes before others of its key, even before one that might have gone.
    pub(super) fn bar(&mut self, key: u64, id: JobId, until: Time) -> bool {
        let known = self.order.bar(key, id, until);
        let held = &self.held;
        if let Some(first) = self.order.demote(key, |first| held.is_started(first)) {
            self.held.enter(first, Phase::Behind);
        }
        known
    }
}
