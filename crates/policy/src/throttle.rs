//! The client's own brake: calls that would be refused anyway are not sent.
//!
//! **Problem.** Refusing costs an overloaded backend work as well, and a backend that does nothing but refuse
//! is down. The caller knows from its answers that this is so, and can stop asking.
//!
//! **Model.** "Handling Overload" in the SRE book (Google, 2016): over a window, count `requests` and those
//! the backend `accepted`. As long as it accepts at least one in `k`, everything is sent; beyond that a
//! request is rejected here with the probability `max(0, (requests - k * accepted) / (requests + 1))`. What
//! was rejected here counts as a request and never as accepted, so the brake holds itself; what still passes
//! tells when the backend is back. The probability never exceeds `max_rejection_probability`, or nothing
//! would pass, and nothing would ever be learned again.
//!
//! A request counts **when its outcome is known**. Counting it when it is sent makes a hundred requests in
//! their first round trip look like a hundred refused ones. A call that its caller gave up counts for
//! nothing: impatient callers must not turn the brake.
//!
//! **The least important first.** Requests come in up to [`RANKS`] ranks, counted apart. What must be shed in
//! all is taken from the least important rank as far as it goes (each up to the highest probability), and
//! only the rest from the next one. The sum is that of the formula; the checkout stays whole while there are
//! recommendations to drop.
//!
//! **Rejected:** a moving average (a burst hides an outage); one probability for all ranks; a brake below
//! `minimum_rps`, where three unlucky calls are half of all there are.
//!
//! Worked number, with the defaults (k = 2, 30 s): at 100 requests per second, a backend that refuses
//! everything has the brake at `3000 / 3001`, cut to 0.9, so that 10 per second reach it. Healthy again, it
//! accepts these; but the window still holds what was rejected, and it takes 40 s until half of the requests
//! are sent and 53 s until all are. That is the price of the formula, in proportion to the window: with one
//! of 10 s, a third of it.

use std::time::Duration;

use crate::error::{require, require_positive};
use crate::time::{nanos, scaled};
use crate::{ConfigError, Ratio, Rng, Sample, Time, Window};

/// Ranks of importance that are told apart; 0 is the most important.
pub const RANKS: usize = 4;
/// Slices of the window.
const WINDOW_BUCKETS: usize = 10;
/// The share by which a retry-after is spread to either side.
const RETRY_AFTER_JITTER: f64 = 0.5;

/// When to hold back, and how hard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottleConfig {
    /// Requests per accepted one that are still sent; above 1. The lower, the harder the brake.
    pub k: f64,
    /// How far back counts look.
    pub window: Duration,
    /// The highest probability of rejection; below 1.
    pub max_rejection_probability: f64,
    /// Requests per second, over the whole window, below which nothing is held back.
    pub minimum_rps: f64,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        ThrottleConfig {
            k: 2.0,
            window: Duration::from_secs(30),
            max_rejection_probability: 0.9,
            minimum_rps: 5.0,
        }
    }
}

impl ThrottleConfig {
    /// Whether a healthy backend gets everything, and a sick one something.
    pub fn validate(&self) -> Result<(), ConfigError> {
        // At 1 every single refusal would brake, and the brake's own rejections would hold it for ever.
        require(self.k > 1.0 && self.k.is_finite(), "k", "be above 1")?;
        require_positive(self.window, "window")?;
        let open = (0.0..1.0).contains(&self.max_rejection_probability);
        require(open, "max_rejection_probability", "be at least 0 and below 1")?;
        require(self.minimum_rps >= 0.0 && self.minimum_rps.is_finite(), "minimum_rps", "be at least 0")
    }
}

/// What became of a request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend took it on, however the work ended: an error in the answer is no overload.
    Accepted,
    /// The backend said that it is overloaded (429, 503), or gave no answer at all.
    Refused,
    /// The caller gave it up, or it was never sent. Not counted.
    Ignored,
}

/// A request that is not sent. Ours, never to be counted as a failure of the backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttled {
    /// How probable the rejection was.
    pub probability: Ratio,
    /// When to try again: about when the next slice leaves the window, spread so that the rejected do not
    /// come back together.
    pub retry_after: Duration,
}

