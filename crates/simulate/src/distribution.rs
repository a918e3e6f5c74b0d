//! Random durations: how long a service takes, how far apart requests come.
//!
//! The logarithm and the exponential are our own, made of additions, multiplications and divisions, which IEEE 754 defines
//! to the last bit. Those of the platform's mathematics library differ between platforms, and a seed would then be another
//! run elsewhere.

use std::f64::consts::{LN_2, SQRT_2};
use std::time::Duration;

use seaworthy_policy::Rng;

/// Terms of the series of `ln`; the first one left out is below 1e-17 for what it is given.
const LN_TERMS: u32 = 11;
/// Terms of the series of `exp`; the first one left out is below 1e-17 for what it is given.
const EXP_TERMS: u32 = 14;
/// `exp` of more than this is not told apart from `exp` of this: no duration is that long.
const EXPONENT_MAX: f64 = 700.0;

/// How a duration varies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Constant(Duration),
    /// Memoryless, with this mean: most are short, few are long.
    Exponential(Duration),
    /// The logarithm is normal: a median, and a tail that grows with `sigma` (0.5 is moderate, 1.5 is heavy).
    LogNormal {
        /// Half take less.
        median: Duration,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
    /// As `usual`, but a share is paused for as long as `pause` before it begins.
    Pausing {
        /// The mean of an exponential service.
        usual: Duration,
        /// The share that is paused, from 0 to 1.
        share: f64,
        /// For how long.
        pause: Duration,
    },
    /// The more requests are at work, the slower each of them: `base + per_request × at work`.
    Contended {
        /// What a request alone takes.
        base: Duration,
        /// What each request at work adds, itself included.
        per_request: Duration,
    },
}

impl Distribution {
    /// Draws a duration while `at_work` requests are at work.
    pub fn draw(&self, rng: &mut Rng, at_work: u32) -> Duration {
        match *self {
            Self::Constant(always) => always,
            Self::Exponential(mean) => exponential(rng, mean),
            Self::LogNormal { median, sigma } => scaled(median, exp(sigma * normal(rng))),
            Self::Pausing { usual, share, pause } => {
                let paused = if rng.chance(share) { pause } else { Duration::ZERO };
                exponential(rng, usual) + paused
            }
            Self::Contended { base, per_request } => base + per_request * at_work,
        }
    }

    /// What one draw takes on average, for a request that is alone.
    pub fn mean(&self) -> Duration {
        match *self {
            Self::Constant(mean) | Self::Exponential(mean) => mean,
            Self::LogNormal { median, sigma } => scaled(median, exp(sigma * sigma / 2.0)),
            Self::Pausing { usual, share, pause } => usual + scaled(pause, share),
            Self::Contended { base, per_request } => base + per_request,
        }
    }
}

/// The wait for the next of events that come by chance, `mean` apart on average.
pub fn exponential(rng: &mut Rng, mean: Duration) -> Duration {
    scaled(mean, -ln(1.0 - rng.unit()))
}

/// A draw of the standard normal distribution, by Marsaglia's polar method.
fn normal(rng: &mut Rng) -> f64 {
    loop {
        let (x, y) = (2.0 * rng.unit() - 1.0, 2.0 * rng.unit() - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * ln(square) / square).sqrt();
        }
    }
}

fn scaled(duration: Duration, factor: f64) -> Duration {
    duration.mul_f64(factor.max(0.0))
}

/// The natural logarithm of a positive, normal number.
fn ln(value: f64) -> f64 {
    debug_assert!(value >= f64::MIN_POSITIVE && value.is_finite(), "no logarithm of {value}");
    let bits = value.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut mantissa = f64::from_bits(bits & ((1 << 52) - 1) | (1023 << 52));
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)), whose argument is at most 0.172.
    let argument = (mantissa - 1.0) / (mantissa + 1.0);
    let square = argument * argument;
    let series = (0..LN_TERMS).rev().fold(0.0, |sum, term| sum * square + 1.0 / f64::from(2 * term + 1));
    f64::from(exponent) * LN_2 + 2.0 * argument * series
}

/// e to the power of `value`.
fn exp(value: f64) -> f64 {
    let value = value.clamp(-EXPONENT_MAX, EXPONENT_MAX);
    let doublings = (value / LN_2).round();
    let rest = value - doublings * LN_2;
    let series = (1..=EXP_TERMS).rev().fold(1.0, |sum, term| 1.0 + sum * rest / f64::from(term));
    series * f64::from_bits(((doublings as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 200_000;

    #[test]
    fn the_functions_agree_with_the_platform() {
        for step in 1..4_000 {
            let value = f64::from(step) * 0.01;
            assert!((ln(value) - value.ln()).abs() < 1e-14, "ln {value}");
            for value in [value, -value] {
                assert!((exp(value) / value.exp() - 1.0).abs() < 1e-13, "exp {value}");
            }
        }
        assert!((ln(1e-16) - 1e-16_f64.ln()).abs() < 1e-13);
    }

    #[test]
    fn draws_have_the_mean_and_the_quantiles_that_they_claim() {
        let ms = Duration::from_millis;
        let pausing = Distribution::Pausing { usual: ms(10), share: 0.01, pause: ms(1_000) };
        for (distribution, median_ms, p99_ms) in [
            (Distribution::Constant(ms(50)), 50.0, 50.0),
            (Distribution::Exponential(ms(50)), 34.66, 230.3),
            // Medians and 2.326 standard deviations.
            (Distribution::LogNormal { median: ms(20), sigma: 0.5 }, 20.0, 64.0),
            (Distribution::LogNormal { median: ms(20), sigma: 1.5 }, 20.0, 655.0),
            (pausing, 7.0, 60.0),
        ] {
            let mut rng = Rng::seeded(1);
            let mut drawn: Vec<f64> =
                (0..DRAWS).map(|_| distribution.draw(&mut rng, 1).as_secs_f64() * 1e3).collect();
            let mean = drawn.iter().sum::<f64>() / f64::from(DRAWS);
            drawn.sort_by(f64::total_cmp);
            let expected = distribution.mean().as_secs_f64() * 1e3;
            assert!((mean / expected - 1.0).abs() < 0.03, "{distribution:?}: mean {mean}, not {expected}");
            let median = drawn[DRAWS as usize / 2];
            assert!((median / median_ms - 1.0).abs() < 0.02, "{distribution:?}: median {median}");
            let p99 = drawn[DRAWS as usize / 100 * 99];
            let tolerance = if distribution == pausing { 20.0 } else { 0.05 };
            assert!((p99 / p99_ms - 1.0).abs() < tolerance, "{distribution:?}: p99 {p99}");
        }
    }

    #[test]
    fn contention_counts_who_is_at_work() {
        let second = Duration::from_secs(1);
        let contended = Distribution::Contended { base: second, per_request: second / 100 };
        assert_eq!(contended.draw(&mut Rng::seeded(1), 200), 3 * second);
    }
}
