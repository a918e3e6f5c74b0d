//! What a job has to pass: a pause that the receiver asked for, the circuit breaker, the rate limit.

use std::time::Duration;

use super::config::DeliveryConfig;
use super::machine::HOLD_MAX;
use super::vocabulary::Because;
use crate::breaker::{self, Breaker, Permit, Rejected, State};
use crate::rate_limit::{Decision, Request};
use crate::{RateLimitConfig, RateLimiter, Rng, Time};

/// A gate that is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// When it may be open.
    pub(super) until: Time,
    pub(super) because: Because,
}

/// All of them. None has anything to say about a single job.
#[derive(Debug)]
pub(super) struct Gates {
    rate: Option<RateLimiter<()>>,
    breaker: Option<Breaker>,
    /// How many probes the breaker permits.
    probes: u32,
    /// Until when the receiver asked to be left alone.
    asked_until: Time,
    /// What the breaker or the rate limit said last.
    told: Option<Gate>,
}

impl Gates {
    pub(super) fn new(config: &DeliveryConfig, now: Time, rng: &mut Rng) -> Self {
        let rate = config.rate.map(|rate| {
            // Jobs wait here; a place in the limiter's line could not be given back.
            RateLimiter::new(RateLimitConfig { timeout_duration: Duration::ZERO, ..rate }, rng)
        });
        Gates {
            rate,
            breaker: config.breaker.clone().map(|breaker| Breaker::new(breaker, now)),
            probes: config
                .breaker
                .as_ref()
                .map_or(0, |breaker| breaker.permitted_number_of_calls_in_half_open_state),
            asked_until: Time::ZERO,
            told: None,
        }
    }

    /// The gate that is shut now, if any.
    pub(super) fn shut(&self, now: Time) -> Option<Gate> {
        let asked = Gate { until: self.asked_until, because: Because::Asked };
        [Some(asked), self.told]
            .into_iter()
            .flatten()
            .filter(|gate| gate.until > now)
            .max_by_key(|gate| gate.until)
    }

    /// The way for one job: a permit where a breaker gives them. `None` when a gate is shut.
    #[expect(clippy::option_option, reason = "no way, or a way with or without a permit")]
    pub(super) fn pass(&mut self, now: Time, rng: &mut Rng) -> Option<Option<Permit>> {
        self.look(now);
        if self.shut(now).is_some() {
            return None;
        }
        let permit = match &mut self.breaker {
            None => None,
            Some(breaker) => match breaker.admit(now, rng) {
                Ok(permit) => Some(permit),
                Err(rejected) => {
                    let wait = match rejected {
                        // The probes' answers may come at any moment.
                        Rejected::ProbesBusy { retry_after } => retry_after.min(HOLD_MAX),
                        other => other.retry_after(),
                    };
                    self.told = Some(Gate { until: now + wait, because: Because::Breaker });
                    return None;
                }
            },
        };
        if let Some(rate) = &mut self.rate {
            let decision = rate.acquire(now, &(), Request::default());
            debug_assert_eq!(decision, Decision::Admitted, "there was something left");
        }
        Some(permit)
    }

    /// Sees whether the breaker is open, or nothing is left of the rate.
    pub(super) fn look(&mut self, now: Time) {
        if let Some(breaker) = &self.breaker
            && let State::Open { until } = breaker.state(now)
        {
            self.told = Some(Gate { until, because: Because::Breaker });
        }
        if let Some(rate) = &mut self.rate
            && rate.remaining(now, &()) == 0
            && let Decision::Rejected { retry_after, .. } = rate.acquire(now, &(), Request::default())
        {
            let until = now + retry_after;
            if self.told.is_none_or(|told| told.until < until) {
                self.told = Some(Gate { until, because: Because::Rate });
            }
        }
    }

    /// How many more may pass now, as far as can be said.
    pub(super) fn allowance(&self, now: Time) -> Option<u32> {
        let rate = self.rate.as_ref().map(|rate| rate.remaining(now, &()));
        let half_open = self.breaker.as_ref().is_some_and(|breaker| breaker.state(now) == State::HalfOpen);
        rate.into_iter().chain(half_open.then_some(self.probes)).min()
    }

    /// Nothing passes until then.
    pub(super) fn rest(&mut self, until: Time) {
        self.asked_until = self.asked_until.max(until);
    }

    /// What became of an attempt. The breaker may have changed its mind since.
    pub(super) fn complete(
        &mut self,
        now: Time,
        rng: &mut Rng,
        permit: Option<Permit>,
        outcome: breaker::Outcome,
    ) {
        if let (Some(breaker), Some(permit)) = (&mut self.breaker, permit) {
            breaker.complete(now, rng, permit, outcome);
            self.told = self.told.filter(|told| told.because != Because::Breaker);
        }
    }

    pub(super) fn advance(&mut self, now: Time, rng: &mut Rng) {
        if let Some(breaker) = &mut self.breaker {
            breaker.on_timer(now, rng);
        }
        self.told = self.told.filter(|told| told.until > now);
    }

    pub(super) fn reset(&mut self, now: Time) {
        self.asked_until = Time::ZERO;
        self.told = self.told.filter(|told| told.because != Because::Breaker);
        if let Some(breaker) = &mut self.breaker {
            breaker.reset(now);
        }
    }

    /// When any of them may change.
    pub(super) fn deadlines(&self, latest: Time) -> [Option<Time>; 3] {
        let asked = Some(self.asked_until).filter(|until| *until > latest);
        let breaker = self.breaker.as_ref().and_then(Breaker::next_deadline);
        [asked, self.told.map(|told| told.until), breaker]
    }

    pub(super) fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    pub(super) fn take_transition(&mut self) -> Option<breaker::Transition> {
        self.breaker.as_mut()?.take_transition()
    }

    pub(super) fn check_invariants(&self) {
        if let Some(breaker) = &self.breaker {
            breaker.check_invariants();
        }
    }
}
