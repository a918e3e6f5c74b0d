//! One state per key, for keys that strangers choose.
//!
//! **Problem.** A limit per client, or a circuit per destination, needs a state for each; and the names come
//! from outside. A registry without a bound is a memory leak that anybody can pour into (governor#171,
//! CWE-770). One with a bound must choose whom to forget, and a thoughtless choice is a hole as well: whoever
//! has spent a quota sends ten thousand invented names, is pushed out, and comes back with a fresh quota.
//!
//! **Model.** At most `max_keys` states. A key not used for `idle_ttl` begins anew. When a newcomer finds the
//! registry full, room is made only by forgetting what *can* be forgotten: the least recently used state if
//! it is idle, otherwise a state that says of itself that a new one would answer the same ([`Forgettable`]: a
//! quota refilled, a circuit closed with nothing counted). A hand goes round the slots and looks at
//! [`EVICTION_LOOKS`] per newcomer, so a few stubborn states do not stand before the others. Is there none,
//! the newcomer shares **one overflow state** with all others in its position.
//!
//! So long as a key has a state of its own, then, it is treated exactly as in a registry without bounds. To
//! push others into the overflow an attacker must keep all states busy at once: for a quota of 100/s, 10 000
//! keys times 100 requests per second, not ten thousand requests once. And nobody ever wins: names that
//! overflow share one quota, however many there are. (A slow quota is cheap to keep busy: 10 000 keys of five
//! requests per hour are busy at 14 requests per second. Such a limit wants keys that somebody has vouched
//! for, or a larger `max_keys`.)
//!
//! **Rejected:** evicting the least recently used whatever it holds (the hole above); refusing newcomers (one
//! flood locks out every honest new client, where the overflow still serves them at a shared rate); a
//! probabilistic sketch (it punishes honest keys for their neighbours, all of the time).
//!
//! Worked number: a quota is 16 bytes; with a key of two words, all links and what vectors keep in reserve it
//! takes at most 120 bytes, so 10 000 of them stay below 1.2 MB, plus the text of the keys. A circuit takes
//! 664 bytes and 240 for its window. A registry keeps the memory of its peak.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::Duration;

use crate::breaker::State;
use crate::error::{require, require_positive};
use crate::{Breaker, ConfigError, Rng, Time};

mod table;

pub(crate) use table::Table;

/// States that a full registry looks at, per newcomer, for one to forget.
pub const EVICTION_LOOKS: u32 = 8;
/// Idle keys that one [`Keyed::on_timer`] forgets at most.
pub const IDLE_PER_TIMER_MAX: u32 = 256;
/// The most keys that a configuration may allow.
pub const KEYS_LIMIT: u32 = 16_000_000;

/// How many keys, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedConfig {
    /// Keys with a state of their own, at most; 1 to [`KEYS_LIMIT`].
    pub max_keys: u32,
    /// A key not used for this long begins anew.
    pub idle_ttl: Duration,
}

impl Default for KeyedConfig {
    fn default() -> Self {
        KeyedConfig { max_keys: 10_000, idle_ttl: Duration::from_mins(10) }
    }
}

impl KeyedConfig {
    /// Whether there is room for a key, for some time.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require((1..=KEYS_LIMIT).contains(&self.max_keys), "max_keys", "be from 1 to 16000000")?;
        require_positive(self.idle_ttl, "idle_ttl")
    }
}

/// A state that knows when losing it changes nothing.
pub trait Forgettable {
    /// Whether a new state would answer every question from `now` on as this one does.
    fn is_forgettable(&self, now: Time) -> bool;
}

impl Forgettable for Breaker {
    /// A closed circuit that counts nothing in its window. What a fresh one lacks is at most a run of
    /// failures that all lie further back than the window. An open circuit holds its place until it is idle,
    /// so the keys of circuits are to be destinations that the plan knows, or a stranger fills the registry
    /// with circuits that he opened himself.
    fn is_forgettable(&self, now: Time) -> bool {
        self.state(now) == State::Closed && self.totals(now).calls() == 0
    }
}

/// The state that a key is to use.
#[derive(Debug)]
pub struct Entry<'registry, S> {
    /// The state.
    pub state: &'registry mut S,
    /// The registry is full, and this state is shared with every other key that found it so.
    pub shared: bool,
}

/// A state, and when it was last used.
#[derive(Clone, Debug)]
struct Held<S> {
    state: S,
    used: Time,
}

/// The registry.
#[derive(Clone, Debug)]
pub struct Keyed<K, S> {
    config: KeyedConfig,
    table: Table<K, Held<S>>,
    overflow: Held<S>,
    /// The slot that the next search for room begins with.
    hand: u32,
    overflowed: u64,
    latest: Time,
}

impl<K: Hash + Eq, S: Forgettable> Keyed<K, S> {
    /// Bytes that one key takes at most, the registry's own included; what the key itself refers to is extra.
    pub const BYTES_PER_KEY: usize = Table::<K, Held<S>>::BYTES_PER_KEY;

    /// An empty registry. The generator gives the secret that keeps others from choosing keys whose hashes
    /// collide; `overflow` is the state that keys share when there is no room.
    pub fn new(config: KeyedConfig, rng: &mut Rng, overflow: S) -> Self {
        Keyed {
            config,
            table: Table::new(rng),
            overflow: Held { state: overflow, used: Time::ZERO },
            hand: 0,
            overflowed: 0,
            latest: Time::ZERO,
        }
    }

