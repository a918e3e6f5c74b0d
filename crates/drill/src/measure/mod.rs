//! What a drill measured: pure functions over the records of requests, the node's events and a few marks in time.
//!
//! Everything is measured from the client's side. Nothing is averaged, nothing is estimated: percentiles are
//! those of the sorted latencies, and times that were not observed are absent instead of zero.

mod effects;
mod population;
mod sample;
mod stretch;
mod timeline;

pub use effects::{Effects, Seen, WriteSpan, Writes, rpo};
pub use population::{Split, Window, split};
pub use sample::{Sample, nearest_rank};
pub use stretch::{STRETCH_MIN, STRETCH_REQUESTS_MIN, Steady, Stretch, Track, first_stretch};
pub use timeline::{Restarted, Rto, detect, first_bad, restarted, rto};

use crate::record::Record;

/// What was measured for one load.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadMeasure {
    /// All requests of the window.
    pub whole: Sample,
    /// The first moments, when the failure relaxes its words for them.
    pub early: Option<Sample>,
    /// The rest of the window, when the failure relaxes its words for the first moments.
    pub late: Option<Sample>,
    /// What became of its writes; `None` for a load that does not write.
    pub writes: Option<Writes>,
}

/// Whether and when users were served as promised again.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurements {
    /// One for each load of the subject.
    pub loads: Vec<LoadMeasure>,
    /// Fault requested to the first event naming a victim, in nanoseconds.
    pub detect: Option<u64>,
    /// First bad answer to the first stretch inside the outer words.
    pub rto: Rto,
    /// Fault ended to steady state, in nanoseconds.
    pub recover: Option<u64>,
    /// Process gone to successor ready.
    pub restarted: Restarted,
    /// Age of the oldest lost write, in nanoseconds; 0 = none lost.
    pub rpo: Option<u64>,
    /// Ids with more than one effect, all loads together.
    pub duplicates: Option<u64>,
    /// The shortest time that can be told from nothing, in nanoseconds; `None` when no request was sent.
    pub resolution: Option<u64>,
    /// By how much the load was late, at the 99th percentile, in nanoseconds: what latencies may be too high by.
    pub sender_lag: Option<u64>,
}

/// How much later than intended the sender began, for 99 of 100 requests; `None` when it never began.
pub fn lag_p99<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<u64> {
    let mut lags: Vec<u64> = records.into_iter().filter(|record| record.sent != 0).map(Record::lag).collect();
    lags.sort_unstable();
    nearest_rank(lags.len(), 0.99).map(|rank| lags[rank - 1])
}
