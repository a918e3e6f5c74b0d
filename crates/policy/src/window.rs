//! What happened in the last few seconds, counted exactly.
//!
//! **Problem.** A rate over "the last 10 s" must forget old calls, and asking for it must not become slower as
//! traffic grows. **Model.** The span is cut into buckets of equal width; a call is counted in the bucket of
//! its moment, and a bucket is used again once it has left the span. A reading therefore covers between
//! `span - span / buckets` and `span`: never anything older, never less.
//!
//! **Rejected:** one record per call, whose cost grows with traffic; a running total that is only cleared on a
//! state change, which after 100 000 successes needs 100 000 failures to reach one half; a moving average,
//! which weighs a call by the time to its neighbour, so that a burst can hide an outage.
//!
//! Worked number: 10 s in 10 buckets. A call at 3.7 s is counted until 13 s and forgotten from then on. Memory
//! is 24 bytes per bucket; recording touches one bucket, reading touches each once.

use std::time::Duration;

use crate::Time;
use crate::time::nanos;

/// The most buckets a window may have, so that a reading stays cheap.
pub const BUCKETS_MAX: usize = 64;

/// What is counted of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// It succeeded in good time.
    Ok,
    /// It failed in good time.
    Failed,
    /// It succeeded, but slowly.
    SlowOk,
    /// It failed, and slowly.
    SlowFailed,
    /// Its caller gave up after it had been slow; whether it would have succeeded is unknown.
    Abandoned,
}

impl Sample {
    /// Whether the call was slow, however it ended.
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Sample::SlowOk | Sample::SlowFailed | Sample::Abandoned)
    }
}

/// Sums over the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that succeeded, slow ones included.
    pub ok: u64,
    /// Calls that failed, slow ones included.
    pub failed: u64,
    /// Calls given up after having been slow.
    pub abandoned: u64,
    /// Slow calls, however they ended; these are also counted above.
    pub slow: u64,
}

impl Totals {
    /// All calls counted, each once.
    pub fn calls(&self) -> u64 {
        self.ok + self.failed + self.abandoned
    }

    /// The sum that counts this call; slowness is counted beside it.
    pub(crate) fn count_of(&mut self, sample: Sample) -> &mut u64 {
        match sample {
            Sample::Ok | Sample::SlowOk => &mut self.ok,
            Sample::Failed | Sample::SlowFailed => &mut self.failed,
            Sample::Abandoned => &mut self.abandoned,
        }
    }
}

/// One slice of time. `u32` holds 4 thousand million calls in one bucket; beyond that it stays at its maximum.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Which slice since the origin this is.
    slice: u64,
    ok: u32,
    failed: u32,
    abandoned: u32,
    slow: u32,
}

/// Exact sums over a sliding span.
#[derive(Clone, Debug)]
pub struct Window {
    /// Nanoseconds per bucket, at least one.
    width: u64,
    buckets: Box<[Bucket]>,
    latest: Time,
    /// The slice of the latest moment, its place among the buckets, and the nanosecond with which it ends: most calls are
    /// made in the slice of the one before, and a division costs as much as all the rest of counting.
    slice: u64,
    slot: usize,
    ends: u64,
}

impl Window {
    /// An empty window over `span`, cut into `buckets` slices (at least 1, at most [`BUCKETS_MAX`]; values
    /// outside are brought inside, as is a span too short to be cut).
    pub fn new(span: Duration, buckets: usize) -> Self {
        let count = buckets.clamp(1, BUCKETS_MAX);
        let width = (nanos(span) / count as u64).max(1);
        let buckets = vec![Bucket::default(); count].into_boxed_slice();
        Window { width, buckets, latest: Time::ZERO, slice: 0, slot: 0, ends: width }
    }

