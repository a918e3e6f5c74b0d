//! Which requests a promise is about.
//!
//! The window's population are the requests intended in it, and those that were unanswered when it opened: they
//! are the ones in the air when the fault strikes. A failure may relax its words for the first moments; then the
//! population splits in two, and each part is judged by its own words.

use std::time::Duration;

use crate::clock;
use crate::record::Record;

/// From the moment the fault was requested until it was held long enough. Monotonic nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The fault was requested.
    pub opened: u64,
    /// The first moment that is not in the window.
    pub closed: u64,
}

/// A window's population.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// Unanswered when the window opened, or intended in its first moments.
    pub early: Vec<Record>,
    /// Intended in the window after that.
    pub late: Vec<Record>,
}

impl Split {
    /// Both parts.
    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.early.iter().chain(&self.late)
    }
}

/// The population of a window among records in the order of their intended times, split `first` after it opened.
pub fn split(records: &[Record], window: Window, first: Duration) -> Split {
    let early_until = window.opened.saturating_add(clock::nanos(first));
    let mut split = Split::default();
    for record in records {
        let unanswered = !record.is_done() || record.done > window.opened;
        if record.intended >= window.closed || (record.intended < window.opened && !unanswered) {
            continue;
        }
        if record.intended < early_until {
            split.early.push(*record);
        } else {
            split.late.push(*record);
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Class;
    use proptest::prelude::*;

    fn record(intended: u64, done: u64) -> Record {
        let class = if done == 0 { Class::Pending } else { Class::Good };
        Record { intended, sent: intended, done, class, ..Record::default() }
    }

    #[test]
    fn who_belongs_to_the_window() {
        let window = Window { opened: 100, closed: 200 };
        for (intended, done, expected) in [
            (50, 99, None),
            (50, 100, None),
            (50, 101, Some("early")),
            (50, 0, Some("early")),
            (100, 101, Some("early")),
            (129, 500, Some("early")),
            (130, 131, Some("late")),
            (199, 0, Some("late")),
            (200, 201, None),
        ] {
            let found = split(&[record(intended, done)], window, Duration::from_nanos(30));
            let place = match (found.early.len(), found.late.len()) {
                (1, 0) => Some("early"),
                (0, 1) => Some("late"),
                (0, 0) => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(place, expected, "intended {intended}, done {done}");
        }
    }

    proptest! {
        #[test]
        fn a_split_neither_loses_nor_doubles(
            times in prop::collection::vec((0_u64..100, 1_u64..60), 0..80),
            opened in 0_u64..100,
            length in 0_u64..60,
            first in 0_u64..80,
        ) {
            let mut records: Vec<Record> = times.iter().map(|(at, takes)| record(*at, at + takes)).collect();
            records.sort_by_key(|record| record.intended);
            let window = Window { opened, closed: opened + length };
            let found = split(&records, window, Duration::from_nanos(first));
            let naive = records.iter().filter(|record| {
                let inside = (opened..opened + length).contains(&record.intended);
                let hanging = record.intended < opened && record.done > opened && length + opened > record.intended;
                inside || hanging
            });
            prop_assert_eq!(found.all().count(), naive.count());
            prop_assert!(found.early.iter().all(|record| record.intended < opened + first || record.intended < opened));
            prop_assert!(found.late.iter().all(|record| record.intended >= opened + first));
        }
    }
}
