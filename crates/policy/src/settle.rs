//! Several calls, one answer: when enough of them have come back.
//!
//! **Problem.** A page made of six services must not be as unavailable as all six together. Some parts are
//! necessary, others only nice to have; of three copies, two are enough. Waiting for all gives the slowest
//! one's latency and the weakest one's availability.
//!
//! **Model.** Each *leg* is required or optional, and ends as [`Settled`]. The whole is decided **as soon as
//! it is certain**:
//! - *failed*, when a required leg has not succeeded, or when `min_success` can no longer be reached;
//! - *complete*, when all required legs and at least `min_success` in all have succeeded. Without
//!   `min_success` nobody says how many are enough, so it waits for every leg as long as `settle_within`
//!   lasts;
//! - at `settle_within` with what there is.
//!
//! With the decision every leg that was still under way is settled as well: `TimedOut` if the time was up,
//! `Skipped` otherwise, and is to be cancelled. What comes later is not heard.
//!
//! **Rejected:** cancelling optional legs as soon as the required ones are there (nobody would ever see the
//! optional part); a grace period per leg (a second timer says nothing that `settle_within` does not).
//!
//! Worked number: three copies at 99 % each and a quorum of two answer 99.97 % of the time, with the second
//! fastest one's latency.

use std::time::Duration;

use crate::error::{require, require_positive};
use crate::{ConfigError, Time};

/// The most legs of one request.
pub const LEGS_MAX: usize = 64;

/// Whether the whole needs a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it there is no answer.
    Required,
    /// The answer is better with it.
    Optional,
}

/// The legs, and how many of them are enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleConfig {
    /// One entry per leg; 1 to [`LEGS_MAX`].
    pub legs: Vec<Need>,
    /// Legs that must succeed in all, the required ones included. When it is given, the rest is cancelled as
    /// soon as it is reached.
    pub min_success: Option<u32>,
    /// How long to wait for legs, from the beginning.
    pub settle_within: Duration,
}

impl SettleConfig {
    /// Whether the whole can succeed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require((1..=LEGS_MAX).contains(&self.legs.len()), "legs", "be from 1 to 64")?;
        let reachable =
            self.min_success.is_none_or(|least| (1..=self.legs.len()).contains(&(least as usize)));
        require(reachable, "min_success", "be at least 1 and at most the number of legs")?;
        require_positive(self.settle_within, "settle_within")
    }
}

/// How a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It succeeded.
    Ok,
    /// It failed.
    Failed,
    /// The time was up.
    TimedOut,
    /// It was not begun, or is no longer wanted.
    Skipped,
}

/// What becomes of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every leg succeeded.
    Whole,
    /// Enough succeeded; to be marked as degraded where a leg failed or timed out.
    Partial,
    /// A required leg did not succeed.
    RequiredMissing {
        /// Which one.
        leg: usize,
        /// How it ended.
        settled: Settled,
    },
    /// Too few succeeded.
    QuorumMissed {
        /// How many did.
        succeeded: u32,
        /// How many should have.
        needed: u32,
    },
}

impl Verdict {
    /// Whether there is an answer.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Whole | Self::Partial)
    }
}

/// A set of legs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Legs(u64);

impl Legs {
    /// Whether this leg is among them.
    pub fn contains(self, leg: usize) -> bool {
        leg < LEGS_MAX && self.0 & (1 << leg) != 0
    }

    /// Their numbers, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..LEGS_MAX).filter(move |leg| self.contains(*leg))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn insert(&mut self, leg: usize) {
        self.0 |= 1 << leg;
    }
}

/// The decision; there is one per request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the whole.
    pub verdict: Verdict,
    /// Legs still under way, to be cancelled.
    pub cancel: Legs,
}

/// One request with several legs, all under way from the beginning.
#[derive(Clone, Debug)]
pub struct Settle {
    config: SettleConfig,
    settled: Vec<Option<Settled>>,
    succeeded: u32,
    outstanding: u32,
    due: Time,
    verdict: Option<Verdict>,
}

impl Settle {
    /// All legs begin now.
    pub fn new(config: SettleConfig, now: Time) -> Self {
        let legs = config.legs.len();
        Settle {
            settled: vec![None; legs],
            succeeded: 0,
            outstanding: legs as u32,
            due: now + config.settle_within,
            verdict: None,
            config,
        }
    }

