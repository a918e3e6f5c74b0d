//! Keys in memory, for those who need no store that outlives them.
//!
//! Bounded by refusing: a key that is remembered is never given up for a new one, because giving it up would
//! mean executing it twice.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::Duration;

use super::{Arrival, Completion, Entry, Fingerprint, IdempotencyConfig, Token};
use crate::keyed::Table;
use crate::{Rng, Time};

/// Keys remembered at most, unless told otherwise: 24 h at ten per second, and some more.
pub const KEYS_MAX_DEFAULT: u32 = 1_000_000;
/// Keys that are over and that one call forgets at most.
const FORGOTTEN_PER_CALL_MAX: usize = 2;

/// No room for another key. Ours (503): nothing was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When the first key is forgotten; always more than nothing.
    pub retry_after: Duration,
}

/// Keys, each with its entry.
#[derive(Clone, Debug)]
pub struct KeyMap<K> {
    config: IdempotencyConfig,
    max_keys: u32,
    /// In the order of their last change, so that those to be forgotten come first.
    entries: Table<K, Entry>,
    next_token: u64,
    latest: Time,
}

impl<K: Hash + Eq> KeyMap<K> {
    /// Bytes that one key takes at most; what the key itself refers to is extra.
    pub const BYTES_PER_KEY: usize = Table::<K, Entry>::BYTES_PER_KEY;

    /// An empty map for up to `max_keys` keys (at least one). The generator is for the keys' hashes.
    pub fn new(config: IdempotencyConfig, max_keys: u32, rng: &mut Rng) -> Self {
        KeyMap {
            config,
            max_keys: max_keys.max(1),
            entries: Table::new(rng),
            next_token: 0,
            latest: Time::ZERO,
        }
    }

    /// A request with this key has come.
    pub fn on_arrival<Q>(&mut self, now: Time, key: &Q, fingerprint: Fingerprint) -> Result<Arrival, Full>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.advance(now);
        let token = Token(self.next_token);
        let slot = self.entries.find(key);
        let known = slot.and_then(|at| self.entries.value(at)).copied();
        if known.is_none() && self.entries.len() >= self.max_keys as usize {
            return Err(Full { retry_after: self.first_expiry().saturating_since(now) });
        }
        let (entry, arrival) = Entry::on_arrival(&self.config, known, now, fingerprint, token);
        if matches!(arrival, Arrival::Begin { .. } | Arrival::Resend { .. }) {
            self.next_token += 1;
            if let Some(at) = slot {
                self.entries.touch(at);
            }
        }
        match slot {
            Some(at) => *self.entries.value_mut(at) = entry,
            None => {
                self.entries.insert(key.to_owned(), entry);
            }
        }
        debug_assert!(self.entries.len() <= self.max_keys as usize, "more keys than allowed");
        Ok(arrival)
    }

    /// An execution has ended. Nothing happens for a key that is not remembered.
    pub fn on_completion<Q>(&mut self, now: Time, key: &Q, token: Token, completion: Completion)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.advance(now);
        let Some(at) = self.entries.find(key) else { return };
        let Some(before) = self.entries.value(at).copied() else { return };
        match before.on_completion(&self.config, now, token, completion) {
            None => {
                self.entries.remove(at);
            }
            Some(after) if after == before => {}
            Some(after) => {
                *self.entries.value_mut(at) = after;
                self.entries.touch(at);
            }
        }
    }

    /// Forgets what is over.
    pub fn on_timer(&mut self, now: Time) {
        self.advance(now);
    }

    /// When there is something to forget. Deadlines need no timer: an entry tells by itself that it is unknown.
    pub fn next_deadline(&self) -> Option<Time> {
        self.entries.oldest().map(|_| self.first_expiry())
    }

    /// Keys remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics when the map contradicts itself. Walks all of it.
    pub fn check_invariants(&self) {
        self.entries.check_invariants();
        assert!(self.len() <= self.max_keys as usize, "no more keys than allowed");
        for entry in self.entries.values() {
            assert!(entry.token.0 < self.next_token, "every execution has a token of its own");
        }
    }

    /// Time goes on, and the oldest are forgotten when they are over. The order is that of their last change;
    /// one that has gone from in flight to unknown by itself may hold up others, for as long as a lease at
    /// most.
    fn advance(&mut self, now: Time) -> Time {
        self.latest = self.latest.max(now);
        for _ in 0..FORGOTTEN_PER_CALL_MAX {
            let oldest = self.entries.oldest().filter(|_| self.first_expiry() <= self.latest);
            let Some(oldest) = oldest else { break };
            self.entries.remove(oldest);
        }
        self.latest
    }

    fn first_expiry(&self) -> Time {
        let oldest = self.entries.oldest().and_then(|at| self.entries.value(at));
        oldest.map_or(self.latest, |entry| entry.expires(&self.config))
    }
}