    /// The state that a key uses now; `fresh` makes one for a key that has none.
    pub fn entry<Q>(&mut self, now: Time, key: &Q, fresh: impl FnOnce() -> S) -> Entry<'_, S>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.advance(now);
        if let Some(at) = self.table.find(key) {
            self.table.touch(at);
            let held = self.table.value_mut(at);
            held.renew(now, self.config.idle_ttl, fresh);
            return Entry { state: &mut held.state, shared: false };
        }
        if self.is_full() && !self.make_room(now) {
            self.overflowed += 1;
            self.overflow.renew(now, self.config.idle_ttl, fresh);
            return Entry { state: &mut self.overflow.state, shared: true };
        }
        let at = self.table.insert(key.to_owned(), Held { state: fresh(), used: now });
        debug_assert!(!self.is_over_full(), "more keys than allowed");
        Entry { state: &mut self.table.value_mut(at).state, shared: false }
    }

    /// The state a key has, without using it. `None` for a key without one of its own, and for one that has
    /// been idle for too long.
    pub fn get<Q>(&self, now: Time, key: &Q) -> Option<&S>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = now.max(self.latest);
        let held = self.table.value(self.table.find(key)?)?;
        (!held.is_idle(now, self.config.idle_ttl)).then_some(&held.state)
    }

    /// As [`get`](Self::get), to be changed. Does not count as use.
    pub fn get_mut<Q>(&mut self, now: Time, key: &Q) -> Option<&mut S>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.advance(now);
        let held = self.table.value_mut(self.table.find(key)?);
        (!held.is_idle(now, self.config.idle_ttl)).then_some(&mut held.state)
    }

    /// The state shared by keys without one of their own.
    pub fn overflow_mut(&mut self) -> &mut S {
        &mut self.overflow.state
    }

    /// Forgets idle keys, the longest idle first; at most [`IDLE_PER_TIMER_MAX`] of them, and the next
    /// deadline tells whether there are more.
    pub fn on_timer(&mut self, now: Time) {
        let now = self.advance(now);
        for _ in 0..IDLE_PER_TIMER_MAX {
            if !self.forget_oldest_if_idle(now) {
                break;
            }
        }
    }

    /// When the longest unused key becomes idle.
    pub fn next_deadline(&self) -> Option<Time> {
        let held = self.table.value(self.table.oldest()?)?;
        Some(held.used + self.config.idle_ttl)
    }

    /// Other bounds; every state stays. Keys beyond a smaller `max_keys` leave as they become idle or forgettable.
    pub fn reconfigure(&mut self, config: KeyedConfig) {
        self.config = config;
    }

    /// Every state, the shared one included, to be changed. Takes as long as there are keys.
    pub fn states_mut(&mut self) -> impl Iterator<Item = &mut S> {
        let own = self.table.values_mut().map(|held| &mut held.state);
        own.chain(std::iter::once(&mut self.overflow.state))
    }

    /// Keys that have a state of their own.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no key has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a key had to share, since the beginning.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Panics when the registry contradicts itself. Walks all of it, so it is not called after each step.
    pub fn check_invariants(&self) {
        self.table.check_invariants();
        let mut later = self.latest;
        for held in self.table.newest_first() {
            assert!(held.used <= later, "keys stand in the order of their last use, and none in the future");
            later = held.used;
        }
        assert!(self.table.slots() == 0 || self.hand < self.table.slots(), "the hand points at a slot");
    }

    fn is_full(&self) -> bool {
        self.len() >= self.config.max_keys as usize
    }

    fn is_over_full(&self) -> bool {
        self.len() > self.config.max_keys as usize
    }

    /// Forgets one state that can be, and answers whether there is room for one more now.
    fn make_room(&mut self, now: Time) -> bool {
        if !self.forget_oldest_if_idle(now) {
            self.forget_one_by_hand(now);
        }
        !self.is_full()
    }

    fn forget_oldest_if_idle(&mut self, now: Time) -> bool {
        let Some(at) = self.table.oldest() else { return false };
        let idle = self.table.value(at).is_some_and(|held| held.is_idle(now, self.config.idle_ttl));
        idle && self.table.remove(at).is_some()
    }

    fn forget_one_by_hand(&mut self, now: Time) {
        for _ in 0..EVICTION_LOOKS.min(self.table.slots()) {
            let at = self.hand;
            self.hand = (at + 1) % self.table.slots();
            if self.table.value(at).is_some_and(|held| held.state.is_forgettable(now)) {
                self.table.remove(at);
                return;
            }
        }
    }

    /// Time never runs backwards in here.
    fn advance(&mut self, now: Time) -> Time {
        self.latest = self.latest.max(now);
        self.latest
    }
}

impl<S> Held<S> {
    fn is_idle(&self, now: Time, idle_ttl: Duration) -> bool {
        now.saturating_since(self.used) >= idle_ttl
    }

    fn renew(&mut self, now: Time, idle_ttl: Duration, fresh: impl FnOnce() -> S) {
        if self.is_idle(now, idle_ttl) {
            self.state = fresh();
        }
        self.used = now;
    }
}
