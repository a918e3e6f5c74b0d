//! Readiness: tables, and a naive model that decides from the whole list of results.

use std::time::Duration;

use proptest::prelude::*;
use seaworthy_policy::health::{Change, DownReason, ProbeFailure, ProbeResult};
use seaworthy_policy::{Health, HealthConfig, Rng, Time};

const PASS: ProbeResult = ProbeResult::Pass;
const FAIL: ProbeResult = ProbeResult::Fail { reason: ProbeFailure::Timeout };
const REFUSED: ProbeResult = ProbeResult::Refused;

fn exact() -> HealthConfig {
    HealthConfig { jitter: 0.0, ..HealthConfig::default() }
}

fn ms(time: Time) -> u64 {
    time.as_nanos() / 1_000_000
}

/// An endpoint, asked whenever it wants to be, each probe taking `duration`.
struct Story {
    health: Health,
    rng: Rng,
    now: Time,
}

impl Story {
    fn new() -> Self {
        Story { health: Health::new(exact(), Time::ZERO), rng: Rng::seeded(1), now: Time::ZERO }
    }

    fn ready() -> Self {
        let mut story = Story::new();
        assert_eq!([story.probe(PASS), story.probe(PASS), story.probe(PASS)], [None, None, Some(Change::Up)]);
        story
    }

    fn probe(&mut self, result: ProbeResult) -> Option<Change> {
        self.probe_taking(0, result)
    }

    fn probe_taking(&mut self, millis: u64, result: ProbeResult) -> Option<Change> {
        let begun = self.health.next_probe_at(&mut self.rng).expect("it wants to be asked");
        self.now = self.now.max(begun) + Duration::from_millis(millis);
        self.health.on_result(self.now, result)
    }
}

#[test]
fn starts_not_ready_and_is_ready_half_a_second_after_its_first_good_answer() {
    let mut story = Story::new();
    assert_eq!((story.health.is_ready(), story.health.down_reason()), (false, Some(DownReason::Starting)));
    assert_eq!([story.probe(REFUSED), story.probe(REFUSED)], [None, None]);
    assert_eq!(story.health.down_reason(), Some(DownReason::Refused), "a start says what it waits for");
    assert_eq!([story.probe(PASS), story.probe(PASS)], [None, None]);
    assert_eq!((story.probe(PASS), ms(story.now)), (Some(Change::Up), 1_000));
    assert_eq!(story.health.down_reason(), None);
    assert_eq!((story.probe(PASS), ms(story.now)), (None, 3_000), "from now on every two seconds");
}

#[test]
fn one_lucky_answer_of_a_crash_loop_is_not_health() {
    let mut story = Story::new();
    for _ in 0..10 {
        assert_eq!([story.probe(PASS), story.probe(PASS), story.probe(FAIL)], [None, None, None]);
    }
    assert!(!story.health.is_ready());
}

#[test]
fn three_failures_take_it_out_and_two_passes_put_it_back() {
    let mut story = Story::ready();
    assert_eq!([story.probe(FAIL), story.probe(FAIL)], [None, None]);
    let reason = DownReason::Probe(ProbeFailure::Timeout);
    assert_eq!(story.probe(FAIL), Some(Change::Down(reason)));
    assert_eq!(story.health.down_reason(), Some(reason));
    assert_eq!([story.probe(PASS), story.probe(PASS)], [None, Some(Change::Up)]);
}

#[test]
fn a_pass_breaks_the_run_of_failures() {
    let mut story = Story::ready();
    for _ in 0..10 {
        assert_eq!([story.probe(FAIL), story.probe(FAIL), story.probe(PASS)], [None, None, None]);
    }
    assert!(story.health.is_ready());
}

#[test]
fn a_refusal_and_an_exit_take_it_out_at_once() {
    let mut story = Story::ready();
    assert_eq!(story.probe(REFUSED), Some(Change::Down(DownReason::Refused)));
    let mut story = Story::ready();
    assert_eq!(story.health.on_exit(story.now), Some(Change::Down(DownReason::Exited)));
    assert_eq!(story.health.next_probe_at(&mut story.rng), None, "there is nobody to ask");
    assert_eq!(story.health.on_result(story.now, PASS), None, "a late answer of a process that is gone");
    assert_eq!(story.health.on_exit(story.now), None);

    assert_eq!(story.health.on_start(story.now), None);
    let changes: Vec<_> = (0..3).map(|_| story.probe(PASS)).collect();
    assert_eq!(changes, [None, None, Some(Change::Up)], "a start proves itself anew");
    assert_eq!(story.health.on_start(story.now), Some(Change::Down(DownReason::Exited)));
}

