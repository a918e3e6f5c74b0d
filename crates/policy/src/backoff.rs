//! How long to wait before sending a request again.
//!
//! **Problem.** Callers that fail together retry together; without a wait they hit the backend again while it
//! is still down, and with equal waits they do so in step. **Model.** The wait grows by a factor per retry up
//! to a maximum, and a random part takes the callers out of step. *Full* jitter draws from zero to the whole
//! wait, which spreads the load best; *equal* jitter keeps half of it, for those who need a least wait.
//!
//! **Two pitfalls.** Jitter of ± x % on top of a capped wait exceeds the cap: here no result exceeds `max`,
//! whatever the jitter. And capping only the drawn value makes nearly all late retries wait exactly `max`, in
//! step again: here the growth stops at `max` before the draw. **Rejected:** decorrelated jitter, whose next
//! wait depends on the last drawn one; it spreads no better and makes a retry's wait depend on history.
//!
//! Worked number, with the defaults: the first retry waits 0 to 25 ms, the second 0 to 50 ms, the fifth and
//! all later ones 0 to 250 ms; three attempts spend 37.5 ms on average in waiting.

use std::time::Duration;

use crate::error::{require, require_positive};
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
}

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
}

impl Default for BackoffConfig {
    fn default() -> Self {
        BackoffConfig {
            initial: Duration::from_millis(25),
            multiplier: 2.0,
            max: Duration::from_millis(250),
            jitter: Jitter::Full,
        }
    }
}

impl BackoffConfig {
    /// Whether the waits grow, from something to something.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_positive(self.initial, "initial")?;
        require(self.multiplier.is_finite() && self.multiplier >= 1.0, "multiplier", "be at least 1")?;
        require(self.max >= self.initial, "max", "be at least `initial`")
    }

    /// The wait before a retry; `retry_index` is 0 for the first one. Never longer than `max`.
    pub fn delay(&self, rng: &mut Rng, retry_index: u32) -> Duration {
        let exponent = i32::try_from(retry_index).unwrap_or(i32::MAX);
        let grown = scaled(self.initial, self.multiplier.powi(exponent)).min(self.max);
        let spread = match self.jitter {
            Jitter::None => grown,
            Jitter::Full => scaled(grown, rng.unit()),
            Jitter::Equal => scaled(grown, 0.5 + rng.unit() / 2.0),
        };
        spread.min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extremes(config: BackoffConfig, retry_index: u32) -> (u128, u128) {
        let mut rng = Rng::seeded(u64::from(retry_index));
        let drawn: Vec<Duration> = (0..4_000).map(|_| config.delay(&mut rng, retry_index)).collect();
        (drawn.iter().min().unwrap().as_millis(), drawn.iter().max().unwrap().as_millis())
    }

    #[test]
    fn waits_grow_up_to_the_maximum_and_are_spread() {
        let with = |jitter| BackoffConfig { jitter, ..BackoffConfig::default() };
        for (jitter, retry_index, least, most) in [
            (Jitter::None, 0, 25, 25),
            (Jitter::None, 1, 50, 50),
            (Jitter::None, 3, 200, 200),
            (Jitter::None, 4, 250, 250),
            (Jitter::None, u32::MAX, 250, 250),
            (Jitter::Full, 0, 0, 24),
            (Jitter::Full, 1, 0, 49),
            (Jitter::Full, 9, 0, 249),
            (Jitter::Full, u32::MAX, 0, 249),
            (Jitter::Equal, 0, 12, 24),
            (Jitter::Equal, 9, 125, 249),
        ] {
            assert_eq!(extremes(with(jitter), retry_index), (least, most), "{jitter:?} {retry_index}");
        }
    }

    #[test]
    fn late_retries_do_not_gather_at_the_maximum() {
        let config = BackoffConfig::default();
        let mut rng = Rng::seeded(9);
        let late = (0..1_000).filter(|_| config.delay(&mut rng, 30) >= Duration::from_millis(225)).count();
        assert!((50..150).contains(&late), "a tenth of the waits belongs to the last tenth, not {late}");
    }

    #[test]
    fn a_multiplier_of_one_is_constant() {
        let config = BackoffConfig { multiplier: 1.0, jitter: Jitter::None, ..BackoffConfig::default() };
        assert_eq!(config.delay(&mut Rng::seeded(1), u32::MAX), config.initial);
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
        ] {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
