//! Restarts: tables, the liveness gate, and properties that hold for any life of a process.

use std::time::Duration;

use proptest::prelude::*;
use seaworthy_policy::restart::{
    CrashLoop, Decision, Exit, Gate, GateInput, HoldReason, Mode, StayDownReason, gate,
};
use seaworthy_policy::{Restart, RestartConfig, Rng, Time};

const CRASH: Exit = Exit::Code(1);

fn exact() -> RestartConfig {
    RestartConfig { jitter: 0.0, ..RestartConfig::default() }
}

/// Exits `times` times as soon as it is started; the waits in milliseconds, and whether each was a crash loop.
fn crash_at_once(restart: &mut Restart, now: &mut Time, times: usize) -> Vec<(u64, bool)> {
    let mut rng = Rng::seeded(1);
    let mut waits = Vec::new();
    for _ in 0..times {
        let Decision::RestartAt { at, crash_loop } = restart.on_exit(*now, &mut rng, CRASH) else {
            panic!("a crash is followed by a restart");
        };
        waits.push((at.saturating_since(*now).as_millis() as u64, crash_loop));
        *now = at;
        restart.on_started(*now);
    }
    waits
}

#[test]
fn waits_double_and_a_crash_loop_is_called_one() {
    let (mut restart, mut now) = (Restart::new(exact()), Time::ZERO);
    let waits = crash_at_once(&mut restart, &mut now, 10);
    let expected = [0, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000];
    assert_eq!(waits.iter().map(|(wait, _)| *wait).collect::<Vec<_>>(), expected);
    let loops: Vec<bool> = waits.iter().map(|(_, crash_loop)| *crash_loop).collect();
    assert_eq!(loops, [false, false, false, false, true, true, true, true, true, true]);
}

#[test]
fn it_never_gives_up_and_a_slow_crash_loop_is_still_one() {
    let (mut restart, mut now) = (Restart::new(exact()), Time::ZERO);
    let waits = crash_at_once(&mut restart, &mut now, 2_000);
    assert!(waits[10..].iter().all(|wait| *wait == (30_000, true)), "two restarts per minute, for ever");
    assert!(restart.in_crash_loop(now));
}

#[test]
fn only_having_been_ready_long_enough_is_a_new_beginning() {
    let minute = Duration::from_mins(1);
    // (ready for, wait of the next restart in milliseconds, still a crash loop)
    for (ready_for, expected) in [
        (Some(minute), (0, false)),
        (Some(minute.saturating_sub(Duration::from_nanos(1))), (30_000, true)),
        (None, (30_000, true)),
    ] {
        let (mut restart, mut now) = (Restart::new(exact()), Time::ZERO);
        crash_at_once(&mut restart, &mut now, 20);
        if let Some(ready_for) = ready_for {
            restart.on_ready(now);
            now = now + ready_for;
            restart.on_ready(now);
        } else {
            // An hour in its start: running, never ready.
            now = now + Duration::from_hours(1);
        }
        assert_eq!(restart.in_crash_loop(now), expected.1);
        assert_eq!(crash_at_once(&mut restart, &mut now, 1), [expected], "ready for {ready_for:?}");
    }
}

#[test]
fn having_been_ready_before_the_last_start_proves_nothing() {
    let (mut restart, mut now) = (Restart::new(exact()), Time::ZERO);
    restart.on_started(now);
    restart.on_ready(now);
    crash_at_once(&mut restart, &mut now, 1);
    now = now + Duration::from_hours(1);
    assert_eq!(crash_at_once(&mut restart, &mut now, 1), [(200, false)]);
}

#[test]
fn a_start_that_fails_at_once_does_not_live_on_the_last_one() {
    let (mut restart, mut rng) = (Restart::new(exact()), Rng::seeded(1));
    restart.on_ready(Time::ZERO);
    let now = Time::from_millis(3_600_000);
    let at = |millis| Decision::RestartAt { at: now + Duration::from_millis(millis), crash_loop: false };
    assert_eq!(restart.on_exit(now, &mut rng, CRASH), at(0));
    // The program could not even be executed, so nothing was started in between.
    assert_eq!(restart.on_exit(now, &mut rng, CRASH), at(200));
    assert_eq!(restart.on_exit(now, &mut rng, CRASH), at(400));
}

#[test]
fn restarts_stay_in_order_even_when_exits_come_before_they_are_due() {
    for seed in 0..50 {
        let (mut restart, mut rng) = (Restart::new(RestartConfig::default()), Rng::seeded(seed));
        let due: Vec<Time> = (0..30)
            .map(|_| match restart.on_exit(Time::ZERO, &mut rng, CRASH) {
                Decision::RestartAt { at, .. } => at,
                Decision::StayDown { reason } => panic!("{reason:?}"),
            })
            .collect();
        assert!(due.is_sorted(), "seed {seed}: {due:?}");
    }
}

#[test]
fn modes_and_permanent_exit_codes() {
    for (mode, exit, expected) in [
        (Mode::Always, Exit::Code(0), None),
        (Mode::Always, Exit::Code(1), None),
        (Mode::Always, Exit::Signal(9), None),
        (Mode::Always, Exit::Code(78), Some(StayDownReason::PermanentExitCode(78))),
        (Mode::OnFailure, Exit::Code(0), Some(StayDownReason::Finished)),
        (Mode::OnFailure, Exit::Code(1), None),
        (Mode::OnFailure, Exit::Signal(15), None),
        (Mode::OnFailure, Exit::Code(78), Some(StayDownReason::PermanentExitCode(78))),
        (Mode::Never, Exit::Code(1), Some(StayDownReason::NeverRestarted)),
        (Mode::Never, Exit::Signal(9), Some(StayDownReason::NeverRestarted)),
    ] {
        let mut restart = Restart::new(RestartConfig { mode, ..exact() });
        let decision = restart.on_exit(Time::ZERO, &mut Rng::seeded(1), exit);
        let wanted = expected.map_or(Decision::RestartAt { at: Time::ZERO, crash_loop: false }, |reason| {
            Decision::StayDown { reason }
        });
        assert_eq!(decision, wanted, "{mode:?} {exit:?}");
    }
}

