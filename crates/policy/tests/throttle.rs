//! The client's brake: the formula, the order of ranks, a backend in a loop, and a naive model.

use std::time::Duration;

use seaworthy_policy::throttle::{Counts, Outcome, RANKS};
use seaworthy_policy::{Ratio, Rng, Throttle, ThrottleConfig, Time};

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

/// A brake that has seen these, all at time zero: requests and accepted ones for each rank.
fn seen(config: ThrottleConfig, counts: &[(u64, u64)]) -> Throttle {
    assert_eq!(config.validate(), Ok(()));
    let mut throttle = Throttle::new(config);
    for (rank, (requests, accepted)) in counts.iter().enumerate() {
        for number in 0..*requests {
            let outcome = if number < *accepted { Outcome::Accepted } else { Outcome::Refused };
            throttle.on_outcome(at(0), rank, outcome);
        }
    }
    throttle
}

fn check(config: ThrottleConfig, counts: &[(u64, u64)], expected: [f64; RANKS]) {
    let probabilities = seen(config, counts).probabilities(at(0)).map(Ratio::get);
    for (measured, expected) in probabilities.iter().zip(expected) {
        assert!((measured - expected).abs() < 1e-9, "{counts:?}: {probabilities:?}");
    }
}

#[test]
fn the_formula_of_the_sre_book() {
    let config = ThrottleConfig::default();
    for (requests, accepted, expected) in [
        (0, 0, 0.0),
        (1_000, 1_000, 0.0),
        (1_000, 500, 0.0),
        (1_000, 400, 200.0 / 1_001.0),
        (1_000, 200, 600.0 / 1_001.0),
        (1_000, 0, 0.9),
        (149, 0, 0.0),
        (150, 0, 0.9),
    ] {
        check(config, &[(requests, accepted)], [expected, 0.0, 0.0, 0.0]);
    }
    let gentle = ThrottleConfig { k: 1.5, max_rejection_probability: 0.5, ..config };
    check(gentle, &[(1_000, 600)], [100.0 / 1_001.0, 0.0, 0.0, 0.0]);
    check(gentle, &[(1_000, 0)], [0.5, 0.0, 0.0, 0.0]);
}

#[test]
fn the_least_important_are_shed_first() {
    let config = ThrottleConfig::default();
    // 2000 requests, 800 accepted: 400 of 2001 are to be shed, all of them from the 1000 of rank 3.
    let shed = 400.0 / 2_001.0 * 2_000.0;
    check(config, &[(1_000, 400), (0, 0), (0, 0), (1_000, 400)], [0.0, 0.0, 0.0, shed / 1_000.0]);
    // 2000 requests, 200 accepted: 1600 of 2001, of which rank 3 can bear 900 and rank 1 the rest.
    let rest = 1_600.0 / 2_001.0 * 2_000.0 - 900.0;
    check(config, &[(0, 0), (1_000, 200), (0, 0), (1_000, 0)], [0.0, rest / 1_000.0, 0.0, 0.9]);
    // Nothing is accepted: everybody is at the highest probability.
    check(config, &[(500, 0), (500, 0), (500, 0), (500, 0)], [0.9; RANKS]);
}

#[test]
fn local_rejections_are_requests_and_never_accepted() {
    let mut throttle = seen(ThrottleConfig::default(), &[(1_000, 0)]);
    let mut rng = Rng::seeded(1);
    let rejected = (0..1_000).filter(|_| throttle.admit(at(0), &mut rng, 0).is_err()).count() as u64;
    assert!((850..950).contains(&rejected), "{rejected}");
    assert_eq!(throttle.counts(at(0))[0], Counts { requests: 1_000 + rejected, accepted: 0 });
}

#[test]
fn every_rejection_says_when_to_try_again_and_not_all_the_same() {
    let mut throttle = seen(ThrottleConfig::default(), &[(1_000, 0)]);
    let mut rng = Rng::seeded(2);
    let waits: Vec<Duration> = (0..1_000)
        .filter_map(|_| throttle.admit(at(0), &mut rng, 0).err())
        .map(|no| no.retry_after)
        .collect();
    assert!(waits.iter().all(|wait| (1_500..=4_500).contains(&wait.as_millis())));
    assert!(waits.iter().max().unwrap().as_millis() - waits.iter().min().unwrap().as_millis() > 2_500);
}

