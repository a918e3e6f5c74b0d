//! Who is charged for what: at most once per key, however many ask at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::journal::{Charge, Journal};
use crate::log;

/// A charge takes this long: the time in which everything else may break.
pub(super) const SERVICE_TIME: Duration = Duration::from_millis(100);
/// Charges in progress; more are refused untouched.
const IN_FLIGHT_MAX: usize = 1024;
/// Charges held in memory and in the journal. This third party is for drills, not for years.
const CHARGES_MAX: usize = 2_000_000;
/// How long a stopping process waits for charges in progress: far longer than one takes.
const FINISH_LIMIT: Duration = Duration::from_secs(5);
/// Buyers whose names begin like this have no money. The decision depends on nothing else, so it is the same
/// each time the same key asks.
const DECLINED_PREFIX: &str = "declined";

/// Why a card was not charged. Each of these is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The bank says no.
    Declined,
    /// The key already stands for another buyer or amount.
    KeyReused,
    /// Too much to do; not begun.
    Busy,
    /// The journal could not take it.
    NotRecorded,
}

/// The desk. All state is in memory, and comes back from the journal after a restart.
pub(super) struct Desk {
    journal: Journal,
    service_time: Duration,
    state: Mutex<State>,
}

struct State {
    by_key: HashMap<String, Slot>,
    /// Recorded charges, in the order in which they were recorded.
    recorded: Vec<Arc<Charge>>,
    next_number: u64,
    in_flight: watch::Sender<usize>,
}

struct Slot {
    charge: Arc<Charge>,
    progress: Progress,
}

enum Progress {
    Recorded,
    Begun(watch::Receiver<Option<Result<(), Refusal>>>),
}

/// What the desk is doing.
pub(super) struct Stats {
    /// Recorded charges.
    pub(super) charges: usize,
    /// Begun, not yet recorded.
    pub(super) in_flight: usize,
}

impl Desk {
    pub(super) fn new(journal: Journal, charges: Vec<Charge>, service_time: Duration) -> Self {
        let recorded: Vec<Arc<Charge>> = charges.into_iter().map(Arc::new).collect();
        let slot = |charge: &Arc<Charge>| Slot { charge: Arc::clone(charge), progress: Progress::Recorded };
        let by_key = recorded.iter().map(|charge| (charge.key.clone(), slot(charge))).collect();
        let next_number = recorded.iter().map(|charge| charge.id).max().unwrap_or(0) + 1;
        let state = State { by_key, recorded, next_number, in_flight: watch::Sender::new(0) };
        Self { journal, service_time, state: Mutex::new(state) }
    }

    /// Charges the card, or finds that this key has been charged; waits if it is being charged.
    pub(super) async fn charge(
        self: &Arc<Self>,
        key: &str,
        amount_cents: u64,
        buyer: &str,
    ) -> Result<Arc<Charge>, Refusal> {
        let (charge, outcome) = match self.begin(key, amount_cents, buyer)? {
            Begin::Recorded(charge) => return Ok(charge),
            Begin::Wait(charge, outcome) => (charge, outcome),
            Begin::Work(charge, sender, outcome) => {
                tokio::spawn(Arc::clone(self).work(Arc::clone(&charge), sender));
                (charge, outcome)
            }
        };
        let mut outcome = outcome;
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| Refusal::NotRecorded)?;
        outcome.expect("waited until there is one").map(|()| charge)
    }

    /// Recorded charges in order.
    pub(super) fn charges(&self) -> Vec<Arc<Charge>> {
        self.lock().recorded.clone()
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.lock();
        Stats { charges: state.recorded.len(), in_flight: *state.in_flight.borrow() }
    }

    /// Waits, for a bounded time, until nothing is in progress.
    pub(super) async fn finish(&self) {
        let mut in_flight = self.lock().in_flight.subscribe();
        if tokio::time::timeout(FINISH_LIMIT, in_flight.wait_for(|number| *number == 0)).await.is_err() {
            log::warn("stopped with charges in progress", &json!({ "in_flight": *in_flight.borrow() }));
        }
    }

    fn begin(&self, key: &str, amount_cents: u64, buyer: &str) -> Result<Begin, Refusal> {
        let mut state = self.lock();
        if let Some(slot) = state.by_key.get(key) {
            if slot.charge.amount_cents != amount_cents || slot.charge.buyer != buyer {
                return Err(Refusal::KeyReused);
            }
            let charge = Arc::clone(&slot.charge);
            return Ok(match &slot.progress {
                Progress::Recorded => Begin::Recorded(charge),
                Progress::Begun(outcome) => Begin::Wait(charge, outcome.clone()),
            });
        }
        if buyer.starts_with(DECLINED_PREFIX) {
            return Err(Refusal::Declined);
        }
        let in_flight = *state.in_flight.borrow();
        if in_flight >= IN_FLIGHT_MAX || state.recorded.len() + in_flight >= CHARGES_MAX {
            return Err(Refusal::Busy);
        }
        let charge =
            Charge { id: state.next_number, key: key.to_owned(), amount_cents, buyer: buyer.to_owned() };
        let charge = Arc::new(charge);
        state.next_number += 1;
        let (sender, outcome) = watch::channel(None);
        let slot = Slot { charge: Arc::clone(&charge), progress: Progress::Begun(outcome.clone()) };
        state.by_key.insert(key.to_owned(), slot);
        state.in_flight.send_replace(in_flight + 1);
        Ok(Begin::Work(charge, sender, outcome))
    }

    async fn work(self: Arc<Self>, charge: Arc<Charge>, done: watch::Sender<Option<Result<(), Refusal>>>) {
        tokio::time::sleep(self.service_time).await;
        let outcome = self.journal.append(&charge).await.map_err(|error| {
            log::error("charge not recorded", &json!({ "key": charge.key, "error": error.to_string() }));
            Refusal::NotRecorded
        });
        {
            let mut state = self.lock();
            if outcome.is_ok() {
                let slot = Slot { charge: Arc::clone(&charge), progress: Progress::Recorded };
                state.by_key.insert(charge.key.clone(), slot);
                state.recorded.push(charge);
            } else {
                state.by_key.remove(&charge.key);
            }
            state.in_flight.send_modify(|number| *number -= 1);
        }
        done.send_replace(Some(outcome));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens while the desk is locked")
    }
}

