//! Partial results: tables, and a naive judge that tries every possible future.

use std::time::Duration;

use seaworthy_policy::settle::{LEGS_MAX, Need, Settled, Verdict};
use seaworthy_policy::{Rng, Settle, SettleConfig, Time};

const R: Need = Need::Required;
const O: Need = Need::Optional;

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn config(legs: &[Need], min_success: Option<u32>) -> SettleConfig {
    let config = SettleConfig { legs: legs.to_vec(), min_success, settle_within: Duration::from_millis(100) };
    assert_eq!(config.validate(), Ok(()));
    config
}

/// Tells those ends in order, one per millisecond; `None` lets the time pass. Answers after how many the
/// decision came, the verdict, and what was to be cancelled.
fn run(
    legs: &[Need],
    min_success: Option<u32>,
    ends: &[Option<(usize, Settled)>],
) -> Option<(usize, Verdict, Vec<usize>)> {
    let mut settle = Settle::new(config(legs, min_success), at(0));
    let mut decided = None;
    for (number, end) in ends.iter().enumerate() {
        let decision = match end {
            Some((leg, settled)) => settle.on_settled(at(1 + number as u64), *leg, *settled),
            None => settle.on_timer(at(100)),
        };
        settle.check_invariants();
        assert!(decision.is_none() || decided.is_none(), "there is one decision");
        decided = decided.or(decision.map(|made| (number + 1, made.verdict, made.cancel.iter().collect())));
    }
    assert_eq!(settle.next_deadline().is_none(), decided.is_some());
    decided
}

#[test]
fn decided_as_soon_as_it_is_certain() {
    use Settled::{Failed, Ok, Skipped, TimedOut};
    let required = |leg, settled| Verdict::RequiredMissing { leg, settled };
    let missed = |succeeded, needed| Verdict::QuorumMissed { succeeded, needed };
    let time = None;
    let end = |leg, settled| Some((leg, settled));
    for (legs, min_success, ends, expected) in [
        // Everybody in: whole, however it was meant.
        (&[R, R][..], None, vec![end(0, Ok), end(1, Ok)], Some((2, Verdict::Whole, vec![]))),
        (&[O, O], Some(2), vec![end(1, Ok), end(0, Ok)], Some((2, Verdict::Whole, vec![]))),
        // A required leg fails, times out by itself, or could not be begun: at once, and the rest is cancelled.
        (&[R, R, O], None, vec![end(1, Failed)], Some((1, required(1, Failed), vec![0, 2]))),
        (&[R, O], None, vec![end(1, Ok), end(0, Skipped)], Some((2, required(0, Skipped), vec![]))),
        (&[R, O], Some(1), vec![end(1, Ok), end(0, TimedOut)], Some((2, required(0, TimedOut), vec![]))),
        // Optional legs are waited for, and may fail.
        (&[R, O], None, vec![end(0, Ok)], None),
        (&[R, O], None, vec![end(0, Ok), end(1, Failed)], Some((2, Verdict::Partial, vec![]))),
        (&[R, O], None, vec![end(0, Ok), time], Some((2, Verdict::Partial, vec![1]))),
        (&[O, O], None, vec![end(0, Failed), end(1, Failed)], Some((2, Verdict::Partial, vec![]))),
        (&[R, O], None, vec![end(1, Ok), time], Some((2, required(0, TimedOut), vec![0]))),
        // A quorum: the rest is cancelled; out of reach: fail now.
        (&[O, O, O], Some(2), vec![end(2, Ok), end(0, Ok)], Some((2, Verdict::Partial, vec![1]))),
        (&[O, O, O], Some(2), vec![end(2, Failed), end(0, Failed)], Some((2, missed(0, 2), vec![1]))),
        (
            &[O, O, O],
            Some(2),
            vec![end(2, Failed), end(0, Ok), end(1, Ok)],
            Some((3, Verdict::Partial, vec![])),
        ),
        (&[O, O, O], Some(2), vec![end(2, Ok), time], Some((2, missed(1, 2), vec![0, 1]))),
        // A quorum without the required leg is none.
        (&[R, O, O], Some(2), vec![end(1, Ok), end(2, Ok), end(0, Ok)], Some((3, Verdict::Whole, vec![]))),
        (
            &[R, O, O, O],
            Some(2),
            vec![end(1, Ok), end(2, Ok), end(0, Ok)],
            Some((3, Verdict::Partial, vec![3])),
        ),
        (
            &[R, O, O, O],
            Some(2),
            vec![end(1, Ok), end(2, Ok), time],
            Some((3, required(0, TimedOut), vec![0, 3])),
        ),
        // Twice, too late, or of nobody.
        (&[O, O], None, vec![end(0, Ok), end(0, Failed), end(7, Ok)], None),
        (&[R, O], None, vec![end(0, Failed), end(1, Ok), time], Some((1, required(0, Failed), vec![1]))),
    ] {
        assert_eq!(run(legs, min_success, &ends), expected, "{legs:?}, {min_success:?}, {ends:?}");
    }
}

