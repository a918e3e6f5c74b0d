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
