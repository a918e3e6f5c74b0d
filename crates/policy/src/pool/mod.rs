//! `Pool`: the shared state of one edge. Which endpoint gets the next attempt, and what its outcome teaches.
//!
//! **Problem.** Every request sees only itself; that an endpoint hangs, fails or is slow can only be seen by all of them
//! together. So what is shared lives here: endpoints with their health, ejection or breaker, attempts in flight and
//! latencies; the budget that retries and hedges share; the parked calls.
//!
//! **Model.** Who may be picked: ready by its probes, not just refused, let in by its guard (ejection when there are
//! several endpoints, a circuit breaker when there is one; never both). Who is picked: the better of two random
//! candidates ("power of two choices", Mitzenmacher 2001) by `latency × (in flight + 1)`, where latency is a
//! peak-sensitive moving average *per lane*, because a route that takes 100 ms says nothing about one that takes 2 ms.
//!
//! **Stall rule.** A hung endpoint gives no failures to count. But an endpoint with three or more attempts that wait,
//! of which one has waited longer than `max(200 ms, 8 × its lane's p99)`, and no byte from it in that time, is
//! out at once. Calls ask for this check themselves when their attempt has waited long enough ([`Pool::check_stall`]), so
//! that the pool keeps no list of attempts.
//!
//! **Limits.** At most `max(1, ⌊(n−1)/2⌋)` endpoints are out at once, or exactly one whole zone while another one serves;
//! never the last one. When fewer than half of the endpoints are available, ejections other than stalls are ignored
//! ("panic"): bad answers beat none.
//!
//! **Rejected.** A list of attempts per endpoint with a timer in the pool: it would have to reach into other requests' tasks
//! to cancel them. Atomics in place of one mutex: no bench has asked for them.

mod config;
mod endpoint;
mod lane;
mod parking;

pub use config::{Guard, ParkingConfig, PoolConfig};
pub use endpoint::{EndpointKey, EndpointView, Permit};

pub use crate::ejection::{EjectReason, EjectionConfig};

use std::time::Duration;

use crate::budget::Budget;
use crate::call::{AttemptKind, Class};
use crate::ejection::Verdict;
use crate::rng::Rng;
use crate::time::Time;
use endpoint::{Answer, Endpoint, Entry};
use lane::Lane;
use parking::Parking;

/// What the pool has to tell; drain with [`Pool::take_events`] after every call.
#[derive(Debug, Clone, PartialEq)]
pub enum PoolEvent {
    /// Probes let the endpoint in.
    Up(EndpointKey),
    /// Probes, a refusal or an exit took it out; the reason.
    Down(EndpointKey, &'static str),
    /// Live traffic ejected it.
    Ejected {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Why.
        reason: EjectReason,
        /// How long.
        duration: Duration,
    },
    /// Its time is up: a few hedged requests will try it.
    Readmitting(EndpointKey),
    /// Live traffic took it back.
    Readmitted(EndpointKey),
    /// The breaker changed state.
    Breaker {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// The state left.
        from: &'static str,
        /// The state entered.
        to: &'static str,
        /// Why, in words.
        reason: &'static str,
    },
    /// Fewer than half of the endpoints are available: passive ejections are ignored (true) or obeyed again (false).
    Panic(bool),
    /// Traffic saw a stall or a refusal: probe this endpoint fast until decided.
    Suspect(EndpointKey, &'static str),
    /// An endpoint became available: wake the parked calls.
    Available,
}

/// The most events kept between two [`Pool::take_events`]; older ones win, because they explain the rest.
pub const MAX_EVENTS: usize = 1024;

/// A refused connection keeps an endpoint out for this long, unless probes or traffic decide sooner.
const REFUSED_PAUSE: Duration = Duration::from_millis(250);

/// Why no endpoint could be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPermit {
    /// None is ready, or all are out.
    NoEndpoint,
    /// The only one's breaker is open.
    BreakerOpen {
        /// When to try again.
        retry_after: Duration,
    },
}

/// What is asked of [`Pool::pick`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick<'a> {
    pub(crate) lane: usize,
    pub(crate) kind: AttemptKind,
    /// Endpoints that this call tried already; avoided while there is another.
    pub(crate) tried: &'a [EndpointKey],
    /// The call can be sent again, so it may try an endpoint that is on its way back.
    pub(crate) resendable: bool,
}

