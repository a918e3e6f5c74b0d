//! Percentiles and the score, against naive versions that keep every sample.

use std::time::Duration;

use proptest::prelude::*;
use seaworthy_policy::latency::SAMPLES_MIN;
use seaworthy_policy::{Ewma, LatencyWindow, Time};

fn within(measured: Duration, exact: Duration, share: f64) -> bool {
    let (measured, exact) = (measured.as_secs_f64(), exact.as_secs_f64());
    (measured - exact).abs() <= exact * share
}

#[test]
fn percentiles_of_an_even_spread() {
    let mut window = LatencyWindow::default();
    for millis in 1..=1_000 {
        window.record(Time::ZERO, Duration::from_millis(millis));
    }
    for (q, exact) in [(0.0, 1), (0.5, 500), (0.95, 950), (0.99, 990), (1.0, 1_000), (2.0, 1_000), (-1.0, 1)]
    {
        let measured = window.quantile(Time::ZERO, q).unwrap();
        assert!(within(measured, Duration::from_millis(exact), 0.032), "q {q}: {measured:?}, not {exact} ms");
    }
}

#[test]
fn too_few_samples_are_no_percentile() {
    let mut window = LatencyWindow::default();
    for _ in 1..SAMPLES_MIN {
        window.record(Time::ZERO, Duration::from_millis(1));
        assert_eq!(window.quantile(Time::ZERO, 0.5), None);
    }
    window.record(Time::ZERO, Duration::from_millis(1));
    assert!(window.quantile(Time::ZERO, 0.5).is_some());
}

#[test]
fn samples_leave_after_two_halves_at_the_latest() {
    let mut window = LatencyWindow::default();
    (0..20).for_each(|_| window.record(Time::from_millis(4_000), Duration::from_millis(1)));
    (0..20).for_each(|_| window.record(Time::from_millis(6_000), Duration::from_millis(2)));
    for (now_ms, samples) in [(6_000, 40), (9_999, 40), (10_000, 20), (14_999, 20), (15_000, 0), (99_000, 0)]
    {
        assert_eq!(window.samples(Time::from_millis(now_ms)), samples, "at {now_ms} ms");
    }
    window.record(Time::from_millis(99_000), Duration::from_millis(3));
    assert_eq!(window.samples(Time::from_millis(99_000)), 1, "nothing of before a pause comes back");
}

#[test]
fn what_is_too_short_or_too_long_is_kept_at_the_ends() {
    for (sample, shown) in
        [(Duration::ZERO, Duration::from_nanos(1_056)), (Duration::MAX, Duration::from_secs(135))]
    {
        let mut window = LatencyWindow::default();
        (0..20).for_each(|_| window.record(Time::ZERO, sample));
        assert!(within(window.quantile(Time::ZERO, 0.5).unwrap(), shown, 0.01), "{sample:?}");
    }
}

#[test]
fn backwards_clock() {
    let mut window = LatencyWindow::default();
    window.record(Time::from_millis(60_000), Duration::from_millis(1));
    window.record(Time::ZERO, Duration::from_millis(1));
    assert_eq!(window.samples(Time::from_millis(60_000)), 2);
    assert_eq!(window.samples(Time::ZERO), 2);

    let mut score = Ewma::default();
    score.record(Time::from_millis(60_000), Duration::from_millis(10));
    score.record(Time::ZERO, Duration::from_millis(5));
    assert_eq!(score.value(Time::from_millis(60_000)), Some(Duration::from_millis(10)), "no time, no weight");
}

/// The last slice never ends, and what is in it is not forgotten with each sample.
#[test]
fn the_end_of_time() {
    let (mut window, end) = (LatencyWindow::default(), Time::from_nanos(u64::MAX));
    for _ in 0..20 {
        window.record(end, Duration::from_millis(1));
    }
    assert_eq!(window.samples(end), 20);
}

#[test]
fn clearing_forgets_every_sample() {
    let mut window = LatencyWindow::default();
    window.record(Time::ZERO, Duration::from_millis(1));
    window.clear();
    assert_eq!(window.samples(Time::ZERO), 0);
}

