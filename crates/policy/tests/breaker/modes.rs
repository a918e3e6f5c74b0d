//! What passes and what is counted when a person decides.

use seaworthy_policy::breaker::{Mode, Reason, Rejected, State};

use crate::story::{FAILURE, SUCCESS, Story, exact_wait, in_mode};

#[test]
fn each_mode_passes_and_counts_what_it_says() {
    // (mode, the state people see, calls that pass of 100 failing ones, calls counted, whether a transition is told)
    for (mode, state, passes, counted, told) in [
        (Mode::ForceOpen, State::ForcedOpen, 0, 0, false),
        (Mode::ForceClosed, State::Closed, 100, 100, false),
        (Mode::Disabled, State::Closed, 100, 0, false),
        (Mode::MetricsOnly, State::Closed, 100, 0, true),
    ] {
        let mut story = Story::new(in_mode(mode));
        story.wait(500);
        let permits: Vec<_> = (0..100).filter_map(|_| story.admit().ok()).collect();
        assert_eq!(permits.len(), passes, "{mode:?}");
        for permit in permits {
            story.complete(permit, FAILURE);
        }
        assert_eq!(story.state(), state, "{mode:?}");
        assert_eq!(story.breaker.totals(story.now).calls(), counted, "{mode:?}");
        assert_eq!(story.last_reason().is_some(), told, "{mode:?}");
    }
}

#[test]
fn forced_open_says_when_to_try_again() {
    let mut story = Story::new(in_mode(Mode::ForceOpen));
    let rejected = story.admit().unwrap_err();
    assert!(matches!(rejected, Rejected::Open { .. }) && rejected.retry_after().as_secs() == 1);
    story.wait(3_600_000);
    assert!(story.admit().is_err(), "and no wait ends it");
    assert_eq!(story.breaker.next_deadline(), None);
}

#[test]
fn metrics_only_goes_through_all_states_and_rejects_nobody() {
    let mut story = Story::new(in_mode(Mode::MetricsOnly));
    story.wait(500).repeat(5, FAILURE);
    assert!(matches!(story.breaker.decided_state(story.now), State::Open { .. }));
    story.repeat(200, SUCCESS);
    assert!(
        matches!(story.breaker.decided_state(story.now), State::Open { .. }),
        "what it would reject is no evidence"
    );
    assert_eq!(story.breaker.totals(story.now).calls(), 0);
    story.now = story.breaker.next_deadline().unwrap();
    let probes: Vec<_> = (0..64).filter_map(|_| story.admit().ok()).collect();
    assert_eq!(probes.len(), 64);
    assert_eq!(probes.iter().filter(|permit| permit.is_probe()).count(), 3);
    for permit in probes {
        story.complete(permit, SUCCESS);
    }
    assert!(matches!(story.breaker.decided_state(story.now), State::Ramp { .. }));
    story.wait(10_000).succeed();
    assert_eq!(story.last_reason(), Some(Reason::RampFinished));
}

#[test]
fn whoever_takes_over_begins_anew_and_so_does_the_breaker() {
    let mut story = Story::new(exact_wait());
    let early: Vec<_> = (0..100).map(|_| story.admit().unwrap()).collect();
    story.open();
    story.breaker.set_mode(story.now, Mode::ForceClosed);
    story.breaker.check_invariants();
    assert_eq!(story.last_reason(), Some(Reason::ModeChanged));
    for permit in early {
        story.complete(permit, FAILURE);
    }
    assert_eq!(story.breaker.totals(story.now).calls(), 0, "calls let in before count no more");
    story.repeat(100, FAILURE);
    assert_eq!(story.state(), State::Closed);

    let under_way: Vec<_> = (0..100).map(|_| story.admit().unwrap()).collect();
    story.breaker.set_mode(story.now, Mode::Automatic);
    for permit in under_way {
        story.complete(permit, FAILURE);
    }
    assert_eq!(story.state(), State::Closed, "failures under the person's rule do not open it");
    assert_eq!(story.open().as_secs(), 1, "and it still works");
}

#[test]
fn a_mode_that_is_set_again_changes_nothing_and_a_reset_keeps_it() {
    let mut story = Story::new(in_mode(Mode::ForceOpen));
    let generation = story.breaker.generation();
    story.breaker.set_mode(story.now, Mode::ForceOpen);
    assert_eq!(story.breaker.generation(), generation);
    story.breaker.reset(story.now);
    assert_eq!((story.breaker.mode(), story.state()), (Mode::ForceOpen, State::ForcedOpen));
    assert!(story.admit().is_err());
}