#[test]
fn probes_follow_fast_while_the_answer_is_open() {
    // Milliseconds between the beginnings of probes, each result taking no time. After the start.
    for (results, expected) in [
        (vec![PASS, PASS], vec![2_000, 2_000]),
        (vec![FAIL, FAIL, FAIL, FAIL, FAIL], vec![2_000, 250, 250, 2_000, 2_000]),
        (vec![FAIL, PASS, PASS, PASS], vec![2_000, 250, 250, 2_000]),
        (vec![REFUSED, REFUSED, PASS, PASS, PASS], vec![2_000, 2_000, 2_000, 250, 2_000]),
        (vec![REFUSED, PASS, FAIL, PASS], vec![2_000, 2_000, 250, 2_000]),
    ] {
        let mut story = Story::ready();
        let mut gaps = Vec::new();
        for result in &results {
            let before = story.now;
            story.probe(*result);
            gaps.push(ms(story.now) - ms(before));
        }
        assert_eq!(gaps, expected, "{results:?}");
    }
}

#[test]
fn a_hang_is_found_in_the_promised_time() {
    let found = |suspicion: bool| {
        let mut story = Story::ready();
        let hung_at = story.now;
        if suspicion {
            story.health.on_suspicion(story.now);
        }
        let mut probes = 0;
        while story.probe_taking(1_000, FAIL).is_none() {
            probes += 1;
            assert!(probes < 3);
        }
        ms(story.now) - ms(hung_at)
    };
    assert_eq!(found(false), 5_000, "two seconds until asked, then three timeouts");
    assert_eq!(found(true), 3_000, "three timeouts");
}

#[test]
fn a_suspicion_asks_at_once_and_two_passes_settle_it() {
    let mut story = Story::ready();
    story.now = story.now + Duration::from_millis(700);
    story.health.on_suspicion(story.now);
    assert!(story.health.is_in_doubt());
    let at = story.now;
    assert_eq!(story.health.next_probe_at(&mut story.rng), Some(at));
    story.probe(PASS);
    assert!(story.health.is_in_doubt());
    story.probe(PASS);
    assert!(!story.health.is_in_doubt());
    assert_eq!(ms(story.now) - ms(at), 250);
}

#[test]
fn any_number_of_suspicions_causes_no_more_probes() {
    let mut story = Story::ready();
    story.health.on_suspicion(story.now);
    story.probe(PASS);
    let next = story.health.next_probe_at(&mut story.rng).unwrap();
    for millis in 0..100 {
        story.health.on_suspicion(story.now + Duration::from_millis(millis));
    }
    assert_eq!(story.health.next_probe_at(&mut story.rng), Some(next));
}

#[test]
fn the_plan_is_drawn_once_and_spread() {
    let mut rng = Rng::seeded(5);
    let mut drawn = Vec::new();
    for _ in 0..300 {
        let mut health =
            Health::new(HealthConfig { rise_after_start: 1, ..HealthConfig::default() }, Time::ZERO);
        health.next_probe_at(&mut rng);
        health.on_result(Time::ZERO, PASS);
        let at = health.next_probe_at(&mut rng);
        assert_eq!(health.next_probe_at(&mut rng), at);
        let settled = at.unwrap();
        health.on_result(settled, PASS);
        drawn.push(ms(health.next_probe_at(&mut rng).unwrap()) - ms(settled));
    }
    let (least, most) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
    assert!((1_799..1_810).contains(&least) && (2_190..=2_200).contains(&most), "{least} {most}");
}

#[test]
fn backwards_clock() {
    let mut story = Story::ready();
    let later = story.now + Duration::from_mins(1);
    story.health.on_result(later, PASS);
    story.health.on_result(Time::ZERO, PASS);
    assert!(story.health.next_probe_at(&mut story.rng).unwrap() > later);
    story.health.check_invariants();
}