#[test]
fn the_score_jumps_up_and_sinks_slowly() {
    let ten_seconds = Time::from_millis(10_000);
    let mut score = Ewma::default();
    assert_eq!(score.value(Time::ZERO), None);
    score.record(Time::ZERO, Duration::from_millis(10));
    score.record(Time::ZERO, Duration::from_millis(400));
    assert_eq!(score.value(Time::ZERO), Some(Duration::from_millis(400)), "at once");
    let idle = score.value(ten_seconds).unwrap();
    assert!(within(idle, Duration::from_micros(147_150), 0.001), "400 / e, not {idle:?}");
    score.record(ten_seconds, Duration::from_millis(10));
    let after = score.value(ten_seconds).unwrap();
    assert!(within(after, Duration::from_micros(153_470), 0.001), "10 + 390 / e, not {after:?}");
}

proptest! {
    #[test]
    fn percentiles_are_right_within_five_percent(
        samples in prop::collection::vec((0_u64..4_000, 2_000_u64..120_000_000_000), 20..400),
        q in 0.0_f64..=1.0,
    ) {
        let mut window = LatencyWindow::default();
        let (mut now, mut kept) = (0_u64, Vec::new());
        for (wait, nanos) in samples {
            now += if wait < 3_900 { wait / 40 } else { wait };
            window.record(Time::from_millis(now), Duration::from_nanos(nanos));
            kept.push((now, nanos));
            let mut live: Vec<u64> =
                kept.iter().filter(|(at, _)| now / 5_000 - at / 5_000 < 2).map(|(_, nanos)| *nanos).collect();
            live.sort_unstable();
            prop_assert_eq!(window.samples(Time::from_millis(now)), live.len() as u64);
            let measured = window.quantile(Time::from_millis(now), q);
            prop_assert_eq!(measured.is_some(), live.len() >= 20);
            if let Some(measured) = measured {
                let rank = ((q * live.len() as f64).ceil() as usize).max(1);
                let exact = Duration::from_nanos(live[rank - 1]);
                prop_assert!(within(measured, exact, 0.05), "{:?}, not {:?}", measured, exact);
            }
        }
    }

    #[test]
    fn the_score_stays_between_what_it_has_seen(
        samples in prop::collection::vec((0_u64..20_000, 1_u64..1_000_000), 1..50),
    ) {
        let mut score = Ewma::default();
        let (mut now, mut most) = (0, 0);
        for (wait, micros) in samples {
            now += wait;
            most = most.max(micros);
            score.record(Time::from_millis(now), Duration::from_micros(micros));
            let value = score.value(Time::from_millis(now)).unwrap();
            let (least, most) = (Duration::from_micros(micros), Duration::from_micros(most));
            // A nanosecond for the rounding of each of the two parts.
            prop_assert!(value + Duration::from_nanos(2) >= least && value <= most, "{:?}", value);
        }
    }
}

/// The estimator of Kaplan and Meier over single observations: (duration, whether it was seen to its end). What is
/// censored leaves before what ended in the same moment.
fn naive_quantile(observations: &[(Duration, bool)], q: f64) -> Duration {
    let mut sorted = observations.to_vec();
    sorted.sort();
    let (mut survival, mut at_risk) = (1.0, sorted.len() as f64);
    for (duration, ended) in &sorted {
        if *ended {
            survival *= 1.0 - 1.0 / at_risk;
            if 1.0 - survival >= q - 1e-9 {
                return *duration;
            }
        }
        at_risk -= 1.0;
    }
    sorted[sorted.len() - 1].0
}

