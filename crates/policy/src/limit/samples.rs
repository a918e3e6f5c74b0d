//! What one sample window has seen: latencies, losses, throughput, and how much was under way.

use std::time::Duration;

use crate::{LatencyWindow, Time};

/// A finished window, as the algorithms see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    /// The chosen percentile of latency in seconds; `None` when every call was lost.
    pub(super) rtt: Option<f64>,
    /// The share of calls that were lost, from 0 to 1.
    pub(super) lost: f64,
    /// Calls under way, averaged over the window's time.
    pub(super) in_flight: f64,
    /// The most calls under way at once.
    pub(super) peak: u32,
    /// Answers per second, whatever they said.
    pub(super) throughput: f64,
    /// How many answers that were.
    pub(super) answers: f64,
    /// Seconds from the first admission to the last completion.
    pub(super) length: f64,
}

/// The window that is being filled. It begins with an admission, not with a limit: after a cut, the first call
/// is admitted only when those under way have come down to the new limit, so that no window straddles a change.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    latencies: Box<LatencyWindow>,
    started: Option<Time>,
    timed: u32,
    lost: u32,
    answers: u32,
    longest: Duration,
    /// Calls under way times seconds, up to `integrated_to`.
    area: f64,
    integrated_to: Time,
    peak: u32,
}

impl Samples {
    pub(super) fn new() -> Self {
        Samples {
            // One half that never ends: a window is cleared, it does not slide.
            latencies: Box::new(LatencyWindow::new(Duration::MAX)),
            started: None,
            timed: 0,
            lost: 0,
            answers: 0,
            longest: Duration::ZERO,
            area: 0.0,
            integrated_to: Time::ZERO,
            peak: 0,
        }
    }

    /// A call was admitted; `in_flight` were under way before it.
    pub(super) fn on_admitted(&mut self, now: Time, in_flight: u32) {
        if self.started.is_none() {
            self.started = Some(now);
            self.integrated_to = now;
        }
        self.integrate(now, in_flight);
        self.peak = self.peak.max(in_flight + 1);
    }

    /// A call ended, well or badly; `in_flight` were under way before that.
    pub(super) fn on_ended(&mut self, now: Time, in_flight: u32) {
        if self.started.is_some() {
            self.integrate(now, in_flight);
        }
    }

    /// An answer came. `latency` only for one that says something about the present limit.
    pub(super) fn on_answer(&mut self, now: Time, latency: Option<Duration>) {
        if self.started.is_none() {
            return;
        }
        self.answers = self.answers.saturating_add(1);
        if let Some(latency) = latency {
            self.latencies.record(now, latency);
            self.longest = self.longest.max(latency);
            self.timed = self.timed.saturating_add(1);
        }
    }

    /// A call was lost.
    pub(super) fn on_lost(&mut self) {
        if self.started.is_some() {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Since when this window gathers, and how many calls can be judged by.
    pub(super) fn gathered(&self) -> Option<(Time, u32)> {
        Some((self.started?, self.timed.saturating_add(self.lost)))
    }

    /// Ends the window.
    pub(super) fn finish(&mut self, now: Time, percentile: f64) -> Observed {
        let length = now.saturating_since(self.started.unwrap_or(now)).as_secs_f64().max(1e-9);
        // Among fewer samples than a percentile needs, the longest stands for it.
        let rtt = self.latencies.quantile(now, percentile).unwrap_or(self.longest).as_secs_f64();
        let judged = f64::from(self.timed) + f64::from(self.lost);
        let observed = Observed {
            rtt: (self.timed > 0).then_some(rtt.max(1e-9)),
            lost: if judged > 0.0 { f64::from(self.lost) / judged } else { 0.0 },
            in_flight: self.area / length,
            peak: self.peak,
            throughput: f64::from(self.answers) / length,
            answers: f64::from(self.answers),
            length,
        };
        self.discard();
        observed
    }

    /// Forgets everything; the next admission begins another window.
    pub(super) fn discard(&mut self) {
        if self.timed > 0 {
            self.latencies.clear();
        }
        (self.started, self.timed, self.lost, self.answers) = (None, 0, 0, 0);
        (self.longest, self.area, self.peak) = (Duration::ZERO, 0.0, 0);
    }

    fn integrate(&mut self, now: Time, in_flight: u32) {
        self.area += f64::from(in_flight) * now.saturating_since(self.integrated_to).as_secs_f64();
        self.integrated_to = now;
    }
}
