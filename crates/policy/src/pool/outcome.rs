//! What the outcome of an attempt teaches: about its endpoint, its lane, and whether anybody is left.

use std::time::Duration;

use crate::call::Class;
use crate::ejection::{EjectReason, Verdict};
use crate::pool::balance::tiers::Availability;
use crate::pool::endpoint::{Answer, Endpoint, Weight};
use crate::pool::pace::EXCESS_MIN;
use crate::pool::silence::StallRule;
use crate::pool::{EndpointKey, Guard, Permit, Pool, PoolEvent, Tier};
use crate::rng::Rng;
use crate::time::{Time, scaled};

/// A refused connection keeps an endpoint out for this long, unless probes or traffic decide sooner.
const REFUSED_PAUSE: Duration = Duration::from_millis(250);
/// An attempt that had this many times its lane's p99 had a fair chance to answer.
const FAIR_CHANCE_FACTOR: u32 = 2;
/// The same, while the p99 is unknown.
const FAIR_CHANCE_UNKNOWN: Duration = Duration::from_millis(200);

impl Pool {
    /// How long a fruitless wait in `lane` may take before it is suspicious; `None` while too little is known.
    pub(crate) fn stall_limit(&mut self, now: Time, lane: usize) -> Option<Duration> {
        let Guard::Ejection(config) = &self.config.guard else { return None };
        let p99 = self.lanes[lane].p99(now)?;
        Some(config.min_stall.max(p99.saturating_mul(config.stall_factor)))
    }

    /// After which wait an attempt first looks whether its endpoint stalled; `None` when the rule is off. The same for every
    /// lane: a slow lane's own limit may be far away when a fast lane has long found the endpoint out.
    pub(crate) fn stall_check_interval(&self) -> Option<Duration> {
        match &self.config.guard {
            Guard::Ejection(config) => Some(config.min_stall),
            Guard::Breaker(_) | Guard::Off => None,
        }
    }

    /// Whether an attempt that is given up now has waited for longer than its answer should take. A deadline that was
    /// always too short says nothing about the endpoint; one that was long enough must not hide that nothing came.
    pub(crate) fn had_fair_chance(&mut self, now: Time, permit: &Permit) -> bool {
        let p99 = self.lanes[permit.lane].p99(now);
        let fair = p99.map_or(FAIR_CHANCE_UNKNOWN, |p99| p99.saturating_mul(FAIR_CHANCE_FACTOR));
        now.saturating_since(permit.started) >= fair
    }

    /// A response head arrived for an attempt that waited.
    pub(crate) fn on_head(&mut self, now: Time, rng: &mut Rng, permit: &mut Permit, class: Class) {
        let elapsed = now.saturating_since(permit.started);
        let index = self.index(permit.endpoint);
        let too_slow = permit.readmission && self.is_too_slow_for_a_trial(now, permit, index);
        let among_peers = index.is_some_and(|index| !self.endpoints[index].is_out());
        if among_peers && !class.is_failure() && class != Class::Throttled {
            self.lanes[permit.lane].record(now, elapsed);
        }
        let Some(index) = index else { return };
        self.weigh_answer(now, index, permit, class);
        let answer = Answer { class, too_slow };
        let verdict = self.endpoints[index].on_head(now, rng, permit, answer, &self.config);
        self.act(now, permit.endpoint, verdict);
    }

    /// A trial must be quicker than a stall; that of an endpoint which was ejected for being slow must not look slow again.
    fn is_too_slow_for_a_trial(&mut self, now: Time, permit: &Permit, index: Option<usize>) -> bool {
        let elapsed = now.saturating_since(permit.started);
        let lane = &mut self.lanes[permit.lane];
        let usual = lane.p50(now).zip(lane.p99(now));
        if let Guard::Ejection(config) = &self.config.guard
            && index.is_some_and(|index| self.endpoints[index].was_slow())
            && let Some((p50, p99)) = usual
        {
            let slow = scaled(p50, config.slow_factor).max(p50.saturating_add(EXCESS_MIN));
            // Where good answers scatter, what the slowest of them take is not slow.
            if elapsed > slow.max(p99) {
                return true;
            }
        }
        self.stall_limit(now, permit.lane).is_some_and(|limit| elapsed > limit)
    }

