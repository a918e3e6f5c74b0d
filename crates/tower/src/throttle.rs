//! The client's own brake: the adaptive throttle of [`seaworthy_policy`], held by [`GateLayer`].
//!
//! While the backend takes on at least one request in `k` everything is sent; beyond that, a share is rejected here.
//! An error in an answer is no overload: only a refusal and silence brake. What a refusal looks like is for your
//! classifier to say ([`Verdict::OVERLOADED`](crate::Verdict::OVERLOADED), [`Verdict::throttled`](crate::Verdict::throttled),
//! [`Verdict::UNEXECUTED`](crate::Verdict::UNEXECUTED)); without one, only timeouts are.
//!
//! Belongs inside of a retry, so that it sees every attempt, and inside of a total timeout.

use seaworthy_policy::throttle::{self, Counts, RANKS};
use seaworthy_policy::{ConfigError, Ratio, Rng, Throttle, ThrottleConfig, Time};

use crate::breaker::seed;
use crate::classify::FailOnError;
use crate::clock::Clock;
use crate::gate::{Gate, GateHandle, GateLayer};
use crate::outcome::{Ended, Outcome};
use crate::{By, Rejection};

/// Sends less to a backend that refuses. One layer stands for one backend.
pub type ThrottleLayer<C = FailOnError> = GateLayer<Throttle, C>;

/// Everything that passes one layer matters alike; this is the rank for it.
const RANK: usize = 0;
const _: () = assert!(RANK < RANKS);

impl Gate for Throttle {
    type Permit = ();

    fn admit(&mut self, now: Time, rng: &mut Rng) -> Result<(), Rejection> {
        Throttle::admit(self, now, rng, RANK).map_err(|throttled| {
            let (reason, retry_after) = ("the backend refuses too much", throttled.retry_after);
            Rejection { by: By::Throttle, reason, retry_after }
        })
    }

    fn complete(&mut self, now: Time, _: &mut Rng, (): (), ended: Ended) {
        let outcome = match ended.outcome {
            Outcome::Success | Outcome::Failed | Outcome::Ignored => throttle::Outcome::Accepted,
            Outcome::Overloaded | Outcome::Throttled | Outcome::Unexecuted | Outcome::TimedOut => {
                throttle::Outcome::Refused
            }
            Outcome::Panicked | Outcome::NotSent | Outcome::Cancelled => throttle::Outcome::Ignored,
        };
        self.on_outcome(now, RANK, outcome);
    }
}

impl GateLayer<Throttle> {
    /// A brake that is off.
    pub fn new(config: ThrottleConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(GateLayer::around(Throttle::new(config), Clock::starting_now(), seed()))
    }
}

impl GateHandle<Throttle> {
    /// How probable it is that a call would be rejected now.
    pub fn probability(&self) -> Ratio {
        self.with(|throttle, now| throttle.probabilities(now)[RANK])
    }

    /// What the window holds.
    pub fn counts(&self) -> Counts {
        self.with(|throttle, now| throttle.counts(now)[RANK])
    }
}
