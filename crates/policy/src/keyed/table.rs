//! Keys, their values, and the order in which they were last used; every operation in constant time.
//!
//! Slots lie in one vector. Two sets of links run through them: chains of keys whose hashes share a bucket,
//! and one list from the newest use to the oldest. A key is stored once. What iterates here follows those
//! links or the slots' order, never the buckets', so nothing depends on the hash.
//!
//! **Hashes have a secret.** Whoever chooses keys could otherwise choose ten thousand that share a bucket,
//! and each look-up would walk all of them. The secret comes in as a seed, so that a run can still be
//! repeated.
//!
//! **Rejected:** the standard library's map beside a list (stores each key twice, and its default hasher
//! draws its own randomness); a tree (comparing long keys eight times costs more than hashing them once).

use std::borrow::Borrow;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::Rng;

/// No slot.
const NONE: u32 = u32::MAX;
/// Buckets of a new table; doubled whenever there are as many keys.
const BUCKETS_FIRST: usize = 16;

#[derive(Clone, Debug)]
struct Slot<K, V> {
    /// Nothing in a slot that waits to be used again.
    entry: Option<(K, V)>,
    hash: u32,
    /// The next in this bucket, or the next vacant slot.
    next: u32,
    newer: u32,
    older: u32,
}

/// The table. Its owner bounds the number of keys, which must stay below 2^32 - 1.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    secret: [u64; 2],
    buckets: Vec<u32>,
    slots: Vec<Slot<K, V>>,
    vacant: u32,
    newest: u32,
    oldest: u32,
    len: usize,
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// Bytes that one key takes at most, what a vector keeps in reserve included; what the key itself refers
    /// to is extra.
    pub(crate) const BYTES_PER_KEY: usize = 2 * (size_of::<Slot<K, V>>() + size_of::<u32>());

    /// An empty table whose hashes nobody can foresee who has not seen the generator.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Table {
            secret: [rng.next_u64(), rng.next_u64()],
            buckets: vec![NONE; BUCKETS_FIRST],
            slots: Vec::new(),
            vacant: NONE,
            newest: NONE,
            oldest: NONE,
            len: 0,
        }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The slots, used and vacant; each below this number.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The slot of a key.
    pub(crate) fn find<Q>(&self, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let mut at = self.buckets[self.bucket(hash)];
        while at != NONE {
            let slot = &self.slots[at as usize];
            if slot.hash == hash && slot.entry.as_ref().is_some_and(|(held, _)| held.borrow() == key) {
                return Some(at);
            }
            at = slot.next;
        }
        None
    }

    /// Adds a key that is not there yet, as the newest.
    pub(crate) fn insert(&mut self, key: K, value: V) -> u32 {
        debug_assert!(self.find(&key).is_none(), "the key is there already");
        if self.len == self.buckets.len() {
            self.grow();
        }
        let hash = self.hash(&key);
        let bucket = self.bucket(hash);
        let slot =
            Slot { entry: Some((key, value)), hash, next: self.buckets[bucket], newer: NONE, older: NONE };
        let at = if self.vacant == NONE {
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        } else {
            let at = self.vacant;
            self.vacant = self.slots[at as usize].next;
            self.slots[at as usize] = slot;
            at
        };
        self.buckets[bucket] = at;
        self.link_newest(at);
        self.len += 1;
        at
    }

    /// Takes a used slot's key and value out.
    pub(crate) fn remove(&mut self, at: u32) -> Option<(K, V)> {
        let entry = self.slots[at as usize].entry.take()?;
        self.unlink(at);
        let Slot { hash, next, .. } = self.slots[at as usize];
        let bucket = self.bucket(hash);
        if self.buckets[bucket] == at {
            self.buckets[bucket] = next;
        } else {
            let mut before = self.buckets[bucket];
            while self.slots[before as usize].next != at {
                before = self.slots[before as usize].next;
            }
            self.slots[before as usize].next = next;
        }
        self.slots[at as usize].next = self.vacant;
        self.vacant = at;
        self.len -= 1;
        Some(entry)
    }

    /// Makes a used slot the newest.
    pub(crate) fn touch(&mut self, at: u32) {
        if self.newest != at {
            self.unlink(at);
            self.link_newest(at);
        }
    }

    /// The slot used longest ago.
    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The value in a slot, if it is used.
    pub(crate) fn value(&self, at: u32) -> Option<&V> {
        self.slots.get(at as usize)?.entry.as_ref().map(|(_, value)| value)
    }

    /// The value in a used slot.
    ///
    /// # Panics
    /// When the slot is vacant.
    pub(crate) fn value_mut(&mut self, at: u32) -> &mut V {
        let entry = self.slots[at as usize].entry.as_mut();
        entry.map(|(_, value)| value).expect("a slot that was found is used")
    }

    /// Every value, in the order of the slots.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref().map(|(_, value)| value))
    }

    /// Every value, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &V> {
        let slot = |at: u32| self.slots.get(at as usize);
        let slots = std::iter::successors(slot(self.newest), move |newer| slot(newer.older));
        slots.filter_map(|slot| slot.entry.as_ref().map(|(_, value)| value))
    }

    /// Every value, in the order of the slots, to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().filter_map(|slot| slot.entry.as_mut().map(|(_, value)| value))
    }

    /// Panics when the links contradict each other. Walks the whole table.
    pub(crate) fn check_invariants(&self) {
        let used = self.slots.iter().filter(|slot| slot.entry.is_some()).count();
        assert_eq!(used, self.len, "as many used slots as keys");
        let (mut at, mut newer, mut listed) = (self.newest, NONE, 0);
        while at != NONE {
            let slot = &self.slots[at as usize];
            assert_eq!(slot.newer, newer, "the list reads the same in both directions");
            (newer, at, listed) = (at, slot.older, listed + 1);
            assert!(listed <= used, "the list does not run in a circle");
        }
        assert_eq!((newer, listed), (self.oldest, used), "the list holds every key and ends at the oldest");
        for (key, at) in
            self.slots.iter().zip(0..).filter_map(|(slot, at)| Some((&slot.entry.as_ref()?.0, at)))
        {
            assert_eq!(self.find(key), Some(at), "every key is found in its slot");
        }
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        let mut hasher = DefaultHasher::new();
        self.secret.hash(&mut hasher);
        key.hash(&mut hasher);
        hasher.finish() as u32
    }

    fn bucket(&self, hash: u32) -> usize {
        // The number of buckets is a power of two.
        hash as usize & (self.buckets.len() - 1)
    }

    fn grow(&mut self) {
        self.buckets = vec![NONE; self.buckets.len() * 2];
        for at in 0..self.slots.len() {
            if self.slots[at].entry.is_some() {
                let bucket = self.bucket(self.slots[at].hash);
                self.slots[at].next = self.buckets[bucket];
                self.buckets[bucket] = at as u32;
            }
        }
    }

    fn link_newest(&mut self, at: u32) {
        let before = self.newest;
        (self.slots[at as usize].newer, self.slots[at as usize].older) = (NONE, before);
        if before == NONE {
            self.oldest = at;
        } else {
            self.slots[before as usize].newer = at;
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: u32) {
        let Slot { newer, older, .. } = self.slots[at as usize];
        if newer == NONE {
            self.newest = older;
        } else {
            self.slots[newer as usize].older = older;
        }
        if older == NONE {
            self.oldest = newer;
        } else {
            self.slots[older as usize].newer = newer;
        }
    }
}
