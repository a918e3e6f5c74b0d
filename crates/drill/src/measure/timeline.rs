//! Times between what users saw and what the node said.

use std::collections::BTreeMap;

use seaworthy_observe::event::{Event, EventKind};
use seaworthy_spec::plan::{Limit, Promise, Word};

use super::stretch::{Steady, Stretch, Track, first_stretch};
use crate::clock;
use crate::record::Record;
use crate::subject::Victim;

/// First bad answer to the first stretch inside the outer words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rto {
    /// No answer of the window was bad: nobody noticed.
    Masked,
    /// Users were served as promised again within the window.
    Recovered {
        /// Intended moment of the first bad answer.
        from: u64,
        /// The stretch.
        to: Stretch,
    },
    /// They were not, as far as the window shows.
    NotRecovered {
        /// Intended moment of the first bad answer.
        from: u64,
    },
}

impl Rto {
    /// The time in nanoseconds; `None` when nothing was bad or nothing got better.
    pub fn nanos(self) -> Option<u64> {
        match self {
            Self::Recovered { from, to } => Some(to.start.saturating_sub(from)),
            Self::Masked | Self::NotRecovered { .. } => None,
        }
    }

    /// Intended moment of the first bad answer.
    pub fn first_bad(self) -> Option<u64> {
        match self {
            Self::Masked => None,
            Self::Recovered { from, .. } | Self::NotRecovered { from } => Some(from),
        }
    }
}

/// True when an answer failed or took longer than the promised `max`.
fn is_bad(record: &Record, max: Option<u64>) -> bool {
    !record.is_served() || max.is_some_and(|max| record.latency() > max)
}

/// The outer `max` among a load's promises, in nanoseconds.
fn promised_max<'a>(promises: impl IntoIterator<Item = &'a Promise>) -> Option<u64> {
    promises.into_iter().find_map(|promise| match (promise.word, promise.during, promise.limit) {
        (Word::Max, false, Limit::AtMost(limit)) => Some(clock::nanos(limit)),
        _ => None,
    })
}

/// Intended moment of the first bad answer among a load's window population.
pub fn first_bad<'a>(
    population: impl IntoIterator<Item = &'a Record>,
    promises: impl IntoIterator<Item = &'a Promise>,
) -> Option<u64> {
    let max = promised_max(promises);
    population.into_iter().filter(|record| is_bad(record, max)).map(|record| record.intended).min()
}

/// The time to serve users as promised again, from the first bad answer on.
///
/// `loads` are the records of each promised load with its promises; the stretch must begin at `latest` or before.
pub fn rto(first_bad: Option<u64>, loads: &[(&[Record], Vec<&Promise>)], latest: u64) -> Rto {
    let Some(from) = first_bad else { return Rto::Masked };
    let tracks: Vec<Track> = loads
        .iter()
        .map(|(records, promises)| {
            let max = promised_max(promises.iter().copied());
            Track::inside_words(records, promises.iter().copied(), |record| is_bad(record, max))
        })
        .collect();
    match first_stretch(&tracks, from, latest) {
        Steady::Found(to) => Rto::Recovered { from, to },
        Steady::NotYet | Steady::Never => Rto::NotRecovered { from },
    }
}

/// From the request of a fault to the first event that names one of its victims, in nanoseconds.
pub fn detect(events: &[Event], victims: &[Victim], requested: u64) -> Option<u64> {
    let named = events.iter().filter(|event| event.at >= requested).filter(|event| {
        event.kind.subject().is_some_and(|(service, replica)| {
            victims.iter().any(|victim| victim.is_named_by(service, replica))
        })
    });
    named.map(|event| event.at - requested).min()
}

/// From a process being gone to its successor being ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restarted {
    /// No process of a victim ended.
    NothingExited,
    /// Each one's successor was ready; the longest of them took so many nanoseconds.
    After(u64),
    /// At least one that ended has no successor that is ready.
    Missing {
        /// When the first such one was gone.
        since: u64,
    },
}

