//! The own zone first, the others in proportion to what is missing there.
//!
//! **Problem.** Another zone costs latency and money; but a zone whose endpoints fail one by one must not carry everything
//! until the last of them falls over, and then nothing.
//!
//! **Model.** While the available share of the own zone's weight is at least `zone_healthy_share`, requests stay. Below it,
//! the part `available / zone_healthy_share` stays and the rest goes to the other zones. A side without a candidate gets
//! nothing, so the last endpoints anywhere are always used. A full endpoint counts as missing: the zone spills before it
//! sends people away.
//!
//! **Limits.** Gateways are taken to be spread over zones as endpoints are; this gateway cannot see how much the others send.
//!
//! **Worked number.** Three endpoints at home and a healthy share of 0.7: with all three 100 % stay, with two (0.67) 95 %, with one 48 %, with none 0 %.

use super::Candidate;
use crate::rng::Rng;

/// Keeps the candidates of the own zone or those of the others. `available` of `total` is the own zone's weight.
pub(in crate::pool) fn keep_one_side(
    candidates: &mut Vec<Candidate>,
    own_zone: u16,
    (available, total): (u64, u64),
    healthy_share: f64,
    rng: &mut Rng,
) {
    let at_home = candidates.iter().filter(|candidate| candidate.zone == own_zone).count();
    if at_home == 0 || at_home == candidates.len() {
        return;
    }
    let stays = rng.chance(share_that_stays(available, total, healthy_share));
    candidates.retain(|candidate| (candidate.zone == own_zone) == stays);
}

/// The share of requests that stay in the own zone.
fn share_that_stays(available: u64, total: u64, healthy_share: f64) -> f64 {
    (available as f64 / total.max(1) as f64 / healthy_share).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spills_in_proportion() {
        for (available, total, expected) in
            [(3, 3, 1.0), (2, 3, 0.952), (1, 3, 0.476), (0, 3, 0.0), (7, 10, 1.0), (0, 0, 0.0)]
        {
            let share = share_that_stays(available, total, 0.7);
            assert!((share - expected).abs() < 0.001, "{available} of {total}: {share}");
        }
    }

    #[test]
    fn never_leaves_nobody() {
        for seed in 0..200 {
            let mut rng = Rng::seeded(seed);
            let mut candidates: Vec<_> = (0..=rng.below(5) as usize)
                .map(|index| Candidate::idle(index).in_zone(rng.below(2) as u16))
                .collect();
            let home = candidates.iter().filter(|candidate| candidate.zone == 0).count() as u64;
            keep_one_side(&mut candidates, 0, (home, home + rng.below(3)), 0.7, &mut rng);
            assert!(!candidates.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn the_share_that_stays_is_kept_over_many_requests() {
        for seed in 0..20 {
            let mut rng = Rng::seeded(seed);
            let mut stayed = 0_u32;
            for _ in 0..5_000 {
                let mut candidates = vec![Candidate::idle(0), Candidate::idle(1).in_zone(1)];
                keep_one_side(&mut candidates, 0, (1, 3), 0.7, &mut rng);
                stayed += u32::from(candidates[0].zone == 0);
            }
            assert!(stayed.abs_diff(2_381) < 180, "seed {seed}: {stayed}");
        }
    }
}