    /// An attempt did not answer in time. Where hardly any attempt takes much less, that is no news about its endpoint.
    pub(crate) fn on_timed_out(&mut self, now: Time, rng: &mut Rng, permit: &mut Permit) {
        let waited = now.saturating_since(permit.started);
        if permit.weight == Weight::Full
            && self.unusual_wait(now, permit.lane).is_some_and(|unusual| waited < unusual)
        {
            permit.weight = Weight::Excused;
        }
        let most = self.config.max_in_flight;
        if let Some(endpoint) = self.endpoint_mut(permit.endpoint) {
            endpoint.keep_place(now, permit, most);
        }
        self.on_no_head(now, rng, permit, false);
    }

    /// An attempt failed before its head: refused or reset.
    pub(crate) fn on_failed(&mut self, now: Time, rng: &mut Rng, permit: &mut Permit, refused: bool) {
        if let Some(endpoint) = self.endpoint_mut(permit.endpoint) {
            endpoint.on_told(permit);
        }
        self.on_no_head(now, rng, permit, refused);
    }

    fn on_no_head(&mut self, now: Time, rng: &mut Rng, permit: &mut Permit, refused: bool) {
        let Some(index) = self.index(permit.endpoint) else { return };
        self.weigh_no_answer(now, index, permit);
        let verdict = self.endpoints[index].on_failed(now, rng, permit, &self.config);
        if refused {
            self.suspect(now, index, "connection refused");
        }
        self.act(now, permit.endpoint, verdict);
        // The only endpoint stays: its callers are better served by a quick retry than by none.
        if refused && self.endpoints.len() > 1 {
            self.endpoints[index].refused_until = Some(now.after(REFUSED_PAUSE));
            self.after_change(now);
        }
    }

    /// An attempt was dropped before its head; what it waited is a censored sample. `overtaken` when another attempt of
    /// its call brought the answer.
    pub(crate) fn on_cancelled(&mut self, now: Time, rng: &mut Rng, permit: &mut Permit, overtaken: bool) {
        let Some(index) = self.index(permit.endpoint) else { return };
        let waited = now.saturating_since(permit.started);
        let endpoint = &self.endpoints[index];
        // A loser says what is usual only if its endpoint answered others meanwhile: what hangs must not blind the stall rule.
        if overtaken && !endpoint.is_out() && endpoint.quiet_for(now) < waited {
            self.lanes[permit.lane].record_at_least(now, waited);
        }
        if overtaken {
            self.weigh_waiting(now, index, permit, true);
        }
        self.endpoints[index].keep_place(now, permit, self.config.max_in_flight);
        let verdict = self.endpoints[index].on_cancelled(now, rng, permit, overtaken);
        self.act(now, permit.endpoint, verdict);
        if overtaken {
            self.look_for_stall(now, permit.lane, index);
        }
    }

    /// The answer of this attempt is on its way to the client: it is no longer extra work that may fail.
    pub(crate) fn on_committed(&mut self, permit: &mut Permit) {
        if std::mem::take(&mut permit.budgeted) {
            self.budget.release();
        }
    }

    /// The committed body of this attempt ended, well or broken.
    pub(crate) fn on_body_end(&mut self, now: Time, permit: &Permit, broken: bool) {
        let Some(index) = self.index(permit.endpoint) else { return };
        self.weigh_body(now, index, permit, broken);
        let verdict = self.endpoints[index].on_body_end(permit, broken, &self.config);
        self.act(now, permit.endpoint, verdict);
    }

    /// The permit's attempt is over in every respect.
    #[expect(clippy::needless_pass_by_value, reason = "a permit that was given back cannot be used again")]
    pub(crate) fn release(&mut self, permit: Permit) {
        if permit.budgeted {
            self.budget.release();
        }
        if let Some(endpoint) = self.endpoint_mut(permit.endpoint) {
            endpoint.release();
        }
    }

