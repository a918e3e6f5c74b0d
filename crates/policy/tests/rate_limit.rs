//! The rate limiter: tables, and the defects that other limiters have had.

use std::time::Duration;

use seaworthy_policy::rate_limit::{Decision, Request, Reservation};
use seaworthy_policy::{Deadline, KeyedConfig, RateLimitConfig, RateLimiter, Rng, Time};

const DEFAULT: Request = Request { cost: 1, deadline: None };

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn limiter(config: RateLimitConfig) -> RateLimiter<String> {
    assert_eq!(config.validate(), Ok(()));
    RateLimiter::new(config, &mut Rng::seeded(1))
}

/// Ten per second, three at once.
fn tens(timeout: u64) -> RateLimitConfig {
    RateLimitConfig {
        limit_for_period: 10,
        burst: Some(3),
        timeout_duration: ms(timeout),
        ..RateLimitConfig::default()
    }
}

fn ask(limiter: &mut RateLimiter<String>, now: u64, request: Request) -> Decision {
    let decision = limiter.acquire(at(now), "a", request);
    limiter.check_invariants();
    decision
}

fn rejected(millis: u64) -> Decision {
    Decision::Rejected { retry_after: ms(millis), shared: false }
}

/// Asks for a place in line, and has to get one.
fn reserve(limiter: &mut RateLimiter<String>, now: u64, cost: u32, due: u64) -> Reservation {
    match ask(limiter, now, Request { cost, ..DEFAULT }) {
        Decision::Wait(reservation) => {
            assert_eq!(reservation.due(), at(due));
            reservation
        }
        other => panic!("no place in line but {other:?}"),
    }
}

#[test]
fn burst_then_pace() {
    let mut limiter = limiter(tens(0));
    for (now, expected) in [
        (0, Decision::Admitted),
        (0, Decision::Admitted),
        (0, Decision::Admitted),
        (0, rejected(100)),
        (30, rejected(70)),
        (100, Decision::Admitted),
        (100, rejected(100)),
        (350, Decision::Admitted),
        (350, Decision::Admitted),
        (350, rejected(50)),
        (10_000, Decision::Admitted),
        (10_000, Decision::Admitted),
        (10_000, Decision::Admitted),
        (10_000, rejected(100)),
    ] {
        assert_eq!(ask(&mut limiter, now, DEFAULT), expected, "at {now}");
    }
}

#[test]
fn the_default_limits_resilience4j_500ns() {
    // Fifty per 500 ns is no limit. Ours stops the second hundred within a second.
    let mut limiter = limiter(RateLimitConfig::default());
    let admitted = (0..1_000).filter(|now| ask(&mut limiter, *now, DEFAULT) == Decision::Admitted).count();
    assert_eq!(admitted, 199, "the burst, and one per 10 ms");
}

#[test]
fn intervals_are_not_rounded() {
    // Three in ten nanoseconds, not one in three; and asked every nanosecond.
    let config = RateLimitConfig {
        limit_for_period: 3,
        limit_refresh_period: Duration::from_nanos(10),
        ..RateLimitConfig::default()
    };
    let mut limiter = limiter(config);
    let mut admitted = 0;
    for now in 0..=1_000 {
        while limiter.acquire(Time::from_nanos(now), "a", DEFAULT) == Decision::Admitted {
            admitted += 1;
        }
    }
    assert_eq!(admitted, 303, "the burst, and 3 per 10 ns");
}

#[test]
fn cost_is_counted_and_what_never_fits_is_said_at_once() {
    let mut limiter = limiter(tens(0));
    for (now, cost, expected) in [
        (0, 4, Decision::NeverFits),
        (0, 2, Decision::Admitted),
        (0, 0, Decision::Admitted),
        (0, 2, rejected(100)),
        (100, 2, Decision::Admitted),
        (100, 3, rejected(300)),
        (400, 3, Decision::Admitted),
        (400, 0, Decision::Admitted),
    ] {
        assert_eq!(ask(&mut limiter, now, Request { cost, ..DEFAULT }), expected, "{cost} at {now}");
    }
}

#[test]
fn waiters_are_served_in_order_tower_454_794() {
    // Every waiter knows its time from the start, so none depends on being woken, and none is overtaken by
    // whoever asks at that moment.
    let mut limiter = limiter(tens(1_000));
    (0..3).for_each(|_| assert_eq!(ask(&mut limiter, 0, DEFAULT), Decision::Admitted));
    let line: Vec<Reservation> = (1..=10).map(|place| reserve(&mut limiter, 0, 1, place * 100)).collect();
    assert_eq!(ask(&mut limiter, 0, DEFAULT), rejected(1_100), "an eleventh would wait too long");
    let _used = reserve(&mut limiter, 500, 2, 1_200);
    assert!(line.is_sorted_by_key(Reservation::due));
}

