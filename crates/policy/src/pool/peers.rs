//! Which endpoint is worse than its peers: the comparison behind ejection by slowness and by failure share.
//!
//! **Problem.** "Slow" and "failing" have no absolute limit that fits every backend; and when a database slows all endpoints down,
//! or a bad release fails on all of them, taking endpoints out makes it worse. What tells a sick endpoint from a sick backend
//! is that its peers are well.
//!
//! **Model.** At each sweep, an endpoint looks slow when its reading ([`super::pace`]) is at least `slow_factor` times the median of all
//! readings, *and* away from it by more than [`DEVIATIONS`] median absolute deviations (IASO, USENIX ATC 2019, and Perseus, FAST 2023,
//! compare in the same spirit). Median and deviation are the lower ones, so that of two endpoints the faster is the norm, and of four two can
//! still be called slow. It looks failing when its share of failures exceeds the median share by `failure_excess` and by more
//! than five standard deviations of two samples of that size. A look must persist for `persistence` sweeps before anything happens.
//!
//! What happens: the endpoint is ejected; or, where more than a third of the compared endpoints look slow, or ejecting is not
//! allowed any more, it is put on **probation** and keeps a tenth of its weight, because half of the capacity is worth more than
//! a guess about which half is right ("probation": Dean and Barroso, The Tail at Scale, 2013).
//!
//! **Rejected.** Means and standard deviations (Envoy's success-rate ejection): one bad endpoint of three raises both so far that it never
//! stands out, hence its minimum of five hosts.
//!
//! **Limits.** A queue looks like slowness, because it is. Ten modelled servers of two workers each, taking turns at 80 % load with
//! exponential times, look slow in one of fifty looks, and by persistence alone had ten ejections in eight minutes. What tells the queues is that they
//! empty: see [`super::sweep`].
//!
//! **Worked number.** Ratios 1.0, 1.1 and 10: median 1.1, deviation 0.1; 10 is 9.1 times the median and 60 deviations away. All at 10: nobody.

use super::pace::Reading;

/// Farther from the median than this many (normalised) median absolute deviations is no scatter.
const DEVIATIONS: f64 = 4.0;
/// Turns a median absolute deviation into a standard deviation, where samples are normally distributed.
const NORMALISED: f64 = 1.4826;
/// The least deviation assumed, as a share of the median: two equal readings do not make every other one an outlier.
const DEVIATION_MIN: f64 = 0.1;
/// The least share of failures assumed to be usual.
const FAILURE_USUAL_MIN: f64 = 0.02;
/// Fewer failures than this may be one bad client.
const FAILURES_MIN: u64 = 5;
/// Chance alone does not explain more standard deviations than this: once in three million looks, of which ten endpoints take twenty a second.
const CHANCE_DEVIATIONS: f64 = 5.0;

/// Whether `own` is slow among all readings of its time, its own included.
pub(super) fn is_slow(own: Reading, all: impl Iterator<Item = Reading>, slow_factor: f64) -> bool {
    // A peer's reading from before this window began may be from before everybody became slow.
    let mut ratios: Vec<f64> = all.filter(|peer| peer.until > own.from).map(|peer| peer.ratio).collect();
    if ratios.len() < 2 {
        return false;
    }
    let median = lower_median(&mut ratios);
    for ratio in &mut ratios {
        *ratio = (*ratio - median).abs();
    }
    let deviation = (NORMALISED * lower_median(&mut ratios)).max(DEVIATION_MIN * median);
    own.ratio >= slow_factor * median && own.ratio - median > DEVIATIONS * deviation
}

/// Failed and all calls of an endpoint.
pub(super) type Failures = (u64, u64);

/// Whether `own` fails more often than its peers; `all` has those with enough calls, its own included.
pub(super) fn is_failing(
    (failed, calls): Failures,
    all: impl Iterator<Item = Failures>,
    excess: f64,
) -> bool {
    let share = |(failed, calls): Failures| failed as f64 / calls.max(1) as f64;
    let mut all: Vec<(f64, u64)> = all.map(|(failed, calls)| (share((failed, calls)), calls)).collect();
    if all.len() < 2 {
        return false;
    }
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (usual, usual_calls) = all[(all.len() - 1) / 2];
    let assumed = usual.max(FAILURE_USUAL_MIN);
    // Both shares are samples: the peer's own scatters too.
    let scatter = 1.0 / calls.max(1) as f64 + 1.0 / usual_calls.max(1) as f64;
    let chance = CHANCE_DEVIATIONS * (assumed * (1.0 - assumed) * scatter).sqrt();
    failed >= FAILURES_MIN && share((failed, calls)) - usual >= excess.max(chance)
}