    /// The stall rule for an attempt that waits since `permit.started`. True = move it if that is possible. Where the
    /// endpoint itself may not be ejected any more, that takes a peer, other than `tried`, which has shown a byte lately:
    /// when everybody hangs, moving only uses attempts up. An endpoint that left the pool is left to drain.
    pub(crate) fn check_stall(&mut self, now: Time, permit: &mut Permit, tried: &[EndpointKey]) -> bool {
        let rule = self.stall_rule(now, permit.lane);
        let Some(index) = self.index(permit.endpoint) else { return false };
        self.weigh_waiting(now, index, permit, false);
        let endpoint = &mut self.endpoints[index];
        if endpoint.is_stalled_out() {
            return true;
        }
        let Some(rule) = rule else { return false };
        if endpoint.find_stalled(now, permit.started, rule) {
            self.on_stall(now, permit.lane, index);
        } else if !self.is_suspicious(now, index, permit, rule) {
            return false;
        }
        let panic = self.panic;
        let lively = |peer: &Endpoint| {
            !tried.contains(&peer.key) && peer.is_open(now, panic) && peer.quiet_for(now) < rule.limit
        };
        self.endpoints[index].is_stalled_out() || self.endpoints.iter().any(lively)
    }

    /// Eight times a slow lane's p99 is a long time to wait for a verdict about an endpoint; to move a request costs no more
    /// than a retry. So an attempt that has waited unusually long moves as soon as it is not alone in that.
    fn is_suspicious(&mut self, now: Time, index: usize, permit: &Permit, rule: StallRule) -> bool {
        let Guard::Ejection(config) = &self.config.guard else { return false };
        let least = config.min_stall;
        let Some(unusual) = self.unusual_wait(now, permit.lane) else { return false };
        let limit = least.max(unusual).min(rule.limit);
        self.endpoints[index].is_suspicious(now, permit.started, StallRule { limit, ..rule })
    }

    /// The stall rule for an endpoint itself: hedges may have left nobody there to look.
    /// True = it is out now.
    pub(super) fn look_for_stall(&mut self, now: Time, lane: usize, index: usize) -> bool {
        if self.endpoints[index].is_out() {
            return false;
        }
        let rule = self.stall_rule(now, lane);
        if !rule.is_some_and(|rule| self.endpoints[index].has_stalled(now, rule)) {
            return false;
        }
        self.on_stall(now, lane, index);
        self.endpoints[index].is_stalled_out()
    }

    fn on_stall(&mut self, now: Time, lane: usize, index: usize) {
        self.suspect(now, index, EjectReason::Stall.as_str());
        let Some(unusual) = self.unusual_wait(now, lane) else { return };
        if !self.silence_is_its_own(now, index, unusual) {
            return;
        }
        self.act(now, self.endpoints[index].key, Verdict::Eject(EjectReason::Stall));
    }

    fn stall_rule(&mut self, now: Time, lane: usize) -> Option<StallRule> {
        let limit = self.stall_limit(now, lane)?;
        let Guard::Ejection(config) = &self.config.guard else { return None };
        Some(StallRule { outstanding: config.stall_outstanding, limit })
    }