#[test]
fn nobody_waits_beyond_a_deadline() {
    let ask_until = |limiter: &mut RateLimiter<String>, deadline: u64| {
        ask(limiter, 0, Request { cost: 1, deadline: Some(Deadline::at(at(deadline))) })
    };
    let mut limiter = limiter(tens(1_000));
    (0..3).for_each(|_| assert_eq!(ask_until(&mut limiter, 1), Decision::Admitted));
    assert_eq!(ask_until(&mut limiter, 100), rejected(100), "its turn would come as it ends");
    assert!(matches!(ask_until(&mut limiter, 101), Decision::Wait(_)));
    assert_eq!(ask_until(&mut limiter, 101), rejected(200), "and rejections used nothing up");
}

#[test]
fn a_cancelled_place_goes_to_the_next_if_nobody_came_after() {
    let mut limiter = limiter(tens(1_000));
    (0..3).for_each(|_| assert_eq!(ask(&mut limiter, 0, DEFAULT), Decision::Admitted));
    let last = reserve(&mut limiter, 0, 2, 200);
    assert_eq!(limiter.cancel(at(50), "a", last), 2, "the whole cost");
    let first = reserve(&mut limiter, 50, 1, 100);
    let second = reserve(&mut limiter, 50, 1, 200);
    assert_eq!(limiter.cancel(at(50), "a", first), 0, "the second was told its time");
    assert_eq!(limiter.cancel(at(50), "a", second), 1, "nobody came after the second");
    let again = reserve(&mut limiter, 50, 1, 200);
    assert_eq!(limiter.cancel(at(200), "a", again), 0, "its time has come: the place is used");
    let _used = reserve(&mut limiter, 200, 1, 300);
}

#[test]
fn places_are_given_back_from_the_end() {
    let mut limiter = limiter(tens(1_000));
    (0..3).for_each(|_| assert_eq!(ask(&mut limiter, 0, DEFAULT), Decision::Admitted));
    let mut line: Vec<Reservation> = (1..=5).map(|place| reserve(&mut limiter, 0, 1, place * 100)).collect();
    while let Some(last) = line.pop() {
        assert_eq!(limiter.cancel(at(50), "a", last), 1);
    }
    let _used = reserve(&mut limiter, 50, 1, 100);
}

#[test]
fn remaining_counts_down_and_refills() {
    let mut limiter = limiter(tens(1_000));
    assert_eq!(limiter.remaining(at(0), "a"), 3);
    assert_eq!(ask(&mut limiter, 0, Request { cost: 2, ..DEFAULT }), Decision::Admitted);
    for (now, expected) in [(0, 1), (99, 1), (100, 2), (200, 3), (900, 3)] {
        assert_eq!(limiter.remaining(at(now), "a"), expected, "at {now}");
    }
    assert_eq!(limiter.remaining(at(0), "b"), 3, "keys do not touch each other");
}

#[test]
fn a_reload_neither_forgets_nor_punishes() {
    let spent = |burst: u32| {
        let mut limiter = limiter(RateLimitConfig { burst: Some(burst), ..tens(0) });
        while ask(&mut limiter, 0, DEFAULT) == Decision::Admitted {}
        limiter
    };
    let per_second = |limit: u32, burst: u32| RateLimitConfig {
        limit_for_period: limit,
        burst: Some(burst),
        ..RateLimitConfig::default()
    };
    for (used, new, expected, why) in [
        (3, per_second(10, 3), rejected(100), "the same limit: the same wait"),
        (3, per_second(1_000, 3), rejected(1), "a higher rate helps at once"),
        (3, per_second(1, 3), rejected(1_000), "a lower rate holds from now on"),
        (3, per_second(10, 4), Decision::Admitted, "a larger burst has one more"),
        (9, per_second(10, 3), rejected(100), "no debt beyond the new burst"),
    ] {
        let mut limiter = spent(used);
        limiter.reconfigure(at(0), new);
        assert_eq!(ask(&mut limiter, 0, DEFAULT), expected, "{why}");
    }
}

