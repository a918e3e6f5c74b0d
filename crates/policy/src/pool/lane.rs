//! A lane: requests of one kind that share a pool, and what they usually take.

use std::time::Duration;

use crate::latency::LatencyWindow;
use crate::time::Time;

/// Quantiles are read on every request but move slowly, so they are computed at most this often.
const REFRESH: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Lane {
    window: LatencyWindow,
    refreshed: Option<Time>,
    p50: Option<Duration>,
    p95: Option<Duration>,
    p99: Option<Duration>,
    /// The last other quantile asked for (a lane has one hedge percentile), with its answer.
    other: (f64, Option<Duration>),
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            window: LatencyWindow::default(),
            refreshed: None,
            p50: None,
            p95: None,
            p99: None,
            other: (-1.0, None),
        }
    }

    /// A good answer took this long.
    pub(super) fn record(&mut self, now: Time, elapsed: Duration) {
        self.window.record(now, elapsed);
    }

    /// An attempt was given up after this long, because another one was faster.
    pub(super) fn record_at_least(&mut self, now: Time, waited: Duration) {
        self.window.record_at_least(now, waited);
    }

    pub(super) fn p50(&mut self, now: Time) -> Option<Duration> {
        self.refresh(now);
        self.p50
    }

    pub(super) fn p99(&mut self, now: Time) -> Option<Duration> {
        self.refresh(now);
        self.p99
    }

    /// What hardly any attempt takes: half as much again as the p99, or twice the p95 where a share of slow answers has
    /// spoiled the p99.
    pub(super) fn unusual(&mut self, now: Time) -> Option<Duration> {
        self.refresh(now);
        let (p95, p99) = self.p95.zip(self.p99)?;
        Some(p99.saturating_add(p99 / 2).min(p95.saturating_mul(2)))
    }

    pub(super) fn quantile(&mut self, now: Time, quantile: f64) -> Option<Duration> {
        self.refresh(now);
        if self.other.0.to_bits() != quantile.to_bits() {
            self.other = (quantile, self.window.quantile(now, quantile));
        }
        self.other.1
    }

    fn refresh(&mut self, now: Time) {
        let fresh = self.refreshed.is_some_and(|at| now.saturating_since(at) < REFRESH);
        // Until the first answer every read looks, so that a cold lane warms up with its first samples.
        if fresh && self.p50.is_some() {
            return;
        }
        self.refreshed = Some(now);
        self.p50 = self.window.quantile(now, 0.50);
        self.p95 = self.window.quantile(now, 0.95);
        self.p99 = self.window.quantile(now, 0.99);
        if self.other.0 >= 0.0 {
            self.other.1 = self.window.quantile(now, self.other.0);
        }
    }
}
