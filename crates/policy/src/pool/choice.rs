//! Which endpoint gets the next attempt.

use std::time::Duration;

use crate::call::AttemptKind;
use crate::pool::balance::{Candidate, affinity, least_in_flight, p2c, round_robin, zones};
use crate::pool::endpoint::{Endpoint, Sending};
use crate::pool::{EndpointKey, NoPermit, Permit, Pool, Strategy, Tier};
use crate::rng::Rng;
use crate::time::Time;

/// When a call that found all endpoints full may come again, at the earliest and the latest: by then, what is in flight has
/// usually ended.
const FULL_RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is asked of [`Pool::pick`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick<'a> {
    pub(crate) lane: usize,
    pub(crate) kind: AttemptKind,
    /// Endpoints that this call tried already; avoided while there is another.
    pub(crate) tried: &'a [EndpointKey],
    /// The call can be hedged, so it may try an endpoint that is on its way back.
    pub(crate) hedgeable: bool,
    /// Calls with the same key go to the same endpoint while that has room.
    pub(crate) affinity: Option<u64>,
}

impl Pool {
    /// When to hedge in `lane`: the observed quantile, if enough is known.
    pub(crate) fn hedge_delay(&mut self, now: Time, lane: usize, quantile: f64) -> Option<Duration> {
        self.lanes[lane].quantile(now, quantile)
    }

    /// What hardly any attempt in `lane` takes. With a hedge that takes the median, a request that met a hung endpoint is
    /// answered within about two and a half times the usual time.
    pub(crate) fn unusual_wait(&mut self, now: Time, lane: usize) -> Option<Duration> {
        self.lanes[lane].unusual(now)
    }

    /// What an attempt in `lane` usually takes (its median); zero while unknown.
    pub(crate) fn expected(&mut self, now: Time, lane: usize) -> Duration {
        self.lanes[lane].p50(now).unwrap_or(Duration::ZERO)
    }

    /// Attempts in flight at all endpoints together, streaming bodies included.
    pub(crate) fn in_flight(&self) -> u32 {
        self.endpoints.iter().map(|endpoint| endpoint.in_flight).sum()
    }

    /// True when an endpoint other than `tried` would take an attempt right now.
    pub(crate) fn has_fresh(&self, now: Time, tried: &[EndpointKey]) -> bool {
        self.endpoints.iter().any(|endpoint| !tried.contains(&endpoint.key) && self.takes(now, endpoint))
    }

    /// True when endpoints could serve, if they did not have as much in flight as they may. An attempt at `leaving` is about to end.
    pub(crate) fn is_full(&self, now: Time, leaving: Option<EndpointKey>) -> bool {
        if self.config.max_in_flight.is_none() {
            return false;
        }
        let panic = self.panic;
        let mut serving = self
            .endpoints
            .iter()
            .filter(|endpoint| self.tiers.serves(endpoint.member.tier) && endpoint.is_open(now, panic))
            .peekable();
        serving.peek().is_some()
            && serving.all(|endpoint| {
                Some(endpoint.key) != leaving && !endpoint.has_room(self.config.max_in_flight)
            })
    }

    /// Would take one more attempt right now.
    fn takes(&self, now: Time, endpoint: &Endpoint) -> bool {
        self.tiers.serves(endpoint.member.tier)
            && endpoint.is_open(now, self.panic)
            && endpoint.has_room(self.config.max_in_flight)
    }

    /// True when an endpoint other than `tried` answers well: worth asking after a 500.
    pub(crate) fn has_well(&self, now: Time, tried: &[EndpointKey]) -> bool {
        self.endpoints.iter().any(|endpoint| {
            !tried.contains(&endpoint.key)
                && endpoint.is_open(now, false)
                && self.takes(now, endpoint)
                && endpoint.is_well()
        })
    }

    /// Picks an endpoint and takes its permit.
    pub(crate) fn pick(&mut self, now: Time, rng: &mut Rng, pick: &Pick<'_>) -> Result<Permit, NoPermit> {
        self.sweep_if_due(now);
        if self.config.max_in_flight.is_some() {
            self.endpoints.iter_mut().for_each(|endpoint| endpoint.abandoned.on_time(now));
        }
        let trial = self.readmission_candidate(now, pick);
        let chosen = match trial {
            Some(index) => index,
            None => self.choose_unstalled(now, rng, pick)?,
        };
        let usual = self.lanes[pick.lane].p50(now);
        let sending = Sending { lane: pick.lane, usual, readmission: trial.is_some() };
        let mut permit = match self.endpoints[chosen].admit(now, rng, sending) {
            Ok(permit) => Ok(permit),
            Err(retry_after) => {
                let sending = Sending { readmission: false, ..sending };
                self.admit_elsewhere(now, rng, pick, sending, (chosen, retry_after))
            }
        };
        self.collect_breaker_changes();
        if let Ok(permit) = &mut permit
            && let Some(index) = self.index(permit.endpoint)
        {
            self.count_sent(now, index, permit);
        }
        permit
    }

    /// One endpoint's breaker let nobody in; another one's may.
    fn admit_elsewhere(
        &mut self,
        now: Time,
        rng: &mut Rng,
        pick: &Pick<'_>,
        sending: Sending,
        refused: (usize, Duration),
    ) -> Result<Permit, NoPermit> {
        let (chosen, mut retry_after) = refused;
        for index in 0..self.endpoints.len() {
            let endpoint = &self.endpoints[index];
            let again = pick.kind == AttemptKind::Hedge && pick.tried.contains(&endpoint.key);
            if index == chosen || again || !self.takes(now, endpoint) {
                continue;
            }
            match self.endpoints[index].admit(now, rng, sending) {
                Ok(permit) => return Ok(permit),
                Err(sooner) => retry_after = retry_after.min(sooner),
            }
        }
        Err(NoPermit::BreakerOpen { retry_after })
    }

