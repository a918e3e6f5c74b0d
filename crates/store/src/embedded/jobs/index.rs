//! Who is next: the jobs of all queues, in memory.
//!
//! Per waiting job about 60 bytes: its name and rank in one ordered map. Everything else about it is read from the
//! file when it is claimed.
//!
//! After a start the index is loaded in the order of names, so that of an order key the oldest is always known
//! first. Until it is complete, what is beyond the *horizon* is left to the loader, and what was enqueued since the
//! start (from the *boundary* on, which the loader never reaches) and has an order key is held back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::lease::{Lease, State};
use super::order::{Change, Order, Turn};
use crate::embedded::convert::int;
use crate::jobs::{PRIORITY_HEAD_START, PRIORITY_MAX};
use crate::{Counts, Receipt};

/// A job as the index sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) queue: u32,
    pub(super) due: u64,
    pub(super) priority: u8,
    /// A hash of its order key; 0 when it has none. Two keys with one hash only wait for each other.
    pub(super) order: u64,
}

/// Where a receipt leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settling {
    /// It is the latest, and nobody else can claim the job any more.
    Good(Lease),
    Stale,
    /// The job is not loaded yet: the file knows.
    AskFile,
}

/// At most so many jobs become due in one step; thousands at once would make everybody wait for one claim.
const PROMOTED_MAX: usize = 20_000;

#[derive(Debug, Default)]
struct Queue {
    now: u64,
    is_paused: bool,
    /// By rank and name, with the due time's place in the rank (the priority) and the order key.
    ready: BTreeMap<(i64, u64), (u8, u64)>,
    /// By due time and name.
    delayed: BTreeMap<(u64, u64), (u8, u64)>,
    orders: HashMap<u64, Order>,
    /// Ends of leases.
    ends: BTreeSet<(u64, u64)>,
    leased: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    queues: Vec<Queue>,
    leases: HashMap<u64, Lease>,
    /// Everything up to here is loaded; `None` when everything is.
    horizon: Option<u64>,
    /// From here on jobs are of this opening.
    boundary: u64,
    /// Jobs with an order key whose predecessors may not be loaded yet.
    held: Vec<Row>,
    token: u64,
    len: u64,
    now: u64,
}

