//! What each outcome adds to the evidence against its endpoint, and when that is enough.

use crate::call::Class;
use crate::ejection::{EjectReason, Verdict};
use crate::pool::endpoint::Weight;
use crate::pool::evidence::Evidence;
use crate::pool::{EndpointKey, Guard, Permit, Pool};
use crate::time::Time;

impl Pool {
    /// What was held against an endpoint so far says nothing any more.
    pub(super) fn forget_evidence(&mut self, now: Time, key: EndpointKey) {
        let evidence = Evidence::none(now, self.tally);
        if let Some(endpoint) = self.endpoint_mut(key) {
            endpoint.evidence = evidence;
        }
    }

    pub(super) fn count_sent(&mut self, permit: &Permit) {
        if permit.readmission {
            return;
        }
        self.tally.sent += 1;
        if let Some(endpoint) = self.endpoint_mut(permit.endpoint) {
            endpoint.evidence.on_sent();
        }
    }

    /// A head arrived.
    pub(super) fn weigh_answer(&mut self, now: Time, index: usize, permit: &Permit, class: Class) {
        if !self.counts(index, permit) {
            return;
        }
        self.tally.answered += 1;
        let endpoint = &mut self.endpoints[index];
        endpoint.evidence.on_byte(self.tally, Some(permit.started));
        if class.is_failure() {
            self.weigh_failure(now, index, permit);
        } else if class != Class::Throttled {
            if permit.weight == Weight::Counted {
                endpoint.evidence.take_back_unanswered();
                self.tally.bad -= 1;
            }
            let late = permit.is_late(now);
            endpoint.evidence.on_good(late);
            self.tally.good += u64::from(!late);
            self.tally.bad += u64::from(late);
        }
    }

    /// An attempt failed, through its endpoint's fault.
    pub(super) fn weigh_failure(&mut self, now: Time, index: usize, permit: &Permit) {
        // What was counted as unanswered is in the tally already, and in the run of its time.
        if permit.weight != Weight::Full || !self.counts(index, permit) {
            return;
        }
        self.endpoints[index].evidence.on_failed(now, permit.started, self.tally);
        self.tally.bad += 1;
        self.judge_share(now, index);
    }

    /// The body of an answer that was counted as good ended, well or broken.
    pub(super) fn weigh_body(&mut self, index: usize, permit: &Permit, broken: bool) {
        if !self.counts(index, permit) {
            return;
        }
        if broken {
            self.tally.good = self.tally.good.saturating_sub(1);
        }
        self.endpoints[index].evidence.on_body_end(broken, self.tally);
        self.tally.bad += u64::from(broken);
    }

    /// An attempt waits without an answer, or its hedge was faster. It counts when it has waited for longer than hardly any
    /// does (the first look of the stall rule at least), while its endpoint answered others that were sent later.
    pub(super) fn weigh_waiting(&mut self, now: Time, index: usize, permit: &mut Permit, overtaken: bool) {
        let waited = now.saturating_since(permit.started);
        if !self.endpoints[index].evidence.has_passed_over(permit.started) {
            return;
        }
        let unusual = self.unusual_wait(now, permit.lane);
        let least = self.stall_check_interval().unwrap_or_default();
        let long = unusual.map(|unusual| if overtaken { unusual / 8 * 5 } else { unusual.max(least) });
        if long.is_none_or(|long| waited < long) {
            return;
        }
        if self.endpoints[index].count_unanswered(now, permit) {
            self.endpoints[index].evidence.on_unanswered(now, self.tally);
            self.tally.bad += 1;
            self.judge_share(now, index);
        }
    }

    /// Whether an outcome takes part in the comparison: not one from before an ejection, and none of a trial.
    fn counts(&self, index: usize, permit: &Permit) -> bool {
        let endpoint = &self.endpoints[index];
        endpoint.is_current(permit) && !endpoint.is_out()
    }

    fn judge_share(&mut self, now: Time, index: usize) {
        let Guard::Ejection(config) = &self.config.guard else { return };
        let excess = config.failure_excess;
        if !self.endpoints[index].evidence.proves_share(self.tally, excess) {
            return;
        }
        let reason = if self.endpoints[index].evidence.is_unanswering(now) {
            // Where more than a third of them look like this, it takes the slower comparison.
            let compared = self.endpoints.iter().filter(|endpoint| endpoint.is_compared()).count();
            let suspects =
                self.endpoints.iter().filter(|endpoint| endpoint.evidence.is_unanswering(now)).count();
            if suspects * 3 > compared {
                return;
            }
            EjectReason::Slow
        } else {
            EjectReason::Failing
        };
        self.act(now, self.endpoints[index].key, Verdict::Eject(reason));
    }

    /// Failures in a row and silence are an endpoint's own fault only where its peers do better at the same time. The other
    /// reasons are comparisons already.
    pub(super) fn is_its_own_fault(&self, index: usize, reason: EjectReason) -> bool {
        let evidence = &self.endpoints[index].evidence;
        match reason {
            EjectReason::Consecutive => evidence.proves_row(self.tally),
            EjectReason::Stall => evidence.proves_silence(self.tally),
            EjectReason::Slow | EjectReason::Failing | EjectReason::Relapse => true,
        }
    }
}
