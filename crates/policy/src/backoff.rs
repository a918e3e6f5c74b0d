//! How long to wait before sending a request again.
//!
//! **Problem.** Callers that fail together retry together; without a wait they hit the backend again while it
//! is still down, and with equal waits they do so in step. **Model.** The wait grows by a factor per retry up
//! to a maximum, and a random part takes the callers out of step.
//!
//! **Which jitter is right when?**
//! - *Full* draws from zero to the whole wait. It spreads the load best, and is right inside a request, where a
//!   retry that happens to come at once is welcome.
//! - *Equal* keeps half of the wait: for a backend that needs some rest after every failure.
//! - *Additive* keeps all of it and adds up to a share `additive_share` on top: for a wait that somebody asked
//!   for (`Retry-After`, a reconnect interval), where coming earlier is rude and coming in step is worse.
//! - *Decorrelated* draws from `initial` to three times the wait before (Brooker, "Exponential Backoff And
//!   Jitter", 2015): for long-lived loops such as reconnects, where callers that began in step must drift apart
//!   for good. It depends on the last wait, so the caller passes that in; `multiplier` does not apply.
//! - *None* is for tests and for a single caller.
//!
//! **Two pitfalls.** Jitter on top of a capped wait exceeds the cap: here no result exceeds `max`, whatever the
//! jitter. And capping only the drawn value makes nearly all late retries wait exactly `max`, in step again
//! (decorrelated jitter as published does so two times in three): here the range ends at `max` before the draw.
//! **Rejected:** a backoff that keeps the last wait itself; it would be state per call where an argument does.
//!
//! Worked number, with the defaults: the first retry waits 0 to 25 ms, the second 0 to 50 ms, the fifth and
//! all later ones 0 to 250 ms; three attempts spend 37.5 ms on average in waiting.

use std::time::Duration;

use crate::error::{require, require_positive, require_share};
use crate::time::scaled;
use crate::{ConfigError, Rng};

/// How a wait is spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all: every caller waits the same.
    None,
    /// Evenly from zero to the whole wait.
    #[default]
    Full,
    /// Half the wait, plus evenly from zero to the other half.
    Equal,
    /// The whole wait, plus evenly from zero to `additive_share` of it.
    Additive,
    /// Evenly from `initial` to [`DECORRELATED_GROWTH`] times the wait before.
    Decorrelated,
}

/// How far a decorrelated wait may exceed the one before.
pub const DECORRELATED_GROWTH: f64 = 3.0;

/// How waits grow from one retry to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffConfig {
    /// The wait before the first retry, before jitter.
    pub initial: Duration,
    /// By what the wait grows per retry; at least 1.
    pub multiplier: f64,
    /// No wait is longer, jitter included.
    pub max: Duration,
    /// How a wait is spread.
    pub jitter: Jitter,
    /// The share of a wait that additive jitter adds at most, from 0 to 1; other jitter ignores it.
    pub additive_share: f64,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        BackoffConfig {
            initial: Duration::from_millis(25),
            multiplier: 2.0,
            max: Duration::from_millis(250),
            jitter: Jitter::Full,
            additive_share: 0.5,
        }
    }
}

