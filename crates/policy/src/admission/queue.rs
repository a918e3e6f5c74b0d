//! Those who wait: four priorities, in each a ring of fairness buckets, in each the arrivals in order.
//!
//! Everybody who waits is an entry in one slab and a link in two lists: all of a priority, and all of a bucket. So
//! the oldest, the newest, and the one whose turn it is are found at once, and anybody can leave from the middle.
//! A key's bucket is its low bits (stochastic fairness queueing, McKenney 1990): the number of keys is bounded
//! without a map, and two keys that share a bucket share a turn. Deadlines are in a heap whose outdated entries are
//! skipped, and swept out when they are the majority.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::vocabulary::{Arrival, Priority, Ticket};
use crate::Time;

/// Buckets per priority; keys beyond that share turns.
pub const FAIRNESS_BUCKETS: u64 = 64;
/// No entry, no bucket.
const NIL: u32 = u32::MAX;
/// Outdated deadlines that are never worth a sweep.
const OUTDATED_MIN: usize = 64;

/// Which of the two lists of an entry.
#[derive(Clone, Copy, Debug)]
enum Chain {
    Class = 0,
    Bucket = 1,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    newer: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    number: u64,
    pub(super) priority: Priority,
    pub(super) queued: Time,
    bucket: u32,
    /// Free slots are not waiting; their class link leads to the next free one.
    waiting: bool,
    links: [Link; 2],
}

#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    newest: u32,
    length: u32,
}

impl List {
    const EMPTY: List = List { oldest: NIL, newest: NIL, length: 0 };

    fn push_newest(&mut self, entries: &mut [Entry], chain: Chain, slot: u32) {
        entries[slot as usize].links[chain as usize] = Link { older: self.newest, newer: NIL };
        match self.newest {
            NIL => self.oldest = slot,
            newest => entries[newest as usize].links[chain as usize].newer = slot,
        }
        self.newest = slot;
        self.length += 1;
    }

    fn remove(&mut self, entries: &mut [Entry], chain: Chain, slot: u32) {
        let Link { older, newer } = entries[slot as usize].links[chain as usize];
        match older {
            NIL => self.oldest = newer,
            older => entries[older as usize].links[chain as usize].newer = newer,
        }
        match newer {
            NIL => self.newest = older,
            newer => entries[newer as usize].links[chain as usize].older = older,
        }
        self.length -= 1;
    }
}

/// One fairness bucket, and its neighbours in the ring of those that have somebody waiting.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    list: List,
    before: u32,
    after: u32,
}

/// One priority.
#[derive(Clone, Debug)]
struct Class {
    all: List,
    /// Empty until the first call waits.
    buckets: Box<[Bucket]>,
    /// Whose turn it is.
    turn: u32,
    /// Buckets in the ring.
    active: u32,
    /// Since when somebody has been waiting without interruption.
    busy_since: Option<Time>,
}

impl Class {
    fn new() -> Self {
        Class { all: List::EMPTY, buckets: Box::default(), turn: NIL, active: 0, busy_since: None }
    }

    fn join_ring(&mut self, bucket: u32) {
        if self.turn == NIL {
            self.buckets[bucket as usize].before = bucket;
            self.buckets[bucket as usize].after = bucket;
            self.turn = bucket;
        } else {
            // Just before the one whose turn it is: that is the end of the round.
            let last = self.buckets[self.turn as usize].before;
            self.buckets[bucket as usize].before = last;
            self.buckets[bucket as usize].after = self.turn;
            self.buckets[last as usize].after = bucket;
            self.buckets[self.turn as usize].before = bucket;
        }
        self.active += 1;
    }

    fn leave_ring(&mut self, bucket: u32) {
        let Bucket { before, after, .. } = self.buckets[bucket as usize];
        self.buckets[before as usize].after = after;
        self.buckets[after as usize].before = before;
        self.active -= 1;
        if self.active == 0 {
            self.turn = NIL;
        } else if self.turn == bucket {
            self.turn = after;
        }
    }
}