/// How long the victims' processes were gone, counting those that ended after the fault was requested.
pub fn restarted(events: &[Event], victims: &[Victim], requested: u64) -> Restarted {
    let mut gone: BTreeMap<(&str, &str), (u64, Option<u64>)> = BTreeMap::new();
    for event in events.iter().filter(|event| event.at >= requested) {
        match &event.kind {
            EventKind::ProcessExited { service, replica, .. }
                if victims.iter().any(|victim| victim.is_named_by(service, Some(replica))) =>
            {
                gone.entry((service, replica)).or_insert((event.at, None));
            }
            EventKind::EndpointReady { service, replica } => {
                if let Some((_, back)) = gone.get_mut(&(service.as_str(), replica.as_str())) {
                    back.get_or_insert(event.at);
                }
            }
            _ => {}
        }
    }
    let missing = gone.values().filter(|(_, back)| back.is_none()).map(|(since, _)| *since).min();
    let longest =
        gone.values().filter_map(|(since, back)| back.map(|back| back.saturating_sub(*since))).max();
    match (missing, longest) {
        (Some(since), _) => Restarted::Missing { since },
        (None, Some(longest)) => Restarted::After(longest),
        (None, None) => Restarted::NothingExited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Class;
    use proptest::prelude::*;
    use seaworthy_spec::plan::Place;
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    fn event(at: u64, kind: EventKind) -> Event {
        Event { seq: at, at, ts: String::new(), kind }
    }

    fn exited(at: u64, replica: &str) -> Event {
        let (service, replica) = ("api".to_owned(), replica.to_owned());
        event(
            at,
            EventKind::ProcessExited {
                service,
                replica,
                pid: 1,
                how: "signal 9".to_owned(),
                expected: false,
            },
        )
    }

    fn ready(at: u64, replica: &str) -> Event {
        event(at, EventKind::EndpointReady { service: "api".to_owned(), replica: replica.to_owned() })
    }

    fn victim(replica: Option<&str>) -> Victim {
        Victim { service: "api".to_owned(), replica: replica.map(str::to_owned) }
    }

    #[test]
    fn restarts_are_paired_by_replica() {
        let one = [exited(10, "a-1"), ready(40, "a-1")];
        let check = |events: &[Event], replica, expected| {
            assert_eq!(restarted(events, &[victim(replica)], 5), expected, "{events:?}");
        };
        check(&one, Some("a-1"), Restarted::After(30));
        check(&one, Some("b-1"), Restarted::NothingExited);
        check(&one, None, Restarted::After(30));
        check(&[exited(4, "a-1"), ready(40, "a-1")], None, Restarted::NothingExited);
        check(&[ready(6, "a-1"), exited(10, "a-1")], None, Restarted::Missing { since: 10 });
        check(&[exited(10, "a-1"), ready(20, "b-1")], None, Restarted::Missing { since: 10 });
        let both = [exited(10, "a-1"), exited(12, "b-1"), ready(50, "a-1"), ready(90, "b-1")];
        check(&both, None, Restarted::After(78));
        check(&both[..3], None, Restarted::Missing { since: 12 });
        // Only the first time counts: what happens to the successor is another story.
        check(&[exited(10, "a-1"), ready(40, "a-1"), exited(50, "a-1")], None, Restarted::After(30));
    }

    #[test]
    fn the_first_event_naming_a_victim_detects() {
        let events = [
            event(3, EventKind::FaultRequested { fault: "f1".to_owned(), what: "kill api/a-1".to_owned() }),
            ready(4, "a-1"),
            event(
                8,
                EventKind::PanicChanged { edge: "e".to_owned(), service: "ledger".to_owned(), on: true },
            ),
            exited(9, "b-1"),
            exited(12, "a-1"),
        ];
        assert_eq!(detect(&events, &[victim(Some("a-1"))], 5), Some(7));
        assert_eq!(detect(&events, &[victim(Some("b-1"))], 5), Some(4));
        assert_eq!(detect(&events, &[victim(None)], 5), Some(4));
        assert_eq!(detect(&events, &[victim(Some("c-1"))], 5), None);
        assert_eq!(detect(&events, &[victim(Some("c-1")), victim(Some("a-1"))], 5), Some(7));
    }

    fn max_promise(limit: Duration) -> Promise {
        Promise {
            name: "buyers.max".to_owned(),
            word: Word::Max,
            load: Some(0),
            during: false,
            limit: Limit::AtMost(limit),
            place: Place { line: 1, column: 1 },
        }
    }

    fn record(intended: u64, takes: u64, class: Class) -> Record {
        Record { intended, sent: intended, done: intended + takes, class, ..Record::default() }
    }

    proptest! {
        /// An outage of known place and length, in which everything fails or everything is slow.
        #[test]
        fn rto_is_the_outage(start in 0_u64..200, length in 0_u64..300, slow: bool) {
            let records: Vec<Record> = (0..1_000_u64).map(|number| {
                let out = (start..start + length).contains(&number);
                match (out, slow) {
                    (false, _) => record(number * 10 * MS, MS, Class::Good),
                    (true, true) => record(number * 10 * MS, 200 * MS, Class::Good),
                    (true, false) => record(number * 10 * MS, MS, Class::Failed),
                }
            }).collect();
            let promise = max_promise(Duration::from_millis(100));
            let bad = first_bad(&records, [&promise]);
            let found = rto(bad, &[(&records, vec![&promise])], 9_000 * MS);
            if length == 0 {
                prop_assert_eq!(found, Rto::Masked);
            } else {
                prop_assert_eq!(found.first_bad(), Some(start * 10 * MS));
                prop_assert_eq!(found.nanos(), Some(length * 10 * MS));
            }
        }
    }

    #[test]
    fn recovery_after_the_latest_start_is_none() {
        let records: Vec<Record> = (0..600_u64)
            .map(|number| {
                record(number * 10 * MS, MS, if number < 300 { Class::Failed } else { Class::Good })
            })
            .collect();
        let loads: [(&[Record], Vec<&Promise>); 1] = [(&records, Vec::new())];
        let first = first_bad(&records, []);
        assert_eq!(rto(first, &loads, 2_990 * MS), Rto::NotRecovered { from: 0 });
        assert_eq!(rto(first, &loads, 3_000 * MS).nanos(), Some(3_000 * MS));
    }
}
