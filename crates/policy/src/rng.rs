//! Randomness as an argument: a small generator that a seed determines completely.
//!
//! Jitter, sampling and tie-breaking need numbers that are spread well; nobody here needs them to be secret.
//! The generator is xoshiro256++ (Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators",
//! 2021), whose four state words are filled from the seed by splitmix64, as its authors advise. A generator
//! taken from the `rand` family was rejected: its streams may change between releases, and then yesterday's
//! seed no longer replays yesterday's run.

use std::time::Duration;

use crate::time::scaled;

/// A seeded generator. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    words: [u64; 4],
}

impl Rng {
    /// The generator that belongs to a seed; every seed is good, including zero.
    pub fn seeded(seed: u64) -> Self {
        let mut state = seed;
        Rng { words: std::array::from_fn(|_| splitmix64(&mut state)) }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let words = &mut self.words;
        let result = words[0].wrapping_add(words[3]).rotate_left(23).wrapping_add(words[0]);
        let shifted = words[1] << 17;
        words[2] ^= words[0];
        words[3] ^= words[1];
        words[1] ^= words[2];
        words[0] ^= words[3];
        words[2] ^= shifted;
        words[3] = words[3].rotate_left(45);
        result
    }

    /// A number in `[0, 1)`, one of 2^53 evenly spaced ones.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number in `0..n`, each equally likely.
    ///
    /// # Panics
    /// When `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "below(0) has no possible answer");
        // Lemire's method: the high half of a 128-bit product, refusing the few low halves that would make
        // some answers likelier than others. Fewer than two draws on average for every n.
        let refused = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= refused {
                return (product >> 64) as u64;
            }
        }
    }

    /// True with the given probability; never at 0 or less, always at 1 or more.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A duration spread evenly over `base * (1 - ratio) ..= base * (1 + ratio)`, never negative.
    pub fn jitter(&mut self, base: Duration, ratio: f64) -> Duration {
        scaled(base, 1.0 + ratio * (2.0 * self.unit() - 1.0))
    }

    /// A new generator whose stream has nothing to do with what this one returns from here on.
    #[must_use]
    pub fn fork(&mut self) -> Rng {
        Rng::seeded(self.next_u64())
    }
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_are_the_published_ones() {
        // The reference outputs for the state 1, 2, 3, 4; the first can be worked out by hand:
        // rotate_left(1 + 4, 23) + 1 = 5 * 2^23 + 1.
        let mut rng = Rng { words: [1, 2, 3, 4] };
        let drawn: Vec<u64> = (0..5).map(|_| rng.next_u64()).collect();
        assert_eq!(
            drawn,
            [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386, 9_228_616_714_210_784_205]
        );
        assert_eq!(splitmix64(&mut 0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn one_seed_is_one_stream() {
        let stream = |seed| {
            let mut rng = Rng::seeded(seed);
            [rng.next_u64(), rng.next_u64(), rng.fork().next_u64(), rng.next_u64()]
        };
        assert_eq!(stream(7), stream(7));
        assert_ne!(stream(7), stream(8));
    }

    #[test]
    fn below_is_even_and_stays_below() {
        for n in [1, 2, 3, 7, 10] {
            let mut rng = Rng::seeded(n);
            let mut counts = vec![0_u32; usize::try_from(n).unwrap()];
            for _ in 0..10_000 * n {
                counts[usize::try_from(rng.below(n)).unwrap()] += 1;
            }
            // Ten thousand expected in each; five standard deviations are fewer than 500.
            assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "n {n}: {counts:?}");
        }
        let mut rng = Rng::seeded(1);
        assert!((0..1000).all(|_| rng.below(u64::MAX) < u64::MAX));
        // For three quarters of all numbers, a product alone would make every third answer twice as likely.
        let thirds = (0..30_000).filter(|_| rng.below(3 << 62).is_multiple_of(3)).count();
        assert!(thirds.abs_diff(10_000) < 500, "{thirds}");
    }

    #[test]
    fn chance_obeys_its_ends() {
        let mut rng = Rng::seeded(3);
        for (probability, expected) in [(0.0, 0), (-1.0, 0), (f64::NAN, 0), (1.0, 1000), (2.0, 1000)] {
            let hits = (0..1000).filter(|_| rng.chance(probability)).count();
            assert_eq!(hits, expected, "{probability}");
        }
        let hits = (0..10_000).filter(|_| rng.chance(0.3)).count();
        assert!((2_750..3_250).contains(&hits), "{hits}");
    }

    #[test]
    fn jitter_fills_its_range_and_no_more() {
        let mut rng = Rng::seeded(4);
        let drawn: Vec<Duration> = (0..10_000).map(|_| rng.jitter(Duration::from_secs(1), 0.2)).collect();
        let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*least >= Duration::from_millis(800) && *least < Duration::from_millis(802), "{least:?}");
        assert!(*most <= Duration::from_millis(1200) && *most > Duration::from_millis(1198), "{most:?}");
        assert_eq!(rng.jitter(Duration::from_secs(1), 0.0), Duration::from_secs(1));
    }
}