/// The shared state of one edge. See the module's documentation.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    endpoints: Vec<Endpoint>,
    lanes: Vec<Lane>,
    pub(crate) budget: Budget,
    pub(crate) parking: Parking,
    next_key: u32,
    panic: bool,
    events: Vec<PoolEvent>,
}

impl Pool {
    /// An empty pool.
    pub fn new(config: PoolConfig) -> Self {
        let lanes = (0..config.lanes.max(1)).map(|_| Lane::new()).collect();
        let budget = Budget::new(config.budget);
        let parking = Parking::new(config.parking.clone());
        Self {
            config,
            endpoints: Vec::new(),
            lanes,
            budget,
            parking,
            next_key: 0,
            panic: false,
            events: Vec::new(),
        }
    }

    /// A new endpoint, not ready yet. `zone` groups endpoints that can fail together.
    pub fn on_added(&mut self, now: Time, zone: u16) -> EndpointKey {
        let key = EndpointKey(self.next_key);
        self.next_key += 1;
        self.endpoints.push(Endpoint::new(now, key, zone, &self.config));
        if !self.config.readiness {
            self.on_health(now, key, true, "readiness is switched off");
        }
        key
    }

    /// The endpoint is gone for good (process exited, or left the spec).
    pub fn on_removed(&mut self, now: Time, key: EndpointKey, reason: &'static str) {
        let Some(index) = self.index(key) else { return };
        let endpoint = self.endpoints.remove(index);
        if endpoint.ready {
            self.push(PoolEvent::Down(key, reason));
        }
        self.after_change(now);
    }

    /// The prober's verdict changed.
    pub fn on_health(&mut self, now: Time, key: EndpointKey, ready: bool, reason: &'static str) {
        let ready = ready || !self.config.readiness;
        let Some(endpoint) = self.endpoint_mut(key) else { return };
        let changed = endpoint.ready != ready;
        endpoint.set_ready(ready, reason);
        if changed {
            self.push(if ready { PoolEvent::Up(key) } else { PoolEvent::Down(key, reason) });
        }
        self.after_change(now);
    }

    /// A byte of a committed response body arrived (call sparingly: it only feeds the stall rule).
    pub fn on_progress(&mut self, now: Time, key: EndpointKey) {
        if let Some(endpoint) = self.endpoint_mut(key) {
            endpoint.last_byte = now;
        }
    }

    /// Runs the timers of endpoints: ends of ejections and of refusals.
    pub fn on_timer(&mut self, now: Time) {
        for index in 0..self.endpoints.len() {
            let key = self.endpoints[index].key;
            if self.endpoints[index].on_timer(now) {
                self.push(PoolEvent::Readmitting(key));
            }
        }
        self.after_change(now);
    }

    /// When [`Pool::on_timer`] is due.
    pub fn next_deadline(&self) -> Option<Time> {
        self.endpoints.iter().filter_map(Endpoint::next_deadline).min()
    }

    /// Forgets ejections, breaker states and spent budgets (between drills); health and latencies stay.
    pub fn reset(&mut self, now: Time) {
        self.budget = Budget::new(self.config.budget);
        for endpoint in &mut self.endpoints {
            endpoint.reset(now);
        }
        self.collect_breaker_changes();
        self.after_change(now);
    }

    /// The events since the last call.
    pub fn take_events(&mut self) -> Vec<PoolEvent> {
        std::mem::take(&mut self.events)
    }

    /// True when there are events to take (cheap).
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// How every endpoint stands.
    pub fn view(&self, now: Time) -> Vec<EndpointView> {
        self.endpoints.iter().map(|endpoint| endpoint.view(now)).collect()
    }

    /// Retry budget left, in attempts.
    pub fn budget_balance(&mut self, now: Time) -> f64 {
        self.budget.balance(now)
    }

    /// Calls that wait for an endpoint now.
    pub fn parked(&self) -> u32 {
        self.parking.waiting()
    }

