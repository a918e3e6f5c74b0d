//! The circuit breaker of [`seaworthy_policy`], held by [`GateLayer`].

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use seaworthy_policy::breaker::{Permit, Rejected, State};
use seaworthy_policy::{Breaker, BreakerConfig, ConfigError, Rng, Time};

use crate::classify::FailOnError;
use crate::clock::Clock;
use crate::gate::{Changed, Gate, GateHandle, GateLayer, Gated};
use crate::outcome::Ended;
use crate::{By, Rejection};

/// A circuit breaker. One layer stands for one backend: services made from it, and their clones, share the circuit.
pub type BreakerLayer<C = FailOnError> = GateLayer<Breaker, C>;

/// A service behind a circuit breaker.
pub type BreakerService<S, C = FailOnError> = Gated<S, Breaker, C>;

impl Gate for Breaker {
    type About = ();
    type Permit = Permit;

    fn admit(&mut self, now: Time, rng: &mut Rng, (): ()) -> Result<Permit, Rejection> {
        Breaker::admit(self, now, rng).map_err(|rejected| {
            let reason = match rejected {
                Rejected::Open { .. } => "open",
                Rejected::ProbesBusy { .. } => "probes busy",
                Rejected::Ramping { .. } => "ramping up",
            };
            // A wait of nothing would invite a caller to spin.
            let retry_after = rejected.retry_after().max(Duration::from_millis(1));
            Rejection { by: By::CircuitBreaker, reason, retry_after }
        })
    }

    fn complete(&mut self, now: Time, rng: &mut Rng, permit: Permit, ended: Ended) {
        Breaker::complete(self, now, rng, permit, ended.into());
    }

    #[inline]
    fn take_transition(&mut self) -> Option<Box<Changed>> {
        Breaker::take_transition(self).map(|transition| Box::new(Changed { transition, key: None }))
    }
}

impl GateLayer<Breaker> {
    /// A closed circuit.
    pub fn new(config: BreakerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let clock = Clock::starting_now();
        Ok(GateLayer::around(Breaker::new(config, clock.now()), clock, seed()))
    }
}

impl GateHandle<Breaker> {
    /// The state of the circuit.
    pub fn state(&self) -> State {
        self.with(|breaker, now| breaker.state(now))
    }

    /// Closes the circuit and forgets everything; calls under way no longer count.
    pub fn reset(&self) {
        self.with(Breaker::reset);
    }
}

/// Another one each time: jitter that is equal in all processes is none.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one(0_u64)
}