    fn readmission_candidate(&mut self, now: Time, pick: &Pick<'_>) -> Option<usize> {
        if pick.kind != AttemptKind::First {
            return None;
        }
        let (tiers, most) = (&self.tiers, self.config.max_in_flight);
        // A standby that does not serve is not tried at a client's expense.
        let wanted = |endpoint: &Endpoint| {
            (endpoint.member.tier == Tier::Active || tiers.serves(Tier::Standby)) && endpoint.has_room(most)
        };
        self.endpoints
            .iter_mut()
            .position(|endpoint| wanted(endpoint) && endpoint.try_readmission(now, pick.hedgeable))
    }

    /// Whoever turns out to be stalled is put out, and another one is chosen.
    fn choose_unstalled(&mut self, now: Time, rng: &mut Rng, pick: &Pick<'_>) -> Result<usize, NoPermit> {
        let chosen = self.choose(now, rng, pick)?;
        if self.look_for_stall(now, pick.lane, chosen) {
            return self.choose(now, rng, pick);
        }
        Ok(chosen)
    }

    fn choose(&mut self, now: Time, rng: &mut Rng, pick: &Pick<'_>) -> Result<usize, NoPermit> {
        let mut candidates = std::mem::take(&mut self.candidates);
        let chosen = self.choose_among(now, rng, pick, &mut candidates);
        self.candidates = candidates;
        chosen
    }

    fn choose_among(
        &mut self,
        now: Time,
        rng: &mut Rng,
        pick: &Pick<'_>,
        candidates: &mut Vec<Candidate>,
    ) -> Result<usize, NoPermit> {
        self.list(now, candidates, |endpoint| !pick.tried.contains(&endpoint.key));
        // A hedge beside the same endpoint would only add load.
        if candidates.is_empty() && pick.kind != AttemptKind::Hedge {
            self.list(now, candidates, |_| true);
        }
        let balance = &self.config.balance;
        let position = if let Some(key) = pick.affinity {
            affinity::choose(candidates, key, balance.affinity_load_factor)
        } else {
            if let Some(zone) = balance.own_zone {
                zones::keep_one_side(
                    candidates,
                    zone,
                    self.weight_of(now, zone),
                    balance.zone_healthy_share,
                    rng,
                );
            }
            self.by_strategy(now, rng, pick.lane, candidates)
        };
        match position {
            Some(position) => Ok(candidates[position].index),
            None if self.is_full(now, None) => {
                Err(NoPermit::Full { retry_after: self.retry_after_full(now, pick.lane) })
            }
            None => Err(NoPermit::NoEndpoint),
        }
    }

    fn by_strategy(
        &mut self,
        now: Time,
        rng: &mut Rng,
        lane: usize,
        candidates: &mut [Candidate],
    ) -> Option<usize> {
        match self.config.balance.strategy {
            Strategy::RoundRobin => {
                let chosen = round_robin::choose(candidates);
                for candidate in candidates {
                    self.endpoints[candidate.index].credit = candidate.credit;
                }
                chosen
            }
            Strategy::LeastInFlight => least_in_flight::choose(candidates, rng),
            Strategy::P2c => {
                let failure_cost = self.config.balance.failure_cost;
                p2c::choose(candidates, rng, |candidate| {
                    let unknown = || self.best_latency(now, lane);
                    self.endpoints[candidate.index].expected(lane, now, failure_cost, unknown)
                })
            }
        }
    }

    /// Fills the list with those that would take one more attempt and are wanted.
    fn list(&self, now: Time, candidates: &mut Vec<Candidate>, wanted: impl Fn(&Endpoint) -> bool) {
        candidates.clear();
        let slow_start = self.config.balance.slow_start;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if wanted(endpoint) && self.takes(now, endpoint) {
                candidates.push(endpoint.candidate(index, now, slow_start));
            }
        }
    }

    /// The available and the whole weight of a zone, of the tiers that serve.
    fn weight_of(&self, now: Time, zone: u16) -> (u64, u64) {
        let mut weights = (0, 0);
        let of_zone =
            |endpoint: &&Endpoint| endpoint.member.zone == zone && self.tiers.serves(endpoint.member.tier);
        for endpoint in self.endpoints.iter().filter(of_zone) {
            let weight = u64::from(endpoint.member.weight);
            weights.0 += if self.takes(now, endpoint) { weight } else { 0 };
            weights.1 += weight;
        }
        weights
    }

    fn retry_after_full(&mut self, now: Time, lane: usize) -> Duration {
        let (least, most) = FULL_RETRY_AFTER;
        self.lanes[lane].p99(now).map_or(least, |p99| p99.clamp(least, most))
    }

    /// What a newcomer without samples is assumed to take: what its best peer takes. Less would send everybody there at once;
    /// more, and it might never be asked.
    fn best_latency(&self, now: Time, lane: usize) -> f64 {
        let known = self.endpoints.iter().filter_map(|endpoint| endpoint.latency(lane, now));
        known.reduce(f64::min).unwrap_or(1.0)
    }
}
