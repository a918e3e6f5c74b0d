//! The client's own brake: the adaptive throttle of [`seaworthy_policy`], held by [`GateLayer`].
//!
//! While the backend takes on at least one request in `k` everything is sent; beyond that, a share is rejected here.
//! An error in an answer is no overload: only a refusal and silence brake. What a refusal looks like is for your
//! classifier to say ([`Verdict::OVERLOADED`](crate::Verdict::OVERLOADED), [`Verdict::throttled`](crate::Verdict::throttled),
//! [`Verdict::UNEXECUTED`](crate::Verdict::UNEXECUTED)); without one, only timeouts are.
//!
//! With priorities, what must be shed is taken from the least important requests as far as it goes: the checkout stays whole
//! while there are recommendations to drop.
//!
//! Belongs inside of a retry, so that it sees every attempt, and inside of a total timeout.

use seaworthy_policy::admission::Priority;
use seaworthy_policy::throttle::{self, Counts, RANKS};
use seaworthy_policy::{ConfigError, Ratio, Rng, Throttle, ThrottleConfig, Time};

use crate::admission::Alike;
use crate::breaker::seed;
use crate::classify::FailOnError;
use crate::clock::Clock;
use crate::gate::{Gate, GateHandle, GateLayer};
use crate::outcome::{Ended, Outcome};
use crate::{By, Rejection};

/// Sends less to a backend that refuses. One layer stands for one backend.
pub type ThrottleLayer<C = FailOnError, P = Alike> = GateLayer<Throttle, C, P>;

const _: () = assert!(Priority::ALL.len() == RANKS, "a rank for each priority");

/// The rank of a priority: its place among all of them, the highest first.
fn rank(priority: Priority) -> usize {
    Priority::ALL.iter().position(|known| *known == priority).unwrap_or(RANKS - 1)
}

impl Gate for Throttle {
    type About = Priority;
    type Permit = Priority;

    fn admit(&mut self, now: Time, rng: &mut Rng, priority: Priority) -> Result<Priority, Rejection> {
        let admitted = Throttle::admit(self, now, rng, rank(priority));
        admitted.map(|()| priority).map_err(|throttled| {
            let (reason, retry_after) = ("the backend refuses too much", throttled.retry_after);
            Rejection { by: By::Throttle, reason, retry_after }
        })
    }

    fn complete(&mut self, now: Time, _: &mut Rng, priority: Priority, ended: Ended) {
        let outcome = match ended.outcome {
            Outcome::Success | Outcome::Failed | Outcome::Ignored => throttle::Outcome::Accepted,
            Outcome::Overloaded | Outcome::Throttled | Outcome::Unexecuted | Outcome::TimedOut => {
                throttle::Outcome::Refused
            }
            Outcome::Panicked | Outcome::NotSent | Outcome::Cancelled => throttle::Outcome::Ignored,
        };
        self.on_outcome(now, rank(priority), outcome);
    }
}

impl GateLayer<Throttle> {
    /// A brake that is off.
    pub fn new(config: ThrottleConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(GateLayer::around(Throttle::new(config), Clock::starting_now(), seed()))
    }
}

impl<C, P> GateLayer<Throttle, C, P> {
    /// Asks this how much each request matters: a function from the request to its [`Priority`].
    pub fn prioritize<Q>(self, priorities: Q) -> GateLayer<Throttle, C, Q> {
        self.about(priorities)
    }
}

impl GateHandle<Throttle> {
    /// How probable it is that a call of the usual priority would be rejected now.
    pub fn probability(&self) -> Ratio {
        self.probability_of(Priority::default())
    }

    /// The same for a call of this priority.
    pub fn probability_of(&self, priority: Priority) -> Ratio {
        self.with(|throttle, now| throttle.probabilities(now)[rank(priority)])
    }

    /// What the window holds, of all priorities.
    pub fn counts(&self) -> Counts {
        self.with(|throttle, now| {
            throttle.counts(now).iter().fold(Counts::default(), |sum, rank| Counts {
                requests: sum.requests + rank.requests,
                accepted: sum.accepted + rank.accepted,
            })
        })
    }

    /// What it holds of this priority.
    pub fn counts_of(&self, priority: Priority) -> Counts {
        self.with(|throttle, now| throttle.counts(now)[rank(priority)])
    }
}
