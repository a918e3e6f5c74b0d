//! What each outcome adds to the evidence against its endpoint, and when that is enough.

use std::time::Duration;

use crate::call::Class;
use crate::ejection::{EjectReason, Verdict};
use crate::pool::endpoint::Weight;
use crate::pool::evidence::{Moment, Tally};
use crate::pool::proof::{self, Counts};
use crate::pool::{EndpointKey, Guard, Permit, Pool};
use crate::time::{Time, scaled};

/// An attempt that its hedge overtook counts after this part (of so many) of what hardly any attempt takes: nobody waits for the rest of it.
const OVERTAKEN_PART: (u32, u32) = (5, 8);
/// Where more than one in so many looks as if it left requests unanswered, it takes the slower comparison.
const SUSPECTS_PART: usize = 3;

impl Pool {
    /// What was held against an endpoint so far says nothing any more.
    pub(super) fn forget_evidence(&mut self, now: Time, key: EndpointKey) {
        let tally = self.tally;
        if let Some(endpoint) = self.endpoint_mut(key) {
            endpoint.evidence.forget(now, tally);
        }
    }

    pub(super) fn count_sent(&mut self, now: Time, index: usize, permit: &mut Permit) {
        if permit.readmission {
            return;
        }
        let waiting: u32 = self.endpoints.iter().map(|endpoint| endpoint.waiting).sum();
        let endpoint = &self.endpoints[index];
        let peers = endpoint.evidence.peers(self.tally);
        let own_good = endpoint.evidence.own_good();
        permit.moment = Moment { peers, waiting: waiting - endpoint.waiting, own_good };
        self.book(now, index, Tally { sent: 1, ..Tally::default() });
    }

    /// A head arrived.
    pub(super) fn weigh_answer(&mut self, now: Time, index: usize, permit: &Permit, class: Class) {
        if !self.counts(index, permit) {
            return;
        }
        let heard = i64::from(permit.weight != Weight::Counted);
        self.book(now, index, Tally { answered: 1, heard, ..Tally::default() });
        let left = self.endpoints[index].evidence.on_answer(self.tally, permit.started);
        for moment in left.into_iter().flatten() {
            self.endpoints[index].count_left(now);
            self.count_unanswered(now, index, moment);
        }
        if class.is_failure() {
            self.weigh_failure(now, index, permit);
        } else if class != Class::Throttled {
            if permit.weight == Weight::Counted {
                self.endpoints[index].evidence.take_back_unanswered();
                self.book(now, index, Tally { bad: -1, ..Tally::default() });
            }
            self.endpoints[index].evidence.on_good();
            let late = i64::from(permit.is_late(now));
            self.book(now, index, Tally { good: 1 - late, bad: late, ..Tally::default() });
        }
        if left.iter().any(Option::is_some) {
            self.judge_share(now, index);
        }
    }

    /// An attempt failed before its head, through its endpoint's fault.
    pub(super) fn weigh_no_answer(&mut self, now: Time, index: usize, permit: &Permit) {
        if permit.weight == Weight::Full && self.counts(index, permit) {
            self.book(now, index, Tally { heard: 1, ..Tally::default() });
            self.weigh_failure(now, index, permit);
        }
    }

    fn weigh_failure(&mut self, now: Time, index: usize, permit: &Permit) {
        // What was counted as unanswered is in the tally already, and in the run of its time.
        if permit.weight != Weight::Full {
            return;
        }
        self.endpoints[index].evidence.on_failed(now, permit.started, permit.moment);
        self.book(now, index, Tally { bad: 1, ..Tally::default() });
        self.judge_share(now, index);
    }

    /// The body of an answer that was counted as good ended, well or broken.
    pub(super) fn weigh_body(&mut self, now: Time, index: usize, permit: &Permit, broken: bool) {
        if !self.counts(index, permit) {
            return;
        }
        if broken {
            self.book(now, index, Tally { good: -1, bad: 1, ..Tally::default() });
        }
        self.endpoints[index].evidence.on_body_end(broken, permit.moment);
    }