#[test]
fn a_reload_keeps_places_in_line() {
    let mut limiter = limiter(tens(1_000));
    (0..3).for_each(|_| assert_eq!(ask(&mut limiter, 0, DEFAULT), Decision::Admitted));
    let first = reserve(&mut limiter, 0, 1, 100);
    let second = reserve(&mut limiter, 0, 1, 200);
    limiter.reconfigure(at(0), tens(500));
    assert_eq!(limiter.cancel(at(0), "a", second), 1, "other patience, same pace");
    limiter.reconfigure(at(0), RateLimitConfig { limit_for_period: 5, ..tens(1_000) });
    assert_eq!(limiter.cancel(at(0), "a", first), 0, "at another pace places cannot be compared");
    let _used = reserve(&mut limiter, 0, 1, 400);
}

#[test]
fn spent_quotas_survive_a_flood_of_names_governor_171() {
    let keys = KeyedConfig { max_keys: 100, idle_ttl: Duration::from_mins(10) };
    let config = RateLimitConfig { keys, ..tens(0) };
    let mut limiter = limiter(config);
    while limiter.acquire(at(0), "spent", DEFAULT) == Decision::Admitted {}
    let mut admitted = 0;
    for name in 0..10_000 {
        let decision = limiter.acquire(at(0), &format!("name {name}"), DEFAULT);
        admitted += u32::from(decision == Decision::Admitted);
        assert!(limiter.keys() <= 100);
    }
    assert_eq!(admitted, 99 + 3, "one each while there was room, and one quota for all the others");
    assert_eq!(limiter.acquire(at(0), "spent", DEFAULT), rejected(100), "still spent");
    let shared = Decision::Rejected { retry_after: ms(100), shared: true };
    assert_eq!(limiter.acquire(at(0), "one more", DEFAULT), shared);
    assert_eq!(limiter.acquire(at(100), "one more", DEFAULT), Decision::Admitted, "others have refilled");
    limiter.check_invariants();
}

#[test]
fn a_slow_quota_is_not_forgotten_by_being_idle() {
    // Five an hour, and keys are idle after ten minutes: coming back after eleven must not be a way to ten.
    let config = RateLimitConfig {
        limit_for_period: 5,
        limit_refresh_period: Duration::from_hours(1),
        ..RateLimitConfig::default()
    };
    let mut limiter = limiter(config);
    (0..5).for_each(|_| assert_eq!(ask(&mut limiter, 0, DEFAULT), Decision::Admitted));
    limiter.on_timer(at(11 * 60_000));
    assert_eq!(ask(&mut limiter, 11 * 60_000, DEFAULT), rejected(60_000));
}

#[test]
fn backwards_clock() {
    let mut limiter = limiter(tens(0));
    (0..3).for_each(|_| assert_eq!(ask(&mut limiter, 60_000, DEFAULT), Decision::Admitted));
    assert_eq!(ask(&mut limiter, 0, DEFAULT), rejected(100));
    assert_eq!(ask(&mut limiter, 60_100, DEFAULT), Decision::Admitted);
}

#[test]
fn a_quota_is_small() {
    let key = 64;
    let bytes = RateLimiter::<Box<str>>::BYTES_PER_KEY + key;
    assert!(bytes <= 256, "{bytes} bytes for a key of {key} bytes");
}

#[test]
fn validation_names_the_field() {
    let good = RateLimitConfig::default();
    assert_eq!(good.validate(), Ok(()));
    for (config, field) in [
        (RateLimitConfig { limit_for_period: 0, ..good }, "limit_for_period"),
        (RateLimitConfig { limit_refresh_period: Duration::ZERO, ..good }, "limit_refresh_period"),
        (RateLimitConfig { limit_refresh_period: Duration::MAX, ..good }, "limit_refresh_period"),
        (RateLimitConfig { limit_refresh_period: Duration::from_nanos(99), ..good }, "limit_refresh_period"),
        (RateLimitConfig { burst: Some(0), ..good }, "burst"),
        (RateLimitConfig { timeout_duration: Duration::MAX, ..good }, "timeout_duration"),
        (RateLimitConfig { keys: KeyedConfig { max_keys: 0, ..good.keys }, ..good }, "max_keys"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
    let month = Duration::from_hours(31 * 24);
    let longest = RateLimitConfig { limit_refresh_period: month, timeout_duration: month, ..good };
    assert_eq!(longest.validate(), Ok(()));
    let longer = month + Duration::from_nanos(1);
    for (config, field) in [
        (RateLimitConfig { limit_refresh_period: longer, ..good }, "limit_refresh_period"),
        (RateLimitConfig { timeout_duration: longer, ..good }, "timeout_duration"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field, "a nanosecond more than 31 days");
    }
}
