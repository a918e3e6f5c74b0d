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
//! out at once, if its peers have not gone silent as well (`evidence`, `proof`: every quick ejection is compared with peers). Attempts that their hedges overtook count as waiting, or hedges would hide the hang. Calls ask for this check themselves when their attempt has waited long enough (`Pool::check_stall`), so
//! that the pool keeps no list of attempts. The p99 is that of the peers: what an endpoint that is out answers late does
//! not count, or one slow endpoint would blind the rule for the next.
//!
//! **Limits.** At most `max(1, ⌊(n−1)/2⌋)` endpoints are out at once, or exactly one whole zone while another one serves;
//! never the last one. When fewer than half of the endpoints are available, ejections other than stalls are ignored
//! ("panic"): bad answers beat none. When nothing at all is left, an endpoint that stalled is tried before its time, but
//! only if its probes failed and passed again since: a process that answers probes as it did while it hung proves nothing.
//!
//! **Rejected.** A list of attempts per endpoint with a timer in the pool: it would have to reach into other requests' tasks
//! to cancel them. Atomics in place of one mutex: no bench has asked for them.

mod abandoned;
pub(crate) mod balance;
mod choice;
mod config;
mod endpoint;
mod evidence;
mod forced;
mod lane;
mod outcome;
mod pace;
mod parking;
mod peers;
mod probation;
mod proof;
mod score;
mod silence;
mod sweep;
mod view;
mod weighing;

pub use balance::{BalanceConfig, Member, Strategy, Tier, WEIGHT_MAX, affinity_key};
pub(crate) use choice::Pick;
pub use config::{Guard, ParkingConfig, PoolConfig};
pub use endpoint::{EndpointKey, Permit};
pub use view::EndpointView;

pub use crate::ejection::{EjectReason, EjectionConfig};

use std::time::Duration;

use crate::budget::Budget;
use crate::time::Time;
use balance::Candidate;
use balance::tiers::Tiers;
use endpoint::Endpoint;
use evidence::{Lately, Tally};
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
    /// It is worse than its peers, but ejecting it would cost more than it brings: it keeps a tenth of its weight.
    Probation(EndpointKey, EjectReason),
    /// It has made up for it, or has been on probation for long enough.
    ProbationEnded(EndpointKey),
    /// Standby endpoints serve (true), or the active ones alone again.
    Standby(bool),
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

/// Why no endpoint could be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPermit {
    /// None is ready, or all are out.
    NoEndpoint,
    /// Those that could serve have as much in flight as they may.
    Full {
        /// When to try again.
        retry_after: Duration,
    },
    /// The only one's breaker is open.
    BreakerOpen {
        /// When to try again.
        retry_after: Duration,
    },
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
    tiers: Tiers,
    /// When endpoints are compared next.
    sweep_at: Time,
    /// What has become of all attempts.
    tally: Tally,
    /// The same, lately.
    lately: Lately,
    /// Looks at the speed of endpoints lately: the good ones, and the slow ones that passed.
    looks: Lately,
    /// Memory for the candidates of one pick, kept from pick to pick.
    candidates: Vec<Candidate>,
    events: Vec<PoolEvent>,
}

impl Pool {
    /// An empty pool.
    pub fn new(config: PoolConfig) -> Self {
        let lanes = (0..config.lanes.max(1)).map(|_| Lane::new()).collect();
        let budget = Budget::new(config.budget);
        let parking = Parking::new(config.parking.clone());
        let tiers = Tiers::new(&config.balance);
        Self {
            config,
            endpoints: Vec::new(),
            lanes,
            budget,
            parking,
            next_key: 0,
            panic: false,
            tiers,
            sweep_at: Time::ZERO,
            tally: Tally::default(),
            lately: Lately::default(),
            looks: Lately::default(),
            candidates: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A new active endpoint of weight 1, not ready yet. `zone` groups endpoints that can fail together.
    pub fn on_added(&mut self, now: Time, zone: u16) -> EndpointKey {
        self.on_added_as(now, Member { zone, ..Member::default() })
    }

    /// A new endpoint, not ready yet.
    pub fn on_added_as(&mut self, now: Time, member: Member) -> EndpointKey {
        let key = EndpointKey(self.next_key);
        self.next_key += 1;
        self.endpoints.push(Endpoint::new(now, key, member, &self.config));
        self.forget_evidence(now, key);
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
        endpoint.set_ready(now, ready, reason);
        if changed {
            self.forget_evidence(now, key);
            self.push(if ready { PoolEvent::Up(key) } else { PoolEvent::Down(key, reason) });
        }
        self.after_change(now);
    }

    /// A byte of a committed response body arrived (call sparingly: it only feeds the stall rule).
    pub fn on_progress(&mut self, now: Time, key: EndpointKey) {
        let tally = self.tally;
        if let Some(endpoint) = self.endpoint_mut(key) {
            endpoint.on_byte(now);
            endpoint.evidence.on_byte(tally);
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
        let endpoints = self.endpoints.iter().filter_map(Endpoint::next_deadline);
        endpoints.chain(self.tiers.next_deadline()).min()
    }

    /// Forgets ejections, breaker states, spent budgets and the endpoints' latencies (between drills); health stays.
    pub fn reset(&mut self, now: Time) {
        self.budget.reset(now);
        for endpoint in &mut self.endpoints {
            endpoint.reset(now);
            endpoint.evidence.forget(now, self.tally);
        }
        self.tiers.reset();
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

    /// Positive and negative assertions about the whole pool; debug builds run them after each step.
    pub fn check_invariants(&self) {
        assert!(self.events.len() <= MAX_EVENTS, "events are bounded");
        for endpoint in &self.endpoints {
            assert!(endpoint.waiting <= endpoint.in_flight, "who waits is in flight: {endpoint:?}");
            assert_eq!(endpoint.pace.waiting(), endpoint.waiting, "who waits is measured: {endpoint:?}");
            assert!(endpoint.key.0 < self.next_key, "keys are never reused");
        }
        assert!(self.parking.waiting() <= self.config.parking.max_requests, "places to park are bounded");
    }

    fn collect_breaker_changes(&mut self) {
        if !matches!(self.config.guard, Guard::Breaker(_)) {
            return;
        }
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
