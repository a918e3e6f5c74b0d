//! When requests are to be sent: a fixed rate from a seeded phase. Pure.

use crate::clock::NANOS_PER_SECOND;
use crate::id::mix;

/// The intended moments of one load, in order.
#[derive(Debug, Clone)]
pub struct Schedule {
    start: u64,
    period_nanos: f64,
    number: u64,
}

impl Schedule {
    /// A schedule that begins within the first period after `start`; where exactly, the seed says, so that
    /// faults meet loads at another phase with every seed.
    ///
    /// # Panics
    /// When the rate is not a positive number.
    pub fn new(start: u64, rate: f64, seed: u64) -> Self {
        assert!(rate.is_finite() && rate > 0.0, "a rate is a positive number");
        let period_nanos = NANOS_PER_SECOND as f64 / rate;
        let phase = (mix(seed) >> 11) as f64 / (1_u64 << 53) as f64;
        Self { start: start.saturating_add((phase * period_nanos) as u64), period_nanos, number: 0 }
    }

    /// The next intended moment.
    pub fn next(&self) -> u64 {
        // From the start each time, so that rounding never adds up.
        self.start.saturating_add((self.number as f64 * self.period_nanos) as u64)
    }

    /// Takes the next intended moment when it is due.
    pub fn take_due(&mut self, now: u64) -> Option<u64> {
        let next = self.next();
        if next > now {
            return None;
        }
        self.number += 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_without_drift() {
        for rate in [0.5, 3.0, 7.0, 200.0, 1999.0] {
            let mut schedule = Schedule::new(1_000, rate, 5);
            let hour = 3_600 * NANOS_PER_SECOND;
            let mut last = None;
            let mut count = 0_u64;
            while let Some(due) = schedule.take_due(1_000 + hour) {
                assert!(last.is_none_or(|last| last < due));
                last = Some(due);
                count += 1;
            }
            let expected = rate * 3_600.0;
            assert!((count as f64 - expected).abs() <= 1.0, "{rate}: {count} instead of {expected}");
        }
    }

    #[test]
    fn the_phase_is_seeded_and_within_a_period() {
        let phases: Vec<u64> = (0..50).map(|seed| Schedule::new(0, 10.0, seed).next()).collect();
        assert!(phases.iter().all(|phase| *phase < NANOS_PER_SECOND / 10), "{phases:?}");
        assert!(phases.iter().any(|phase| *phase < NANOS_PER_SECOND / 40), "{phases:?}");
        assert!(phases.iter().any(|phase| *phase > NANOS_PER_SECOND / 40 * 3), "{phases:?}");
        assert_eq!(phases[3], Schedule::new(0, 10.0, 3).next());
    }

    #[test]
    fn what_is_late_is_all_due_at_once() {
        let mut schedule = Schedule::new(0, 1_000.0, 1);
        let first = schedule.next();
        assert_eq!(schedule.take_due(first - 1), None);
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take_due(first + 5_000_000)).collect();
        assert_eq!(due.len(), 6);
        assert_eq!(due[0], first);
    }
}
