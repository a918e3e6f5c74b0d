//! The one with the fewest attempts in flight, by weight.
//!
//! **Problem.** Where requests differ much in length, taking turns piles long ones onto one endpoint.
//!
//! **Model.** The least `(in flight + 1) / weight`; equals are drawn at random by weight, because the first of equals would
//! get all requests of a quiet service. **Limit.** It trusts attempts in flight alone: an endpoint that fails fast has few of
//! them, and attracts requests until it is ejected. The default strategy knows better; this one is for endpoints that are
//! equal and requests that are not.
//!
//! **Worked number.** Weights 2 and 1 with 3 and 1 in flight: 4/2 = 2 and 2/1 = 2, so the next is drawn, two to one.

use super::Candidate;
use crate::rng::Rng;

/// The position of the least loaded; `None` when nobody is there.
pub(in crate::pool) fn choose(candidates: &[Candidate], rng: &mut Rng) -> Option<usize> {
    let mut best: Option<usize> = None;
    let mut weight_of_equals = 0;
    for (position, candidate) in candidates.iter().enumerate() {
        let order = best.map(|best| load_order(candidate, &candidates[best]));
        match order {
            Some(std::cmp::Ordering::Greater) => {}
            Some(std::cmp::Ordering::Equal) => {
                weight_of_equals += candidate.weight;
                if rng.below(weight_of_equals) < candidate.weight {
                    best = Some(position);
                }
            }
            None | Some(std::cmp::Ordering::Less) => {
                best = Some(position);
                weight_of_equals = candidate.weight;
            }
        }
    }
    best
}

/// Compares `(in flight + 1) / weight` exactly, by cross-multiplication.
fn load_order(one: &Candidate, other: &Candidate) -> std::cmp::Ordering {
    let load = |candidate: &Candidate| u64::from(candidate.in_flight) + 1;
    (load(one) * other.weight).cmp(&(load(other) * one.weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_for_its_weight() {
        let idle = Candidate::idle;
        let table: [(&[Candidate], Option<usize>); 5] = [
            (&[], None),
            (&[idle(0).loaded(2), idle(1).loaded(1), idle(2).loaded(3)], Some(1)),
            (&[idle(0).loaded(4).weighing(3), idle(1).loaded(1)], Some(0)),
            (&[idle(0).loaded(5).weighing(2), idle(1).loaded(1)], Some(1)),
            (&[idle(0), idle(1).weighing(2)], Some(1)),
        ];
        for (candidates, expected) in table {
            assert_eq!(choose(candidates, &mut Rng::seeded(1)), expected, "{candidates:?}");
        }
    }

    #[test]
    fn equals_share_evenly_and_the_busy_one_gets_nothing() {
        for seed in 0..20 {
            let mut rng = Rng::seeded(seed);
            let candidates =
                [Candidate::idle(0), Candidate::idle(1), Candidate::idle(2).loaded(1), Candidate::idle(3)];
            let mut counts = [0_u32; 4];
            for _ in 0..3_000 {
                counts[choose(&candidates, &mut rng).expect("somebody")] += 1;
            }
            // One thousand expected; five standard deviations are 130.
            let even = [0, 1, 3].iter().all(|index| counts[*index].abs_diff(1_000) < 130);
            assert!(even && counts[2] == 0, "seed {seed}: {counts:?}");
        }
    }

    #[test]
    fn where_requests_stay_in_flight_shares_follow_weights() {
        for seed in 0..20 {
            let mut rng = Rng::seeded(seed);
            let mut candidates: Vec<_> =
                (0..4).map(|index| Candidate::idle(index).weighing(1 + rng.below(9))).collect();
            for _ in 0..1_000 {
                let chosen = choose(&candidates, &mut rng).expect("somebody");
                candidates[chosen].in_flight += 1;
            }
            let total: u64 = candidates.iter().map(|candidate| candidate.weight).sum();
            for candidate in &candidates {
                let fair = 1_000.0 * candidate.weight as f64 / total as f64;
                assert!((f64::from(candidate.in_flight) - fair).abs() <= 4.0, "seed {seed}: {candidates:?}");
            }
        }
    }
}
