//! The bounded registry: tables, attacks, and a naive registry without bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use seaworthy_policy::breaker::Outcome;
use seaworthy_policy::keyed::{EVICTION_LOOKS, IDLE_PER_TIMER_MAX};
use seaworthy_policy::{Breaker, BreakerConfig, Forgettable, Keyed, KeyedConfig, Rng, Time};

/// Used up until a moment; from then on it is as good as new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Busy {
    until: Time,
    uses: u32,
}

impl Busy {
    /// What an answer depends on: how often it was used without becoming new in between.
    fn take(&mut self, now: Time, until: Time) -> u32 {
        if self.is_forgettable(now) {
            self.uses = 0;
        }
        self.uses += 1;
        self.until = self.until.max(until);
        self.uses
    }
}

impl Forgettable for Busy {
    fn is_forgettable(&self, now: Time) -> bool {
        self.until <= now
    }
}

const IDLE: Duration = Duration::from_mins(1);

fn registry<K: std::hash::Hash + Eq>(max_keys: u32) -> Keyed<K, Busy> {
    let config = KeyedConfig { max_keys, idle_ttl: IDLE };
    assert_eq!(config.validate(), Ok(()));
    Keyed::new(config, &mut Rng::seeded(9), Busy::default())
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

/// Uses a key that stays busy until then; answers its uses in a row, and whether it had to share.
fn take(registry: &mut Keyed<String, Busy>, now: u64, key: &str, until: u64) -> (u32, bool) {
    let entry = registry.entry(at(now), key, Busy::default);
    let taken = (entry.state.take(at(now), at(until)), entry.shared);
    registry.check_invariants();
    taken
}

#[test]
fn a_key_keeps_its_state_until_it_is_idle() {
    let mut registry = registry(10);
    for (now, expected) in [(0, 1), (59_999, 2), (119_998, 3), (179_998, 1)] {
        assert_eq!(take(&mut registry, now, "a", 1_000_000), (expected, false), "at {now}");
    }
    assert!(registry.get(at(239_997), "a").is_some());
    assert!(registry.get(at(239_998), "a").is_none(), "idle, though nobody has swept");
}

#[test]
fn unbounded_keys_governor_171() {
    let mut registry: Keyed<u64, Busy> = registry(1_000);
    for key in 0..100_000_u64 {
        registry.entry(at(key), &key, Busy::default).state.take(at(key), at(u64::MAX));
        assert!(registry.len() <= 1_000);
    }
    registry.check_invariants();
}

#[test]
fn flooding_with_names_does_not_buy_a_fresh_quota() {
    let mut registry = registry(8);
    assert_eq!(take(&mut registry, 0, "spent", 30_000), (1, false));
    for number in 0..10_000 {
        // The names are used and at once as good as new, so they make room for each other, and never that of
        // a busy one.
        let (uses, shared) = take(&mut registry, 1, &format!("name {number}"), 1);
        assert_eq!((uses, shared), (1, false));
    }
    assert_eq!(take(&mut registry, 2, "spent", 30_000), (2, false), "still remembered");
}

#[test]
fn when_all_are_busy_newcomers_share_one_state() {
    let mut registry = registry(4);
    for key in ["a", "b", "c", "d"] {
        take(&mut registry, 0, key, 30_000);
    }
    let answers: Vec<(u32, bool)> =
        (0..5).map(|name| take(&mut registry, 1, &format!("new {name}"), 30_000)).collect();
    assert_eq!(answers, [(1, true), (2, true), (3, true), (4, true), (5, true)], "one quota for all of them");
    assert_eq!((registry.len(), registry.overflowed()), (4, 5));
    assert_eq!(take(&mut registry, 2, "a", 30_000), (2, false), "those who were there are not touched");
    assert_eq!(take(&mut registry, 30_000, "new 0", 31_000), (1, false), "as soon as one is as good as new");
}

#[test]
fn a_few_busy_states_do_not_stand_before_the_others() {
    // The least recently used ones are busy, many more than are looked at for one newcomer; behind them lie
    // free ones.
    let mut registry = registry(64);
    for number in 0..48 {
        take(&mut registry, 0, &format!("busy {number}"), 30_000);
    }
    for number in 0..16 {
        take(&mut registry, 1, &format!("free {number}"), 1);
    }
    let tries = (0..64).take_while(|number| take(&mut registry, 2, &format!("new {number}"), 2).1).count();
    assert_eq!(tries, 48 / EVICTION_LOOKS as usize, "the hand goes round");
}

#[test]
fn idle_keys_make_room_first() {
    let mut registry = registry(2);
    take(&mut registry, 0, "old", 1_000_000);
    take(&mut registry, 59_000, "young", 1_000_000);
    assert_eq!(take(&mut registry, 59_999, "new", 1_000_000), (1, true));
    assert_eq!(take(&mut registry, 60_000, "new", 1_000_000), (1, false), "the old one is idle now");
    assert_eq!(take(&mut registry, 60_001, "young", 1_000_000), (2, false));
}

#[test]
fn longest_unused_not_longest_known() {
    let mut registry = registry(2);
    take(&mut registry, 0, "known", 1_000_000);
    take(&mut registry, 1, "unused", 1_000_000);
    take(&mut registry, 59_000, "known", 1_000_000);
    assert_eq!(take(&mut registry, 60_001, "new", 1_000_000), (1, false), "in place of the unused one");
    assert_eq!(take(&mut registry, 60_002, "known", 1_000_000), (3, false));
}

#[test]
fn a_circuit_is_forgettable_when_closed_and_nothing_is_counted() {
    let mut rng = Rng::seeded(1);
    let mut breaker = Breaker::new(BreakerConfig::default(), at(0));
    let mut call = |now: u64, breaker: &mut Breaker, failed: bool| {
        let permit = breaker.admit(at(now), &mut rng).unwrap();
        let elapsed = Duration::from_millis(1);
        let outcome = if failed { Outcome::Failure { elapsed } } else { Outcome::Success { elapsed } };
        breaker.complete(at(now), &mut rng, permit, outcome);
    };
    assert!(breaker.is_forgettable(at(0)));
    call(1, &mut breaker, false);
    assert!(!breaker.is_forgettable(at(9_999)) && breaker.is_forgettable(at(10_000)), "with its window");
    (0..20).for_each(|number| call(20_000 + number, &mut breaker, number % 2 == 1));
    assert!(
        !breaker.is_forgettable(at(20_019)) && !breaker.is_forgettable(at(40_000)),
        "open, then half-open"
    );
}

#[test]
fn the_timer_forgets_a_bounded_number_of_idle_keys() {
    let mut registry: Keyed<u64, Busy> = registry(1_000);
    for key in 0..1_000 {
        registry.entry(at(key), &key, Busy::default);
    }
    assert_eq!(registry.next_deadline(), Some(at(60_000)));
    registry.on_timer(at(59_999));
    assert_eq!(registry.len(), 1_000);
    registry.on_timer(at(60_400));
    assert_eq!(registry.len(), 1_000 - IDLE_PER_TIMER_MAX as usize);
    assert!(registry.next_deadline().is_some_and(|due| due < at(60_400)), "there are more, and it says so");
    (0..4).for_each(|_| registry.on_timer(at(90_000)));
    assert!(registry.is_empty());
    assert_eq!(registry.next_deadline(), None);
    registry.check_invariants();
}

#[test]
fn smaller_bounds_push_nobody_out_at_once() {
    let mut registry = registry(4);
    for key in ["a", "b", "c", "d"] {
        take(&mut registry, 0, key, 30_000);
    }
    registry.reconfigure(KeyedConfig { max_keys: 2, idle_ttl: IDLE });
    for (now, key, expected) in
        [(1, "a", (2, false)), (2, "d", (2, false)), (3, "new", (1, true)), (30_000, "new", (1, true))]
    {
        assert_eq!(take(&mut registry, now, key, 30_000), expected, "{key} at {now}");
    }
    for now in 30_001..30_003 {
        take(&mut registry, now, "new", now);
    }
    assert_eq!(registry.len(), 2, "what can be forgotten has made room, one per newcomer");
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let mut registry = registry(4);
    take(&mut registry, 50_000, "a", 90_000);
    assert_eq!(take(&mut registry, 0, "a", 90_000), (2, false));
    assert_eq!(take(&mut registry, 100_000, "a", 190_000), (1, false), "last used at 50 s, and new by 90 s");
    assert_eq!(take(&mut registry, 109_999, "a", 190_000), (2, false));
}

#[test]
fn validation_names_the_field() {
    for (config, field) in [
        (KeyedConfig { max_keys: 0, ..KeyedConfig::default() }, "max_keys"),
        (KeyedConfig { max_keys: u32::MAX, ..KeyedConfig::default() }, "max_keys"),
        (KeyedConfig { idle_ttl: Duration::ZERO, ..KeyedConfig::default() }, "idle_ttl"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}

/// Against a registry that never forgets anything but the idle: whoever has a state of its own is answered
/// as there, and nobody shares while there is room.
#[test]
fn own_states_answer_as_without_bounds() {
    for seed in 0..200 {
        let mut rng = Rng::seeded(seed);
        let max_keys = 1 + rng.below(12) as usize;
        let keys = 1 + rng.below(30);
        let mut registry: Keyed<u64, Busy> = registry(max_keys as u32);
        let mut model: BTreeMap<u64, (Busy, Time)> = BTreeMap::new();
        let mut now = Time::ZERO;
        for step in 0..400 {
            let longest = 1 << rng.below(15);
            now = now + Duration::from_millis(rng.below(longest));
            let key = rng.below(keys);
            let until = now + Duration::from_millis(rng.below(20_000));
            model.retain(|_, (_, used)| now.saturating_since(*used) < IDLE);
            let had_room = registry.get(now, &key).is_some() || registry.len() < max_keys;
            let entry = registry.entry(now, &key, Busy::default);
            let (taken, shared) = (entry.state.take(now, until), entry.shared);
            let place = format!("seed {seed}, step {step}");
            assert!(!(shared && had_room), "{place}: shared though there was room");
            if shared {
                // Only those that the registry does not hold may be missing there.
                model.remove(&key);
            } else {
                let (state, used) = model.entry(key).or_insert((Busy::default(), now));
                assert_eq!(taken, state.take(now, until), "{place}: key {key}");
                *used = now;
            }
            if rng.chance(0.05) {
                registry.on_timer(now);
            }
            registry.check_invariants();
            assert!(registry.len() <= max_keys, "{place}");
        }
    }
}