    /// How long a fruitless wait in `lane` may take before it is suspicious; `None` while too little is known.
    pub(crate) fn stall_limit(&mut self, now: Time, lane: usize) -> Option<Duration> {
        let Guard::Ejection(config) = &self.config.guard else { return None };
        let p99 = self.lanes[lane].p99(now)?;
        Some(config.min_stall.max(p99.saturating_mul(config.stall_factor)))
    }

    /// How often a waiting attempt looks whether its endpoint stalled; `None` when the rule is off.
    pub(crate) fn stall_check_interval(&self) -> Option<Duration> {
        match &self.config.guard {
            Guard::Ejection(config) => Some(config.min_stall),
            _ => None,
        }
    }

    /// When to hedge in `lane`: the observed quantile, if enough is known.
    pub(crate) fn hedge_delay(&mut self, now: Time, lane: usize, quantile: f64) -> Option<Duration> {
        self.lanes[lane].quantile(now, quantile)
    }

    /// What an attempt in `lane` usually takes (its median); zero while unknown.
    pub(crate) fn expected(&mut self, now: Time, lane: usize) -> Duration {
        self.lanes[lane].p50(now).unwrap_or(Duration::ZERO)
    }

    /// True when an endpoint other than `tried` would take an attempt right now.
    pub(crate) fn has_fresh(&self, now: Time, tried: &[EndpointKey]) -> bool {
        let panic = self.panic;
        self.endpoints.iter().any(|endpoint| !tried.contains(&endpoint.key) && endpoint.is_open(now, panic))
    }

    /// True when an endpoint other than `tried` answers well: worth asking after a 500.
    pub(crate) fn has_well(&self, now: Time, tried: &[EndpointKey]) -> bool {
        self.endpoints.iter().any(|endpoint| {
            !tried.contains(&endpoint.key) && endpoint.is_open(now, false) && endpoint.is_well()
        })
    }

    /// Picks an endpoint and takes its permit.
    pub(crate) fn pick(&mut self, now: Time, rng: &mut Rng, pick: &Pick<'_>) -> Result<Permit, NoPermit> {
        let chosen = match self.readmission_candidate(now, pick) {
            Some(index) => index,
            None => self.choose(now, rng, pick)?,
        };
        let endpoint = &mut self.endpoints[chosen];
        let permit = endpoint.admit(now, rng, pick.lane);
        self.collect_breaker_changes();
        permit.map_err(|retry_after| NoPermit::BreakerOpen { retry_after })
    }

    /// A response head arrived for an attempt that waited.
    pub(crate) fn on_head(&mut self, now: Time, rng: &mut Rng, permit: &mut Permit, class: Class) {
        let elapsed = now.saturating_since(permit.started);
        let too_slow =
            permit.readmission && self.stall_limit(now, permit.lane).is_some_and(|limit| elapsed > limit);
        if !class.is_failure() && class != Class::Throttled {
            self.lanes[permit.lane].record(now, elapsed);
        }
        let Some(index) = self.index(permit.endpoint) else { return };
        let answer = Answer { class, too_slow };
        let verdict = self.endpoints[index].on_head(now, rng, permit, answer, &self.config);
        self.act(now, permit.endpoint, verdict);
    }

    /// An attempt failed before its head: refused, reset, timed out.
    pub(crate) fn on_failed(&mut self, now: Time, rng: &mut Rng, permit: &mut Permit, refused: bool) {
        let Some(index) = self.index(permit.endpoint) else { return };
        let verdict = self.endpoints[index].on_failed(now, rng, permit, &self.config);
        if refused {
            // The only endpoint stays: its callers are better served by a quick retry than by none.
            if self.endpoints.len() > 1 {
                self.endpoints[index].refused_until = Some(now.after(REFUSED_PAUSE));
            }
            self.push(PoolEvent::Suspect(permit.endpoint, "connection refused"));
        }
        self.act(now, permit.endpoint, verdict);
    }

    /// An attempt was dropped before its head; what it waited is a censored sample.
    pub(crate) fn on_cancelled(&mut self, now: Time, rng: &mut Rng, permit: &mut Permit) {
        if let Some(endpoint) = self.endpoint_mut(permit.endpoint) {
            endpoint.on_cancelled(now, rng, permit);
        }
        self.collect_breaker_changes();
    }

