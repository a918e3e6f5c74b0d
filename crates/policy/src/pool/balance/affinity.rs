//! The same client at the same endpoint, as long as that one has room: rendezvous hashing with bounded loads.
//!
//! **Problem.** Sessions and caches want a client to come back to where it was. A table of clients grows with them and is lost
//! with the gateway; `hash % n` moves nearly everybody when one endpoint goes; and any hashing lets a popular key overload one endpoint.
//!
//! **Model.** Each endpoint draws a number from the key and its own name; the highest wins (rendezvous hashing, Thaler and
//! Ravishankar 1998; with weights `ln(draw) / weight`). When an endpoint goes, only its keys move, each to its own runner-up, and
//! they come back with it. Loads are bounded (Mirrokni, Thorup and Zadimoghaddam 2016): who has `affinity_load_factor` times
//! its fair share in flight is passed over for the runner-up. The ranking uses configured weights, so warming up moves no
//! keys; the bound uses the weights of the moment, so a newcomer is not run over.
//!
//! Below [`LOAD_ALWAYS_ALLOWED`] in flight nobody is passed over: 1.25 times next to nothing would tear sessions apart
//! whenever two requests meet.
//!
//! **Rejected.** A ring of virtual nodes (needs hundreds of points per endpoint to be as even), Maglev tables (rebuilt on every change).
//!
//! **Worked number.** Four endpoints, 100 in flight: the bound is ⌈1.25 × 101 / 4⌉ = 32.

use super::Candidate;

/// So many attempts in flight never make an endpoint overloaded.
const LOAD_ALWAYS_ALLOWED: u64 = 4;

/// A key for [`crate::call::Call::with_affinity`], or the [`super::Member::identity`] of a name: the same in every process, because
/// gateways that disagree about it would tear sessions apart (FNV-1a; Fowler, Noll and Vo).
pub fn affinity_key(name: &[u8]) -> u64 {
    name.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The position of the endpoint that `key` belongs to; `None` when nobody is there.
pub(in crate::pool) fn choose(candidates: &[Candidate], key: u64, load_factor: f64) -> Option<usize> {
    let load: u64 = candidates.iter().map(|candidate| u64::from(candidate.in_flight)).sum();
    let weight: u64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let has_room = |candidate: &Candidate| {
        u64::from(candidate.in_flight) < bound(load + 1, candidate.weight, weight, load_factor)
    };
    let ranked = |wanted: &dyn Fn(&Candidate) -> bool| {
        let ranks = candidates.iter().enumerate().filter(|(_, candidate)| wanted(candidate));
        let best = ranks.map(|(position, candidate)| (rank(candidate, key), position));
        best.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, position)| position)
    };
    // Somebody is always below a factor above 1, except where rounding says otherwise.
    ranked(&has_room).or_else(|| ranked(&|_| true))
}

/// The most that an endpoint of that weight may have in flight when `load` is in flight in all.
fn bound(load: u64, weight: u64, total_weight: u64, load_factor: f64) -> u64 {
    let fair = load as f64 * weight as f64 / total_weight as f64;
    ((load_factor * fair).ceil() as u64).max(LOAD_ALWAYS_ALLOWED)
}