impl BackoffConfig {
    /// Whether the waits grow, from something to something.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_positive(self.initial, "initial")?;
        require(self.multiplier.is_finite() && self.multiplier >= 1.0, "multiplier", "be at least 1")?;
        require(self.max >= self.initial, "max", "be at least `initial`")?;
        require_share(self.additive_share, "additive_share")
    }

    /// The wait before a retry; `retry_index` is 0 for the first one, and `previous` is the wait before it (zero
    /// before the first), which only decorrelated jitter looks at. Never longer than `max`.
    pub fn delay(&self, rng: &mut Rng, retry_index: u32, previous: Duration) -> Duration {
        let (least, most) = self.range(retry_index, previous);
        least.saturating_add(scaled(most.saturating_sub(least), rng.unit())).min(self.max)
    }

    /// The shortest wait that [`BackoffConfig::delay`] can give before this retry.
    pub fn least(&self, retry_index: u32) -> Duration {
        self.range(retry_index, Duration::ZERO).0
    }

    /// Between what the wait is drawn.
    fn range(&self, retry_index: u32, previous: Duration) -> (Duration, Duration) {
        let exponent = i32::try_from(retry_index).unwrap_or(i32::MAX);
        let grown = || scaled(self.initial, self.multiplier.powi(exponent)).min(self.max);
        match self.jitter {
            Jitter::None => (grown(), grown()),
            Jitter::Full => (Duration::ZERO, grown()),
            Jitter::Equal => (grown() / 2, grown()),
            Jitter::Additive => self.additive_range(grown()),
            Jitter::Decorrelated => {
                (self.initial, scaled(previous.max(self.initial), DECORRELATED_GROWTH).min(self.max))
            }
        }
    }

    /// From the wait to the wait and its share, where the wait stops growing early enough to leave room for the share.
    fn additive_range(&self, grown: Duration) -> (Duration, Duration) {
        let factor = 1.0 + self.additive_share;
        let least = grown.min(scaled(self.max, 1.0 / factor).max(self.initial));
        (least, scaled(least, factor).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extremes(config: BackoffConfig, retry_index: u32, previous_ms: u64) -> (u128, u128) {
        let mut rng = Rng::seeded(u64::from(retry_index));
        let previous = Duration::from_millis(previous_ms);
        let drawn: Vec<Duration> =
            (0..4_000).map(|_| config.delay(&mut rng, retry_index, previous)).collect();
        (drawn.iter().min().unwrap().as_millis(), drawn.iter().max().unwrap().as_millis())
    }

    #[test]
    fn waits_grow_up_to_the_maximum_and_are_spread() {
        let with = |jitter| BackoffConfig { jitter, ..BackoffConfig::default() };
        for (jitter, retry_index, previous_ms, least, most) in [
            (Jitter::None, 0, 0, 25, 25),
            (Jitter::None, 1, 0, 50, 50),
            (Jitter::None, 3, 0, 200, 200),
            (Jitter::None, 4, 0, 250, 250),
            (Jitter::None, u32::MAX, 0, 250, 250),
            (Jitter::Full, 0, 0, 0, 24),
            (Jitter::Full, 1, 0, 0, 49),
            (Jitter::Full, 9, 0, 0, 249),
            (Jitter::Full, u32::MAX, 0, 0, 249),
            (Jitter::Equal, 0, 0, 12, 24),
            (Jitter::Equal, 9, 0, 125, 249),
            (Jitter::Additive, 0, 0, 25, 37),
            (Jitter::Additive, 1, 0, 50, 74),
            (Jitter::Additive, 2, 0, 100, 149),
            (Jitter::Additive, 9, 0, 166, 249),
            (Jitter::Decorrelated, 0, 0, 25, 74),
            (Jitter::Decorrelated, 1, 60, 25, 179),
            (Jitter::Decorrelated, 9, 250, 25, 249),
            (Jitter::Decorrelated, u32::MAX, 250, 25, 249),
        ] {
            let found = extremes(with(jitter), retry_index, previous_ms);
            assert_eq!(found, (least, most), "{jitter:?} {retry_index} after {previous_ms} ms");
        }
    }

    #[test]
    fn the_least_wait_is_known_without_drawing() {
        for (jitter, retry_index, millis) in [
            (Jitter::None, 1, 50),
            (Jitter::Full, 1, 0),
            (Jitter::Equal, 1, 25),
            (Jitter::Additive, 1, 50),
            (Jitter::Decorrelated, 1, 25),
        ] {
            let config = BackoffConfig { jitter, ..BackoffConfig::default() };
            assert_eq!(config.least(retry_index), Duration::from_millis(millis), "{jitter:?}");
        }
    }

    #[test]
    fn late_retries_do_not_gather_at_the_maximum() {
        for (jitter, expected) in [
            (Jitter::Full, 50..150),
            (Jitter::Equal, 120..280),
            (Jitter::Additive, 220..380),
            (Jitter::Decorrelated, 40..180),
        ] {
            let config = BackoffConfig { jitter, ..BackoffConfig::default() };
            let mut rng = Rng::seeded(9);
            let mut waits = Vec::new();
            for retry_index in 30..1_030 {
                let previous = waits.last().copied().unwrap_or(config.max);
                waits.push(config.delay(&mut rng, retry_index, previous));
            }
            let late = waits.iter().filter(|wait| **wait >= Duration::from_millis(225)).count();
            assert!(expected.contains(&late), "{jitter:?}: {late} of 1000 in the last tenth");
            let at_the_end = waits.iter().filter(|wait| **wait == config.max).count();
            assert!(at_the_end < 3, "{jitter:?}: {at_the_end} of 1000 wait exactly the maximum");
        }
    }

    #[test]
    fn no_wait_leaves_its_range_whatever_the_configuration() {
        for seed in 0..20_000 {
            let mut rng = Rng::seeded(seed);
            let jitters = [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Additive, Jitter::Decorrelated];
            let jitter = jitters[rng.below(5) as usize];
            let initial = Duration::from_nanos(1 + rng.below(10_000_000_000));
            let max = initial + Duration::from_nanos(rng.below(60_000_000_000));
            let (multiplier, additive_share) = (1.0 + 9.0 * rng.unit(), rng.unit());
            let config = BackoffConfig { initial, multiplier, max, jitter, additive_share };
            assert_eq!(config.validate(), Ok(()), "seed {seed}");
            let mut previous = Duration::ZERO;
            for retry_index in 0..8 {
                let wait = config.delay(&mut rng, retry_index, previous);
                // The naive wait: multiplied step by step, never past the maximum.
                let mut grown = initial.as_secs_f64();
                for _ in 0..retry_index {
                    grown = (grown * multiplier).min(max.as_secs_f64());
                }
                let least = match jitter {
                    Jitter::None => grown,
                    Jitter::Full => 0.0,
                    Jitter::Equal => grown / 2.0,
                    Jitter::Additive => grown / (1.0 + additive_share),
                    Jitter::Decorrelated => initial.as_secs_f64(),
                };
                let told = format!("seed {seed}: {config:?} retry {retry_index}: {wait:?}");
                assert!(wait <= max, "{told}");
                assert!(wait >= config.least(retry_index), "{told}");
                assert!(wait.as_secs_f64() >= least * 0.999_999, "{told}");
                if matches!(jitter, Jitter::Additive) {
                    assert!(wait >= initial, "{told}");
                }
                previous = wait;
            }
        }
    }

    #[test]
    fn a_multiplier_of_one_is_constant() {
        let config = BackoffConfig { multiplier: 1.0, jitter: Jitter::None, ..BackoffConfig::default() };
        assert_eq!(config.delay(&mut Rng::seeded(1), u32::MAX, Duration::ZERO), config.initial);
    }

    #[test]
    fn validation_names_the_field() {
        let good = BackoffConfig::default();
        assert_eq!(good.validate(), Ok(()));
        for (config, field) in [
            (BackoffConfig { initial: Duration::ZERO, ..good }, "initial"),
            (BackoffConfig { multiplier: 0.9, ..good }, "multiplier"),
            (BackoffConfig { multiplier: f64::NAN, ..good }, "multiplier"),
            (BackoffConfig { max: Duration::from_millis(24), ..good }, "max"),
            (BackoffConfig { additive_share: 1.1, ..good }, "additive_share"),
        ] {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
