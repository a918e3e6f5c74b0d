//! What an attempt at an endpoint is expected to take, for load balancing.
//!
//! **Problem.** An endpoint that answers 500 at once has few attempts in flight and a short latency, so everything that
//! prefers fast endpoints sends it more: a black hole with a friendly face.
//!
//! **Model.** A failed attempt has cost what it stands for: a whole timeout. The expected time is the latency of good answers and that
//! cost, mixed by the share of failures. The share moves by 1/64 of the way with each outcome and fades with a time constant of
//! 10 s, as the latency does, so that a starved endpoint is asked again. What is below [`FORGIVEN`] does not count: a rare failure
//! is the request's fault as often as the endpoint's, and everybody would herd to whoever happened to fail longest ago; and an
//! endpoint that only fails must meet the five attempts that eject it.
//!
//! **Worked number.** 5 ms, cost 5 s. Four failures in a row change nothing; the fifth makes it 71 ms, and 17 make it 866 ms. One in
//! five, for long, makes it 0.7 s: nobody who has a choice goes there.

use std::time::Duration;

use crate::time::Time;

/// The weight of one outcome.
const WEIGHT: f64 = 1.0 / 64.0;
/// This share of failures has no cost: four in a row, or one in sixteen for long.
const FORGIVEN: f64 = 4.0 * WEIGHT;
/// In this time the share falls to 37 % by itself.
const FADES_IN: Duration = Duration::from_secs(10);

/// A share of failures that fades.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailureShare {
    share: f64,
    at: Time,
}

impl FailureShare {
    pub(super) fn none(now: Time) -> Self {
        Self { share: 0.0, at: now }
    }

    /// One more outcome.
    pub(super) fn record(&mut self, now: Time, failed: bool) {
        // The usual case costs nothing.
        if !failed && self.share <= 0.0 {
            return;
        }
        let now = now.max(self.at);
        let outcome = if failed { 1.0 } else { 0.0 };
        self.share = self.value(now) * (1.0 - WEIGHT) + outcome * WEIGHT;
        self.at = now;
    }

    /// What an attempt is expected to take, in seconds, where a good answer takes `latency` and a failure `failure_cost`.
    pub(super) fn expected(&self, now: Time, latency: f64, failure_cost: Duration) -> f64 {
        if self.share <= 0.0 {
            return latency;
        }
        let extra = (failure_cost.as_secs_f64() - latency).max(0.0);
        latency + (self.value(now) - FORGIVEN).max(0.0) * extra
    }

    fn value(&self, now: Time) -> f64 {
        let elapsed = now.saturating_since(self.at).as_secs_f64();
        self.share * (-elapsed / FADES_IN.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_beyond_a_few_cost_a_timeout_each_and_fade() {
        let cost = Duration::from_secs(5);
        let at = Time::from_millis;
        let mut share = FailureShare::none(at(0));
        let expected = |share: &FailureShare, now: u64| (share.expected(at(now), 0.005, cost) * 1e3).round();
        share.record(at(0), false);
        assert!((expected(&share, 0) - 5.0).abs() < 0.5);
        for (failures, after_ms, ms) in
            [(4, 0, 5.0), (1, 0, 71.0), (0, 1_000, 35.0), (0, 2_000, 5.0), (12, 0, 866.0), (0, 10_000, 124.0)]
        {
            for _ in 0..failures {
                share.record(at(0), true);
            }
            let got = expected(&share, after_ms);
            assert!((got - ms).abs() < 3.0, "after {after_ms} ms: {got} instead of {ms}");
        }
        assert!(share.expected(at(0), 9.0, cost) >= 9.0, "never less than the latency itself");
    }
}
