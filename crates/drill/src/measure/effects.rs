//! What became of writes: lost, doubled, and how old the oldest loss is.

use std::collections::HashMap;

use crate::record::{Record, WriteOutcome};

/// How often the writes of one load were seen in one read-back, by their numbers.
pub type Seen = HashMap<u64, u32>;

/// The writes that a failure is judged by: those of the steady state before the fault to those of the one after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteSpan {
    /// Intended at this moment or later.
    pub start: u64,
    /// Intended before this moment.
    pub end: u64,
}

/// What is known about the writes of a load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writes {
    /// Said to be done.
    pub acknowledged: u64,
    /// Surely not done.
    pub refused: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// What the read-backs showed; `None` when they could not be done.
    pub effects: Option<Effects>,
}

/// What the read-backs of a load showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// Acknowledged and missing from at least one read-back.
    pub lost: u64,
    /// With more than one effect in any read-back.
    pub duplicated: u64,
    /// When the oldest and the newest lost write were acknowledged.
    pub lost_between: Option<(u64, u64)>,
}

impl Writes {
    /// Counts the writes of a load. `first` is the number of the first record; `seen` has one entry for each
    /// read-back, and is `None` when not all of them could be done.
    pub fn count(records: &[Record], first: usize, span: WriteSpan, seen: Option<&[Seen]>) -> Self {
        let mut writes = Self { effects: seen.map(|_| Effects::default()), ..Self::default() };
        let numbered = records.iter().zip(first as u64..);
        for (record, number) in numbered.filter(|(record, _)| span.contains(record)) {
            match record.write {
                WriteOutcome::Acknowledged => writes.acknowledged += 1,
                WriteOutcome::Refused => writes.refused += 1,
                WriteOutcome::Unknown => writes.unknown += 1,
            }
            if let (Some(effects), Some(seen)) = (&mut writes.effects, seen) {
                effects.add(record, number, seen);
            }
        }
        writes
    }
}

impl WriteSpan {
    fn contains(&self, record: &Record) -> bool {
        (self.start..self.end).contains(&record.intended)
    }
}

impl Effects {
    fn add(&mut self, record: &Record, number: u64, seen: &[Seen]) {
        let counts = || seen.iter().map(|seen| seen.get(&number).copied().unwrap_or(0));
        self.duplicated += u64::from(counts().any(|count| count > 1));
        if record.write == WriteOutcome::Acknowledged && counts().any(|count| count == 0) {
            self.lost += 1;
            let (oldest, newest) = self.lost_between.unwrap_or((record.done, record.done));
            self.lost_between = Some((oldest.min(record.done), newest.max(record.done)));
        }
    }
}

/// Age of the oldest lost acknowledgement in nanoseconds, seen from the fault or from the newest lost one,
/// whichever is later. Never less than `resolution` when anything was lost: zero means that nothing was.
pub fn rpo<'a>(effects: impl IntoIterator<Item = &'a Effects>, requested: u64, resolution: u64) -> u64 {
    let lost = effects.into_iter().filter_map(|effects| effects.lost_between);
    let between = lost.reduce(|(oldest, newest), (a, b)| (oldest.min(a), newest.max(b)));
    match between {
        None => 0,
        Some((oldest, newest)) => newest.max(requested).saturating_sub(oldest).max(resolution).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WriteOutcome::{Acknowledged, Refused, Unknown};

    fn record(intended: u64, write: WriteOutcome) -> Record {
        let class = crate::record::Class::Good;
        Record { intended, sent: intended, done: intended + 1, write, class, ..Record::default() }
    }

    #[test]
    fn writes_are_lost_doubled_or_fine() {
        let records = [
            record(5, Acknowledged),  // 10: before the span
            record(10, Acknowledged), // 11: everywhere once
            record(20, Acknowledged), // 12: missing from the second
            record(30, Acknowledged), // 13: missing from both
            record(40, Unknown),      // 14: missing, and never promised
            record(50, Unknown),      // 15: there
            record(60, Refused),      // 16: doubled all the same
            record(70, Acknowledged), // 17: doubled in one, missing from the other
            record(80, Acknowledged), // 18: after the span
        ];
        let first = Seen::from([(11, 1), (12, 1), (15, 1), (16, 2), (17, 3), (99, 7)]);
        let second = Seen::from([(11, 1), (15, 1), (16, 1)]);
        let span = WriteSpan { start: 10, end: 80 };
        let writes = Writes::count(&records, 10, span, Some(&[first, second]));
        let effects = Effects { lost: 3, duplicated: 2, lost_between: Some((21, 71)) };
        assert_eq!(writes, Writes { acknowledged: 4, refused: 1, unknown: 2, effects: Some(effects) });
        let unread = Writes::count(&records, 10, span, None);
        assert_eq!(unread, Writes { acknowledged: 4, refused: 1, unknown: 2, effects: None });
    }

    #[test]
    fn rpo_is_seen_from_the_later_end() {
        let lost = |oldest, newest| Effects { lost: 1, duplicated: 0, lost_between: Some((oldest, newest)) };
        let check = |effects: &[Effects], requested, expected| {
            assert_eq!(rpo(effects, requested, 5), expected, "{effects:?} {requested}");
        };
        check(&[], 100, 0);
        check(&[Effects::default()], 100, 0);
        check(&[lost(40, 60)], 100, 60);
        check(&[lost(40, 160)], 100, 120);
        check(&[lost(40, 60), Effects::default(), lost(30, 50)], 100, 70);
        check(&[lost(150, 150)], 100, 5);
    }
}