#[test]
fn validation_names_the_field() {
    let good = HealthConfig::default();
    assert_eq!(good.validate(), Ok(()));
    for (config, field) in [
        (HealthConfig { rise: 0, ..good }, "rise"),
        (HealthConfig { rise_after_start: 0, ..good }, "rise_after_start"),
        (HealthConfig { fall: 0, ..good }, "fall"),
        (HealthConfig { period: Duration::from_millis(249), ..good }, "period"),
        (HealthConfig { fast_period: Duration::ZERO, ..good }, "fast_period"),
        (HealthConfig { timeout: Duration::ZERO, ..good }, "timeout"),
        (HealthConfig { jitter: 1.5, ..good }, "jitter"),
        (HealthConfig { flap_changes: 1, ..good }, "flap_changes"),
        (HealthConfig { flap_changes: 17, ..good }, "flap_changes"),
        (HealthConfig { flap_window: Duration::ZERO, ..good }, "flap_window"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}

#[test]
fn phases_are_spread_over_a_period() {
    // A hundred endpoints that start together, each probe answered at once.
    let mut rng = Rng::seeded(11);
    let mut slots = [0_u32; 10];
    let mut first = Vec::new();
    for _ in 0..100 {
        let mut health = Health::new(HealthConfig::default(), Time::ZERO);
        let mut now = Time::ZERO;
        let mut probes = 0;
        while now < Time::from_millis(6_000) {
            now = health.next_probe_at(&mut rng).unwrap();
            if probes == 0 {
                first.push(ms(now));
            }
            probes += 1;
            health.on_result(now, PASS);
        }
        slots[(ms(now) % 2_000 / 200) as usize] += 1;
    }
    assert!(first.iter().all(|millis| *millis < 25), "a start is asked at once: {first:?}");
    assert!(first.iter().max() > first.iter().min(), "but not in the same moment");
    assert!(
        slots.iter().all(|count| *count <= 25),
        "no tenth of a period gets a quarter of the probes: {slots:?}"
    );
}

#[test]
fn a_settled_doubt_puts_the_next_probe_anywhere_in_a_period() {
    let mut rng = Rng::seeded(12);
    let mut drawn = Vec::new();
    for _ in 0..1_000 {
        let mut health =
            Health::new(HealthConfig { rise_after_start: 1, ..HealthConfig::default() }, Time::ZERO);
        let begun = health.next_probe_at(&mut rng).unwrap();
        health.on_result(begun, PASS);
        drawn.push(ms(health.next_probe_at(&mut rng).unwrap()) - ms(begun));
    }
    drawn.sort_unstable();
    assert!(
        (249..270).contains(&drawn[0]) && (1_980..=2_000).contains(&drawn[999]),
        "{} {}",
        drawn[0],
        drawn[999]
    );
    assert!((1_050..1_200).contains(&drawn[500]), "evenly: {}", drawn[500]);
}

/// Takes it out, and counts the good probes that its return takes.
fn passes_to_return(story: &mut Story) -> u32 {
    while story.probe(REFUSED) != Some(Change::Down(DownReason::Refused)) {}
    let mut passes = 1;
    while story.probe(PASS).is_none() {
        passes += 1;
        assert!(passes <= 100, "it never returns");
    }
    passes
}

#[test]
fn who_flaps_has_to_prove_itself_for_longer_and_calms_down() {
    let mut story = Story::ready();
    let passes: Vec<u32> = (0..8).map(|_| passes_to_return(&mut story)).collect();
    // The return from a start is a change as well, so the fifth change after it is the sixth.
    assert_eq!(passes, [2, 2, 4, 16, 16, 16, 16, 16]);
    assert!(story.health.is_flapping());
    for (calm_secs, expected) in [(59, 16), (60, 8), (119, 8), (120, 4), (180, 2), (3_600, 2)] {
        let mut health = story.health.clone();
        let now = story.now + Duration::from_secs(calm_secs);
        health.on_result(now, PASS);
        assert_eq!(health.rise_needed(), expected, "after {calm_secs} calm seconds");
        assert_eq!(health.is_flapping(), expected > 2);
    }
}

#[test]
fn damping_never_delays_the_way_out() {
    let mut story = Story::ready();
    for _ in 0..8 {
        passes_to_return(&mut story);
    }
    assert_eq!([story.probe(FAIL), story.probe(FAIL)], [None, None]);
    assert!(matches!(story.probe(FAIL), Some(Change::Down(_))), "three failures, as ever");
}

#[test]
fn slow_changes_are_no_flapping_and_a_restart_has_no_past() {
    let mut story = Story::ready();
    for _ in 0..20 {
        story.now = story.now + Duration::from_secs(30);
        story.health.on_suspicion(story.now);
        assert_eq!(passes_to_return(&mut story), 2, "four changes a minute");
    }
    for _ in 0..8 {
        passes_to_return(&mut story);
    }
    assert!(story.health.is_flapping());
    story.health.on_start(story.now);
    assert!(!story.health.is_flapping());
}

#[test]
fn damping_is_bounded_and_can_be_switched_off() {
    for (flap_changes, rise_max, expected) in [(0, 16, 2), (2, 5, 5), (2, 1, 2), (16, 1_000, 1_000)] {
        let config = HealthConfig { flap_changes, rise_max, jitter: 0.0, ..HealthConfig::default() };
        assert_eq!(config.validate(), Ok(()));
        let mut health = Health::new(config, Time::ZERO);
        for _ in 0..3 {
            health.on_result(Time::ZERO, PASS);
        }
        for _ in 0..60 {
            health.on_result(Time::ZERO, REFUSED);
            while health.on_result(Time::ZERO, PASS).is_none() {}
        }
        assert_eq!(health.rise_needed(), expected, "{flap_changes} changes, at most {rise_max}");
    }
}

/// Whether the results so far, looked at from the beginning, leave the endpoint ready: find the last moment at
/// which enough equal results in a row decided something.
fn naive_ready(config: &HealthConfig, results: &[ProbeResult]) -> bool {
    let (mut ready, mut ever, mut since) = (false, false, 0);
    for end in 1..=results.len() {
        let run = &results[since..end];
        let passes = run.iter().rev().take_while(|result| **result == PASS).count();
        let failures = run.iter().rev().take_while(|result| **result != PASS).count();
        let needed = if ever { config.rise } else { config.rise_after_start } as usize;
        let refused = results[end - 1] == REFUSED;
        let decided = if ready { failures >= config.fall as usize || refused } else { passes >= needed };
        if decided {
            ready = !ready;
            ever = true;
            since = end;
        }
    }
    ready
}

proptest! {
    #[test]
    fn behaves_like_the_naive_model(
        rise in 1_u32..4,
        rise_after_start in 1_u32..5,
        fall in 1_u32..4,
        seed in any::<u64>(),
        steps in prop::collection::vec((prop_oneof![5 => Just(PASS), 4 => Just(FAIL), 1 => Just(REFUSED)], 0_u64..1_500, any::<bool>()), 1..100),
    ) {
        let config = HealthConfig { rise, rise_after_start, fall, flap_changes: 0, ..HealthConfig::default() };
        let (mut health, mut rng) = (Health::new(config, Time::ZERO), Rng::seeded(seed));
        let (mut now, mut ready, mut results) = (Time::ZERO, false, Vec::new());
        for (result, millis, suspicion) in steps {
            if suspicion {
                health.on_suspicion(now);
            }
            let at = health.next_probe_at(&mut rng).unwrap();
            let longest = if health.is_in_doubt() { config.fast_period } else { config.period };
            prop_assert!(at <= now + longest.mul_f64(1.1001), "asked in time");
            now = now.max(at) + Duration::from_millis(millis);
            let change = health.on_result(now, result);
            health.check_invariants();
            results.push(result);
            prop_assert_eq!(health.is_ready(), naive_ready(&config, &results), "{:?}", &results);
            prop_assert_eq!(change.is_some(), health.is_ready() != ready, "every change is told, and once");
            ready = health.is_ready();
        }
    }
}

/// Damping worked out anew from all changes there ever were.
fn naive_rise(config: &HealthConfig, changes: &[u64], now: u64) -> u32 {
    let window = config.flap_window.as_millis() as u64;
    let mut doublings = 0_u32;
    for (index, at) in changes.iter().enumerate() {
        if index > 0 {
            doublings = doublings.saturating_sub(((at - changes[index - 1]) / window) as u32);
        }
        let lately = changes[..=index].iter().filter(|change| at - **change < window).count();
        let room = (config.rise << doublings.min(20)) < config.rise_max;
        doublings += u32::from(lately >= config.flap_changes as usize && room);
    }
    if let Some(last) = changes.last() {
        doublings = doublings.saturating_sub(((now - last) / window) as u32);
    }
    (config.rise << doublings.min(20)).min(config.rise_max)
}

#[test]
fn damping_behaves_like_the_naive_model() {
    for seed in 0..500 {
        let mut rng = Rng::seeded(seed);
        let config = HealthConfig {
            rise: 1 + rng.below(3) as u32,
            fall: 1,
            flap_changes: 2 + rng.below(6) as u32,
            flap_window: Duration::from_secs(5),
            rise_max: 3 + rng.below(20) as u32,
            ..HealthConfig::default()
        };
        let mut health = Health::new(config, Time::ZERO);
        let (mut now, mut changes) = (0_u64, Vec::new());
        for step in 0..300 {
            now += if rng.chance(0.03) { rng.below(20_000) } else { rng.below(600) };
            let result = if rng.chance(0.75) { PASS } else { FAIL };
            let needed = naive_rise(&config, &changes, now);
            if health.on_result(Time::from_millis(now), result).is_some() {
                changes.push(now);
            }
            let expected =
                if changes.last() == Some(&now) { naive_rise(&config, &changes, now) } else { needed };
            assert_eq!(health.rise_needed(), expected, "seed {seed} step {step}: {changes:?} at {now}");
        }
    }
}