#[test]
fn a_censored_sample_says_at_least_this_long() {
    // 20 % were given up after 30 ms, when 80 % had taken 1 to 80 ms.
    let mut window = LatencyWindow::default();
    for millis in 1..=80 {
        window.record(Time::ZERO, Duration::from_millis(millis));
    }
    let before = [0.5, 0.9, 0.95].map(|q| window.quantile(Time::ZERO, q).unwrap());
    for _ in 0..20 {
        window.record_at_least(Time::ZERO, Duration::from_millis(30));
    }
    let after = [0.5, 0.9, 0.95].map(|q| window.quantile(Time::ZERO, q).unwrap());
    assert!(after[0] >= before[0] && after[1] >= before[1] && after[2] >= before[2], "{before:?} {after:?}");
    assert!(after[0] > before[0], "half of them took longer than half of those that ended");
    assert_eq!(window.samples(Time::ZERO), 80, "they make no percentile out of nothing");
}

#[test]
fn beyond_what_was_seen_to_its_end_the_longest_wait_is_the_answer() {
    let mut window = LatencyWindow::default();
    (0..20).for_each(|_| window.record(Time::ZERO, Duration::from_millis(10)));
    (0..80).for_each(|_| window.record_at_least(Time::ZERO, Duration::from_millis(500)));
    assert!(within(window.quantile(Time::ZERO, 0.2).unwrap(), Duration::from_millis(10), 0.04));
    let p95 = window.quantile(Time::ZERO, 0.95).unwrap();
    assert!(p95 > Duration::from_millis(400) && p95 <= Duration::from_millis(500), "{p95:?}");
}

#[test]
fn censored_samples_leave_with_their_half() {
    let mut window = LatencyWindow::default();
    (0..100).for_each(|_| window.record_at_least(Time::ZERO, Duration::from_secs(5)));
    (0..20).for_each(|_| window.record(Time::from_millis(10_000), Duration::from_millis(10)));
    let p99 = window.quantile(Time::from_millis(10_000), 0.99).unwrap();
    assert!(within(p99, Duration::from_millis(10), 0.04), "{p99:?}");
}

#[test]
fn a_censored_sample_lifts_the_score_and_never_lowers_it() {
    let mut score = Ewma::default();
    score.record(Time::ZERO, Duration::from_millis(20));
    score.record_at_least(Time::ZERO, Duration::from_millis(5));
    assert_eq!(score.value(Time::ZERO), Some(Duration::from_millis(20)));
    score.record_at_least(Time::ZERO, Duration::from_millis(90));
    assert_eq!(score.value(Time::ZERO), Some(Duration::from_millis(90)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_percentile_sinks_because_of_a_censored_sample(
        samples in prop::collection::vec(1_u64..2_000, 20..120),
        censored in prop::collection::vec(1_u64..3_000, 0..30),
    ) {
        let mut window = LatencyWindow::default();
        for millis in &samples {
            window.record(Time::ZERO, Duration::from_millis(*millis));
        }
        let qs = [0.1, 0.5, 0.95, 1.0];
        let mut before = qs.map(|q| window.quantile(Time::ZERO, q));
        for millis in &censored {
            window.record_at_least(Time::ZERO, Duration::from_millis(*millis));
            let after = qs.map(|q| window.quantile(Time::ZERO, q));
            for (after, before) in after.iter().zip(&before) {
                prop_assert!(after >= before, "{:?} sank to {:?} at {} ms", before, after, millis);
            }
            before = after;
        }
        // Against the naive estimator: what was censored is known to a quarter of a power of two, so that lies between the
        // estimate with every wait shortened by that and the one with every wait as it was.
        let observe = |share: f64| -> Vec<(Duration, bool)> {
            let ended = samples.iter().map(|millis| (Duration::from_millis(*millis), true));
            let given_up = censored.iter().map(|millis| (Duration::from_millis(*millis).mul_f64(share), false));
            ended.chain(given_up).collect()
        };
        for q in [0.5, 0.95] {
            let measured = window.quantile(Time::ZERO, q).unwrap();
            let (low, high) = (naive_quantile(&observe(0.78), q), naive_quantile(&observe(1.0), q));
            prop_assert!(measured >= low.mul_f64(0.93) && measured <= high.mul_f64(1.07), "q {}: {:?} not in {:?} to {:?}", q, measured, low, high);
        }
    }
}
