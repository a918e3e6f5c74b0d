//! Which endpoint gets the next attempt.

use std::time::Duration;

use crate::call::AttemptKind;
use crate::pool::endpoint::Endpoint;
use crate::pool::{EndpointKey, NoPermit, Permit, Pool};
use crate::rng::Rng;
use crate::time::Time;

/// What is asked of [`Pool::pick`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick<'a> {
    pub(crate) lane: usize,
    pub(crate) kind: AttemptKind,
    /// Endpoints that this call tried already; avoided while there is another.
    pub(crate) tried: &'a [EndpointKey],
    /// The call can be hedged, so it may try an endpoint that is on its way back.
    pub(crate) hedgeable: bool,
}

impl Pool {
    /// When to hedge in `lane`: the observed quantile, if enough is known.
    pub(crate) fn hedge_delay(&mut self, now: Time, lane: usize, quantile: f64) -> Option<Duration> {
        self.lanes[lane].quantile(now, quantile)
    }

    /// What hardly any attempt in `lane` takes: half as much again as its p99. With a hedge that takes the median, a request
    /// that met a hung endpoint is answered within about two and a half times the usual time.
    pub(crate) fn unusual_wait(&mut self, now: Time, lane: usize) -> Option<Duration> {
        let p99 = self.lanes[lane].p99(now)?;
        Some(p99.saturating_add(p99 / 2))
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
        let trial = self.readmission_candidate(now, pick);
        let chosen = match trial {
            Some(index) => index,
            None => self.choose_unstalled(now, rng, pick)?,
        };
        let permit = match self.endpoints[chosen].admit(now, rng, pick.lane, trial.is_some()) {
            Ok(permit) => Ok(permit),
            Err(retry_after) => self.admit_elsewhere(now, rng, pick, (chosen, retry_after)),
        };
        self.collect_breaker_changes();
        permit
    }

    /// One endpoint's breaker let nobody in; another one's may.
    fn admit_elsewhere(
        &mut self,
        now: Time,
        rng: &mut Rng,
        pick: &Pick<'_>,
        refused: (usize, Duration),
    ) -> Result<Permit, NoPermit> {
        let (chosen, mut retry_after) = refused;
        let panic = self.panic;
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            let again = pick.kind == AttemptKind::Hedge && pick.tried.contains(&endpoint.key);
            if index == chosen || again || !endpoint.is_open(now, panic) {
                continue;
            }
            match endpoint.admit(now, rng, pick.lane, false) {
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
        self.endpoints.iter_mut().position(|endpoint| endpoint.try_readmission(now, pick.hedgeable))
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
        let unknown = self.best_latency(now, lane);
        let score = |index: usize| self.endpoints[index].score(lane, now, unknown);
        Some(if score(second) < score(first) { second } else { first })
    }

    /// What a newcomer without samples is assumed to take: what its best peer takes. Less would send everybody there at once;
    /// more, and it might never be asked.
    fn best_latency(&self, now: Time, lane: usize) -> f64 {
        let known = self.endpoints.iter().filter_map(|endpoint| endpoint.latency(lane, now));
        known.reduce(f64::min).unwrap_or(1.0)
    }
}