impl Index {
    /// An index that knows nothing yet; its tokens are larger than this one, new jobs begin at the boundary.
    pub(super) fn empty(token: u64, boundary: u64) -> Self {
        let (queues, leases, held) = (Vec::new(), HashMap::new(), Vec::new());
        Index { queues, leases, horizon: Some(0), boundary, held, token, len: 0, now: 0 }
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// What is to be loaded next: jobs after the first and before the second name.
    pub(super) fn to_load(&self) -> Option<(u64, u64)> {
        self.horizon.map(|horizon| (horizon, self.boundary))
    }

    /// Everything up to here is loaded, or simply everything.
    pub(super) fn set_horizon(&mut self, horizon: Option<u64>) {
        self.horizon = horizon;
        if horizon.is_none() {
            for row in std::mem::take(&mut self.held) {
                self.load(row);
            }
        }
    }

    fn is_loaded(&self, id: u64) -> bool {
        self.horizon.is_none_or(|horizon| id <= horizon || id >= self.boundary)
    }

    /// How many jobs there are.
    pub(super) fn len(&self) -> u64 {
        self.len + self.held.len() as u64
    }

    fn queue(&mut self, number: u32) -> &mut Queue {
        let index = number as usize;
        if self.queues.len() <= index {
            self.queues.resize_with(index + 1, Queue::default);
        }
        let queue = &mut self.queues[index];
        queue.now = self.now;
        queue
    }

    pub(super) fn set_paused(&mut self, queue: u32, is_paused: bool) {
        self.queue(queue).is_paused = is_paused;
    }

    /// A committed job. What is beyond the horizon is loaded later.
    pub(super) fn insert(&mut self, row: Row) {
        if !self.is_loaded(row.id) {
            return;
        }
        if self.horizon.is_some() && row.order != 0 && row.id >= self.boundary {
            self.held.push(row);
        } else {
            self.load(row);
        }
    }

    /// A job that is about to come back: the loader passes it by, and `requeue` shows it.
    pub(super) fn announce(&mut self, row: Row) {
        let Row { id, queue, due, priority, order } = row;
        self.len += 1;
        let state = State::Settling;
        self.leases.insert(id, Lease { queue, due, priority, order, token: 0, until: 0, attempts: 0, state });
    }

    /// A job from the file.
    pub(super) fn load(&mut self, row: Row) {
        if self.leases.contains_key(&row.id) {
            return;
        }
        self.len += 1;
        self.queue(row.queue).add(row);
    }

    /// A job from the file that somebody outside has.
    pub(super) fn load_leased(&mut self, row: Row, lease: Lease) {
        if self.leases.contains_key(&row.id) {
            return;
        }
        self.len += 1;
        self.hold(row.id, lease);
    }

    fn hold(&mut self, id: u64, lease: Lease) {
        let queue = self.queue(lease.queue);
        queue.leased += 1;
        queue.ends.insert((lease.until, id));
        queue.with_order(lease.order, |order| order.take(id));
        self.leases.insert(id, lease);
    }

    /// Hands out at most `max`, with what each lease is.
    pub(super) fn claim(&mut self, queue: u32, max: usize, until: u64) -> Vec<(u64, Lease)> {
        self.lapse(queue);
        let place = self.queue(queue);
        place.promote();
        let mut claimed = Vec::new();
        while claimed.len() < max && !place.is_paused {
            // One by one: taking a job may change what is shown of its order key.
            let Some((key, (priority, order))) = place.ready.pop_first() else { break };
            place.with_order(order, |order| order.take(key.1));
            claimed.push((key, priority, order));
        }
        let taken = claimed.into_iter().map(|(key, priority, order)| {
            let due = unrank(key.0, priority);
            self.take(key.1, Row { id: key.1, queue, due, priority, order }, until)
        });
        taken.collect()
    }

    fn take(&mut self, id: u64, row: Row, until: u64) -> (u64, Lease) {
        self.token += 1;
        let attempts = self.leases.get(&id).map_or(0, |lapsed| lapsed.attempts);
        let Row { queue, due, priority, order, .. } = row;
        let lease =
            Lease { queue, due, priority, order, token: self.token, until, attempts, state: State::Held };
        let place = self.queue(queue);
        place.leased += 1;
        place.ends.insert((until, id));
        self.leases.insert(id, lease);
        (id, lease)
    }

    /// Jobs whose lease has run out can be claimed again; their receipts stay good until somebody does.
    fn lapse(&mut self, queue: u32) {
        let now = self.now;
        self.queue(queue);
        let place = &mut self.queues[queue as usize];
        while let Some(&(until, id)) = place.ends.first()
            && until <= now
        {
            place.ends.pop_first();
            place.leased -= 1;
            let lease = self.leases.get_mut(&id).expect("what has an end is leased");
            lease.state = State::Lapsed;
            place.with_order(lease.order, |order| order.release(id));
            place.add(lease.row(id));
        }
    }

    /// How many attempts the file knows of, and whether more were begun since.
    pub(super) fn begin_attempt(&mut self, receipt: Receipt, in_file: u32) -> u32 {
        let Some(lease) = self.leases.get_mut(&receipt.id.0) else { return in_file + 1 };
        lease.attempts = lease.attempts.max(in_file) + 1;
        lease.attempts
    }

    /// Takes a job out of everybody's reach, if the receipt is the latest.
    pub(super) fn settle(&mut self, receipt: Receipt) -> Settling {
        let id = receipt.id.0;
        let Some(lease) = self.leases.get(&id).copied() else {
            return if self.is_loaded(id) { Settling::Stale } else { Settling::AskFile };
        };
        if lease.token != receipt.token || lease.state == State::Settling {
            return Settling::Stale;
        }
        self.withdraw(id, lease);
        self.leases.insert(id, Lease { state: State::Settling, ..lease });
        Settling::Good(lease)
    }

    /// Nobody can claim it, and its lease does not end.
    fn withdraw(&mut self, id: u64, lease: Lease) {
        let place = self.queue(lease.queue);
        match lease.state {
            State::Held => {
                place.ends.remove(&(lease.until, id));
                place.leased -= 1;
            }
            State::Lapsed if lease.order != 0 => {
                place.with_order(lease.order, |order| order.release(id));
                place.with_order(lease.order, |order| order.take(id));
            }
            State::Lapsed => place.hide(lease.row(id)),
            State::Settling => {}
        }
    }

    /// The lease of a settled or expiring job, put off.
    pub(super) fn extend(&mut self, receipt: Receipt, until: u64) -> Settling {
        let settling = self.settle(receipt);
        if let Settling::Good(lease) = settling {
            let id = receipt.id.0;
            let place = self.queue(lease.queue);
            place.leased += 1;
            place.ends.insert((until, id));
            self.leases.insert(id, Lease { until, state: State::Held, ..lease });
        }
        settling
    }

    /// It is gone from the jobs.
    pub(super) fn finish(&mut self, id: u64) {
        if let Some(lease) = self.leases.remove(&id) {
            self.len -= 1;
            self.queue(lease.queue).with_order(lease.order, |order| order.release(id));
        }
    }

    /// It was given back.
    pub(super) fn requeue(&mut self, id: u64, due: u64) {
        if let Some(lease) = self.leases.remove(&id) {
            self.len -= 1;
            self.queue(lease.queue).with_order(lease.order, |order| order.release(id));
            self.insert(Row { due, ..lease.row(id) });
        }
    }

    /// The queue of a job that somebody has or had.
    pub(super) fn queue_of(&self, id: u64) -> Option<u32> {
        self.leases.get(&id).map(|lease| lease.queue)
    }

    /// Whether it is in somebody's hands.
    pub(super) fn is_leased(&self, id: u64) -> bool {
        let lease = self.leases.get(&id);
        lease.is_some_and(|lease| match lease.state {
            State::Held => lease.until > self.now,
            State::Lapsed => false,
            State::Settling => true,
        })
    }

    /// What is in a queue, dead letters left out.
    pub(super) fn counts(&mut self, queue: u32) -> Counts {
        let complete = self.horizon.is_none();
        if self.queues.len() <= queue as usize {
            return Counts { complete, ..Counts::default() };
        }
        self.lapse(queue);
        let place = self.queue(queue);
        place.promote();
        Counts {
            ready: place.ready.len() as u64,
            delayed: place.delayed.len() as u64,
            blocked: place.orders.values().map(|order| order.blocked() as u64).sum(),
            leased: place.leased,
            dead: 0,
            paused: place.is_paused,
            complete,
        }
    }

    /// When the queue has something next.
    pub(super) fn next_due(&self, queue: u32) -> Option<u64> {
        let place = self.queues.get(queue as usize).filter(|place| !place.is_paused)?;
        if !place.ready.is_empty() {
            return Some(0);
        }
        let delayed = place.delayed.first_key_value().map(|(key, _)| key.0);
        let lapses = place.ends.first().map(|key| key.0);
        let loading = self.horizon.map(|_| 0);
        [delayed, lapses, loading].into_iter().flatten().min()
    }
}

impl Queue {
    fn add(&mut self, row: Row) {
        let turn = Turn { due: row.due, priority: row.priority };
        if row.order == 0 {
            self.show(row.id, turn, 0);
        } else {
            self.with_order(row.order, |order| order.add(row.id, turn));
        }
    }

