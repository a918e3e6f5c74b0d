//! The other algorithms: additive increase with multiplicative decrease, and the latency gradient.

use super::LimitConfig;
use super::samples::Observed;

/// The weight of a new limit against the old one (Gradient2's `smoothing`).
const SMOOTHING: f64 = 0.2;
/// Calls that may wait in front of the backend without being congestion (Gradient2's `queueSize`).
const QUEUE: f64 = 4.0;
/// Windows over which the long average reaches back.
const LONG_WINDOWS: f64 = 600.0;
/// The strongest cut per window.
const GRADIENT_MIN: f64 = 0.5;

/// One more call per round trip, provided that the present ones were used.
pub(super) fn aimd(limit: f64, observed: &Observed) -> f64 {
    let Some(rtt) = observed.rtt else { return limit };
    if f64::from(observed.peak) < limit / 2.0 {
        return limit;
    }
    limit + (observed.length / rtt).clamp(1.0, limit.max(1.0))
}

#[derive(Clone, Debug, Default)]
pub(super) struct Gradient2 {
    /// The long average of latency in seconds, and over how many windows it is one so far.
    long: Option<(f64, f64)>,
}

impl Gradient2 {
    /// The long average in seconds.
    pub(super) fn baseline(&self) -> Option<f64> {
        self.long.map(|(average, _)| average)
    }

    pub(super) fn step(&mut self, config: &LimitConfig, limit: f64, observed: &Observed) -> f64 {
        let Some(rtt) = observed.rtt else { return limit };
        let (average, windows) = self.long.unwrap_or((rtt, 0.0));
        let windows = (windows + 1.0).min(LONG_WINDOWS);
        let average = average + (rtt - average) / windows;
        // Latency far below its average means that the average comes from an overload that is over.
        let average = if average / rtt > 2.0 { average * 0.95 } else { average };
        self.long = Some((average, windows));
        if f64::from(observed.peak) < limit / 2.0 {
            return limit;
        }
        let gradient = (config.rtt_tolerance * average / rtt).clamp(GRADIENT_MIN, 1.0);
        // A gradient below 1 says "slower than tolerated"; the allowance for a queue must not turn that into growth
        // (Netflix's concurrency-limits#134).
        let target = if gradient < 1.0 { (limit * gradient + QUEUE).min(limit) } else { limit + QUEUE };
        limit + SMOOTHING * (target - limit)
    }
}