    /// Counts one call at `now`.
    pub fn record(&mut self, now: Time, sample: Sample) {
        let slice = self.advance(now);
        let bucket = &mut self.buckets[self.slot];
        if bucket.slice != slice {
            *bucket = Bucket { slice, ..Bucket::default() };
        }
        let count = match sample {
            Sample::Ok | Sample::SlowOk => &mut bucket.ok,
            Sample::Failed | Sample::SlowFailed => &mut bucket.failed,
            Sample::Abandoned => &mut bucket.abandoned,
        };
        *count = count.saturating_add(1);
        if sample.is_slow() {
            bucket.slow = bucket.slow.saturating_add(1);
        }
    }

    /// The sums over the span that ends at `now`.
    pub fn totals(&self, now: Time) -> Totals {
        let current = now.max(self.latest).as_nanos() / self.width;
        let count = self.buckets.len() as u64;
        let mut totals = Totals::default();
        for bucket in self.buckets.iter().filter(|bucket| current - bucket.slice < count) {
            totals.ok += u64::from(bucket.ok);
            totals.failed += u64::from(bucket.failed);
            totals.abandoned += u64::from(bucket.abandoned);
            totals.slow += u64::from(bucket.slow);
        }
        totals
    }

    /// Forgets every call; time goes on.
    pub fn clear(&mut self) {
        self.buckets.fill(Bucket::default());
    }

    /// The slice of `now`, where a moment before the latest one counts as the latest one.
    fn advance(&mut self, now: Time) -> u64 {
        self.latest = self.latest.max(now);
        let latest = self.latest.as_nanos();
        if latest >= self.ends {
            self.slice = latest / self.width;
            self.slot = (self.slice % self.buckets.len() as u64) as usize;
            self.ends = self.slice.saturating_add(1).saturating_mul(self.width);
        }
        self.slice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        Window::new(Duration::from_secs(10), 10)
    }

    #[test]
    fn counts_each_kind() {
        let mut window = window();
        for sample in [Sample::Ok, Sample::Failed, Sample::SlowOk, Sample::SlowFailed, Sample::Abandoned] {
            window.record(Time::from_millis(1), sample);
        }
        let totals = window.totals(Time::from_millis(1));
        assert_eq!(totals, Totals { ok: 2, failed: 2, abandoned: 1, slow: 3 });
        assert_eq!(totals.calls(), 5);
    }

    #[test]
    fn forgets_what_has_left_the_span() {
        let mut window = window();
        window.record(Time::from_millis(3_700), Sample::Ok);
        for (now, expected) in [(3_700, 1), (12_999, 1), (13_000, 0), (1_000_000, 0)] {
            assert_eq!(window.totals(Time::from_millis(now)).ok, expected, "at {now} ms");
        }
    }

    #[test]
    fn a_slot_used_again_starts_from_nothing() {
        let mut window = window();
        for round in 0..5 {
            window.record(Time::from_millis(round * 10_000), Sample::Failed);
            assert_eq!(window.totals(Time::from_millis(round * 10_000)).failed, 1, "round {round}");
        }
    }

    #[test]
    fn backwards_clock() {
        let mut window = window();
        window.record(Time::from_millis(50_000), Sample::Ok);
        window.record(Time::from_millis(1_000), Sample::Failed);
        let expected = Totals { ok: 1, failed: 1, ..Totals::default() };
        assert_eq!(window.totals(Time::ZERO), expected, "a moment in the past reads as the latest one");
        assert_eq!(window.totals(Time::from_millis(50_000)), expected);
        assert_eq!(window.totals(Time::from_millis(60_000)), Totals::default());
    }

    #[test]
    fn degenerate_shapes_still_count() {
        for (span, buckets) in
            [(Duration::ZERO, 0), (Duration::from_nanos(3), 10), (Duration::MAX, usize::MAX)]
        {
            let mut window = Window::new(span, buckets);
            window.record(Time::from_nanos(u64::MAX), Sample::Ok);
            assert_eq!(window.totals(Time::from_nanos(u64::MAX)).ok, 1);
        }
    }

    #[test]
    fn clearing_forgets_everything() {
        let mut window = window();
        window.record(Time::from_millis(1), Sample::SlowFailed);
        window.clear();
        assert_eq!(window.totals(Time::from_millis(1)), Totals::default());
    }
}