    /// What becomes due later is promoted when somebody claims.
    fn show(&mut self, id: u64, turn: Turn, order: u64) {
        if turn.due <= self.now {
            self.ready.insert((rank(turn.due, turn.priority), id), (turn.priority, order));
        } else {
            self.delayed.insert((turn.due, id), (turn.priority, order));
        }
    }

    fn hide(&mut self, row: Row) {
        if self.delayed.remove(&(row.due, row.id)).is_none() {
            self.ready.remove(&(rank(row.due, row.priority), row.id));
        }
    }

    fn promote(&mut self) {
        for _ in 0..PROMOTED_MAX {
            let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= self.now) else {
                break;
            };
            let ((due, id), (priority, order)) = entry.remove_entry();
            self.ready.insert((rank(due, priority), id), (priority, order));
        }
    }

    fn with_order(&mut self, key: u64, change: impl FnOnce(&mut Order) -> Change) {
        if key == 0 {
            return;
        }
        let order = self.orders.entry(key).or_default();
        let change = change(order);
        if order.is_empty() {
            self.orders.remove(&key);
        }
        if let Some((id, turn)) = change.withdraw {
            self.hide(Row { id, queue: 0, due: turn.due, priority: turn.priority, order: key });
        }
        if let Some((id, turn)) = change.show {
            self.show(id, turn, key);
        }
    }
}

/// Earlier is sooner.
fn rank(due: u64, priority: u8) -> i64 {
    int(due) - head_start(priority)
}

fn unrank(rank: i64, priority: u8) -> u64 {
    i64::cast_unsigned(rank + head_start(priority))
}

fn head_start(priority: u8) -> i64 {
    int(PRIORITY_HEAD_START.as_millis() as u64 * u64::from(priority.min(PRIORITY_MAX)))
}