    /// An attempt waits without an answer, or its hedge was faster. It counts when it has waited for longer than hardly any
    /// does (the first look of the stall rule at least), while its endpoint answered others that were sent later.
    pub(super) fn weigh_waiting(&mut self, now: Time, index: usize, permit: &mut Permit, overtaken: bool) {
        let (least, slow_factor) = match &self.config.guard {
            Guard::Ejection(config) => (config.min_stall, config.slow_factor),
            Guard::Breaker(_) | Guard::Off => (Duration::ZERO, 0.0),
        };
        let Some(unusual) = self.unusual_wait(now, permit.lane) else { return };
        // What a somewhat slower endpoint takes is not unanswered.
        let slow = permit.usual.map_or(Duration::ZERO, |usual| scaled(usual, slow_factor));
        let long = if overtaken { part_of(unusual, OVERTAKEN_PART).max(slow) } else { unusual.max(least) };
        let endpoint = &mut self.endpoints[index];
        if now.saturating_since(permit.started) < long || !endpoint.may_count_unanswered(permit) {
            return;
        }
        if endpoint.evidence.has_passed_over(permit.started) {
            endpoint.count_unanswered(now, permit);
            self.count_unanswered(now, index, permit.moment);
            self.judge_share(now, index);
        } else if overtaken {
            endpoint.evidence.on_left(permit.started, permit.moment);
        }
    }

    fn count_unanswered(&mut self, now: Time, index: usize, moment: Moment) {
        self.endpoints[index].evidence.on_unanswered(now, moment);
        self.book(now, index, Tally { heard: 1, bad: 1, ..Tally::default() });
    }

    fn book(&mut self, now: Time, index: usize, more: Tally) {
        self.tally.add(more);
        self.lately.add(now, more);
        self.endpoints[index].evidence.book(now, more);
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
            let compared = self.endpoints.iter().filter(|endpoint| endpoint.is_compared()).count();
            let suspects =
                self.endpoints.iter().filter(|endpoint| endpoint.evidence.is_unanswering(now)).count();
            if suspects * SUSPECTS_PART > compared {
                return;
            }
            EjectReason::Slow
        } else {
            EjectReason::Failing
        };
        let key = self.endpoints[index].key;
        if self.may_eject(now, key, reason) {
            self.act(now, key, Verdict::Eject(reason));
        } else {
            self.put_on_probation(now, key, reason);
        }
    }

    /// Failures in a row are an endpoint's own fault only where its peers do better at the same time. The other
    /// reasons are comparisons already.
    pub(super) fn is_its_own_fault(&self, now: Time, index: usize, reason: EjectReason) -> bool {
        let endpoint = &self.endpoints[index];
        let lately = || endpoint.evidence.peers_lately(now, self.lately);
        match reason {
            EjectReason::Consecutive => endpoint.evidence.proves_row(self.tally, lately),
            EjectReason::Stall | EjectReason::Slow | EjectReason::Failing | EjectReason::Relapse => true,
        }
    }

    /// A silence is an endpoint's own fault only where its peers speak. What it was sent counts after so long.
    pub(super) fn silence_is_its_own(&self, now: Time, index: usize, least: Duration) -> bool {
        let endpoint = &self.endpoints[index];
        let unanswered = endpoint.unanswered_for(now, least);
        endpoint
            .evidence
            .proves_silence(self.tally, unanswered, || endpoint.evidence.peers_lately(now, self.lately))
    }

    /// That completions are missing is an endpoint's own fault only where they are not missing at its peers.
    pub(super) fn missing_is_its_own(&self, now: Time, index: usize, missing: Counts) -> bool {
        let lately = self.endpoints[index].evidence.peers_lately(now, self.lately);
        proof::share(missing, lately, 0.0)
    }
}

fn part_of(whole: Duration, (part, of): (u32, u32)) -> Duration {
    whole / of * part
}