    /// Recomputes what depends on all endpoints together: panic, and whether there is anybody to wait for.
    pub(super) fn after_change(&mut self, now: Time) {
        let was_on_standby = self.tiers.on_standby();
        let available = self.availability(now);
        self.tiers.on_availability(now, available);
        if cfg!(debug_assertions) {
            self.tiers.check_invariants(available);
        }
        if self.tiers.on_standby() != was_on_standby {
            self.push(PoolEvent::Standby(!was_on_standby));
        }
        let serving = || self.endpoints.iter().filter(|endpoint| self.tiers.serves(endpoint.member.tier));
        let total = serving().count();
        let available = serving().filter(|endpoint| endpoint.is_open(now, false)).count();
        let panic = total > 0 && available * 2 < total && matches!(self.config.guard, Guard::Ejection(_));
        if panic != self.panic {
            self.panic = panic;
            self.push(PoolEvent::Panic(panic));
        }
        let serves =
            |endpoint: &Endpoint| self.tiers.serves(endpoint.member.tier) && endpoint.is_open(now, panic);
        let mut open = self.endpoints.iter().any(serves);
        if !open {
            open = self.begin_readmission_early(now);
        }
        if self.parking.on_availability(now, open) {
            self.push(PoolEvent::Available);
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn availability(&self, now: Time) -> Availability {
        let mut available = Availability::default();
        for endpoint in &self.endpoints {
            let open = usize::from(endpoint.is_open(now, false));
            match endpoint.member.tier {
                Tier::Active => {
                    available.active_total += 1;
                    available.active += open;
                }
                Tier::Standby => {
                    available.standby_total += 1;
                    available.standby += open;
                }
            }
        }
        available
    }

    /// True when somebody can be tried now.
    fn begin_readmission_early(&mut self, now: Time) -> bool {
        let mut begun = false;
        for index in 0..self.endpoints.len() {
            if self.endpoints[index].begin_readmission_early(now) {
                self.push(PoolEvent::Readmitting(self.endpoints[index].key));
                begun = true;
            }
        }
        begun
    }

    fn suspect(&mut self, now: Time, index: usize, reason: &'static str) {
        if self.endpoints[index].may_suspect(now) {
            self.push(PoolEvent::Suspect(self.endpoints[index].key, reason));
        }
    }

    pub(super) fn act(&mut self, now: Time, key: EndpointKey, verdict: Verdict) {
        match verdict {
            Verdict::Keep => {}
            Verdict::Readmitted => {
                self.push(PoolEvent::Readmitted(key));
                self.forget_evidence(now, key);
            }
            Verdict::Eject(reason) => self.eject(now, key, reason),
        }
        self.collect_breaker_changes();
        if verdict != Verdict::Keep {
            self.after_change(now);
        }
    }

    fn eject(&mut self, now: Time, key: EndpointKey, reason: EjectReason) {
        let Some(index) = self.index(key) else { return };
        if !self.is_its_own_fault(now, index, reason) {
            return;
        }
        let allowed = self.may_eject(now, key, reason);
        let serves = |endpoint: &Endpoint| endpoint.key != key && endpoint.is_open(now, self.panic);
        debug_assert!(!allowed || self.endpoints.iter().any(serves), "never the last endpoint");
        let Guard::Ejection(config) = &self.config.guard else { return };
        let Some(endpoint) = self.endpoints.iter_mut().find(|endpoint| endpoint.key == key) else { return };
        if !allowed {
            return endpoint.spare();
        }
        if let Some(duration) = endpoint.eject(now, reason, config) {
            let own = endpoint.evidence.take_lately();
            self.lately = self.lately.without(now, own);
            self.push(PoolEvent::Ejected { endpoint: key, reason, duration });
            self.forget_evidence(now, key);
        }
    }

    /// At most `max(1, ⌊(n−1)/2⌋)`, or one whole zone, and never the last that serves.
    pub(super) fn may_eject(&self, now: Time, key: EndpointKey, reason: EjectReason) -> bool {
        let Some(target) = self.endpoints.iter().find(|endpoint| endpoint.key == key) else { return false };
        let others = || self.endpoints.iter().filter(|endpoint| endpoint.key != key);
        // A relapse only extends an ejection that was allowed before, so it needs no more than somebody who serves.
        if reason == EjectReason::Relapse {
            return others().any(|endpoint| endpoint.is_open(now, self.panic));
        }
        let serves = |endpoint: &Endpoint| endpoint.is_open(now, false);
        if !others().any(serves) {
            return false;
        }
        let out = || others().filter(|endpoint| endpoint.is_out());
        let cap = ((self.endpoints.len() - 1) / 2).max(1);
        if out().count() < cap {
            return true;
        }
        let zone = target.member.zone;
        let same_zone = out().all(|endpoint| endpoint.member.zone == zone);
        same_zone && others().any(|endpoint| serves(endpoint) && endpoint.member.zone != zone)
    }
}