    /// The permit's attempt is over in every respect; `broken` when a committed body broke off.
    #[expect(clippy::needless_pass_by_value, reason = "a permit that was given back cannot be used again")]
    pub(crate) fn release(&mut self, now: Time, permit: Permit, broken: bool) {
        if permit.budgeted {
            self.budget.release();
        }
        let key = permit.endpoint;
        let Some(index) = self.index(key) else { return };
        let verdict = self.endpoints[index].release(&permit, broken, &self.config);
        self.act(now, key, verdict);
    }

    /// The stall rule for an attempt that waits since `permit.started`. True = give it up.
    pub(crate) fn check_stall(&mut self, now: Time, permit: &Permit) -> bool {
        let limit = self.stall_limit(now, permit.lane);
        let Guard::Ejection(config) = &self.config.guard else { return false };
        let outstanding = config.stall_outstanding;
        let Some(index) = self.index(permit.endpoint) else { return true };
        let endpoint = &self.endpoints[index];
        if endpoint.is_stalled_out() {
            return true;
        }
        let Some(limit) = limit else { return false };
        let quiet_since = permit.started.max(endpoint.last_byte);
        let stalled = endpoint.waiting >= outstanding && now.saturating_since(quiet_since) >= limit;
        if !stalled {
            return false;
        }
        self.push(PoolEvent::Suspect(permit.endpoint, EjectReason::Stall.as_str()));
        self.act(now, permit.endpoint, Verdict::Eject(EjectReason::Stall));
        self.endpoints.get(index).is_some_and(Endpoint::is_stalled_out)
    }

    /// Positive and negative assertions about the whole pool; debug builds run them after each step.
    pub fn check_invariants(&self) {
        assert!(self.events.len() <= MAX_EVENTS, "events are bounded");
        for endpoint in &self.endpoints {
            assert!(endpoint.waiting <= endpoint.in_flight, "who waits is in flight: {endpoint:?}");
            assert!(endpoint.key.0 < self.next_key, "keys are never reused");
        }
        let out = self.endpoints.iter().filter(|endpoint| endpoint.is_out()).count();
        assert!(
            out == 0 || out < self.endpoints.len().max(2),
            "never the last endpoint: {:?}",
            self.endpoints
        );
    }

    fn act(&mut self, now: Time, key: EndpointKey, verdict: Verdict) {
        match verdict {
            Verdict::Keep => {}
            Verdict::Readmitted => self.push(PoolEvent::Readmitted(key)),
            Verdict::Eject(reason) => self.eject(now, key, reason),
        }
        self.collect_breaker_changes();
        if verdict != Verdict::Keep {
            self.after_change(now);
        }
    }

    fn eject(&mut self, now: Time, key: EndpointKey, reason: EjectReason) {
        // A relapse only extends an ejection that was allowed before.
        if reason != EjectReason::Relapse && !self.may_eject(now, key) {
            return;
        }
        let Guard::Ejection(config) = self.config.guard.clone() else { return };
        let Some(endpoint) = self.endpoint_mut(key) else { return };
        if let Some(duration) = endpoint.eject(now, reason, &config) {
            self.push(PoolEvent::Ejected { endpoint: key, reason, duration });
        }
    }

    /// At most `max(1, ⌊(n−1)/2⌋)`, or one whole zone, and never the last that serves.
    fn may_eject(&self, now: Time, key: EndpointKey) -> bool {
        let Some(target) = self.endpoints.iter().find(|endpoint| endpoint.key == key) else { return false };
        let serves = |endpoint: &&Endpoint| endpoint.key != key && endpoint.is_open(now, false);
        if !self.endpoints.iter().any(|endpoint| serves(&endpoint)) {
            return false;
        }
        let out = self.endpoints.iter().filter(|endpoint| endpoint.is_out());
        let cap = ((self.endpoints.len() - 1) / 2).max(1);
        if out.clone().count() < cap {
            return true;
        }
        let same_zone = out.clone().all(|endpoint| endpoint.zone == target.zone);
        same_zone && self.endpoints.iter().any(|endpoint| serves(&endpoint) && endpoint.zone != target.zone)
    }