type Outcome = Option<Result<(), Refusal>>;

enum Begin {
    Recorded(Arc<Charge>),
    Wait(Arc<Charge>, watch::Receiver<Outcome>),
    Work(Arc<Charge>, watch::Sender<Outcome>, watch::Receiver<Outcome>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const QUICK: Duration = Duration::from_millis(1);

    fn open(folder: &Path, service_time: Duration) -> Arc<Desk> {
        let (journal, charges) = Journal::open(&folder.join("charges.jsonl")).unwrap();
        Arc::new(Desk::new(journal, charges, service_time))
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cause_one_charge() {
        let folder = tempfile::tempdir().unwrap();
        let desk = open(folder.path(), QUICK);
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let desk = Arc::clone(&desk);
                tokio::spawn(async move { desk.charge("k", 500, "ann").await.map(|charge| charge.id) })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(1));
        }
        assert_eq!(desk.charge("other", 500, "ann").await.map(|charge| charge.id), Ok(2));
        assert_eq!(desk.charges().len(), 2);
    }

    #[tokio::test]
    async fn a_charge_once_begun_is_finished_although_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let desk = open(folder.path(), QUICK);
        let asker = tokio::spawn({
            let desk = Arc::clone(&desk);
            async move { desk.charge("k", 500, "ann").await }
        });
        while desk.stats().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        asker.abort();
        desk.finish().await;
        assert_eq!(desk.charges().len(), 1);
    }

    #[tokio::test]
    async fn what_is_refused_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let desk = open(folder.path(), QUICK);
        desk.charge("k", 500, "ann").await.unwrap();
        // (key, amount, buyer, refusal)
        let table = [
            ("k", 501, "ann", Refusal::KeyReused),
            ("k", 500, "bob", Refusal::KeyReused),
            ("d", 500, "declined-1", Refusal::Declined),
            ("d", 500, "declined-1", Refusal::Declined),
        ];
        for (key, amount, buyer, refusal) in table {
            assert_eq!(desk.charge(key, amount, buyer).await, Err(refusal), "{key} {amount} {buyer}");
        }
        assert_eq!((desk.charges().len(), desk.stats().in_flight), (1, 0));
    }

    #[tokio::test]
    async fn a_restart_remembers_and_does_not_charge_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), QUICK).charge("k", 500, "ann").await.unwrap();
        let desk = open(folder.path(), QUICK);
        assert_eq!(desk.charge("k", 500, "ann").await, Ok(first));
        assert_eq!(desk.charge("k2", 500, "ann").await.map(|charge| charge.id), Ok(2));
        assert_eq!(desk.charges().len(), 2);
    }

    #[tokio::test]
    async fn too_many_at_once_are_refused_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let desk = open(folder.path(), Duration::from_hours(1));
        for number in 0..IN_FLIGHT_MAX {
            assert!(matches!(desk.begin(&number.to_string(), 1, "ann"), Ok(Begin::Work(..))));
        }
        assert_eq!(desk.charge("one more", 1, "ann").await, Err(Refusal::Busy));
        assert_eq!(desk.stats().in_flight, IN_FLIGHT_MAX);
    }
}
