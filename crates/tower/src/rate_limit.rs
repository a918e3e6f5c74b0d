//! So many calls per period, over all services of one layer: the rate limiter of [`seaworthy_policy`] with one key.
//!
//! Rejects at once. Places in line (`timeout_duration`) need a call that waits, which a [`Gate`] has not; a limit that is
//! told to wait is refused when it is made, rather than not kept.
//!
//! Tower's own limit is one per service instance and waits in `poll_ready` (tower#454, tower#794); here clones share one.

use seaworthy_policy::rate_limit::{Decision, Request};
use seaworthy_policy::{ConfigError, RateLimitConfig, RateLimiter, Rng, Time};

use crate::breaker::seed;
use crate::classify::FailOnError;
use crate::clock::Clock;
use crate::gate::{Gate, GateLayer};
use crate::outcome::Ended;
use crate::{By, Rejection};

/// Limits the calls per period. One layer is one quota.
pub type RateLimitLayer<C = FailOnError> = GateLayer<OneQuota, C>;

/// A rate limiter with one key, which everybody shares.
#[derive(Clone, Debug)]
pub struct OneQuota {
    limiter: RateLimiter<()>,
}

impl OneQuota {
    /// Calls that could be made at once.
    pub fn remaining(&self, now: Time) -> u32 {
        self.limiter.remaining(now, &())
    }
}

impl Gate for OneQuota {
    type About = ();
    type Permit = ();

    fn admit(&mut self, now: Time, _: &mut Rng, (): ()) -> Result<(), Rejection> {
        let rejected =
            |retry_after| Err(Rejection { by: By::RateLimit, reason: "quota used up", retry_after });
        match self.limiter.acquire(now, &(), Request::default()) {
            Decision::Admitted => Ok(()),
            Decision::Rejected { retry_after, .. } => rejected(retry_after),
            Decision::Wait(_) | Decision::NeverFits => {
                unreachable!("no wait is configured, and a single call fits into any burst")
            }
        }
    }

    fn complete(&mut self, _: Time, _: &mut Rng, (): (), _: Ended) {}
}

impl GateLayer<OneQuota> {
    /// A quota of which nothing has been used.
    pub fn new(config: RateLimitConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        if !config.timeout_duration.is_zero() {
            return Err(ConfigError { field: "timeout_duration", must: "be 0: this layer rejects at once" });
        }
        let limiter = RateLimiter::new(config, &mut Rng::seeded(seed()));
        Ok(GateLayer::around(OneQuota { limiter }, Clock::starting_now(), seed()))
    }
}
