//! A breaker with a clock, so that a test reads as a story.

use std::time::Duration;

use seaworthy_policy::breaker::{Mode, Outcome, Permit, Reason, Rejected, State, WindowType};
use seaworthy_policy::{Breaker, BreakerConfig, Rng, Time};

pub(crate) const QUICK: Duration = Duration::from_millis(1);
pub(crate) const SUCCESS: Outcome = Outcome::Success { elapsed: QUICK };
pub(crate) const FAILURE: Outcome = Outcome::Failure { elapsed: QUICK };

/// A breaker with its clock and its randomness, so that a test reads as a story.
pub(crate) struct Story {
    pub(crate) breaker: Breaker,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
}

impl Story {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        assert_eq!(config.validate(), Ok(()));
        Story { breaker: Breaker::new(config, Time::ZERO), rng: Rng::seeded(1), now: Time::ZERO }
    }

    pub(crate) fn wait(&mut self, millis: u64) -> &mut Self {
        self.now = self.now + Duration::from_millis(millis);
        self
    }

    pub(crate) fn admit(&mut self) -> Result<Permit, Rejected> {
        self.breaker.admit(self.now, &mut self.rng)
    }

    pub(crate) fn complete(&mut self, permit: Permit, outcome: Outcome) {
        self.breaker.complete(self.now, &mut self.rng, permit, outcome);
        self.breaker.check_invariants();
    }

    /// One call that is let in and ends at once.
    pub(crate) fn call(&mut self, outcome: Outcome) -> &mut Self {
        let permit = self.admit().expect("the call is let in");
        self.complete(permit, outcome);
        self
    }

    pub(crate) fn repeat(&mut self, times: u32, outcome: Outcome) -> &mut Self {
        for _ in 0..times {
            self.call(outcome);
        }
        self
    }

    pub(crate) fn succeed(&mut self) -> &mut Self {
        self.call(SUCCESS)
    }

    pub(crate) fn fail(&mut self) -> &mut Self {
        self.call(FAILURE)
    }

    pub(crate) fn state(&self) -> State {
        self.breaker.state(self.now)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state(), State::Open { .. })
    }

    /// Fails until the circuit is open, and returns for how long it is.
    pub(crate) fn open(&mut self) -> Duration {
        self.wait(500);
        for _ in 0..1_000 {
            match self.admit() {
                Ok(permit) => self.complete(permit, FAILURE),
                Err(Rejected::Ramping { .. }) => {}
                Err(rejected) => panic!("{rejected:?} while opening"),
            }
            if let State::Open { until } = self.state() {
                return until.saturating_since(self.now);
            }
        }
        panic!("a thousand failures do not open the circuit");
    }

    /// Goes to the end of the wait.
    pub(crate) fn half_open(&mut self) -> &mut Self {
        self.open();
        self.now = self.breaker.next_deadline().expect("an open circuit has an end");
        assert_eq!(self.state(), State::HalfOpen);
        self
    }

    pub(crate) fn last_reason(&mut self) -> Option<Reason> {
        std::iter::from_fn(|| self.breaker.take_transition()).last().map(|transition| transition.reason)
    }
}

pub(crate) fn config() -> BreakerConfig {
    BreakerConfig::default()
}

/// Nothing but rates may open this one.
pub(crate) fn rates_only() -> BreakerConfig {
    BreakerConfig { consecutive_failures: u32::MAX, ..config() }
}

pub(crate) fn slow_from(millis: u64) -> BreakerConfig {
    BreakerConfig { slow_call_duration: Some(Duration::from_millis(millis)), ..config() }
}

pub(crate) fn exact_wait() -> BreakerConfig {
    BreakerConfig { wait_jitter: 0.0, ..config() }
}

/// Rates over the last calls, however old.
pub(crate) fn last_calls(size: u32, minimum: u32) -> BreakerConfig {
    BreakerConfig {
        sliding_window_type: WindowType::CountBased,
        sliding_window_size: size,
        minimum_number_of_calls: minimum,
        ..rates_only()
    }
}

pub(crate) fn in_mode(mode: Mode) -> BreakerConfig {
    BreakerConfig { mode, ..exact_wait() }
}
