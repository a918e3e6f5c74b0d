//! The fallback: which failures lead to it, and how many at once.

use std::time::Duration;

use seaworthy_policy::call::{Failure, FailureKind};
use seaworthy_policy::fallback::{NoFallback, Permit, Trigger, Triggers};
use seaworthy_policy::{FailureClass, Fallback, FallbackConfig, Rng};

const CLASSES: [FailureClass; 7] = [
    FailureClass::Error,
    FailureClass::Unreachable,
    FailureClass::Timeout,
    FailureClass::Rejected,
    FailureClass::CallerError,
    FailureClass::CallerCancelled,
    FailureClass::OutcomeUnknown,
];

#[test]
fn callers_errors_and_unknown_outcomes_never_lead_to_it() {
    let covered = |triggers| {
        let fallback = Fallback::new(FallbackConfig { fallback_on: triggers, max_concurrent_calls: 1 });
        CLASSES.map(|class| fallback.covers(class))
    };
    let none = [false; 3];
    for (triggers, expected) in [
        (Triggers::ALL, [true, true, true, true]),
        (Triggers::of(&[Trigger::Error]), [true, false, false, false]),
        (Triggers::of(&[Trigger::Rejected, Trigger::Timeout]), [false, false, true, true]),
    ] {
        assert_eq!(covered(triggers)[..4], expected);
        assert_eq!(covered(triggers)[4..], none);
    }
}

#[test]
fn calls_and_answers_have_their_class() {
    let class =
        |kind, outcome_unknown| FailureClass::of(&Failure { kind, retry_after: None, outcome_unknown });
    for (kind, expected) in [
        (FailureKind::NoEndpoint, FailureClass::Rejected),
        (FailureKind::BreakerOpen, FailureClass::Rejected),
        (FailureKind::Connect, FailureClass::Unreachable),
        (FailureKind::Reset, FailureClass::Unreachable),
        (FailureKind::Protocol, FailureClass::Unreachable),
        (FailureKind::ConnectTimeout, FailureClass::Timeout),
        (FailureKind::AttemptTimeout, FailureClass::Timeout),
        (FailureKind::TotalTimeout, FailureClass::Timeout),
        (FailureKind::RequestBody, FailureClass::CallerError),
    ] {
        assert_eq!(class(kind, false), expected, "{kind:?}");
        assert_eq!(class(kind, true), FailureClass::OutcomeUnknown, "{kind:?}");
    }
    for (status, expected) in [
        (200, None),
        (404, Some(FailureClass::CallerError)),
        (429, Some(FailureClass::CallerError)),
        (500, Some(FailureClass::Error)),
        (501, None),
        (503, Some(FailureClass::Error)),
        (505, None),
    ] {
        assert_eq!(FailureClass::of_status(status), expected, "{status}");
    }
}

#[test]
fn places_are_bounded_and_given_back() {
    for seed in 0..100 {
        let mut rng = Rng::seeded(seed);
        let max_concurrent_calls = 1 + rng.below(5) as u32;
        let config = FallbackConfig { max_concurrent_calls, ..FallbackConfig::default() };
        assert_eq!(config.validate(), Ok(()));
        let mut fallback = Fallback::new(config);
        let mut held: Vec<Permit> = Vec::new();
        for _ in 0..200 {
            if rng.chance(0.6) {
                let class = CLASSES[rng.below(7) as usize];
                let expected = if class.trigger().is_none() {
                    Some(NoFallback::NotCovered)
                } else if held.len() == max_concurrent_calls as usize {
                    Some(NoFallback::Busy { retry_after: Duration::from_secs(1) })
                } else {
                    None
                };
                match fallback.on_failure(class) {
                    Ok(permit) => {
                        assert_eq!(expected, None, "seed {seed}: {class:?}");
                        held.push(permit);
                    }
                    Err(no) => assert_eq!(Some(no), expected, "seed {seed}: {class:?}"),
                }
            } else if let Some(permit) = held.pop() {
                fallback.on_end(permit);
            }
            fallback.check_invariants();
            assert_eq!(fallback.running() as usize, held.len());
        }
    }
}

#[test]
fn validation_names_the_field() {
    let good = FallbackConfig::default();
    for (config, field) in [
        (FallbackConfig { fallback_on: Triggers::of(&[]), ..good }, "fallback_on"),
        (FallbackConfig { max_concurrent_calls: 0, ..good }, "max_concurrent_calls"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}