fn lower_median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rng, Time};

    fn readings(ratios: &[f64]) -> Vec<Reading> {
        let (from, until) = (Time::ZERO, Time::from_millis(500));
        ratios.iter().map(|ratio| Reading { from, until, ratio: *ratio, missing: None }).collect()
    }

    fn slow(ratios: &[f64]) -> Vec<usize> {
        let all = readings(ratios);
        (0..all.len()).filter(|index| is_slow(all[*index], all.iter().copied(), 4.0)).collect()
    }

    #[test]
    fn who_is_slow() {
        let table: [(&[f64], &[usize]); 10] = [
            (&[10.0], &[]),
            (&[1.0, 1.1, 10.0], &[2]),
            (&[1.0, 1.0, 3.9], &[]),
            (&[10.0, 10.0, 10.0], &[]),
            (&[9.0, 11.0, 10.0, 12.0], &[]),
            // Two of three are slow: they are the norm.
            (&[1.0, 10.0, 10.0], &[]),
            (&[1.0, 10.0], &[1]),
            (&[1.0, 1.0, 10.0, 10.0], &[2, 3]),
            // Scattered all over: four times the median is no exception here.
            (&[1.0, 2.0, 4.0, 7.0, 8.0, 16.0], &[]),
            (&[1.0, 1.0, 1.0, 1.2, 0.9, 1.0, 1.0, 1.1, 5.0, 1.0], &[8]),
        ];
        for (ratios, expected) in table {
            assert_eq!(slow(ratios), expected, "{ratios:?}");
        }
    }

    #[test]
    fn a_reading_from_before_does_not_make_others_slow() {
        let old = Reading { from: Time::ZERO, until: Time::from_millis(500), ratio: 1.0, missing: None };
        let new = Reading {
            from: Time::from_millis(500),
            until: Time::from_millis(1_000),
            ratio: 10.0,
            missing: None,
        };
        assert!(!is_slow(new, [old, old, new].into_iter(), 3.0));
        assert!(is_slow(new, [Reading { until: new.until, ..old }, new].into_iter(), 3.0));
    }

    #[test]
    fn when_all_are_slow_alike_nobody_is() {
        for seed in 0..500 {
            let mut rng = Rng::seeded(seed);
            let level = 1.0 + 100.0 * rng.unit();
            let count = 1 + rng.below(12);
            let ratios: Vec<f64> = (0..count).map(|_| level * (0.7 + 0.6 * rng.unit())).collect();
            assert_eq!(slow(&ratios), [0_usize; 0], "seed {seed}: {ratios:?}");
        }
    }

    #[test]
    fn one_that_is_ten_times_as_slow_is_found_in_any_fleet_of_three_or_more() {
        for seed in 0..500 {
            let mut rng = Rng::seeded(seed);
            let mut ratios: Vec<f64> = (0..3 + rng.below(10)).map(|_| 0.8 + 0.4 * rng.unit()).collect();
            let bad = rng.below(ratios.len() as u64) as usize;
            ratios[bad] *= 10.0;
            assert_eq!(slow(&ratios), [bad], "seed {seed}: {ratios:?}");
        }
    }

    #[test]
    fn who_is_failing() {
        let table: [(&[Failures], &[usize]); 8] = [
            (&[(100, 100)], &[]),
            (&[(0, 100), (0, 100), (30, 100)], &[2]),
            (&[(0, 100), (0, 100), (9, 100)], &[]),
            (&[(0, 20), (0, 20), (4, 20)], &[]),
            (&[(0, 20), (0, 20), (5, 20)], &[2]),
            (&[(50, 100), (50, 100), (50, 100)], &[]),
            (&[(40, 100), (55, 100), (48, 100)], &[]),
            (&[(0, 100), (50, 100)], &[1]),
        ];
        for (all, expected) in table {
            let failing: Vec<_> =
                (0..all.len()).filter(|index| is_failing(all[*index], all.iter().copied(), 0.1)).collect();
            assert_eq!(failing, expected, "{all:?}");
        }
    }
}
