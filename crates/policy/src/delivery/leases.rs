//! Claims and their ends: extended in time, and given up when they are lost.

use super::held::Phase;
use super::machine::Delivery;
use super::vocabulary::{JobId, Step};
use crate::{Rng, Time, breaker};

impl Delivery {
    pub(super) fn look_at_lease(&mut self, now: Time, rng: &mut Rng, id: JobId) {
        let Some(held) = self.held.get(id) else { return };
        let lease_until = held.job.lease_until;
        if lease_until <= now {
            return self.lose(now, rng, id);
        }
        let lease = self.config.lease;
        // An attempt that the shell never reported is left to the lease.
        let forgotten = matches!(&held.phase, Phase::Started(attempt) if now >= attempt.until + lease);
        if forgotten {
            return self.held.set_lease(id, lease_until, lease_until);
        }
        self.steps.push_back(Step::Extend { job: id, until: now + lease });
        self.held.set_lease(id, lease_until, lease_until.min(now + lease / 8));
    }

    pub(super) fn renew(&mut self, now: Time, id: JobId, until: Time) {
        let look = self.lease_look(now, until);
        self.held.set_lease(id, until, look);
    }

    /// Half of a lease before its end, but not at once again.
    pub(super) fn lease_look(&self, now: Time, until: Time) -> Time {
        let half = until.saturating_since(now).saturating_sub(self.config.lease / 2);
        until.min(now + half.max(self.config.lease / 8))
    }

    pub(super) fn lose(&mut self, now: Time, rng: &mut Rng, id: JobId) {
        let Some(held) = self.held.remove(id) else { return };
        self.abandon(now, rng, held.phase);
        self.steps.push_back(Step::Lost { job: id });
        // The store has it: it comes again, and before those behind it.
        if let Some(key) = held.job.order_key {
            let next = self.order.leave(key, id, Some(now));
            self.let_go(next);
        }
    }

    /// An attempt of which nobody will report.
    pub(super) fn abandon(&mut self, now: Time, rng: &mut Rng, phase: Phase) {
        if let Phase::Started(attempt) = phase {
            let elapsed = now.saturating_since(attempt.at);
            self.gates.complete(now, rng, attempt.permit, breaker::Outcome::Cancelled { elapsed });
        }
    }
}
