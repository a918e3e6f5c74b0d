//! The cells behind a family, and the handles that count into them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::nanos;

/// Upper bounds, in seconds, that fit latencies from a cache hit to a deadline.
pub const LATENCY_SECONDS: &[f64] =
    &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Cells on one cache line.
const LINE: usize = 8;

/// What one series consists of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// One number.
    Single,
    /// One number per bound, one beyond the last, and the sum in nanoseconds.
    Histogram(&'static [f64]),
}

impl Shape {
    fn width(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Histogram(bounds) => bounds.len() + 2,
        }
    }
}

/// The cells of one family: shard by shard, series by series.
#[derive(Debug, Clone)]
pub(super) struct Values {
    cells: Arc<[AtomicU64]>,
    shards: usize,
    stride: usize,
    pub(super) shape: Shape,
}

impl Values {
    pub(super) fn new(shards: usize, series: usize, shape: Shape) -> Self {
        // One line more than needed, so that no two shards share one wherever the cells begin.
        let stride = (series * shape.width()).next_multiple_of(LINE) + LINE;
        let cells = (0..shards * stride).map(|_| AtomicU64::new(0)).collect();
        Self { cells, shards, stride, shape }
    }

    /// Adds to one cell of a series. Wraps, so that a gauge can add the complement of what it takes away.
    fn add(&self, shard: usize, series: usize, part: usize, amount: u64) {
        let index = (shard % self.shards) * self.stride + series * self.shape.width() + part;
        self.cells[index].fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum of one cell of a series over all shards.
    pub(super) fn sum(&self, series: usize, part: usize) -> u64 {
        let offset = series * self.shape.width() + part;
        (0..self.shards)
            .map(|shard| self.cells[shard * self.stride + offset].load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

/// Numbers that only grow, one per series.
#[derive(Debug, Clone)]
pub struct Counters {
    values: Values,
}

impl Counters {
    pub(super) fn new(values: Values) -> Self {
        Self { values }
    }

    /// Counts `amount` more. `series` is the index at registration; `shard` the caller's core.
    pub fn add(&self, shard: usize, series: usize, amount: u64) {
        self.values.add(shard, series, 0, amount);
    }

    /// The count so far.
    pub fn get(&self, series: usize) -> u64 {
        self.values.sum(series, 0)
    }
}

/// Numbers that go up and down, one per series.
#[derive(Debug, Clone)]
pub struct Gauges {
    values: Values,
}

impl Gauges {
    pub(super) fn new(values: Values) -> Self {
        Self { values }
    }

    /// Changes the number by `difference`. What goes up on one shard may come down on another.
    pub fn add(&self, shard: usize, series: usize, difference: i64) {
        self.values.add(shard, series, 0, difference.cast_unsigned());
    }

    /// The number now.
    pub fn get(&self, series: usize) -> i64 {
        self.values.sum(series, 0).cast_signed()
    }
}

/// Distributions of durations, one per series.
#[derive(Debug, Clone)]
pub struct Histograms {
    values: Values,
    bounds: &'static [f64],
}

impl Histograms {
    pub(super) fn new(values: Values, bounds: &'static [f64]) -> Self {
        Self { values, bounds }
    }

    /// Counts one duration.
    pub fn observe(&self, shard: usize, series: usize, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.values.add(shard, series, bucket, 1);
        self.values.add(shard, series, self.bounds.len() + 1, nanos(duration));
    }

    /// How many durations were counted.
    pub fn count(&self, series: usize) -> u64 {
        (0..=self.bounds.len()).map(|bucket| self.values.sum(series, bucket)).sum()
    }
}