    fn readmission_candidate(&mut self, now: Time, pick: &Pick<'_>) -> Option<usize> {
        if pick.kind != AttemptKind::First || !pick.resendable {
            return None;
        }
        self.endpoints.iter_mut().position(|endpoint| endpoint.try_readmission(now))
    }

    fn choose(&mut self, now: Time, rng: &mut Rng, pick: &Pick<'_>) -> Result<usize, NoPermit> {
        let panic = self.panic;
        let fresh = |endpoint: &Endpoint| endpoint.is_open(now, panic) && !pick.tried.contains(&endpoint.key);
        if let Some(index) = self.better_of_two(now, rng, pick.lane, fresh) {
            return Ok(index);
        }
        // A hedge beside the same endpoint would only add load.
        if pick.kind == AttemptKind::Hedge {
            return Err(NoPermit::NoEndpoint);
        }
        let any = |endpoint: &Endpoint| endpoint.is_open(now, panic);
        self.better_of_two(now, rng, pick.lane, any).ok_or(NoPermit::NoEndpoint)
    }

    /// The better of two different candidates drawn at random.
    fn better_of_two(
        &self,
        now: Time,
        rng: &mut Rng,
        lane: usize,
        wanted: impl Fn(&Endpoint) -> bool,
    ) -> Option<usize> {
        let candidates = || self.endpoints.iter().enumerate().filter(|(_, endpoint)| wanted(endpoint));
        let count = candidates().count() as u64;
        let nth = |n: u64| candidates().nth(n as usize).map(|(index, _)| index);
        if count < 2 {
            return nth(0);
        }
        let first_draw = rng.below(count);
        let second_draw = (first_draw + 1 + rng.below(count - 1)) % count;
        let (first, second) = (nth(first_draw)?, nth(second_draw)?);
        let unknown = self.mean_latency(now, lane);
        let score = |index: usize| self.endpoints[index].score(lane, now, unknown);
        Some(if score(second) < score(first) { second } else { first })
    }

    /// What a newcomer without samples is assumed to take: what its peers take.
    fn mean_latency(&self, now: Time, lane: usize) -> f64 {
        let known = self.endpoints.iter().filter_map(|endpoint| endpoint.latency(lane, now));
        let (sum, count) = known.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
        if count == 0 { 1.0 } else { sum / f64::from(count) }
    }

    fn after_change(&mut self, now: Time) {
        let total = self.endpoints.len();
        let available = self.endpoints.iter().filter(|endpoint| endpoint.is_open(now, false)).count();
        let panic = total > 0 && available * 2 < total && matches!(self.config.guard, Guard::Ejection(_));
        if panic != self.panic {
            self.panic = panic;
            self.push(PoolEvent::Panic(panic));
        }
        let open = self.endpoints.iter().any(|endpoint| endpoint.is_open(now, panic));
        if self.parking.on_availability(now, open) {
            self.push(PoolEvent::Available);
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn collect_breaker_changes(&mut self) {
        for index in 0..self.endpoints.len() {
            let endpoint = self.endpoints[index].key;
            while let Some(change) = self.endpoints[index].take_breaker_change() {
                self.push(PoolEvent::Breaker {
                    endpoint,
                    from: change.from,
                    to: change.to,
                    reason: change.reason,
                });
            }
        }
    }

    fn push(&mut self, event: PoolEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        }
    }

    fn index(&self, key: EndpointKey) -> Option<usize> {
        self.endpoints.iter().position(|endpoint| endpoint.key == key)
    }

    fn endpoint_mut(&mut self, key: EndpointKey) -> Option<&mut Endpoint> {
        self.endpoints.iter_mut().find(|endpoint| endpoint.key == key)
    }
}

/// Why the guard of an endpoint lets nobody in, for views.
pub(crate) fn entry_words(entry: Entry) -> (&'static str, &'static str) {
    match entry {
        Entry::Open => ("available", ""),
        Entry::Unready(reason) => ("unready", reason),
        Entry::Refused => ("unready", "connection refused"),
        Entry::Ejected(reason) => ("ejected", reason),
        Entry::Readmitting => ("readmitting", "a few hedged requests try it"),
        Entry::Breaker(state, reason) => (state, reason),
    }
}
