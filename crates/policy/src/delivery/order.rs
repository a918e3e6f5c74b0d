//! Jobs with the same order key, one at a time and in the order of their ids.
//!
//! A line is known for each key that has a job here, or one that was given back. A job that was given back **bars** those
//! behind it: they are given back as well, until it is here again, done or dead. A bar falls by itself [`BAR_GRACE`]
//! after its job was due: then somebody else dropped or finished it.
//!
//! A store that hands out only the oldest job of each key never has one given back for being too early. What is kept
//! here keeps the order with one that hands out jobs as they become due, or with a window of a topic's events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::vocabulary::JobId;
use crate::Time;

/// When a job that came too early is looked at again, at the earliest.
pub const ORDER_RECHECK: Duration = Duration::from_secs(1);
/// How long after it was due a job that was given back bars its key.
pub const BAR_GRACE: Duration = Duration::from_mins(5);

/// The lines of all keys.
#[derive(Debug)]
pub(super) struct Order {
    lines: BTreeMap<u64, Line>,
    /// When bars fall, and which: one for each job that is away.
    falls: BTreeSet<(Time, u64, JobId)>,
    away_max: u32,
}

#[derive(Debug, Default)]
struct Line {
    /// Those held, in their order.
    held: BTreeSet<JobId>,
    /// The one that may go or is under way: the lowest held when it was named.
    first: Option<JobId>,
    /// Those given back, and until when.
    away: BTreeMap<JobId, Time>,
}

/// Where a job stands that has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It may go; the other one, which was not under way yet, may not any more.
    First(Option<JobId>),
    /// Behind others that are here.
    Behind,
    /// Not here: until then.
    Later(Time),
}

impl Order {
    pub(super) fn new(away_max: u32) -> Self {
        Order { lines: BTreeMap::new(), falls: BTreeSet::new(), away_max }
    }

    /// A job has come. `started` tells whether a first one is under way; `full` that nobody more may stand behind.
    pub(super) fn arrive(
        &mut self,
        now: Time,
        (key, job): (u64, JobId),
        started: impl Fn(JobId) -> bool,
        full: bool,
    ) -> Place {
        let line = self.lines.entry(key).or_default();
        if let Some(until) = line.away.remove(&job) {
            self.falls.remove(&(until + BAR_GRACE, key, job));
        }
        if let Some((earlier, until)) = line.away.first_key_value()
            && *earlier < job
        {
            let until = now.after(ORDER_RECHECK).max(*until);
            self.bar(key, job, until);
            return Place::Later(until);
        }
        let overtakes = line.first.is_none_or(|first| job < first && !started(first));
        if overtakes && line.held.first().is_none_or(|lowest| job < *lowest) {
            line.held.insert(job);
            return Place::First(line.first.replace(job));
        }
        if full {
            let until = now + ORDER_RECHECK;
            self.bar(key, job, until);
            return Place::Later(until);
        }
        line.held.insert(job);
        Place::Behind
    }

    /// A job has gone: for good, or until then. Answers who may go in its place.
    pub(super) fn leave(&mut self, key: u64, job: JobId, back: Option<Time>) -> Option<JobId> {
        let line = self.lines.get_mut(&key)?;
        line.held.remove(&job);
        if line.first == Some(job) {
            line.first = None;
        }
        if let Some(until) = back {
            self.bar(key, job, until);
        }
        self.settle(key)
    }

    /// A job that is not here was dropped or finished by somebody else. Answers who may go in its place.
    pub(super) fn forget(&mut self, key: u64, job: JobId) -> Option<JobId> {
        let until = self.lines.get_mut(&key)?.away.remove(&job)?;
        self.falls.remove(&(until + BAR_GRACE, key, job));
        self.settle(key)
    }

    /// A job that is not here comes before others of its key. Answers false when there are too many to remember.
    pub(super) fn bar(&mut self, key: u64, job: JobId, until: Time) -> bool {
        if self.falls.len() >= self.away_max as usize {
            return false;
        }
        if let Some(before) = self.lines.entry(key).or_default().away.insert(job, until) {
            self.falls.remove(&(before + BAR_GRACE, key, job));
        }
        self.falls.insert((until + BAR_GRACE, key, job));
        true
    }

    /// The one that may go but must not any more, because one that comes before it was given back; it is named no more.
    pub(super) fn demote(&mut self, key: u64, started: impl Fn(JobId) -> bool) -> Option<JobId> {
        let line = self.lines.get_mut(&key)?;
        let (bar, _) = line.away.first_key_value()?;
        line.first.take_if(|first| *bar < *first && !started(*first))
    }

    /// Takes a bar away that has fallen by now; answers whose. The line is to be settled then.
    pub(super) fn take_fallen(&mut self, now: Time) -> Option<u64> {
        let (_, key, job) = self.falls.first().copied().filter(|(at, ..)| *at <= now)?;
        self.falls.pop_first();
        if let Some(line) = self.lines.get_mut(&key) {
            line.away.remove(&job);
        }
        Some(key)
    }

    /// When the next bar falls.
    pub(super) fn next_fall(&self) -> Option<Time> {
        self.falls.first().map(|(at, ..)| *at)
    }

    /// Those held that must wait for one that is not here.
    pub(super) fn barred(&self, key: u64) -> Vec<JobId> {
        let Some(line) = self.lines.get(&key) else { return Vec::new() };
        let Some((bar, _)) = line.away.first_key_value() else { return Vec::new() };
        line.held.range(bar..).copied().filter(|job| line.first != Some(*job)).collect()
    }

    /// Whether a job of this key would be held now, at once or behind nobody, rather than given back.
    pub(super) fn would_take(&self, key: u64, job: JobId) -> bool {
        self.lines.get(&key).is_none_or(|line| {
            line.away.first_key_value().is_none_or(|(bar, _)| job <= *bar)
                && line.held.first().is_none_or(|lowest| job < *lowest)
        })
    }

    pub(super) fn keys(&self) -> usize {
        self.lines.len()
    }

    /// Names the first one of a line if it has none, and answers it; or forgets the line.
    pub(super) fn settle(&mut self, key: u64) -> Option<JobId> {
        let line = self.lines.get_mut(&key)?;
        if line.held.is_empty() && line.away.is_empty() {
            self.lines.remove(&key);
            return None;
        }
        if line.first.is_some() {
            return None;
        }
        let bar = line.away.first_key_value().map(|(bar, _)| *bar);
        line.first = line.held.first().copied().filter(|lowest| bar.is_none_or(|bar| *lowest < bar));
        line.first
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.falls.len() <= self.away_max as usize, "more jobs remembered than allowed");
        let away: usize = self.lines.values().map(|line| line.away.len()).sum();
        assert_eq!(away, self.falls.len(), "each bar falls once");
        for line in self.lines.values() {
            assert!(!line.held.is_empty() || !line.away.is_empty(), "a line without anybody");
            assert!(
                line.first.is_none_or(|first| line.held.contains(&first)),
                "a first one that is not here"
            );
        }
    }
}
