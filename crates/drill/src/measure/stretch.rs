//! Finding the first steady stretch.
//!
//! A stretch of a load is its requests intended in one second, and at least one hundred of them. A moment is
//! steady when from it on every load has a stretch that obeys its rules. The start of the stretch counts, so a
//! relapse within it sets the search back, and what is not answered yet keeps it open.
//!
//! Each rule says that among certain requests of the stretch at least a share has a property. Both are counted
//! by prefix sums, so a candidate costs the same whatever its length, and all request times can be candidates.
//! The alternative of fixed windows was rejected: it rounds every time up to the window's length.

use std::time::Duration;

use seaworthy_spec::plan::{Limit, Promise, Word};

use super::sample::at_least;
use crate::clock;
use crate::record::{Class, Record};

/// Least length of a steady stretch.
pub const STRETCH_MIN: Duration = Duration::from_secs(1);
/// Least number of requests of each load in a steady stretch.
pub const STRETCH_REQUESTS_MIN: usize = 100;
/// Of the requests in a steady stretch, the share that must not be slower than the promised 99th percentile.
const NOT_SLOWER_SHARE: f64 = 0.99;

/// A steady stretch, in monotonic nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its first moment.
    pub start: u64,
    /// The first moment after it.
    pub end: u64,
}

/// What the search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steady {
    /// The first steady stretch.
    Found(Stretch),
    /// The first stretch that may yet be steady has not ended or not all its answers are there.
    NotYet,
    /// No stretch began in the given time.
    Never,
}

/// One load's requests, prepared for the search.
#[derive(Debug)]
pub struct Track {
    intended: Vec<u64>,
    /// A stretch cannot begin with these.
    bad: Vec<bool>,
    pending: Vec<u32>,
    rules: Vec<Rule>,
}

/// Among the counted requests of a stretch, at least a share obeys.
#[derive(Debug)]
struct Rule {
    counted: Vec<u32>,
    obeying: Vec<u32>,
    share: f64,
}

impl Track {
    /// Steady state: none failed or degraded, and at most one in a hundred slower than the promised p99.
    pub fn steady<'a>(records: &[Record], promises: impl IntoIterator<Item = &'a Promise>) -> Self {
        let mut rules = vec![Rule::new(records, 1.0, |_| true, |record| record.class == Class::Good)];
        for promise in promises {
            if let (Word::P99, false, Limit::AtMost(limit)) = (promise.word, promise.during, promise.limit) {
                let limit = clock::nanos(limit);
                rules.push(Rule::new(records, NOT_SLOWER_SHARE, |_| true, |record| record.latency() <= limit));
            }
        }
        Self::new(records, |record| record.class != Class::Good, rules)
    }

    /// Inside the outer words: what was promised without the relaxed words of the first moments. Where no share
    /// is promised, none may fail. `bad` requests cannot begin the stretch.
    pub fn inside_words<'a>(
        records: &[Record],
        promises: impl IntoIterator<Item = &'a Promise>,
        bad: impl Fn(&Record) -> bool,
    ) -> Self {
        let mut rules = Vec::new();
        let mut has_share = false;
        for promise in promises.into_iter().filter(|promise| !promise.during) {
            has_share |= matches!(promise.word, Word::Success | Word::Served);
            rules.extend(Rule::of_word(records, promise));
        }
        if !has_share {
            rules.push(Rule::new(records, 1.0, |_| true, Record::is_served));
        }
        Self::new(records, bad, rules)
    }

    fn new(records: &[Record], bad: impl Fn(&Record) -> bool, rules: Vec<Rule>) -> Self {
        Self {
            intended: records.iter().map(|record| record.intended).collect(),
            bad: records.iter().map(bad).collect(),
            pending: prefix(records, |record| !record.is_done()),
            rules,
        }
    }

    fn first_at(&self, at: u64) -> usize {
        self.intended.partition_point(|intended| *intended < at)
    }

    fn look(&self, start: u64, horizon: u64) -> Look {
        let first = self.first_at(start);
        let second = start.saturating_add(clock::nanos(STRETCH_MIN));
        let last = self.first_at(second).max(first + STRETCH_REQUESTS_MIN);
        if second > horizon || last > self.intended.len() || self.pending[last] > self.pending[first] {
            return Look::Open;
        }
        let steady = !self.bad[first] && self.rules.iter().all(|rule| rule.holds(first, last));
        let end = second.max(self.intended[last - 1] + 1);
        if steady { Look::Steady(end) } else { Look::Unsteady }
    }
}

/// What one candidate looks like for one load.
enum Look {
    Steady(u64),
    Unsteady,
    Open,
}

impl Rule {
    fn new(
        records: &[Record],
        share: f64,
        counted: impl Fn(&Record) -> bool,
        obeying: impl Fn(&Record) -> bool,
    ) -> Self {
        Self {
            share,
            obeying: prefix(records, |record| counted(record) && obeying(record)),
            counted: prefix(records, counted),
        }
    }

    /// The rule that a promise makes for a stretch; `None` for words that are not about a stretch.
    fn of_word(records: &[Record], promise: &Promise) -> Option<Self> {
        match (promise.word, promise.limit) {
            (Word::Success, Limit::AtLeastShare(share)) => {
                Some(Self::new(records, share, |_| true, |record| record.class == Class::Good))
            }
            (Word::Served, Limit::AtLeastShare(share)) => {
                Some(Self::new(records, share, |_| true, Record::is_served))
            }
            (word, Limit::AtMost(limit)) if word == Word::Max || word.quantile().is_some() => {
                let (share, limit) = (word.quantile().unwrap_or(1.0), clock::nanos(limit));
                Some(Self::new(records, share, Record::is_served, |record| record.latency() <= limit))
            }
            _ => None,
        }
    }

    fn holds(&self, first: usize, last: usize) -> bool {
        let counted = u64::from(self.counted[last] - self.counted[first]);
        let obeying = u64::from(self.obeying[last] - self.obeying[first]);
        obeying >= at_least(counted, self.share)
    }
}

fn prefix(records: &[Record], counts: impl Fn(&Record) -> bool) -> Vec<u32> {
    let mut sums = Vec::with_capacity(records.len() + 1);
    let mut sum = 0;
    sums.push(sum);
    for record in records {
        sum += u32::from(counts(record));
        sums.push(sum);
    }
    sums
}

/// The first steady stretch that starts at `from` or later, but not after `latest`.
///
/// `horizon` is the moment up to which all intents are in the tracks. Without any track every moment is steady.
pub fn first_stretch(tracks: &[Track], from: u64, latest: u64, horizon: u64) -> Steady {
    let mut candidates: Vec<u64> = tracks
        .iter()
        .flat_map(|track| track.intended[track.first_at(from)..].iter().copied())
        .filter(|start| *start <= latest)
        .collect();
    candidates.extend((from <= latest).then_some(from));
    candidates.sort_unstable();
    candidates.dedup();
    for start in candidates {
        let mut end = start;
        let mut steady = true;
        for track in tracks {
            match track.look(start, horizon) {
                Look::Steady(track_end) => end = end.max(track_end),
                Look::Unsteady => steady = false,
                // What begins later is open as well.
                Look::Open => return Steady::NotYet,
            }
        }
        if steady {
            return Steady::Found(Stretch { start, end });
        }
    }
    Steady::Never
}
