//! Which request meets which fault.
//!
//! The shares of one proxy divide the interval from 0 to 1 among its effects, and each request draws one point of it:
//! 30 % swallowed and 5 % errors are 35 % of the requests, each of which meets exactly one of the two. The draw is a
//! function of a seed and the request's number, so it needs no lock and can be repeated exactly.

use std::time::Duration;

/// Shares may add up to this much more than one, because 0.1 + 0.2 + 0.7 does.
pub(crate) const SHARE_TOLERANCE: f64 = 1e-9;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Read and never answered.
    Swallow,
    /// Forwarded later.
    Delay(Duration),
    /// Answered with this status and not forwarded.
    Answer(u16),
}

/// The effects of one proxy with their shares.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Mix {
    slices: Vec<(Effect, f64)>,
}

impl Mix {
    /// One effect for `share` (above 0, at most 1) of the requests.
    pub(crate) fn one(effect: Effect, share: f64) -> Self {
        Self { slices: vec![(effect, share)] }
    }

    /// Adds the effects of another mix; false, and nothing changes, when there is no room for them.
    #[must_use]
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        let fits = self.total() + other.total() <= 1.0 + SHARE_TOLERANCE;
        if fits {
            self.slices.extend_from_slice(&other.slices);
        }
        fits
    }

    /// The effects, in the order in which they were added.
    pub(crate) fn effects(&self) -> impl Iterator<Item = Effect> {
        self.slices.iter().map(|(effect, _)| *effect)
    }

    /// What request number `index` meets, if anything.
    pub(crate) fn choose(&self, seed: u64, index: u64) -> Option<Effect> {
        let mut point = unit(seed, index);
        for (effect, share) in &self.slices {
            if point < *share {
                return Some(*effect);
            }
            point -= share;
        }
        let full = self.total() >= 1.0 - SHARE_TOLERANCE;
        self.slices.last().filter(|_| full).map(|(effect, _)| *effect)
    }

    fn total(&self) -> f64 {
        self.slices.iter().map(|(_, share)| share).sum()
    }
}

/// Evenly distributed over all 64 bits, the same for the same arguments: Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators" (2014), read at position `index` instead of advanced.
pub(crate) fn draw(seed: u64, index: u64) -> u64 {
    const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut bits = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN_RATIO));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// From 0 up to, but not including, 1.
fn unit(seed: u64, index: u64) -> f64 {
    (draw(seed, index) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: u64 = 20_000;

    fn mix(slices: &[(Effect, f64)]) -> Mix {
        let mut mix = Mix::default();
        for (effect, share) in slices {
            assert!(mix.merge(&Mix::one(*effect, *share)));
        }
        mix
    }

    #[test]
    fn shares_come_out_as_asked_for() {
        let (swallow, answer) = (Effect::Swallow, Effect::Answer(500));
        let delay = Effect::Delay(Duration::from_millis(5));
        let rows = [
            vec![(swallow, 0.3), (answer, 0.05)],
            vec![(swallow, 1.0)],
            vec![(swallow, 0.1), (answer, 0.2), (delay, 0.7)],
            vec![(delay, 0.01)],
        ];
        for (seed, slices) in rows.iter().enumerate() {
            let mix = mix(slices);
            for (effect, share) in slices {
                let met = (0..N).filter(|index| mix.choose(seed as u64, *index) == Some(*effect)).count();
                let sigma = (N as f64 * share * (1.0 - share)).sqrt();
                let off = (met as f64 - N as f64 * share).abs();
                assert!(off <= 4.0 * sigma + 0.5, "seed {seed}, {effect:?}: {met} of {N} for {share}");
            }
        }
    }

    #[test]
    fn a_full_mix_spares_nobody() {
        let mix = mix(&[(Effect::Swallow, 0.1), (Effect::Answer(500), 0.2), (Effect::Swallow, 0.7)]);
        for seed in 0..20 {
            assert!((0..1000).all(|index| mix.choose(seed, index).is_some()), "seed {seed}");
        }
    }

    #[test]
    fn shares_beyond_one_do_not_fit() {
        let mut mix = mix(&[(Effect::Swallow, 0.9)]);
        assert!(!mix.merge(&Mix::one(Effect::Answer(500), 0.11)));
        assert!(mix.merge(&Mix::one(Effect::Answer(500), 0.1)));
    }

    #[test]
    fn draws_repeat_and_differ() {
        assert_eq!(draw(1, 5), draw(1, 5));
        let mut all: Vec<u64> =
            (0..100).flat_map(|seed| (0..100).map(move |index| draw(seed, index))).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10_000);
    }
}