#[test]
fn every_leg_has_an_end_after_the_decision() {
    for (needed, expected) in
        [(Some(1), [Settled::Ok, Settled::Skipped]), (None, [Settled::Ok, Settled::TimedOut])]
    {
        let mut settle = Settle::new(config(&[O, O], needed), at(0));
        settle.on_settled(at(1), 0, Settled::Ok);
        settle.on_timer(at(100));
        assert_eq!(settle.settled(), expected.map(Some));
    }
}

#[test]
fn the_deadline_counts_even_when_its_timer_is_late() {
    let mut settle = Settle::new(config(&[R], None), at(0));
    assert_eq!(settle.on_timer(at(99)), None);
    let decision = settle.on_settled(at(100), 0, Settled::Ok).unwrap();
    assert_eq!(decision.verdict, Verdict::RequiredMissing { leg: 0, settled: Settled::TimedOut });
    assert!(decision.cancel.contains(0) && !decision.cancel.is_empty());
}

/// What the ends so far amount to if nothing more comes before the time is up.
fn at_the_end(config: &SettleConfig, ends: &[Option<Settled>]) -> bool {
    let required = config.legs.iter().zip(ends).all(|(need, end)| *need == O || *end == Some(Settled::Ok));
    let succeeded = ends.iter().filter(|end| **end == Some(Settled::Ok)).count();
    required && succeeded >= config.min_success.unwrap_or(0) as usize
}

/// Whether every future ends in that: each leg that is open may still succeed or fail.
fn certain(config: &SettleConfig, ends: &[Option<Settled>], answer: bool) -> bool {
    let open: Vec<usize> = (0..ends.len()).filter(|leg| ends[*leg].is_none()).collect();
    (0..1_u32 << open.len()).all(|future| {
        let mut ends = ends.to_vec();
        for (bit, leg) in open.iter().enumerate() {
            let settled = if future & (1 << bit) == 0 { Settled::Failed } else { Settled::Ok };
            ends[*leg] = Some(settled);
        }
        at_the_end(config, &ends) == answer
    })
}

#[test]
fn behaves_like_a_judge_who_tries_every_future() {
    for seed in 0..400 {
        let mut rng = Rng::seeded(seed);
        let count = 1 + rng.below(6) as usize;
        let legs: Vec<Need> = (0..count).map(|_| if rng.chance(0.4) { R } else { O }).collect();
        let min_success = rng.chance(0.6).then(|| 1 + rng.below(count as u64) as u32);
        let config = config(&legs, min_success);
        let mut settle = Settle::new(config.clone(), at(0));
        let mut ends = vec![None; count];
        for now in 0..200 {
            let place = format!("seed {seed}, at {now}: {config:?}, {ends:?}");
            let leg = rng.below(count as u64) as usize;
            let end = [Settled::Ok, Settled::Ok, Settled::Failed, Settled::TimedOut][rng.below(4) as usize];
            let tells = rng.chance(0.05);
            if tells && now < 100 && settle.verdict().is_none() && ends[leg].is_none() {
                ends[leg] = Some(end);
            }
            let before = settle.verdict();
            let decision =
                if tells { settle.on_settled(at(now), leg, end) } else { settle.on_timer(at(now)) };
            settle.check_invariants();
            assert_eq!(decision.map(|made| made.verdict).or(before), settle.verdict(), "{place}");
            let all_in = ends.iter().all(Option::is_some);
            let waits = min_success.is_none() && !all_in;
            let failed = certain(&config, &ends, false);
            let answered = certain(&config, &ends, true) && !waits;
            let expected = match (failed, answered, now >= 100) {
                (true, ..) => Some(false),
                (_, true, _) => Some(true),
                (.., true) => Some(at_the_end(&config, &ends)),
                _ => None,
            };
            assert_eq!(settle.verdict().map(Verdict::is_answer), expected, "{place}");
            if let Some(made) = decision {
                assert!((0..count).all(|leg| made.cancel.contains(leg) == ends[leg].is_none()), "{place}");
                let whole = ends.iter().all(|end| *end == Some(Settled::Ok));
                assert_eq!(made.verdict == Verdict::Whole, whole, "{place}");
            }
        }
        assert!(settle.verdict().is_some() && settle.next_deadline().is_none());
    }
}

#[test]
fn validation_names_the_field() {
    let good = config(&[R, O], None);
    for (config, field) in [
        (SettleConfig { legs: vec![], ..good.clone() }, "legs"),
        (SettleConfig { legs: vec![O; LEGS_MAX + 1], ..good.clone() }, "legs"),
        (SettleConfig { min_success: Some(0), ..good.clone() }, "min_success"),
        (SettleConfig { min_success: Some(3), ..good.clone() }, "min_success"),
        (SettleConfig { settle_within: Duration::ZERO, ..good.clone() }, "settle_within"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}