/// Everybody who waits.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    entries: Vec<Entry>,
    free: u32,
    length: u32,
    classes: [Class; 4],
    deadlines: BinaryHeap<Reverse<(Time, Ticket)>>,
    next_number: u64,
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue {
            entries: Vec::new(),
            free: NIL,
            length: 0,
            classes: std::array::from_fn(|_| Class::new()),
            deadlines: BinaryHeap::new(),
            next_number: 0,
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> u32 {
        self.length
    }

    /// How many of a priority wait.
    pub(super) fn len_of(&self, priority: Priority) -> u32 {
        self.classes[priority.rank()].all.length
    }

    /// Since when somebody of this priority has been waiting without interruption.
    pub(super) fn busy_since(&self, priority: Priority) -> Option<Time> {
        self.classes[priority.rank()].busy_since
    }

    pub(super) fn push(&mut self, now: Time, arrival: &Arrival) -> Ticket {
        let bucket = (arrival.fairness_key % FAIRNESS_BUCKETS) as u32;
        let number = self.next_number;
        self.next_number += 1;
        let nowhere = Link { older: NIL, newer: NIL };
        let entry = Entry {
            number,
            priority: arrival.priority,
            queued: now,
            bucket,
            waiting: true,
            links: [nowhere; 2],
        };
        let slot = self.place(entry);
        let class = &mut self.classes[arrival.priority.rank()];
        if class.buckets.is_empty() {
            let empty = Bucket { list: List::EMPTY, before: NIL, after: NIL };
            class.buckets = vec![empty; FAIRNESS_BUCKETS as usize].into_boxed_slice();
        }
        if class.buckets[bucket as usize].list.length == 0 {
            class.join_ring(bucket);
        }
        class.buckets[bucket as usize].list.push_newest(&mut self.entries, Chain::Bucket, slot);
        class.all.push_newest(&mut self.entries, Chain::Class, slot);
        class.busy_since.get_or_insert(now);
        self.length += 1;
        let ticket = Ticket { number, slot };
        if let Some(deadline) = arrival.deadline {
            self.remember_deadline(deadline.time(), ticket);
        }
        ticket
    }

    /// Takes somebody out, wherever he stands; `None` when he no longer waits.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Entry> {
        let slot = ticket.slot;
        if !self.is_waiting(ticket) {
            return None;
        }
        let entry = self.entries[slot as usize];
        let class = &mut self.classes[entry.priority.rank()];
        class.all.remove(&mut self.entries, Chain::Class, slot);
        let bucket = &mut class.buckets[entry.bucket as usize];
        bucket.list.remove(&mut self.entries, Chain::Bucket, slot);
        if bucket.list.length == 0 {
            class.leave_ring(entry.bucket);
        }
        if class.all.length == 0 {
            class.busy_since = None;
        }
        self.entries[slot as usize].waiting = false;
        self.entries[slot as usize].links[Chain::Class as usize].newer = self.free;
        self.free = slot;
        self.length -= 1;
        self.forget_outdated();
        Some(entry)
    }

    /// The one to be let go next within a priority. His bucket has had its turn.
    pub(super) fn take_turn(&mut self, priority: Priority, newest_first: bool) -> Option<Ticket> {
        let class = &mut self.classes[priority.rank()];
        if class.turn == NIL {
            return None;
        }
        let bucket = class.buckets[class.turn as usize];
        class.turn = bucket.after;
        Some(self.ticket_at(bucket.list, newest_first))
    }

    /// The priority of somebody who waits, and since when he does.
    pub(super) fn standing_of(&self, ticket: Ticket) -> Option<(Priority, Time)> {
        let entry = self.is_waiting(ticket).then(|| self.entries[ticket.slot as usize])?;
        Some((entry.priority, entry.queued))
    }

    /// Who has waited longest in a priority, and since when.
    pub(super) fn oldest(&self, priority: Priority) -> Option<(Ticket, Time)> {
        let all = self.classes[priority.rank()].all;
        let ticket = (all.oldest != NIL).then(|| self.ticket_at(all, false))?;
        Some((ticket, self.entries[ticket.slot as usize].queued))
    }

    /// The nearest deadline of anybody waiting.
    pub(super) fn nearest_deadline(&self) -> Option<(Time, Ticket)> {
        self.deadlines.peek().map(|Reverse(nearest)| *nearest)
    }

    /// The lowest priority that waits.
    pub(super) fn lowest(&self) -> Option<Priority> {
        Priority::ALL.into_iter().rev().find(|priority| self.len_of(*priority) > 0)
    }

    /// How many wait under a key, and how many in the longest bucket of that priority.
    pub(super) fn crowding(&self, priority: Priority, fairness_key: u64) -> (u32, u32) {
        let class = &self.classes[priority.rank()];
        let own = (fairness_key % FAIRNESS_BUCKETS) as usize;
        let own = class.buckets.get(own).map_or(0, |bucket| bucket.list.length);
        let longest = class.buckets.iter().map(|bucket| bucket.list.length).max();
        (own, longest.unwrap_or(0))
    }

    /// The newest or the oldest under a key.
    pub(super) fn end_of_key(&self, priority: Priority, fairness_key: u64, newest: bool) -> Option<Ticket> {
        let class = &self.classes[priority.rank()];
        let bucket = class.buckets.get((fairness_key % FAIRNESS_BUCKETS) as usize)?;
        (bucket.list.length > 0).then(|| self.ticket_at(bucket.list, newest))
    }

    /// The newest or the oldest of the longest bucket; among equally long ones, of the first.
    pub(super) fn end_of_longest(&self, priority: Priority, newest: bool) -> Option<Ticket> {
        let class = &self.classes[priority.rank()];
        let longest = class.buckets.iter().rev().max_by_key(|bucket| bucket.list.length)?;
        (longest.list.length > 0).then(|| self.ticket_at(longest.list, newest))
    }

    /// How many of its own priority go before a newcomer who waits his turn.
    pub(super) fn ahead_in_class(&self, priority: Priority, fairness_key: u64) -> u64 {
        let class = &self.classes[priority.rank()];
        let (own, _) = self.crowding(priority, fairness_key);
        u64::from(class.all.length).min((u64::from(own) + 1) * u64::from(class.active))
    }

    /// Panics when the lists contradict each other.
    pub(super) fn check_invariants(&self) {
        let waiting = self.entries.iter().filter(|entry| entry.waiting).count() as u32;
        assert_eq!(waiting, self.length, "entries waiting and the queue's length");
        assert_eq!(self.classes.iter().map(|class| class.all.length).sum::<u32>(), waiting, "by priority");
        for class in &self.classes {
            let lengths = class.buckets.iter().map(|bucket| bucket.list.length);
            assert_eq!(lengths.clone().sum::<u32>(), class.all.length, "by bucket");
            assert_eq!(
                lengths.filter(|length| *length > 0).count() as u32,
                class.active,
                "buckets in the ring"
            );
            assert_eq!(class.turn == NIL, class.active == 0, "a turn without anybody");
            assert_eq!(class.busy_since.is_some(), class.all.length > 0, "busy without anybody");
        }
        let bound = 2 * self.entries.len() + OUTDATED_MIN;
        assert!(self.deadlines.len() <= bound, "outdated deadlines pile up");
        let nearest = self.nearest_deadline();
        assert!(nearest.is_none_or(|(_, ticket)| self.is_waiting(ticket)), "the deadline of somebody gone");
    }

    fn is_waiting(&self, ticket: Ticket) -> bool {
        let entry = self.entries.get(ticket.slot as usize);
        entry.is_some_and(|entry| entry.waiting && entry.number == ticket.number)
    }

    fn ticket_at(&self, list: List, newest: bool) -> Ticket {
        let slot = if newest { list.newest } else { list.oldest };
        Ticket { number: self.entries[slot as usize].number, slot }
    }

    fn place(&mut self, entry: Entry) -> u32 {
        if self.free == NIL {
            self.entries.push(entry);
            return self.entries.len() as u32 - 1;
        }
        let slot = self.free;
        self.free = self.entries[slot as usize].links[Chain::Class as usize].newer;
        self.entries[slot as usize] = entry;
        slot
    }

    fn remember_deadline(&mut self, deadline: Time, ticket: Ticket) {
        if self.deadlines.len() >= 2 * self.length as usize + OUTDATED_MIN {
            let mut kept = std::mem::take(&mut self.deadlines).into_vec();
            kept.retain(|Reverse((_, ticket))| self.is_waiting(*ticket));
            self.deadlines = BinaryHeap::from(kept);
        }
        self.deadlines.push(Reverse((deadline, ticket)));
    }

    fn forget_outdated(&mut self) {
        while let Some((_, ticket)) = self.nearest_deadline()
            && !self.is_waiting(ticket)
        {
            self.deadlines.pop();
        }
    }
}