/// How much `key` wants that endpoint; negative, the higher the better.
fn rank(candidate: &Candidate, key: u64) -> f64 {
    let drawn = mixed(key ^ mixed(candidate.identity));
    // From 2^-53 to 1, never 0, whose logarithm is no number.
    let unit = ((drawn >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    unit.ln() / candidate.full_weight as f64
}

/// Spreads what differs in any bit over all bits (the finalizer of splitmix64; Steele, Lea and Flood 2014).
fn mixed(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    const FACTOR: f64 = 1.25;

    fn home(candidates: &[Candidate], key: u64) -> usize {
        candidates[choose(candidates, key, FACTOR).expect("somebody")].index
    }

    #[test]
    fn keys_are_the_same_everywhere() {
        // The published test vectors of FNV-1a.
        for (name, expected) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(affinity_key(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn a_key_has_one_home_and_homes_follow_weights() {
        let candidates: Vec<_> = [1, 1, 2, 4]
            .into_iter()
            .enumerate()
            .map(|(index, weight)| Candidate::idle(index).weighing(weight))
            .collect();
        let mut counts = [0.0_f64; 4];
        for key in 0..20_000 {
            assert_eq!(home(&candidates, key), home(&candidates, key));
            counts[home(&candidates, key)] += 1.0 / 20_000.0;
        }
        for (share, weight) in counts.iter().zip([1.0, 1.0, 2.0, 4.0]) {
            assert!((share - weight / 8.0).abs() < 0.015, "{counts:?}");
        }
        assert_eq!(choose(&[], 1, FACTOR), None);
    }

    #[test]
    fn only_the_keys_of_whoever_goes_move_and_they_come_back() {
        let all: Vec<_> = (0..5).map(Candidate::idle).collect();
        let without: Vec<_> = all.iter().copied().filter(|candidate| candidate.index != 2).collect();
        let mut moved_to = [0_u32; 5];
        for key in 0..5_000 {
            let (before, after) = (home(&all, key), home(&without, key));
            if before == 2 {
                moved_to[after] += 1;
            } else {
                assert_eq!(before, after, "key {key} had no reason to move");
            }
        }
        let even = [0, 1, 3, 4].iter().all(|index| moved_to[*index].abs_diff(250) < 80);
        assert!(even && moved_to[2] == 0, "its keys spread over all others: {moved_to:?}");
    }

    #[test]
    fn a_newcomer_takes_its_own_keys_and_no_other_moves() {
        let some: Vec<_> = (0..4).map(Candidate::idle).collect();
        let more: Vec<_> = (0..5).map(Candidate::idle).collect();
        for key in 0..5_000 {
            let after = home(&more, key);
            assert!(after == 4 || after == home(&some, key), "key {key} moved between the old ones");
        }
    }

    #[test]
    fn nobody_gets_more_than_the_bound_however_popular_a_key_is() {
        for seed in 0..50 {
            let mut rng = Rng::seeded(seed);
            let mut candidates: Vec<_> = (0..=rng.below(8) as usize)
                .map(|index| Candidate::idle(index).weighing(1 + rng.below(4)))
                .collect();
            let weight: u64 = candidates.iter().map(|candidate| candidate.weight).sum();
            for _ in 0..500 {
                // Half of all requests carry the same key.
                let key = if rng.chance(0.5) { 7 } else { rng.next_u64() };
                let chosen = choose(&candidates, key, FACTOR).expect("somebody");
                candidates[chosen].in_flight += 1;
                let load: u64 = candidates.iter().map(|candidate| u64::from(candidate.in_flight)).sum();
                let limit = bound(load, candidates[chosen].weight, weight, FACTOR);
                let held = u64::from(candidates[chosen].in_flight);
                assert!(held <= limit, "seed {seed}: {held} of {limit}, {candidates:?}");
                let ended = rng.below(candidates.len() as u64) as usize;
                if rng.chance(0.5) {
                    candidates[ended].in_flight = candidates[ended].in_flight.saturating_sub(1);
                }
            }
        }
    }

    #[test]
    fn an_overloaded_home_sends_a_key_to_its_runner_up() {
        let mut candidates: Vec<_> = (0..3).map(Candidate::idle).collect();
        let first = home(&candidates, 7);
        candidates[first].in_flight = 3;
        assert_eq!(home(&candidates, 7), first, "three are always allowed one more");
        candidates[first].in_flight = 4;
        let second = home(&candidates, 7);
        assert_ne!(second, first);
        let without: Vec<_> =
            candidates.iter().copied().filter(|candidate| candidate.index != first).collect();
        assert_eq!(second, home(&without, 7));
    }
}
