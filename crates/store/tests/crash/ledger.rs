//! What was acknowledged, and whether a store that is opened again still knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use seaworthy_store::{
    Begun, Claim, Dedupe, Embedded, Enqueued, EventId, History, HistoryQuery, Holder, JobId, Jobs, Keys,
    NewJob, Options, Topics, verify,
};

use crate::load::{QUEUE, SUBSCRIBER, TOPIC, begin};

/// Every so many are asked for by their dedupe key: each question is a write.
const DEDUPE_SAMPLE: usize = 7;

/// Read from the lines of the child.
#[derive(Default)]
pub(crate) struct Ledger {
    /// With their dedupe keys.
    enqueued: BTreeMap<u64, Option<String>>,
    /// Their ends were asked for, and perhaps heard.
    ending: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    begun: BTreeSet<String>,
    finishing: BTreeSet<String>,
    finished: BTreeSet<String>,
    published: u64,
    cursor: u64,
    history: u64,
    pub(crate) acknowledgements: usize,
}

/// What is wrong, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Acknowledged, and not there.
    pub(crate) lost: usize,
    /// Done, and there again.
    pub(crate) returned: usize,
}

impl std::ops::AddAssign for Verdict {
    fn add_assign(&mut self, other: Verdict) {
        self.lost += other.lost;
        self.returned += other.returned;
    }
}

impl Ledger {
    pub(crate) fn read(text: &str) -> Self {
        let mut ledger = Ledger::default();
        for line in text.lines() {
            ledger.take(line);
        }
        ledger
    }

    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (Some(kind), Some(name)) = (words.next(), words.next()) else { return };
        let number = || name.parse().unwrap_or(0);
        match kind {
            "E" => {
                let key = words.next().filter(|key| *key != "-");
                self.enqueued.extend([(number(), key.map(str::to_owned))]);
            }
            // Asked for, not acknowledged.
            "S" => return self.ending.extend([number()]),
            "F" => return self.finishing.extend([name.to_owned()]),
            "A" => self.ended.extend([number()]),
            "K" => self.begun.extend([name.to_owned()]),
            "D" => self.finished.extend([name.to_owned()]),
            "P" => self.published = self.published.max(number()),
            "C" => self.cursor = self.cursor.max(number()),
            "H" => self.history = self.history.max(number()),
            other => panic!("an unknown line: {other}"),
        }
        self.acknowledgements += 1;
    }

    /// Opens the store and compares. A store that cannot be opened has lost everything.
    pub(crate) fn check(&self, folder: &Path) -> Verdict {
        let everything = Verdict { lost: self.acknowledgements, returned: 0 };
        if !folder.join("lock").exists() {
            return if self.acknowledgements == 0 { Verdict::default() } else { everything };
        }
        match verify(folder) {
            Ok(checked) if checked.is_whole() => {}
            // Power may be cut before the first file was made.
            _ if self.acknowledgements == 0 => return Verdict::default(),
            damaged => {
                println!("damaged: {damaged:?}");
                return everything;
            }
        }
        let store = match Embedded::open(folder, &Options::default()) {
            Ok(store) => store,
            Err(error) => {
                println!("cannot be opened: {error}");
                return everything;
            }
        };
        let mut verdict = self.jobs(&store);
        verdict.lost += self.keys(&store) + self.topics(&store) + self.history(&store);
        verdict
    }

    fn jobs(&self, store: &Embedded) -> Verdict {
        let mut verdict = Verdict::default();
        let keyed = self.enqueued.iter().filter_map(|(id, key)| Some((*id, key.as_ref()?)));
        for (id, key) in keyed.step_by(DEDUPE_SAMPLE) {
            let dedupe = Dedupe { key: key.clone().into_bytes(), window: Duration::from_hours(1) };
            let job = NewJob { queue: QUEUE.to_owned(), dedupe: Some(dedupe), ..NewJob::default() };
            let said = store.enqueue(job).wait().unwrap();
            verdict.lost += usize::from(said != Enqueued::Duplicate(JobId(id)));
        }
        let there = drain(store);
        let lost = |id: &&u64| !there.contains(id) && !self.ending.contains(id);
        verdict.lost += self.enqueued.keys().filter(lost).count();
        verdict.returned += self.ended.intersection(&there).count();
        verdict
    }

    fn keys(&self, store: &Embedded) -> usize {
        let is_lost = |key: &&String| match store.begin(begin(key)).wait().unwrap() {
            Begun::Done(answer) => answer != key.as_bytes() || !self.finishing.contains(*key),
            // The process that has begun it is gone.
            Begun::Unknown => self.finished.contains(*key),
            _ => true,
        };
        self.begun.iter().filter(is_lost).count()
    }

    fn topics(&self, store: &Embedded) -> usize {
        if self.published == 0 {
            return 0;
        }
        let view = store.topic(TOPIC).wait().unwrap();
        let cursor = view.subscriptions.first().map_or(EventId(0), |subscription| subscription.acknowledged);
        let mut last = cursor;
        while let Some(event) = store.read(TOPIC, SUBSCRIBER, Some(last), 1_000).wait().unwrap().last() {
            last = event.id;
        }
        self.published.saturating_sub(last.0) as usize + self.cursor.saturating_sub(cursor.0) as usize
    }

    fn history(&self, store: &Embedded) -> usize {
        let mut query = HistoryQuery::default();
        while let Some(entry) = store.entries(query.clone(), 1_000).wait().unwrap().last() {
            query.after = Some(entry.id);
        }
        self.history.saturating_sub(query.after.map_or(0, |last| last.0)) as usize
    }
}

/// The names of all jobs; each can be claimed at once, because who had it is gone.
fn drain(store: &Embedded) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    loop {
        let is_complete = store.counts(QUEUE).wait().unwrap().complete;
        let lease = Duration::from_mins(10);
        let claim = Claim { queue: QUEUE.to_owned(), max: 1_000, lease, holder: Holder::Inside };
        let claimed = store.claim(claim).wait().unwrap();
        if claimed.is_empty() && is_complete {
            return found;
        }
        // Dead letters leave the next job of their order key claimable, and a drained store needs no second look.
        let burials: Vec<_> = claimed
            .iter()
            .map(|job| store.dead_letter(job.receipt, seaworthy_store::Burial::default()))
            .collect();
        found.extend(claimed.iter().map(|job| job.receipt.id.0));
        for reply in burials {
            reply.wait().unwrap();
        }
    }
}
