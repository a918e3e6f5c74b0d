//! What became of requests with keys, counted.

use seaworthy_observe::metrics::{Counters, Describe, MetricError, Registry};

use crate::metrics::Labels;

/// What became of a request whose key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was executed.
    Executed,
    /// It was executed again, because the outcome of an earlier execution is unknown and the backend honours keys.
    Resent,
    /// It got the answer of an earlier one.
    Replayed,
    /// Refused: the first is under way.
    InFlight,
    /// Refused: its key belongs to another request.
    Mismatch,
    /// Refused: it was executed, and its answer was not kept.
    NotReplayable,
    /// Refused: it may have been executed.
    Unknown,
    /// Refused: keys could not be kept.
    Unavailable,
    /// Its client left before it was sent.
    Left,
}

const OUTCOMES: [Outcome; 9] = [
    Outcome::Executed,
    Outcome::Resent,
    Outcome::Replayed,
    Outcome::InFlight,
    Outcome::Mismatch,
    Outcome::NotReplayable,
    Outcome::Unknown,
    Outcome::Unavailable,
    Outcome::Left,
];

impl Outcome {
    /// In metrics and in the access log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Resent => "resent",
            Self::Replayed => "replayed",
            Self::InFlight => "in_flight",
            Self::Mismatch => "mismatch",
            Self::NotReplayable => "not_replayable",
            Self::Unknown => "unknown",
            Self::Unavailable => "unavailable",
            Self::Left => "left",
        }
    }
}

/// The family.
#[derive(Debug)]
pub(crate) struct KeyMetrics(Counters);

impl KeyMetrics {
    /// Registers it; `targets` are the labels of requests, by series.
    pub(crate) fn register(registry: &Registry, targets: &[Labels]) -> Result<Self, MetricError> {
        let with_outcome = |(edge, route): &Labels| {
            OUTCOMES.map(|outcome| vec![edge.clone(), route.clone(), outcome.as_str().to_owned()])
        };
        let series: Vec<Vec<String>> = targets.iter().flat_map(with_outcome).collect();
        let requests = registry.counters(Describe {
            name: "seaworthy_idempotency_requests_total",
            help: "Writes with an idempotency key that is kept, by what became of them.",
            labels: &["edge", "route", "outcome"],
            series: &series,
        })?;
        Ok(Self(requests))
    }

    pub(crate) fn count(&self, shard: usize, target: usize, outcome: Outcome) {
        self.0.add(shard, target * OUTCOMES.len() + outcome as usize, 1);
    }
}
