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
                rules.push(Rule::new(
                    records,
                    NOT_SLOWER_SHARE,
                    |_| true,
                    |record| record.latency() <= limit,
                ));
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

    fn look(&self, start: u64) -> Look {
        let first = self.first_at(start);
        let second = start.saturating_add(clock::nanos(STRETCH_MIN));
        let last = self.first_at(second).max(first + STRETCH_REQUESTS_MIN);
        // Intents come in order: one after the second shows that all within it are there.
        let reaches = self.intended.last().is_some_and(|newest| *newest >= second);
        if !reaches || last > self.intended.len() || self.pending[last] > self.pending[first] {
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
/// Without any track every moment is steady.
pub fn first_stretch(tracks: &[Track], from: u64, latest: u64) -> Steady {
    let mut candidates: Vec<u64> = tracks
        .iter()
        .flat_map(|track| track.intended[track.first_at(from)..].iter().copied())
        .filter(|start| *start <= latest)
        .collect();
    candidates.extend((from <= latest).then_some(from));
    candidates.sort_unstable();
    candidates.dedup();
    for start in candidates {
        let (mut end, mut steady, mut open) = (start, true, false);
        for track in tracks {
            match track.look(start) {
                Look::Steady(track_end) => end = end.max(track_end),
                Look::Unsteady => steady = false,
                Look::Open => open = true,
            }
        }
        match (steady, open) {
            (false, _) => {}
            // Nothing that begins later can be told apart yet either.
            (true, true) => return Steady::NotYet,
            (true, false) => return Steady::Found(Stretch { start, end }),
        }
    }
    Steady::Never
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use seaworthy_spec::plan::Place;

    const MS: u64 = 1_000_000;
    const PLACE: Place = Place { line: 1, column: 1 };

    fn promise(word: Word, limit: Limit) -> Promise {
        Promise { name: word.as_str().to_owned(), word, load: Some(0), during: false, limit, place: PLACE }
    }

    /// 100 requests a second from 0, each answered after 5 ms, until `until_ms`; those from `bad` failed.
    fn records(until_ms: u64, class: impl Fn(u64) -> Class) -> Vec<Record> {
        let make = |intended: u64| {
            let class = class(intended / MS);
            Record { intended, sent: intended, done: intended + 5 * MS, class, ..Record::default() }
        };
        (0..until_ms / 10).map(|number| make(number * 10 * MS)).collect()
    }

    fn search(records: &[Record], from_ms: u64) -> Steady {
        first_stretch(&[Track::steady(records, &[])], from_ms * MS, u64::MAX)
    }

    #[test]
    fn the_start_of_the_first_whole_stretch_counts() {
        let found = |start: u64, end: u64| Steady::Found(Stretch { start: start * MS, end: end * MS });
        let good = records(5_000, |_| Class::Good);
        assert_eq!(search(&good, 0), found(0, 1_000));
        assert_eq!(search(&good, 3), found(3, 1_003));
        assert_eq!(search(&good, 4_500), Steady::NotYet);
        assert_eq!(search(&good[..100], 0), Steady::NotYet);
        let outage =
            records(5_000, |at| if (1_000..3_000).contains(&at) { Class::Failed } else { Class::Good });
        assert_eq!(search(&outage, 1_000), found(3_000, 4_000));
        // A relapse within the stretch sets the search back.
        let relapse = records(5_000, |at| if at == 1_500 { Class::Degraded } else { Class::Good });
        assert_eq!(search(&relapse, 1_000), found(1_510, 2_510));
        let pending = records(5_000, |at| if at == 1_500 { Class::Pending } else { Class::Good });
        assert_eq!(search(&pending, 1_000), Steady::NotYet);
        let never = records(5_000, |at| if at.is_multiple_of(500) { Class::Failed } else { Class::Good });
        let track = Track::steady(&never, &[]);
        assert_eq!(first_stretch(&[track], 0, 3_500 * MS), Steady::Never);
        assert_eq!(first_stretch(&[], 7, 7), Steady::Found(Stretch { start: 7, end: 7 }));
        assert_eq!(first_stretch(&[], 8, 7), Steady::Never);
    }

    #[test]
    fn a_slow_load_needs_a_hundred_requests() {
        let ten_a_second: Vec<Record> = records(30_000, |_| Class::Good).into_iter().step_by(10).collect();
        let Steady::Found(stretch) = search(&ten_a_second, 0) else { panic!("not found") };
        assert_eq!((stretch.start, stretch.end), (0, 9_900 * MS + 1));
    }

    #[test]
    fn one_in_a_hundred_may_be_slow() {
        for (slow, expected) in [(1, true), (2, false)] {
            let mut all = records(1_010, |_| Class::Good);
            for record in &mut all[20..20 + slow] {
                record.done = record.intended + 300 * MS;
            }
            let promises = [promise(Word::P99, Limit::AtMost(Duration::from_millis(250)))];
            let found = first_stretch(&[Track::steady(&all, &promises)], 0, 0);
            assert_eq!(matches!(found, Steady::Found(_)), expected, "{slow}");
        }
    }

    #[test]
    fn words_of_a_stretch() {
        let half_degraded = records(3_000, |at| if at % 20 == 0 { Class::Good } else { Class::Degraded });
        let one_failed = records(3_000, |at| if at == 500 { Class::Failed } else { Class::Good });
        for (records, word, limit, expected) in [
            (&half_degraded, Word::Served, Limit::AtLeastShare(1.0), true),
            (&half_degraded, Word::Success, Limit::AtLeastShare(0.5), true),
            (&half_degraded, Word::Success, Limit::AtLeastShare(0.51), false),
            (&one_failed, Word::Success, Limit::AtLeastShare(0.99), true),
            (&one_failed, Word::Success, Limit::AtLeastShare(0.995), false),
            // No share promised: none may fail.
            (&one_failed, Word::Max, Limit::AtMost(Duration::from_secs(1)), false),
            (&half_degraded, Word::Max, Limit::AtMost(Duration::from_millis(5)), true),
            (&half_degraded, Word::Max, Limit::AtMost(Duration::from_millis(4)), false),
            (&half_degraded, Word::P50, Limit::AtMost(Duration::from_millis(4)), false),
        ] {
            let track = Track::inside_words(records, &[promise(word, limit)], |_| false);
            let found = first_stretch(&[track], 0, 0);
            assert_eq!(matches!(found, Steady::Found(_)), expected, "{word:?} {limit:?}");
        }
    }

    #[test]
    fn a_stretch_does_not_begin_with_what_is_bad() {
        let records = records(3_000, |at| if at < 1_000 { Class::Failed } else { Class::Good });
        let half = [promise(Word::Success, Limit::AtLeastShare(0.5))];
        for (bad_counts, expected) in [(false, 500), (true, 1_000)] {
            let track = Track::inside_words(&records, &half, |record| bad_counts && !record.is_served());
            let Steady::Found(stretch) = first_stretch(&[track], 0, u64::MAX) else { panic!("not found") };
            assert_eq!(stretch.start, expected * MS);
        }
    }

    /// The definition, word by word, without prefix sums.
    fn naive(loads: &[Vec<Record>], from: u64) -> Option<u64> {
        let mut starts: Vec<u64> = loads.iter().flatten().map(|record| record.intended).collect();
        starts.push(from);
        starts.sort_unstable();
        starts.into_iter().filter(|start| *start >= from).find(|start| {
            loads.iter().all(|load| {
                let rest: Vec<&Record> = load.iter().filter(|record| record.intended >= *start).collect();
                let second = rest.iter().filter(|record| record.intended < start + 1_000 * MS).count();
                let length = second.max(100);
                let reaches = load.last().is_some_and(|last| last.intended >= start + 1_000 * MS);
                reaches
                    && rest.len() >= length
                    && rest[..length].iter().all(|record| record.class == Class::Good)
            })
        })
    }

    proptest! {
        #[test]
        fn the_search_agrees_with_a_naive_model(
            bad in prop::collection::btree_set(0_u64..600, 0..8),
            other_bad in prop::collection::btree_set(0_u64..900, 0..5),
            from in 0_u64..3_000,
        ) {
            let load = |period: u64, bad: &std::collections::BTreeSet<u64>| -> Vec<Record> {
                (0..6_000 / period).map(|number| {
                    let class = if bad.contains(&number) { Class::Failed } else { Class::Good };
                    let intended = number * period * MS;
                    Record { intended, sent: intended, done: intended + MS, class, ..Record::default() }
                }).collect()
            };
            let loads = [load(10, &bad), load(6, &other_bad)];
            let tracks: Vec<Track> = loads.iter().map(|load| Track::steady(load, &[])).collect();
            let found = match first_stretch(&tracks, from * MS, u64::MAX) {
                Steady::Found(stretch) => Some(stretch.start),
                Steady::NotYet | Steady::Never => None,
            };
            prop_assert_eq!(found, naive(&loads, from * MS));
        }
    }
}