#[test]
fn a_burst_in_its_first_round_trip_is_no_overload() {
    let mut throttle = Throttle::new(ThrottleConfig::default());
    let mut rng = Rng::seeded(3);
    assert!((0..10_000).all(|_| throttle.admit(at(0), &mut rng, 0).is_ok()), "nothing is known yet");
}

#[test]
fn callers_that_give_up_do_not_turn_the_brake() {
    // Netflix/concurrency-limits#146, on the client's side.
    let mut throttle = Throttle::new(ThrottleConfig::default());
    (0..10_000).for_each(|_| throttle.on_outcome(at(0), 0, Outcome::Ignored));
    assert_eq!(throttle.counts(at(0)), [Counts::default(); RANKS]);
}

#[test]
fn what_has_left_the_window_is_forgotten() {
    let mut throttle = seen(ThrottleConfig::default(), &[(1_000, 0)]);
    let mut rng = Rng::seeded(4);
    assert!(throttle.probabilities(at(29_999))[0] > Ratio::ZERO);
    assert_eq!(throttle.probabilities(at(30_000)), [Ratio::ZERO; RANKS]);
    assert!(throttle.admit(at(30_000), &mut rng, 99).is_ok(), "an unknown rank is the last one");
}

/// A hundred requests per second, half of them important, to a backend that accepts so many per second: what
/// of each got through in a minute, and how many the backend had to refuse.
fn minute(accepts: [u64; 2], seed: u64) -> ([u64; 2], u64) {
    let mut throttle = Throttle::new(ThrottleConfig::default());
    let mut rng = Rng::seeded(seed);
    let (mut through, mut refused) = ([0, 0], 0);
    for second in 0..60_u64 {
        let mut room = accepts[usize::from(second >= 30)];
        for number in 0..100 {
            let now = at(second * 1_000 + number * 10);
            let rank = (number % 2) as usize * 3;
            if throttle.admit(now, &mut rng, rank).is_err() {
                continue;
            }
            let accepted = room > 0;
            room = room.saturating_sub(1);
            refused += u64::from(!accepted);
            through[rank / 3] += u64::from(accepted && second >= 30);
            throttle.on_outcome(now, rank, if accepted { Outcome::Accepted } else { Outcome::Refused });
        }
    }
    (through, refused)
}

/// Seconds from a backend's recovery, after half a minute of refusing everything, until half of the requests
/// are sent again and until all are.
fn recovery(window: Duration, seed: u64) -> (u64, u64) {
    let mut throttle = Throttle::new(ThrottleConfig { window, ..ThrottleConfig::default() });
    let mut rng = Rng::seeded(seed);
    let (mut half, mut all) = (None, None);
    for number in 0..10_000 {
        let now = at(number * 10);
        if throttle.admit(now, &mut rng, 0).is_ok() {
            let outcome = if number < 3_000 { Outcome::Refused } else { Outcome::Accepted };
            throttle.on_outcome(now, 0, outcome);
        }
        let probability = throttle.probabilities(now)[0].get();
        if number >= 3_000 && probability < 0.5 {
            half = half.or(Some((number - 3_000) / 100));
        }
        if number >= 3_000 && probability == 0.0 {
            all = all.or(Some((number - 3_000) / 100));
        }
    }
    (half.expect("half are sent again"), all.expect("all are sent again"))
}

