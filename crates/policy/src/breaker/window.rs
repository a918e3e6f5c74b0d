//! What a breaker has counted: the calls of the last seconds, or the last so many calls.
//!
//! **Problem.** A breaker per key is kept thousands of times, so its window must be small and lie inside it; and what a
//! reading costs must not grow with traffic. **Model.** By time: ten slices of the span, four counters each, in one
//! array; a slice is emptied when its place is used again. By count: a ring with one byte per call and running sums
//! from which the call that drops out is subtracted. Both are exact. **Rejected:** the growable [`crate::Window`]
//! (its buckets live elsewhere and carry their own slice numbers: 240 bytes on the heap against 160 here).
//!
//! When to use which: by time unless traffic is so thin that ten seconds never see `minimum_number_of_calls`; a count
//! window remembers whatever came last, however old it is.

use std::time::Duration;

use crate::time::nanos;
use crate::{Sample, Time, Totals};

/// Slices of a window by time.
const SLICES: usize = 10;

/// The counters of one slice. `u32` holds 4 thousand million calls; beyond that it stays at its maximum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slice {
    ok: u32,
    failed: u32,
    abandoned: u32,
    slow: u32,
}

/// What has been counted.
#[derive(Clone, Debug)]
pub(super) enum Window {
    /// By time: the slices, each in the place `number % SLICES`.
    Time {
        /// The number of the newest slice.
        newest: u64,
        slices: [Slice; SLICES],
    },
    /// By count.
    Count(Ring),
}

impl Window {
    pub(super) fn by_time() -> Self {
        Window::Time { newest: 0, slices: [Slice::default(); SLICES] }
    }

    /// Of the last `size` calls, at least one.
    pub(super) fn by_count(size: u32) -> Self {
        Window::Count(Ring::new(size))
    }

    /// Counts one call; `span` is that of a window by time.
    pub(super) fn record(&mut self, now: Time, span: Duration, sample: Sample) {
        match self {
            Window::Time { newest, slices } => {
                let number = slice_number(now, span).max(*newest);
                // From the slice after the newest to this one, at most every place once.
                for back in 0..(number - *newest).min(SLICES as u64) {
                    slices[place(number - back)] = Slice::default();
                }
                *newest = number;
                slices[place(number)].count(sample);
            }
            Window::Count(ring) => ring.push(sample),
        }
    }

    /// The sums; by time, over the span that ends at `now`.
    pub(super) fn totals(&self, now: Time, span: Duration) -> Totals {
        match self {
            Window::Time { newest, slices } => {
                let gone = slice_number(now, span).saturating_sub(*newest);
                let left = (SLICES as u64).saturating_sub(gone);
                // Counting from the newest slice backwards, this many have not left the span.
                let mut totals = Totals::default();
                for back in 0..left.min(newest.saturating_add(1)) {
                    slices[place(*newest - back)].add_to(&mut totals);
                }
                totals
            }
            Window::Count(ring) => ring.totals,
        }
    }

    /// Forgets every call; time goes on.
    pub(super) fn clear(&mut self) {
        match self {
            Window::Time { slices, .. } => *slices = [Slice::default(); SLICES],
            Window::Count(ring) => ring.clear(),
        }
    }
}

fn slice_number(now: Time, span: Duration) -> u64 {
    now.as_nanos() / (nanos(span) / SLICES as u64).max(1)
}

fn place(number: u64) -> usize {
    (number % SLICES as u64) as usize
}

impl Slice {
    fn count(&mut self, sample: Sample) {
        let count = match sample {
            Sample::Ok | Sample::SlowOk => &mut self.ok,
            Sample::Failed | Sample::SlowFailed => &mut self.failed,
            Sample::Abandoned => &mut self.abandoned,
        };
        *count = count.saturating_add(1);
        if sample.is_slow() {
            self.slow = self.slow.saturating_add(1);
        }
    }

    fn add_to(self, totals: &mut Totals) {
        totals.ok += u64::from(self.ok);
        totals.failed += u64::from(self.failed);
        totals.abandoned += u64::from(self.abandoned);
        totals.slow += u64::from(self.slow);
    }
}

/// The last calls, one byte each, and their sums.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    calls: Box<[Sample]>,
    /// Where the next call goes.
    next: u32,
    /// Places that hold a call; forgetting all costs nothing.
    filled: u32,
    totals: Totals,
}

impl Ring {
    fn new(size: u32) -> Self {
        let calls = vec![Sample::Ok; size.max(1) as usize].into_boxed_slice();
        Ring { calls, next: 0, filled: 0, totals: Totals::default() }
    }

    fn push(&mut self, sample: Sample) {
        let size = self.calls.len() as u32;
        let oldest = std::mem::replace(&mut self.calls[self.next as usize], sample);
        if self.filled == size {
            *self.totals.count_of(oldest) -= 1;
            self.totals.slow -= u64::from(oldest.is_slow());
        }
        *self.totals.count_of(sample) += 1;
        self.totals.slow += u64::from(sample.is_slow());
        self.filled = (self.filled + 1).min(size);
        self.next = (self.next + 1) % size;
    }

    fn clear(&mut self) {
        (self.next, self.filled, self.totals) = (0, 0, Totals::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    const SPAN: Duration = Duration::from_secs(10);
    const KINDS: [Sample; 5] =
        [Sample::Ok, Sample::Failed, Sample::SlowOk, Sample::SlowFailed, Sample::Abandoned];

    fn any_sample(rng: &mut Rng) -> Sample {
        KINDS[rng.below(KINDS.len() as u64) as usize]
    }

    #[test]
    fn by_time_it_counts_what_the_general_window_counts() {
        for seed in 0..200 {
            let mut rng = Rng::seeded(seed);
            let (mut window, mut general) = (Window::by_time(), crate::Window::new(SPAN, SLICES));
            let mut now = Time::ZERO;
            for step in 0..300 {
                let longest = if rng.chance(0.02) { 40_000_000_000 } else { 900_000_000 };
                now = now.after(Duration::from_nanos(rng.below(longest)));
                if rng.chance(0.01) {
                    window.clear();
                    general.clear();
                }
                if rng.chance(0.8) {
                    let sample = any_sample(&mut rng);
                    window.record(now, SPAN, sample);
                    general.record(now, sample);
                }
                assert_eq!(window.totals(now, SPAN), general.totals(now), "seed {seed} step {step}");
            }
        }
    }

    #[test]
    fn by_count_it_counts_exactly_the_last_calls() {
        for seed in 0..200 {
            let mut rng = Rng::seeded(seed);
            let size = 1 + rng.below(12) as u32;
            let mut window = Window::by_count(size);
            let mut history: Vec<Sample> = Vec::new();
            for step in 0..100 {
                let sample = any_sample(&mut rng);
                window.record(Time::ZERO, SPAN, sample);
                history.push(sample);
                if rng.chance(0.02) {
                    window.clear();
                    history.clear();
                }
                let mut expected = Totals::default();
                for sample in history.iter().rev().take(size as usize) {
                    *expected.count_of(*sample) += 1;
                    expected.slow += u64::from(sample.is_slow());
                }
                let told = format!("seed {seed} step {step} size {size}");
                assert_eq!(window.totals(Time::ZERO, SPAN), expected, "{told}");
            }
        }
    }

    #[test]
    fn degenerate_spans_still_count() {
        for span in [Duration::ZERO, Duration::from_nanos(3), Duration::MAX] {
            let mut window = Window::by_time();
            let end = Time::from_nanos(u64::MAX);
            window.record(end, span, Sample::Ok);
            assert_eq!(window.totals(end, span).ok, 1, "{span:?}");
        }
    }
}
