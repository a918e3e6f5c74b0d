//! The window against a naive one that keeps every record.

use std::time::Duration;

use proptest::prelude::*;
use seaworthy_policy::{Sample, Time, Totals, Window};

const SAMPLES: [Sample; 5] =
    [Sample::Ok, Sample::Failed, Sample::SlowOk, Sample::SlowFailed, Sample::Abandoned];

fn sum(records: &[(u64, Sample)], counts: impl Fn(u64) -> bool) -> Totals {
    let mut totals = Totals::default();
    for (_, sample) in records.iter().filter(|(at, _)| counts(*at)) {
        let (field, slow) = match sample {
            Sample::Ok => (&mut totals.ok, 0),
            Sample::SlowOk => (&mut totals.ok, 1),
            Sample::Failed => (&mut totals.failed, 0),
            Sample::SlowFailed => (&mut totals.failed, 1),
            Sample::Abandoned => (&mut totals.abandoned, 1),
        };
        *field += 1;
        totals.slow += slow;
    }
    totals
}

proptest! {
    /// Two statements that do not depend on how the span is cut: nothing as old as the span is counted, and
    /// everything younger than the span less one bucket is. And one that does: the exact sums.
    #[test]
    fn behaves_like_the_naive_window(
        buckets in 1_usize..20,
        width in 1_u64..50,
        calls in prop::collection::vec((0_i64..60, 0_usize..5), 1..300),
        back in 0_i64..30,
    ) {
        let count = buckets as u64;
        let span = width * count;
        let mut window = Window::new(Duration::from_nanos(span), buckets);
        let (mut clock, mut latest, mut records) = (0_i64, 0_u64, Vec::new());
        for (step, kind) in calls {
            // Some steps go back; the window must read those moments as the latest one.
            clock = (clock + step - back).max(0);
            let now = u64::try_from(clock).unwrap();
            latest = latest.max(now);
            window.record(Time::from_nanos(now), SAMPLES[kind]);
            records.push((latest, SAMPLES[kind]));

            let totals = window.totals(Time::from_nanos(now));
            prop_assert_eq!(totals, sum(&records, |at| latest / width - at / width < count));
            prop_assert!(totals.calls() <= sum(&records, |at| latest - at < span).calls());
            prop_assert!(totals.calls() >= sum(&records, |at| latest - at <= span - width).calls());
        }
        let later = Time::from_nanos(latest + span);
        prop_assert_eq!(window.totals(later), Totals::default());
    }
}
