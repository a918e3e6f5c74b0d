//! The limit itself: who is under way, when a window ends, and what it changes.

use std::time::Duration;

use super::config::{Algorithm, LimitConfig};
use super::rivals::{Gradient2, aimd};
use super::samples::{Observed, Samples};
use super::vegas::{EXPERIMENT_EVERY, EXPERIMENT_SHARE, Step, Vegas};
use crate::time::scaled;
use crate::{Rng, Time};

/// The share of lost calls from which on a window is about the losses: a few slow requests are
/// no overload, and a queue shows in the latency of the others long before it costs as many.
pub const LOST_SHARE_MIN: f64 = 0.05;
/// What a window with losses leaves of the limit, at most.
const LOSS_CUT: f64 = 0.9;

/// The right to have one call under way. Give it back with [`Limit::release`], whatever becomes of the call.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not given back holds its place for ever"]
pub struct Permit {
    generation: u32,
    started: Time,
}

impl Permit {
    /// When the call was let go.
    pub fn started(&self) -> Time {
        self.started
    }

    /// How long the call has been under way.
    pub fn elapsed(&self, now: Time) -> Duration {
        now.saturating_since(self.started)
    }
}

/// What became of a call that was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered; its latency is a sample.
    Success,
    /// It was answered with a failure that is no sign of overload: it counts as throughput, but how fast somebody
    /// fails says nothing about how fast they work.
    Failed,
    /// It took too long. A loss, not a latency.
    TimedOut,
    /// The backend said that it is overloaded (429, 503). A loss.
    Overloaded,
    /// The caller gave up, or we never sent it. Nothing is learnt (Netflix's concurrency-limits#146).
    Cancelled,
}

#[derive(Clone, Debug)]
enum Finder {
    Fixed,
    Aimd,
    Vegas(Vegas),
    Gradient2(Gradient2),
}

/// How many calls may be under way at once.
#[derive(Clone, Debug)]
pub struct Limit {
    config: LimitConfig,
    finder: Finder,
    limit: f64,
    in_flight: u32,
    generation: u32,
    samples: Samples,
    /// Whether this window runs under a lowered limit.
    experiment: bool,
    windows_to_experiment: u64,
    latest: Time,
}

impl Limit {
    /// A limit with nobody under way.
    pub fn new(config: LimitConfig) -> Self {
        let finder = match config.algorithm {
            Algorithm::Fixed => Finder::Fixed,
            Algorithm::Aimd => Finder::Aimd,
            Algorithm::Vegas => Finder::Vegas(Vegas::default()),
            Algorithm::Gradient2 => Finder::Gradient2(Gradient2::default()),
        };
        Limit {
            finder,
            limit: config.clamp(f64::from(config.initial_limit)),
            in_flight: 0,
            generation: 0,
            samples: Samples::new(),
            experiment: false,
            windows_to_experiment: EXPERIMENT_EVERY,
            latest: Time::ZERO,
            config,
        }
    }

    /// Takes a place, if there is one.
    pub fn try_acquire(&mut self, now: Time) -> Option<Permit> {
        if self.in_flight >= self.limit() {
            return None;
        }
        let now = self.advance(now);
        if !matches!(self.finder, Finder::Fixed) {
            self.samples.on_admitted(now, self.in_flight);
        }
        self.in_flight += 1;
        self.check_in_debug();
        Some(Permit { generation: self.generation, started: now })
    }

