//! The better of two drawn at random, by expected latency and attempts in flight.
//!
//! **Problem.** Everybody who picks "the best" picks the same one and makes it the worst; whoever picks at random meets the
//! slow one as often as the fast. Two random candidates and a comparison avoid both ("the power of two choices",
//! Mitzenmacher 2001).
//!
//! **Model.** Two different candidates, drawn by weight. The better one has the lower `latency × load`, where `load` is
//! 1 + attempts in flight relative to its weight, and latency is what an attempt there is expected to take, a failed one
//! counted as a whole timeout.
//!
//! **Rejected.** The cube of C3 (Suresh et al., NSDI 2015; `R − 1/μ + q³/μ`, which is `R × q³` for a backend that reports nothing). It guards
//! against many clients that do not see each other's requests; a gateway sees all of its own, and its latency already
//! contains the queue, so that the cube counts it four times and sends too much to a slow endpoint. Measured with 12 modelled
//! servers of 4 workers at 70 % load, exponential service of 5 ms, no ejection, p99 and p99.9 in ms for the powers 1, 2 and 3:
//!
//! | | 1 | 2 | 3 |
//! |---|---|---|---|
//! | all alike | 23.5, 35 | 23.4, 35 | 23.4, 35 |
//! | three are 2.5 times as slow | 31.0, 55 | 32.4, 61 | 33.7, 61 |
//! | one is 10 times as slow | 24.4, 51 | 26.0, 95 | 26.7, 108 |
//!
//! Also rejected: all candidates instead of two, because several gateways then herd.
//!
//! **Worked number.** 5 ms with 9 in flight scores 5 × 10 = 50; beyond that an idle peer at 50 ms is taken.

use super::Candidate;
use crate::rng::Rng;

/// The position of the better of two; `None` when nobody is there. `latency` is what an attempt at the candidate is
/// expected to take, in seconds.
pub(in crate::pool) fn choose(
    candidates: &[Candidate],
    rng: &mut Rng,
    latency: impl Fn(&Candidate) -> f64,
) -> Option<usize> {
    let total: u64 = candidates.iter().map(|candidate| candidate.weight).sum();
    if candidates.len() < 2 {
        return (!candidates.is_empty()).then_some(0);
    }
    let first = at_weight(candidates, rng.below(total), None)?;
    let rest = total - candidates[first].weight;
    let second = at_weight(candidates, rng.below(rest), Some(first))?;
    let heaviest = candidates[first].weight.max(candidates[second].weight) as f64;
    let score = |position: usize| {
        let candidate = &candidates[position];
        let load = 1.0 + f64::from(candidate.in_flight) * heaviest / candidate.weight as f64;
        latency(candidate) * load
    };
    Some(if score(second) < score(first) { second } else { first })
}

/// The position at which the running sum of weights passes `drawn`, one position left out.
fn at_weight(candidates: &[Candidate], drawn: u64, without: Option<usize>) -> Option<usize> {
    let mut passed = 0;
    let mut others = candidates.iter().enumerate().filter(|(position, _)| Some(*position) != without);
    let found = others.find(|(_, candidate)| {
        passed += candidate.weight;
        drawn < passed
    });
    found.map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(candidates: &[Candidate], latencies: &[f64], seed: u64) -> Vec<f64> {
        let mut rng = Rng::seeded(seed);
        let mut counts = vec![0.0; candidates.len()];
        for _ in 0..10_000 {
            let chosen = choose(candidates, &mut rng, |candidate| latencies[candidate.index]);
            counts[chosen.expect("somebody")] += 1.0 / 10_000.0;
        }
        counts
    }

    #[test]
    fn of_two_the_lower_score_wins() {
        let idle = Candidate::idle;
        for (candidates, latencies, expected) in [
            ([idle(0), idle(1)], [0.005, 0.050], 0),
            ([idle(0).loaded(10), idle(1)], [0.005, 0.050], 1),
            ([idle(0).loaded(8), idle(1)], [0.005, 0.050], 0),
            ([idle(0).loaded(9).weighing(10), idle(1).loaded(2)], [0.005, 0.005], 0),
        ] {
            for seed in 0..20 {
                let chosen =
                    choose(&candidates, &mut Rng::seeded(seed), |candidate| latencies[candidate.index]);
                assert_eq!(chosen, Some(expected), "seed {seed}: {candidates:?}");
            }
        }
        assert_eq!(choose(&[], &mut Rng::seeded(0), |_| 1.0), None);
        assert_eq!(choose(&[idle(4)], &mut Rng::seeded(0), |_| 1.0), Some(0));
    }

    #[test]
    fn equals_share_evenly_and_the_worst_of_many_gets_nothing() {
        for seed in 0..20 {
            let candidates: Vec<_> = (0..5).map(Candidate::idle).collect();
            let even = shares(&candidates, &[0.01; 5], seed);
            assert!(even.iter().all(|share| (share - 0.2).abs() < 0.02), "seed {seed}: {even:?}");
            let skewed = shares(&candidates, &[0.01, 0.01, 0.01, 0.01, 0.1], seed);
            assert!(skewed[4] < f64::EPSILON, "seed {seed}: {skewed:?}");
        }
    }

    #[test]
    fn idle_equals_are_asked_by_weight() {
        for seed in 0..20 {
            let candidates: Vec<_> =
                [1, 2, 5].map(|weight| Candidate::idle(weight).weighing(weight as u64)).into();
            let got = shares(&candidates, &[0.01; 8], seed);
            for (share, weight) in got.iter().zip([1.0, 2.0, 5.0]) {
                assert!((share - weight / 8.0).abs() < 0.025, "seed {seed}: {got:?}");
            }
        }
    }
}
