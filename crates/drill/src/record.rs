//! What is remembered of every request, and the history that the senders write and the judge reads.
//!
//! A record is made at the intended moment, before anything is sent, and completed when the outcome is known:
//! a write whose answer never came is in the history as surely as one that was acknowledged. Records of a load
//! stand in the order of their intended times, and the position of a record is the number in its id.

use std::sync::{Mutex, MutexGuard};

/// Most records of one load in one run. At 2,000 requests a second this lasts for more than two hours; a load
/// that reaches it stops, and the drill says so instead of judging what it could not remember.
pub const RECORDS_PER_LOAD_MAX: usize = 16_000_000;

/// `Age` of an answer that is marked stale and does not say how old it is.
pub const AGE_UNKNOWN: u32 = u32::MAX;

/// How an answer looks to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// Not known yet.
    #[default]
    Pending,
    /// As promised to everybody.
    Good,
    /// Less than that, and marked as such.
    Degraded,
    /// Anything else.
    Failed,
}

/// What the client knows about the effect of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteOutcome {
    /// It was said to be done.
    Acknowledged,
    /// It was surely not done.
    Refused,
    /// Nobody told.
    #[default]
    Unknown,
}

/// One request. Times are monotonic nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// When the schedule wanted it sent.
    pub intended: u64,
    /// When the sender began with it; 0 when it never did.
    pub sent: u64,
    /// When the outcome was known; 0 while it is not.
    pub done: u64,
    /// `Age` in seconds of an answer marked stale; [`AGE_UNKNOWN`] when the answer does not say.
    pub stale_age: Option<u32>,
    /// Status of the answer; 0 without one.
    pub status: u16,
    /// How the answer looks to a user.
    pub class: Class,
    /// What is known about its effect; means something for writes only.
    pub write: WriteOutcome,
}

impl Record {
    /// From the intended moment to the outcome.
    pub fn latency(&self) -> u64 {
        self.done.saturating_sub(self.intended)
    }

    /// How much later than intended the sender began.
    pub fn lag(&self) -> u64 {
        self.sent.saturating_sub(self.intended)
    }

    /// Good or degraded.
    pub fn is_served(&self) -> bool {
        matches!(self.class, Class::Good | Class::Degraded)
    }

    /// The outcome is known.
    pub fn is_done(&self) -> bool {
        self.class != Class::Pending
    }
}

/// All requests of a run, one list for each load.
#[derive(Debug)]
pub struct History {
    loads: Vec<Mutex<Vec<Record>>>,
}

impl History {
    /// An empty history of this many loads.
    pub fn new(loads: usize) -> Self {
        Self { loads: (0..loads).map(|_| Mutex::new(Vec::new())).collect() }
    }

    /// Notes the intent of a request and returns its number; `None` when the history is full.
    pub(crate) fn intend(&self, load: usize, intended: u64) -> Option<usize> {
        let mut records = self.lock(load);
        if records.len() >= RECORDS_PER_LOAD_MAX {
            return None;
        }
        debug_assert!(records.last().is_none_or(|last| last.intended <= intended), "intents come in order");
        records.push(Record { intended, ..Record::default() });
        Some(records.len() - 1)
    }

    /// Replaces the record of a request by the one with its outcome.
    pub(crate) fn complete(&self, load: usize, number: usize, record: Record) {
        debug_assert!(record.is_done(), "a completed record has an outcome");
        self.lock(load)[number] = record;
    }

    /// The records of a load that were intended at `since` or later, and the number of the first of them.
    pub fn since(&self, load: usize, since: u64) -> (usize, Vec<Record>) {
        let records = self.lock(load);
        let first = records.partition_point(|record| record.intended < since);
        (first, records[first..].to_vec())
    }

    /// True when every request that was intended before `end` has an outcome.
    pub fn is_done_before(&self, load: usize, start: u64, end: u64) -> bool {
        let records = self.lock(load);
        let first = records.partition_point(|record| record.intended < start);
        records[first..].iter().take_while(|record| record.intended < end).all(Record::is_done)
    }

    fn lock(&self, load: usize) -> MutexGuard<'_, Vec<Record>> {
        self.loads[load].lock().expect("no holder of a history lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_in_the_history_before_its_outcome() {
        let history = History::new(1);
        for intended in [10, 20, 30] {
            assert!(history.intend(0, intended).is_some());
        }
        history.complete(
            0,
            1,
            Record { intended: 20, sent: 21, done: 29, class: Class::Good, ..Record::default() },
        );
        let (first, records) = history.since(0, 15);
        assert_eq!(first, 1);
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].latency(), records[0].lag()), (9, 1));
        assert!(!records[1].is_done());
        assert!(history.is_done_before(0, 20, 30));
        assert!(!history.is_done_before(0, 20, 31));
        assert!(!history.is_done_before(0, 0, 30));
    }
}
