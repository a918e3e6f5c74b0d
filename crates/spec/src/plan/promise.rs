//! Promises: what users may notice of a failure.

use std::time::Duration;

use super::Place;

/// One measurable sentence of a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Promise {
    /// As printed: `buyers.p99`, `buyers.during.p99`, `rpo`.
    pub name: String,
    /// What is measured.
    pub word: Word,
    /// The load it is about (index into [`Plan::loads`](super::Plan::loads)); `None` for words about the failure.
    pub load: Option<usize>,
    /// True when it belongs to the `during` block of its load.
    pub during: bool,
    /// The bound.
    pub limit: Limit,
    /// Where it stands in the spec.
    pub place: Place,
}

/// The words of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// Least share of good answers.
    Success,
    /// Least share of good and degraded answers.
    Served,
    /// Median latency of served answers.
    P50,
    /// 95th percentile.
    P95,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P999,
    /// Slowest served answer.
    Max,
    /// Largest `Age` of an answer marked stale.
    StaleAtMost,
    /// First bad answer to the first steady stretch.
    Rto,
    /// Fault ended to steady state.
    RecoverWithin,
    /// Process gone to its successor ready.
    RestartedWithin,
    /// Age of the oldest lost acknowledged write.
    Rpo,
    /// Ids with more than one effect.
    Duplicates,
}

impl Word {
    /// Every word, those about a load first.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::Served,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::P999,
        Self::Max,
        Self::StaleAtMost,
        Self::Rto,
        Self::RecoverWithin,
        Self::RestartedWithin,
        Self::Rpo,
        Self::Duplicates,
    ];

    /// The word in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Served => "served",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p999",
            Self::Max => "max",
            Self::StaleAtMost => "stale_at_most",
            Self::Rto => "rto",
            Self::RecoverWithin => "recover_within",
            Self::RestartedWithin => "restarted_within",
            Self::Rpo => "rpo",
            Self::Duplicates => "duplicates",
        }
    }

    /// The quantile of a latency word.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.50),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
            Self::P999 => Some(0.999),
            _ => None,
        }
    }

    /// True for words that stand under a load's name.
    pub fn is_about_load(self) -> bool {
        self <= Self::StaleAtMost
    }
}

/// The bound of a promise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// At least this share, 0 to 1.
    AtLeastShare(f64),
    /// At most this long.
    AtMost(Duration),
    /// At most this many.
    AtMostCount(u64),
}

/// Relaxed words for the first moments after the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct During {
    /// Index into [`Plan::loads`](super::Plan::loads).
    pub load: usize,
    /// How long they hold.
    pub for_at_most: Duration,
}
