//! Which share of arrivals to refuse so that the wait settles at its target: a controller with a memory.
//!
//! The error is how far the wait of those let go lies above its target, as a multiple of it, cut to -1 .. 2, so
//! that one long wait does not swing the share. The share is a proportional part plus an integral that is kept
//! between 0 and the greatest share, so that a long overload is not followed by a long memory of it. The share is
//! taken from the lowest priorities first, as in Uber's Cinnamon (2023): a higher one is refused only when all of
//! the lower ones together are not enough.

use std::time::Duration;

use super::vocabulary::Priority;
use crate::{Rng, Time};

/// Share per unit of error, at once.
const PROPORTIONAL: f64 = 0.1;
/// Share per unit of error and interval.
const INTEGRAL: f64 = 0.05;
/// Share per change of the error from one interval to the next.
const DERIVATIVE: f64 = 0.02;
/// Somebody is always let through, or nothing would be learnt.
const SHARE_MAX: f64 = 0.98;
const ERROR_MAX: f64 = 2.0;
/// What an interval leaves of the arrivals counted before it.
const FADING: f64 = 0.8;

#[derive(Clone, Debug)]
pub(super) struct Pid {
    target: Duration,
    interval: Duration,
    ends: Option<Time>,
    waits: Duration,
    departures: u32,
    integral: f64,
    error: f64,
    share: f64,
    /// Arrivals of late by priority, the highest first.
    arrivals: [f64; 4],
}

impl Pid {
    pub(super) fn new(target: Duration, interval: Duration) -> Self {
        Pid {
            target,
            interval,
            ends: None,
            waits: Duration::ZERO,
            departures: 0,
            integral: 0.0,
            error: 0.0,
            share: 0.0,
            arrivals: [0.0; 4],
        }
    }

    /// Somebody arrives; `standing` is how long the oldest has been waiting.
    pub(super) fn on_arrival(&mut self, now: Time, priority: Priority, standing: Duration) {
        let ends = *self.ends.get_or_insert(now + self.interval);
        if now >= ends {
            self.control(standing);
            self.ends = Some(now + self.interval);
        }
        self.arrivals[priority.rank()] += 1.0;
    }

    /// Somebody was let go after this wait, zero for who did not wait.
    pub(super) fn on_departure(&mut self, wait: Duration) {
        self.waits = self.waits.saturating_add(wait);
        self.departures = self.departures.saturating_add(1);
    }

    /// Whether somebody of this priority is in the share to be refused.
    pub(super) fn refuses(&self, rng: &mut Rng, priority: Priority) -> bool {
        let all: f64 = self.arrivals.iter().sum();
        let rank = priority.rank();
        let lower: f64 = self.arrivals[rank + 1..].iter().sum();
        let (own, wanted) = (self.arrivals[rank], self.share * all);
        own > 0.0 && rng.chance((wanted - lower) / own)
    }

    /// The share of all arrivals that is refused at present.
    pub(super) fn share(&self) -> f64 {
        self.share
    }

    fn control(&mut self, standing: Duration) {
        let wait = match self.departures {
            0 => standing,
            departures => self.waits / departures,
        };
        let error = (wait.as_secs_f64() / self.target.as_secs_f64() - 1.0).clamp(-1.0, ERROR_MAX);
        self.integral = (self.integral + INTEGRAL * error).clamp(0.0, SHARE_MAX);
        let change = error - self.error;
        self.share = (self.integral + PROPORTIONAL * error + DERIVATIVE * change).clamp(0.0, SHARE_MAX);
        self.error = error;
        self.waits = Duration::ZERO;
        self.departures = 0;
        for count in &mut self.arrivals {
            *count *= FADING;
        }
    }
}