#[test]
fn a_backend_in_trouble_is_spared_and_a_healthy_one_is_not_disturbed() {
    for seed in 0..5 {
        assert_eq!(minute([100, 100], seed), ([1_500, 1_500], 0), "seed {seed}: healthy");
        let (_, refused) = minute([0, 0], seed);
        // The first 1.5 s below the minimum, then a tenth of the rest.
        assert!((600..900).contains(&refused), "seed {seed}: {refused} of 6000 reached a dead backend");
        let ([important, other], _) = minute([20, 20], seed);
        assert!(important > 2 * other, "seed {seed}: {important} important, {other} others");
        let (half, all) = recovery(Duration::from_secs(10), seed);
        assert!((10..16).contains(&half) && (13..21).contains(&all), "seed {seed}: {half} s, {all} s");
        let (half, all) = recovery(Duration::from_secs(30), seed);
        assert!((30..48).contains(&half) && (40..62).contains(&all), "seed {seed}: {half} s, {all} s");
    }
}

/// Every record kept, the formula worked out anew, and ranks served one request at a time.
#[test]
fn behaves_like_a_naive_brake() {
    for seed in 0..100 {
        let mut rng = Rng::seeded(seed);
        let config = ThrottleConfig {
            k: 1.1 + rng.unit() * 2.0,
            window: Duration::from_millis(10 * (1 + rng.below(50))),
            max_rejection_probability: rng.unit(),
            minimum_rps: rng.below(2) as f64 * rng.unit() * 100.0,
        };
        assert_eq!(config.validate(), Ok(()), "seed {seed}");
        let width = config.window.as_nanos() as u64 / 10;
        let mut throttle = Throttle::new(config);
        let mut records: Vec<(u64, usize, bool)> = Vec::new();
        let mut now = 0;
        for step in 0..300 {
            now += rng.below(2) * rng.below(2 * width);
            let rank = rng.below(RANKS as u64) as usize;
            if rng.chance(0.5) {
                if throttle.admit(Time::from_nanos(now), &mut rng, rank).is_err() {
                    records.push((now, rank, false));
                }
            } else {
                let accepted = rng.chance(0.4);
                let outcome = if accepted { Outcome::Accepted } else { Outcome::Refused };
                throttle.on_outcome(Time::from_nanos(now), rank, outcome);
                records.push((now, rank, accepted));
            }
            let held = records.iter().filter(|(at, ..)| now / width - at / width < 10);
            let held: Vec<_> = held.copied().collect();
            let expected = naive(&config, &held);
            let measured = throttle.probabilities(Time::from_nanos(now)).map(Ratio::get);
            for (measured, expected) in measured.iter().zip(expected) {
                assert!(
                    (measured - expected).abs() < 1e-9,
                    "seed {seed}, step {step}: {measured} {expected}"
                );
            }
            throttle.check_invariants(Time::from_nanos(now));
        }
    }
}

fn naive(config: &ThrottleConfig, records: &[(u64, usize, bool)]) -> [f64; RANKS] {
    let requests = records.len() as f64;
    let accepted = records.iter().filter(|(.., accepted)| *accepted).count() as f64;
    let rejection = (requests - config.k * accepted).max(0.0) / (requests + 1.0);
    if requests < config.minimum_rps * config.window.as_secs_f64() {
        return [0.0; RANKS];
    }
    let to_shed = rejection.min(config.max_rejection_probability) * requests;
    std::array::from_fn(|rank| {
        let of = |rank: usize| records.iter().filter(|(_, other, _)| *other == rank).count() as f64;
        let borne_by_others: f64 =
            (rank + 1..RANKS).map(|rank| of(rank) * config.max_rejection_probability).sum();
        let left = (to_shed - borne_by_others).max(0.0);
        if of(rank) > 0.0 { (left / of(rank)).min(config.max_rejection_probability) } else { 0.0 }
    })
}

#[test]
fn validation_names_the_field() {
    let good = ThrottleConfig::default();
    assert_eq!(good.validate(), Ok(()));
    for (config, field) in [
        (ThrottleConfig { k: 1.0, ..good }, "k"),
        (ThrottleConfig { k: f64::NAN, ..good }, "k"),
        (ThrottleConfig { window: Duration::ZERO, ..good }, "window"),
        (ThrottleConfig { max_rejection_probability: 1.0, ..good }, "max_rejection_probability"),
        (ThrottleConfig { minimum_rps: -1.0, ..good }, "minimum_rps"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}
