//! Vegas with experiments: keep a small queue in front of the backend, and find out what its latency is without one.

use super::LimitConfig;
use super::samples::Observed;

/// A queue of `3 x log10(limit)` is wanted, so that the backend never waits for work; twice that is too long.
const QUEUE_WANTED: f64 = 3.0;
/// How far calls under way must have moved before their effect on throughput is judged.
const MOVE_MIN: f64 = 0.15;
/// Half of a proportional response divides "throughput followed the calls under way" from "it did not".
const RESPONSE_HALF: f64 = 0.5;
/// Beyond this, throughput changed for a reason of its own: the backend is not what it was.
const RESPONSE_MAX: f64 = 1.5;
/// Windows after which a comparison would compare different weather.
const ANCHOR_AGE_MAX: u32 = 10;
/// Windows from one experiment to the next, before jitter (a third to either side).
pub(super) const EXPERIMENT_EVERY: u64 = 30;
/// The share of the limit that stays in force during an experiment.
pub(super) const EXPERIMENT_SHARE: f64 = 0.8;
/// What a limit is cut to when growing brought latency and no throughput.
const GROWTH_UNDONE: f64 = 0.85;
/// The share of the limit by which it grows while there is no queue at all.
const GROWTH_MAX: f64 = 0.25;
/// How quickly the baseline follows a lower latency, and one of a backend that is not under pressure.
const BASELINE_FALL: f64 = 0.2;
const BASELINE_DRIFT: f64 = 0.1;
/// How far the baseline rises when an experiment found the higher latency without a queue.
const BASELINE_RISE: f64 = 0.75;

/// What a later window is compared with.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    in_flight: f64,
    throughput: f64,
    answers: f64,
    rtt: f64,
    limit: f64,
    age: u32,
}

/// What a comparison of two windows has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Finding {
    /// Throughput followed the calls under way: there is no queue. The limit may be what it was.
    NoQueue { limit: f64 },
    /// Fewer calls, and as much came back: those missing had only been waiting.
    QueueDrained,
    /// More calls, and only latency rose.
    GrownInVain,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Vegas {
    /// Seconds that a call takes without a queue.
    baseline: Option<f64>,
    anchor: Option<Anchor>,
}

/// What follows from a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The new limit, before it is clamped.
    pub(super) limit: f64,
    /// Samples admitted before now say nothing about what comes.
    pub(super) reset: bool,
}

impl Vegas {
    /// Seconds that a call takes without a queue, as far as known.
    pub(super) fn baseline(&self) -> Option<f64> {
        self.baseline
    }

    /// A window full of losses: what was compared before is over.
    pub(super) fn on_loss(&mut self) {
        self.anchor = None;
    }

    /// Makes `observed` what the coming experiment is compared with.
    pub(super) fn begin_experiment(&mut self, limit: f64, observed: &Observed, rtt: f64) {
        self.anchor = Some(Anchor::of(limit, observed, rtt));
    }

    pub(super) fn step(
        &mut self,
        config: &LimitConfig,
        limit: f64,
        observed: &Observed,
        experiment: bool,
    ) -> Step {
        let Some(rtt) = observed.rtt else { return Step { limit, reset: false } };
        let finding = self.compare(limit, observed, rtt);
        let baseline = self.learn(limit, observed, rtt, finding);
        if experiment {
            // What a smaller limit did not harm, it may keep.
            let drained = finding == Some(Finding::QueueDrained);
            return Step { limit: if drained { limit * EXPERIMENT_SHARE } else { limit }, reset: true };
        }
        if finding == Some(Finding::GrownInVain) {
            return Step { limit: limit * GROWTH_UNDONE, reset: true };
        }
        if f64::from(observed.peak) < limit / 2.0 {
            return Step { limit, reset: false };
        }
        // A cut that only cost throughput was a mistake.
        let limit = match finding {
            Some(Finding::NoQueue { limit: before }) => limit.max(before),
            _ => limit,
        };
        let scale = (limit + 1.0).log10();
        let wanted = QUEUE_WANTED * scale;
        let queue = observed.in_flight * (1.0 - baseline / rtt).max(0.0);
        if queue > 2.0 * wanted || rtt > config.rtt_tolerance * baseline {
            self.anchor = Some(Anchor::of(limit, observed, rtt));
            let target = (limit * baseline / rtt + wanted).clamp(limit / 2.0, limit);
            return Step { limit: target, reset: target < 0.9 * limit };
        }
        let growth = match queue {
            queue if queue < scale => (2.0 * wanted).max(limit * GROWTH_MAX).max(1.0),
            queue if queue < wanted => scale.max(1.0),
            _ => 0.0,
        };
        Step { limit: limit + growth, reset: false }
    }

    /// Compares this window with the anchor once calls under way have moved far enough.
    fn compare(&mut self, limit: f64, observed: &Observed, rtt: f64) -> Option<Finding> {
        let Some(anchor) = &mut self.anchor else {
            self.anchor = Some(Anchor::of(limit, observed, rtt));
            return None;
        };
        anchor.age += 1;
        let before = *anchor;
        let moved = (observed.in_flight / before.in_flight).ln();
        if !moved.is_finite() || moved.abs() < (1.0_f64 + MOVE_MIN).ln() {
            if before.age >= ANCHOR_AGE_MAX {
                self.anchor = Some(Anchor::of(limit, observed, rtt));
            }
            return None;
        }
        self.anchor = Some(Anchor::of(limit, observed, rtt));
        let followed = (observed.throughput / before.throughput).ln();
        // Two counts of answers differ by chance; what lies within one standard deviation of the half decides nothing.
        let doubt = (1.0 / before.answers + 1.0 / observed.answers).sqrt();
        // Signed so that "more than half" means the same for a rise and for a fall.
        let (response, moved) = (followed * moved.signum(), moved.abs());
        let half = RESPONSE_HALF * moved;
        if response > half + doubt && response < RESPONSE_MAX * moved + doubt {
            return Some(Finding::NoQueue { limit: before.limit });
        }
        if response >= half - doubt {
            return None;
        }
        if observed.in_flight < before.in_flight {
            return Some(Finding::QueueDrained);
        }
        (rtt > before.rtt * (1.0 + MOVE_MIN / 2.0)).then_some(Finding::GrownInVain)
    }

    /// Follows a lower latency; a higher one only where there is evidence that it is not a queue.
    fn learn(&mut self, limit: f64, observed: &Observed, rtt: f64, finding: Option<Finding>) -> f64 {
        let baseline = self.baseline.unwrap_or(rtt);
        let idle = f64::from(observed.peak) < limit / 2.0;
        let follow = match finding {
            _ if rtt < baseline => BASELINE_FALL,
            Some(Finding::NoQueue { .. }) => BASELINE_RISE,
            _ if idle => BASELINE_DRIFT,
            _ => 0.0,
        };
        let learnt = baseline + follow * (rtt - baseline);
        self.baseline = Some(learnt);
        learnt
    }
}

impl Anchor {
    fn of(limit: f64, observed: &Observed, rtt: f64) -> Self {
        let Observed { in_flight, throughput, answers, .. } = *observed;
        Anchor { in_flight, throughput, answers, rtt, limit, age: 0 }
    }
}