    /// A leg has ended: succeeded, failed, timed out by itself, or not been begun at all. Answers the
    /// decision if this made it. What comes twice, after the decision, or for a leg that does not exist is
    /// not heard.
    pub fn on_settled(&mut self, now: Time, leg: usize, settled: Settled) -> Option<Decision> {
        // The time may have been up before this came.
        if self.verdict.is_some() || now >= self.due {
            return self.on_timer(now);
        }
        if self.settled.get(leg).is_none_or(Option::is_some) {
            return None;
        }
        self.settled[leg] = Some(settled);
        self.outstanding -= 1;
        self.succeeded += u32::from(settled == Settled::Ok);
        self.certain_after(leg, settled).map(|verdict| self.decide(verdict, Settled::Skipped))
    }

    /// The deadline may have passed. Harmless when early.
    pub fn on_timer(&mut self, now: Time) -> Option<Decision> {
        if self.verdict.is_some() || now < self.due {
            return None;
        }
        let missing =
            (0..self.settled.len()).find(|leg| self.is_required(*leg) && self.settled[*leg].is_none());
        let needed = self.config.min_success.unwrap_or(0);
        let verdict = match missing {
            Some(leg) => Verdict::RequiredMissing { leg, settled: Settled::TimedOut },
            None if self.succeeded < needed => Verdict::QuorumMissed { succeeded: self.succeeded, needed },
            None => Verdict::Partial,
        };
        Some(self.decide(verdict, Settled::TimedOut))
    }

    /// When what there is has to do; `None` after the decision.
    pub fn next_deadline(&self) -> Option<Time> {
        self.verdict.is_none().then_some(self.due)
    }

    /// The decision, once there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// How each leg ended; after the decision, all have.
    pub fn settled(&self) -> &[Option<Settled>] {
        &self.settled
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        let count =
            |wanted: Option<Settled>| self.settled.iter().filter(|leg| **leg == wanted).count() as u32;
        assert_eq!(self.outstanding, count(None), "legs under way are counted");
        assert_eq!(self.succeeded, count(Some(Settled::Ok)), "successes are counted");
        assert!(self.verdict.is_none() || self.outstanding == 0, "with the decision every leg has ended");
        assert!(self.verdict.is_some() || self.outstanding > 0, "undecided without a leg under way");
        let required_lost = (0..self.settled.len()).any(|leg| {
            self.is_required(leg) && self.settled[leg].is_some_and(|settled| settled != Settled::Ok)
        });
        let answer = self.verdict.is_some_and(Verdict::is_answer);
        assert!(!(answer && required_lost), "an answer without a required leg");
        assert!(!(self.verdict.is_none() && required_lost), "undecided though a required leg is lost");
    }

    /// The verdict, if the end of this leg made it certain.
    fn certain_after(&self, leg: usize, settled: Settled) -> Option<Verdict> {
        if self.is_required(leg) && settled != Settled::Ok {
            return Some(Verdict::RequiredMissing { leg, settled });
        }
        let needed = self.config.min_success.unwrap_or(0);
        if self.succeeded + self.outstanding < needed {
            return Some(Verdict::QuorumMissed { succeeded: self.succeeded, needed });
        }
        if self.succeeded as usize == self.settled.len() {
            return Some(Verdict::Whole);
        }
        let waits_for_all = self.config.min_success.is_none() && self.outstanding > 0;
        let required_open =
            (0..self.settled.len()).any(|leg| self.is_required(leg) && self.settled[leg].is_none());
        let enough = self.succeeded >= needed && !required_open && !waits_for_all;
        enough.then_some(Verdict::Partial)
    }

    fn decide(&mut self, verdict: Verdict, others: Settled) -> Decision {
        let mut cancel = Legs::default();
        for (leg, settled) in self.settled.iter_mut().enumerate().filter(|(_, settled)| settled.is_none()) {
            *settled = Some(others);
            cancel.insert(leg);
        }
        self.outstanding = 0;
        self.verdict = Some(verdict);
        #[cfg(debug_assertions)]
        self.check_invariants();
        Decision { verdict, cancel }
    }

    fn is_required(&self, leg: usize) -> bool {
        self.config.legs[leg] == Need::Required
    }
}
