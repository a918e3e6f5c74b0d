//! Counts and latencies of a population of requests.

use crate::record::{AGE_UNKNOWN, Class, Record};

/// Tolerance when a share is multiplied by a count: 0.99 × 300 is 297, whatever binary fractions make of it.
const ROUNDING: f64 = 1e-9;

/// Counts and latencies of a population of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// How many requests.
    pub requests: u64,
    /// Those with a good answer.
    pub good: u64,
    /// Those with a degraded answer.
    pub degraded: u64,
    /// The rest, those without an outcome included.
    pub failed: u64,
    /// Largest age in seconds of an answer marked stale; [`AGE_UNKNOWN`] when one did not say.
    pub stale_age_max: Option<u32>,
    /// Latencies of the served requests in nanoseconds, ascending.
    latencies: Vec<u64>,
}

impl Sample {
    /// Counts a population.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut sample = Self::default();
        for record in records {
            sample.requests += 1;
            match record.class {
                Class::Good => sample.good += 1,
                Class::Degraded => sample.degraded += 1,
                Class::Failed | Class::Pending => sample.failed += 1,
            }
            if record.is_served() {
                sample.latencies.push(record.latency());
            }
            sample.stale_age_max = sample.stale_age_max.max(record.stale_age);
        }
        sample.latencies.sort_unstable();
        sample
    }

    /// Share of good answers; `None` without requests.
    pub fn success(&self) -> Option<f64> {
        self.share(self.good)
    }

    /// Share of good and degraded answers; `None` without requests.
    pub fn served(&self) -> Option<f64> {
        self.share(self.good + self.degraded)
    }

    /// How many answers the latencies are from.
    pub fn served_count(&self) -> u64 {
        self.good + self.degraded
    }

    /// The latency that this share of the served requests did not exceed; `None` when none was served.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        nearest_rank(self.latencies.len(), quantile).map(|rank| self.latencies[rank - 1])
    }

    /// The slowest served request; `None` when none was served.
    pub fn max(&self) -> Option<u64> {
        self.latencies.last().copied()
    }

    /// True when an answer was marked stale and did not say how old it is.
    pub fn has_unknown_age(&self) -> bool {
        self.stale_age_max == Some(AGE_UNKNOWN)
    }

    fn share(&self, count: u64) -> Option<f64> {
        (self.requests > 0).then(|| count as f64 / self.requests as f64)
    }
}

/// The rank, from 1, of a quantile among `count` sorted values: the smallest one that at least this share of the
/// values does not exceed. `None` when there are no values.
pub fn nearest_rank(count: usize, quantile: f64) -> Option<usize> {
    (count > 0).then(|| at_least(count as u64, quantile).clamp(1, count as u64) as usize)
}

/// The least count that is at least this share of `total`.
pub(crate) fn at_least(total: u64, share: f64) -> u64 {
    (total as f64 * share - ROUNDING).ceil().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranks_are_the_textbook_ones() {
        for (count, quantile, expected) in [
            (0, 0.5, None),
            (1, 0.5, Some(1)),
            (1, 0.999, Some(1)),
            (2, 0.5, Some(1)),
            (3, 0.5, Some(2)),
            (100, 0.99, Some(99)),
            (101, 0.99, Some(100)),
            (300, 0.99, Some(297)),
            (60, 0.95, Some(57)),
            (3000, 0.999, Some(2997)),
            (10, 1.0, Some(10)),
            (10, 0.0, Some(1)),
        ] {
            assert_eq!(nearest_rank(count, quantile), expected, "{quantile} of {count}");
        }
    }

    #[test]
    fn unanswered_requests_have_failed_and_have_no_latency() {
        let record = |class, done| Record { intended: 10, sent: 10, done, class, ..Record::default() };
        let sample = Sample::of(&[
            record(Class::Good, 15),
            record(Class::Degraded, 40),
            record(Class::Failed, 1_000),
            record(Class::Pending, 0),
        ]);
        assert_eq!((sample.requests, sample.good, sample.degraded, sample.failed), (4, 1, 1, 2));
        assert_eq!((sample.success(), sample.served()), (Some(0.25), Some(0.5)));
        assert_eq!((sample.quantile(0.5), sample.max()), (Some(5), Some(30)));
        let nothing = Sample::of(&[]);
        assert_eq!((nothing.success(), nothing.quantile(0.5), nothing.max()), (None, None, None));
    }

    proptest! {
        /// The naive model counts, for each value, how many do not exceed it.
        #[test]
        fn quantiles_agree_with_a_naive_model(latencies in prop::collection::vec(0_u64..50, 1..60), percent in 1_u64..=100) {
            let records: Vec<Record> = latencies
                .iter()
                .map(|latency| Record { intended: 7, done: 7 + latency, class: Class::Good, ..Record::default() })
                .collect();
            let covers = |value: u64| {
                let below = latencies.iter().filter(|latency| **latency <= value).count() as u64;
                below * 100 >= percent * latencies.len() as u64
            };
            let naive = latencies.iter().copied().filter(|value| covers(*value)).min();
            prop_assert_eq!(Sample::of(&records).quantile(percent as f64 / 100.0), naive);
        }
    }
}