#[test]
fn a_liveness_restart_is_held_when_it_cannot_help() {
    // (replicas, failing by timeout, dependency down, restarts in progress)
    for (replicas, failing, dependency, restarting, expected) in [
        (3, 1, false, 0, Gate::Restart),
        (3, 2, false, 0, Gate::Hold(HoldReason::Fleet)),
        (3, 3, false, 0, Gate::Hold(HoldReason::Fleet)),
        (1, 1, false, 0, Gate::Restart),
        (2, 1, false, 0, Gate::Restart),
        (2, 2, false, 0, Gate::Hold(HoldReason::Fleet)),
        (6, 2, false, 0, Gate::Restart),
        (6, 3, false, 0, Gate::Hold(HoldReason::Fleet)),
        (6, 2, false, 1, Gate::Hold(HoldReason::AnotherRestart)),
        (3, 1, true, 0, Gate::Hold(HoldReason::Dependency)),
        (3, 0, false, 0, Gate::Restart),
        (u32::MAX, u32::MAX, false, 0, Gate::Hold(HoldReason::Fleet)),
    ] {
        let input = GateInput {
            replicas,
            failing_by_timeout: failing,
            dependency_down: dependency,
            restarts_in_progress: restarting,
        };
        assert_eq!(gate(input), expected, "{input:?}");
    }
}

#[test]
fn backwards_clock() {
    let (mut restart, mut rng) = (Restart::new(exact()), Rng::seeded(1));
    restart.on_exit(Time::from_millis(100_000), &mut rng, CRASH);
    let decision = restart.on_exit(Time::ZERO, &mut rng, CRASH);
    assert_eq!(decision, Decision::RestartAt { at: Time::from_millis(100_200), crash_loop: false });
    restart.check_invariants();
}

#[test]
fn validation_names_the_field() {
    let good = RestartConfig::default();
    assert_eq!(good.validate(), Ok(()));
    let crash_loop = |restarts, window| CrashLoop { restarts, window };
    for (config, field) in [
        (RestartConfig { initial: Duration::ZERO, ..good.clone() }, "initial"),
        (RestartConfig { factor: 0.5, ..good.clone() }, "factor"),
        (RestartConfig { max: Duration::from_millis(199), ..good.clone() }, "max"),
        (RestartConfig { jitter: 2.0, ..good.clone() }, "jitter"),
        (
            RestartConfig { crash_loop: crash_loop(0, good.reset_after), ..good.clone() },
            "crash_loop.restarts",
        ),
        (
            RestartConfig { crash_loop: crash_loop(101, good.reset_after), ..good.clone() },
            "crash_loop.restarts",
        ),
        (RestartConfig { crash_loop: crash_loop(5, Duration::ZERO), ..good.clone() }, "crash_loop.window"),
        (RestartConfig { permanent_exit_codes: (0..257).collect(), ..good.clone() }, "permanent_exit_codes"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}

proptest! {
    /// The naive model keeps every life of the process: when it became ready, when it exited, when it was due
    /// again. The wait and the crash loop are worked out from all lives since the last stable one.
    #[test]
    fn behaves_like_the_naive_model(
        seed in any::<u64>(),
        lives in prop::collection::vec((0_u64..100, prop::option::of(0_u64..130), any::<bool>()), 1..60),
    ) {
        let config = RestartConfig::default();
        let (mut restart, mut rng) = (Restart::new(config.clone()), Rng::seeded(seed));
        let (mut now, mut due): (Time, Vec<Time>) = (Time::ZERO, Vec::new());
        let (mut since_stable, mut crash_loop) = (0_usize, false);
        for (starting, ready, seconds) in lives {
            let unit = if seconds { 1_000 } else { 10 };
            restart.on_started(now);
            now = now + Duration::from_millis(starting * 10);
            if let Some(ready) = ready {
                restart.on_ready(now);
                now = now + Duration::from_millis(ready * unit);
                if Duration::from_millis(ready * unit) >= config.reset_after {
                    since_stable = due.len();
                    crash_loop = false;
                }
            }
            let Decision::RestartAt { at, crash_loop: shown } = restart.on_exit(now, &mut rng, CRASH) else {
                panic!("a crash is followed by a restart");
            };
            let streak = due.len() - since_stable;
            let wait = at.saturating_since(now).as_secs_f64();
            let exponent = i32::try_from(streak).unwrap() - 1;
            let base = if streak == 0 { 0.0 } else { (0.2 * 2_f64.powi(exponent)).min(30.0) };
            prop_assert!(wait >= base * 0.799 && wait <= base * 1.201, "wait {} in streak {}", wait, streak);
            due.push(at);
            let recent = due[since_stable..].iter().filter(|earlier| at.saturating_since(**earlier) <= config.crash_loop.window);
            crash_loop |= recent.count() >= config.crash_loop.restarts as usize;
            prop_assert_eq!(shown, crash_loop);
            prop_assert_eq!(restart.streak() as usize, streak + 1);
            restart.check_invariants();
            now = at;
        }
    }
}