/// What one rank has asked for, and got, in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests with a known outcome, those rejected here included.
    pub requests: u64,
    /// Those that the backend accepted.
    pub accepted: u64,
}

/// The brake of one edge.
#[derive(Clone, Debug)]
pub struct Throttle {
    config: ThrottleConfig,
    /// `Ok` is accepted, `Failed` is not.
    ranks: [Window; RANKS],
}

impl Throttle {
    /// A brake that is off.
    pub fn new(config: ThrottleConfig) -> Self {
        let ranks = std::array::from_fn(|_| Window::new(config.window, WINDOW_BUCKETS));
        Throttle { config, ranks }
    }

    /// Whether a request of this rank (0 is the most important; beyond the last counts as the last) may be
    /// sent. If so, its outcome is to be told.
    pub fn admit(&mut self, now: Time, rng: &mut Rng, rank: usize) -> Result<(), Throttled> {
        let rank = rank.min(RANKS - 1);
        let probability = self.probabilities(now)[rank];
        // Nothing is drawn when nothing is held back, so that a healthy run does not depend on it.
        if probability == Ratio::ZERO || !rng.chance(probability.get()) {
            return Ok(());
        }
        self.ranks[rank].record(now, Sample::Failed);
        #[cfg(debug_assertions)]
        self.check_invariants(now);
        let slice = scaled(self.config.window, 1.0 / WINDOW_BUCKETS as f64);
        let retry_after = rng.jitter(slice, RETRY_AFTER_JITTER).max(Duration::from_nanos(1));
        Err(Throttled { probability, retry_after })
    }

    /// A request of this rank that was admitted has ended.
    pub fn on_outcome(&mut self, now: Time, rank: usize, outcome: Outcome) {
        let sample = match outcome {
            Outcome::Accepted => Sample::Ok,
            Outcome::Refused => Sample::Failed,
            Outcome::Ignored => return,
        };
        self.ranks[rank.min(RANKS - 1)].record(now, sample);
        #[cfg(debug_assertions)]
        self.check_invariants(now);
    }

    /// How probable a rejection is now, for each rank.
    pub fn probabilities(&self, now: Time) -> [Ratio; RANKS] {
        let counts = self.counts(now);
        let requests: u64 = counts.iter().map(|rank| rank.requests).sum();
        let accepted: u64 = counts.iter().map(|rank| rank.accepted).sum();
        let few = self.config.minimum_rps * nanos(self.config.window) as f64 / 1e9;
        let beyond = requests as f64 - self.config.k * accepted as f64;
        if beyond <= 0.0 || (requests as f64) < few {
            return [Ratio::ZERO; RANKS];
        }
        let highest = self.config.max_rejection_probability;
        // Requests of the window's size that would have to be rejected, by the formula.
        let mut shed = (beyond / (requests as f64 + 1.0)).min(highest) * requests as f64;
        let mut probabilities = [Ratio::ZERO; RANKS];
        for (rank, probability) in counts.iter().zip(&mut probabilities).rev() {
            let asked = rank.requests as f64;
            let bears = shed.min(highest * asked);
            shed -= bears;
            *probability =
                if asked > 0.0 { Ratio::clamped((bears / asked).min(highest)) } else { Ratio::ZERO };
        }
        probabilities
    }

    /// What the window holds, for each rank.
    pub fn counts(&self, now: Time) -> [Counts; RANKS] {
        self.ranks.each_ref().map(|window| {
            let totals = window.totals(now);
            Counts { requests: totals.calls(), accepted: totals.ok }
        })
    }

    /// Panics when the brake contradicts itself.
    pub fn check_invariants(&self, now: Time) {
        let probabilities = self.probabilities(now);
        for (rank, probability) in probabilities.iter().enumerate() {
            let highest = self.config.max_rejection_probability;
            assert!(probability.get() <= highest, "rank {rank} is held back harder than allowed");
        }
        for (important, counts) in self.counts(now).iter().enumerate().skip(1) {
            let held = probabilities[important - 1] > Ratio::ZERO;
            let highest = probabilities[important].get() >= self.config.max_rejection_probability - 1e-9;
            assert!(
                !held || highest || counts.requests == 0,
                "a rank is held back before a less important one"
            );
        }
    }
}