    /// Gives a place back and says what became of the call. A result from before a reset counts as throughput only.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is worth one report, so it is taken away")]
    pub fn release(&mut self, now: Time, rng: &mut Rng, permit: Permit, outcome: Outcome) {
        let now = self.advance(now);
        debug_assert!(self.in_flight > 0, "a permit that this limit did not give");
        if !matches!(self.finder, Finder::Fixed) {
            self.samples.on_ended(now, self.in_flight);
            self.learn(now, &permit, outcome);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        self.end_window_when_due(now, rng);
        self.check_in_debug();
    }

    /// Calls that may be under way at present, at least 1.
    pub fn limit(&self) -> u32 {
        let share = if self.experiment { EXPERIMENT_SHARE } else { 1.0 };
        (self.limit * share).max(f64::from(self.config.min_limit)) as u32
    }

    /// Calls under way. After a cut this may exceed the limit until enough of them have ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether another call could be let go.
    pub fn has_room(&self) -> bool {
        self.in_flight < self.limit()
    }

    /// How often everything known about latency was made invalid.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// How long a call is believed to take without a queue; `None` before the first window, and for algorithms that
    /// do not ask.
    pub fn baseline(&self) -> Option<Duration> {
        let seconds = match &self.finder {
            Finder::Fixed | Finder::Aimd => None,
            Finder::Vegas(vegas) => vegas.baseline(),
            Finder::Gradient2(gradient) => gradient.baseline(),
        };
        seconds.map(|seconds| scaled(Duration::from_secs(1), seconds))
    }

    /// Forgets what was learnt and starts again from the initial limit; calls under way keep their places.
    pub fn reset(&mut self) {
        let fresh = Limit::new(self.config);
        let (in_flight, generation, latest) = (self.in_flight, self.generation, self.latest);
        *self = Limit { in_flight, generation: generation.wrapping_add(1), latest, ..fresh };
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        let (least, most) = (f64::from(self.config.min_limit), f64::from(self.config.max_limit));
        assert!(self.limit >= least && self.limit <= most, "a limit out of bounds: {}", self.limit);
        let known = self.baseline().is_none_or(|baseline| baseline <= self.config.timeout);
        assert!(known, "a baseline that no call can have had");
        let fixed = matches!(self.finder, Finder::Fixed);
        assert!(!fixed || self.samples.gathered().is_none(), "a fixed limit gathers samples");
    }

    fn check_in_debug(&self) {
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn advance(&mut self, now: Time) -> Time {
        self.latest = self.latest.max(now);
        self.latest
    }

    fn learn(&mut self, now: Time, permit: &Permit, outcome: Outcome) {
        let current = permit.generation == self.generation;
        let elapsed = permit.elapsed(now);
        let late = elapsed >= self.config.timeout;
        match outcome {
            Outcome::TimedOut | Outcome::Overloaded if current => self.samples.on_lost(),
            Outcome::Success | Outcome::Failed if late && current => self.samples.on_lost(),
            Outcome::Success if current => self.samples.on_answer(now, Some(elapsed)),
            Outcome::Success | Outcome::Failed => self.samples.on_answer(now, None),
            Outcome::Cancelled | Outcome::TimedOut | Outcome::Overloaded => {}
        }
    }

    fn end_window_when_due(&mut self, now: Time, rng: &mut Rng) {
        let Some((started, judged)) = self.samples.gathered() else { return };
        let age = now.saturating_since(started);
        let enough = age >= self.config.sample_window && judged >= self.config.samples_min;
        if enough || (age >= self.config.sample_window_max && judged > 0) {
            let observed = self.samples.finish(now, self.config.percentile);
            self.follow(rng, &observed);
        }
    }

    fn follow(&mut self, rng: &mut Rng, observed: &Observed) {
        let experiment = std::mem::take(&mut self.experiment);
        let step = if observed.lost > LOST_SHARE_MIN {
            if let Finder::Vegas(vegas) = &mut self.finder {
                vegas.on_loss();
            }
            Step { limit: self.limit * LOSS_CUT.min(1.0 - observed.lost / 2.0), reset: true }
        } else {
            match &mut self.finder {
                Finder::Fixed => Step { limit: self.limit, reset: false },
                Finder::Aimd => Step { limit: aimd(self.limit, observed), reset: false },
                Finder::Vegas(vegas) => vegas.step(&self.config, self.limit, observed, experiment),
                Finder::Gradient2(gradient) => {
                    Step { limit: gradient.step(&self.config, self.limit, observed), reset: false }
                }
            }
        };
        self.limit = self.config.clamp(step.limit);
        let begins = !step.reset && self.begin_experiment(rng, observed);
        if step.reset || begins {
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Every so often one window runs with four fifths of the limit: enough to drain the queue that we allow, and
    /// far from the standstill in which Envoy measures (Envoy#18152). Jitter keeps gateways out of step.
    fn begin_experiment(&mut self, rng: &mut Rng, observed: &Observed) -> bool {
        let (Finder::Vegas(vegas), Some(rtt)) = (&mut self.finder, observed.rtt) else { return false };
        self.windows_to_experiment = self.windows_to_experiment.saturating_sub(1);
        // A limit that nobody touches can be lowered without effect, and would show nothing.
        let pressed = observed.in_flight > self.limit * EXPERIMENT_SHARE;
        if self.windows_to_experiment > 0 || !pressed {
            return false;
        }
        let third = EXPERIMENT_EVERY / 3;
        self.windows_to_experiment = EXPERIMENT_EVERY - third + rng.below(2 * third + 1);
        vegas.begin_experiment(self.limit, observed, rtt);
        self.experiment = true;
        true
    }
}
