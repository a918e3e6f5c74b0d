//! What the store counts.

use std::sync::Arc;

use seaworthy_observe::metrics::{Counters, Describe, MetricError, Registry};

use super::store::Store;
use crate::metrics::Labels;

/// What became of a request that could be answered from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered with a fresh one.
    Hit,
    /// Answered with one that is not.
    Stale,
    /// Fetched.
    Miss,
    /// Waited for another one's flight, and was answered from the store.
    Coalesced,
    /// Fetched on its own account.
    Pass,
}

const OUTCOMES: [Outcome; 5] =
    [Outcome::Hit, Outcome::Stale, Outcome::Miss, Outcome::Coalesced, Outcome::Pass];

impl Outcome {
    /// In metrics and in the access log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Pass => "pass",
        }
    }
}

/// The families of the store.
#[derive(Debug)]
pub(crate) struct CacheMetrics {
    requests: Counters,
}

impl CacheMetrics {
    /// Registers all families; `targets` are the labels of requests, by series.
    pub(crate) fn register(
        registry: &Registry,
        targets: &[Labels],
        store: &Arc<Store>,
    ) -> Result<Self, MetricError> {
        let with_outcome = |(edge, route): &Labels| {
            OUTCOMES.map(|outcome| vec![edge.clone(), route.clone(), outcome.as_str().to_owned()])
        };
        let series: Vec<Vec<String>> = targets.iter().flat_map(with_outcome).collect();
        let describe = |name, help| Describe { name, help, labels: &[], series: &[] };
        let asked = Arc::clone(store);
        registry.gauge_asked(describe("seaworthy_cache_bytes", "Memory of stored answers."), move || {
            vec![(Vec::new(), asked.figures().0 as f64)]
        })?;
        let asked = Arc::clone(store);
        registry.gauge_asked(
            describe("seaworthy_cache_entries", "Stored answers, and places for them."),
            move || vec![(Vec::new(), asked.figures().1 as f64)],
        )?;
        let asked = Arc::clone(store);
        registry.counter_asked(
            describe("seaworthy_cache_evictions_total", "Stored answers that made room for others."),
            move || vec![(Vec::new(), asked.figures().2 as f64)],
        )?;
        let requests = registry.counters(Describe {
            name: "seaworthy_cache_requests_total",
            help: "Requests on routes with stored answers, by what became of them.",
            labels: &["edge", "route", "outcome"],
            series: &series,
        })?;
        Ok(Self { requests })
    }

    pub(crate) fn count(&self, shard: usize, target: usize, outcome: Outcome) {
        self.requests.add(shard, target * OUTCOMES.len() + outcome as usize, 1);
    }
}
