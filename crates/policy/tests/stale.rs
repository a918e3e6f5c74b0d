//! Stored answers: the windows, the one flight, what comes late, and a naive model.

use std::time::Duration;

use seaworthy_policy::stale::{Answer, Flight, Landing, Lifetime};
use seaworthy_policy::{Cached, FailureClass, Rng, StaleConfig, Time};

const LIFETIME: Lifetime = Lifetime {
    ttl: Duration::from_secs(2),
    stale_while_revalidate: Duration::from_secs(3),
    stale_if_error: Duration::from_mins(1),
};

fn config() -> StaleConfig {
    let config = StaleConfig { lifetime: LIFETIME, max_waiters: 3, ..StaleConfig::default() };
    assert_eq!(config.validate(), Ok(()));
    config
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn fetch(cached: &mut Cached, now: u64) -> Flight {
    match cached.on_request(&config(), at(now)) {
        Answer::Fetch(flight) | Answer::Stale { refresh: Some(flight), .. } => flight,
        other => panic!("no flight at {now} but {other:?}"),
    }
}

/// An answer fetched at time zero, and there at once.
fn filled() -> Cached {
    let mut cached = Cached::new();
    let flight = fetch(&mut cached, 0);
    let landing = cached.on_answer(at(0), flight, Duration::ZERO, LIFETIME);
    assert_eq!(landing, Landing { stored: true, waiters: 0 });
    cached
}

fn flight(number: u64, began: u64) -> Flight {
    Flight { number, began: at(began), due: at(began + 5_000) }
}

#[test]
fn the_windows_are_counted_from_the_end_of_ttl() {
    for (now, expected) in [
        (0, Answer::Fresh { age: ms(0) }),
        (1_999, Answer::Fresh { age: ms(1_999) }),
        (2_000, Answer::Stale { age: ms(2_000), refresh: Some(flight(2, 2_000)) }),
        (4_999, Answer::Stale { age: ms(4_999), refresh: Some(flight(2, 4_999)) }),
        (5_000, Answer::Fetch(flight(2, 5_000))),
        (61_999, Answer::Fetch(flight(2, 61_999))),
    ] {
        assert_eq!(filled().on_request(&config(), at(now)), expected, "at {now}");
    }
    for (now, expected) in [(0, Some(ms(0))), (61_999, Some(ms(61_999))), (62_000, None)] {
        assert_eq!(filled().on_error(&config(), at(now), FailureClass::Error), expected, "at {now}");
        assert_eq!(filled().is_over(at(now)), expected.is_none(), "at {now}");
    }
}

#[test]
fn where_something_else_comes_first_every_request_tries() {
    for coalesce in [true, false] {
        for (spare_backend, tries) in [(true, false), (false, true)] {
            let config = StaleConfig { coalesce, spare_backend, ..config() };
            let mut cached = filled();
            let Answer::Fetch(flight) = cached.on_request(&config, at(9_000)) else { panic!("it is old") };
            cached.on_failed(&config, at(9_000), flight, FailureClass::Error);
            let answer = cached.on_request(&config, at(9_001));
            let tried = matches!(answer, Answer::Fetch(_) | Answer::Pass);
            assert_eq!(tried, tries, "coalesce: {coalesce}: {answer:?}");
            assert_eq!(cached.on_error(&config, at(9_001), FailureClass::Error), Some(ms(9_001)));
        }
    }
}

#[test]
fn only_failures_of_the_backend_excuse_a_stale_answer() {
    let silent = StaleConfig { stale_on_rejected: false, ..config() };
    for (class, excused, unless_rejected) in [
        (FailureClass::Error, true, true),
        (FailureClass::Unreachable, true, true),
        (FailureClass::Timeout, true, true),
        (FailureClass::Rejected, true, false),
        (FailureClass::CallerError, false, false),
        (FailureClass::CallerCancelled, false, false),
        (FailureClass::OutcomeUnknown, false, false),
    ] {
        let cached = filled();
        assert_eq!(cached.on_error(&config(), at(9_000), class).is_some(), excused, "{class:?}");
        assert_eq!(cached.on_error(&silent, at(9_000), class).is_some(), unless_rejected, "{class:?}");
    }
}

#[test]
fn must_revalidate_is_obeyed() {
    let mut cached = Cached::new();
    let first = fetch(&mut cached, 0);
    cached.on_answer(at(0), first, Duration::ZERO, LIFETIME.must_revalidate());
    assert_eq!(cached.on_request(&config(), at(1_999)), Answer::Fresh { age: ms(1_999) });
    assert_eq!(cached.on_error(&config(), at(2_000), FailureClass::Error), None);
    assert_eq!(cached.on_request(&config(), at(2_000)), Answer::Fetch(flight(2, 2_000)));
}

#[test]
fn age_counts_from_the_take_off_and_from_the_origin() {
    let mut cached = Cached::new();
    let first = fetch(&mut cached, 1_000);
    cached.on_answer(at(1_700), first, ms(500), LIFETIME);
    assert_eq!(cached.on_request(&config(), at(1_700)), Answer::Fresh { age: ms(1_200) });
    let mut old = Cached::new();
    let first = fetch(&mut old, 0);
    old.on_answer(at(0), first, Duration::from_hours(1), LIFETIME);
    assert!(matches!(old.on_request(&config(), at(0)), Answer::Fetch(_)), "older than the beginning of time");
}

#[test]
fn one_refresh_per_interval_nginx_1000() {
    // Down for a minute, a hundred requests per second: everybody gets the stale answer, and the backend one
    // request per 5 s.
    let mut cached = filled();
    let mut attempts = Vec::new();
    for now in (2_000..62_000).step_by(10) {
        match cached.on_request(&config(), at(now)) {
            Answer::Stale { refresh: None, .. } => {}
            Answer::Stale { refresh: Some(flight), .. } | Answer::Fetch(flight) => {
                attempts.push(now);
                cached.on_failed(&config(), at(now), flight, FailureClass::Unreachable);
                assert!(cached.on_error(&config(), at(now), FailureClass::Unreachable).is_some());
            }
            other => panic!("{other:?} at {now}"),
        }
    }
    assert_eq!(attempts, (0..12).map(|number| 2_000 + number * 5_000).collect::<Vec<u64>>());
}

#[test]
fn all_waiters_are_woken_tower_794() {
    let mut cached = Cached::new();
    let first = fetch(&mut cached, 0);
    let wait = Answer::Wait { flight: 1, until: at(5_000) };
    let asked: Vec<Answer> = (0..4).map(|now| cached.on_request(&config(), at(now))).collect();
    assert_eq!(asked, [wait, wait, wait, Answer::Busy { retry_after: ms(4_997) }], "up to three wait");
    cached.on_waiter_left(at(4), 1);
    assert_eq!(cached.on_request(&config(), at(5)), wait, "a place is free again");
    let landing = cached.on_answer(at(6), first, Duration::ZERO, LIFETIME);
    assert_eq!(landing, Landing { stored: true, waiters: 3 });
    assert!(matches!(cached.on_request(&config(), at(6)), Answer::Fresh { .. }));
    for end in [
        |cached: &mut Cached, flight| cached.on_failed(&config(), at(9), flight, FailureClass::Error),
        |cached: &mut Cached, flight| cached.on_cancelled(at(9), flight),
        |cached: &mut Cached, flight| cached.on_uncacheable(&config(), at(9), flight),
    ] {
        let mut cached = Cached::new();
        let first = fetch(&mut cached, 0);
        (0..3).for_each(|_| assert_eq!(cached.on_request(&config(), at(0)), wait));
        assert_eq!(end(&mut cached, first), Landing { stored: false, waiters: 3 });
    }
}

#[test]
fn a_flight_that_never_returns_does_not_hold_the_others() {
    let mut cached = Cached::new();
    let lost = fetch(&mut cached, 0);
    assert!(matches!(cached.on_request(&config(), at(4_999)), Answer::Wait { .. }));
    let second = fetch(&mut cached, 5_000);
    assert_eq!((lost.number, second.number), (1, 2));
    assert!(matches!(cached.on_request(&config(), at(5_001)), Answer::Wait { flight: 2, .. }));
    // Late, but the newest there is: it serves whoever waits, and the younger flight still goes on.
    let landing = cached.on_answer(at(5_002), lost, Duration::ZERO, LIFETIME);
    assert_eq!(landing, Landing { stored: true, waiters: 1 });
    assert!(cached.on_answer(at(6_000), second, Duration::ZERO, LIFETIME).stored);
    assert_eq!(cached.on_request(&config(), at(6_000)), Answer::Fresh { age: ms(1_000) });
}

#[test]
fn with_something_to_show_a_lost_flight_counts_as_failed() {
    let mut cached = filled();
    let _lost = fetch(&mut cached, 5_000);
    assert_eq!(cached.on_request(&config(), at(10_000)), Answer::Stale { age: ms(10_000), refresh: None });
    assert_eq!(cached.on_request(&config(), at(14_999)), Answer::Stale { age: ms(14_999), refresh: None });
    assert_eq!(cached.on_request(&config(), at(15_000)), Answer::Fetch(flight(3, 15_000)));
}

#[test]
fn a_late_answer_does_not_replace_a_newer_one() {
    let mut cached = Cached::new();
    let lost = fetch(&mut cached, 0);
    let second = fetch(&mut cached, 5_000);
    assert!(cached.on_answer(at(5_001), second, Duration::ZERO, LIFETIME).stored);
    assert_eq!(
        cached.on_answer(at(5_002), lost, Duration::ZERO, LIFETIME),
        Landing { stored: false, waiters: 0 }
    );
    assert_eq!(cached.on_request(&config(), at(5_002)), Answer::Fresh { age: ms(2) });
}

#[test]
fn nothing_fetched_before_a_write_is_stored_after_it() {
    let mut cached = filled();
    let early = fetch(&mut cached, 5_000);
    assert!(matches!(cached.on_request(&config(), at(5_000)), Answer::Wait { .. }));
    assert_eq!(cached.invalidate(at(5_001)), 1);
    let later = fetch(&mut cached, 5_001);
    assert!(!cached.on_answer(at(5_002), early, Duration::ZERO, LIFETIME).stored);
    assert_eq!(cached.on_error(&config(), at(5_002), FailureClass::Error), None, "and nothing old is shown");
    assert!(cached.on_answer(at(5_003), later, Duration::ZERO, LIFETIME).stored);
}

#[test]
fn what_may_not_be_stored_does_not_make_a_line() {
    let mut cached = filled();
    let first = fetch(&mut cached, 5_000);
    cached.on_uncacheable(&config(), at(5_100), first);
    assert!((0..10).all(|_| cached.on_request(&config(), at(5_100)) == Answer::Pass));
    assert_eq!(cached.on_request(&config(), at(10_100)), Answer::Fetch(flight(3, 10_100)));
}

#[test]
fn a_refresh_that_its_caller_gave_up_is_no_failure() {
    let mut cached = filled();
    let first = fetch(&mut cached, 2_000);
    cached.on_cancelled(at(2_100), first);
    let expected = Answer::Stale { age: ms(2_100), refresh: Some(flight(3, 2_100)) };
    assert_eq!(cached.on_request(&config(), at(2_100)), expected);
    cached.on_failed(&config(), at(2_200), flight(3, 2_100), FailureClass::CallerCancelled);
    let expected = Answer::Stale { age: ms(2_200), refresh: Some(flight(4, 2_200)) };
    assert_eq!(cached.on_request(&config(), at(2_200)), expected, "in whatever words");
}

#[test]
fn those_who_wait_do_not_fail_one_behind_the_other() {
    let mut cached = Cached::new();
    let first = fetch(&mut cached, 0);
    assert!(matches!(cached.on_request(&config(), at(1)), Answer::Wait { .. }));
    let landing = cached.on_failed(&config(), at(100), first, FailureClass::Unreachable);
    assert_eq!(landing, Landing { stored: false, waiters: 1 });
    assert!((0..10).all(|_| cached.on_request(&config(), at(100)) == Answer::Pass));
    assert!(cached.is_failing());
}

#[test]
fn a_busy_service_does_not_wipe_what_is_stored() {
    let mut cached = filled();
    let first = fetch(&mut cached, 5_000);
    cached.on_unwanted(&config(), at(5_100), first);
    assert_eq!(cached.on_request(&config(), at(5_100)), Answer::Pass);
    assert!(cached.on_error(&config(), at(5_200), FailureClass::Error).is_some());
}

#[test]
fn answers_kept_for_bad_times_only_make_nobody_wait() {
    let kept = Lifetime { stale_if_error: Duration::from_mins(10), ..Lifetime::default() };
    let config = StaleConfig { lifetime: kept, coalesce: false, ..StaleConfig::default() };
    let mut cached = Cached::new();
    let take = |cached: &mut Cached, now| match cached.on_request(&config, at(now)) {
        Answer::Fetch(flight) => flight,
        other => panic!("{other:?}"),
    };
    let (first, second, third) = (take(&mut cached, 0), take(&mut cached, 1), take(&mut cached, 2));
    assert!(cached.on_answer(at(10), second, Duration::ZERO, kept).stored);
    assert!(!cached.on_answer(at(11), first, Duration::ZERO, kept).stored, "a newer one is there");
    cached.on_failed(&config, at(20), third, FailureClass::Timeout);
    // One at a time finds out whether the backend is well again, once per interval; all others are served.
    let stale = |age, refresh| Answer::Stale { age: ms(age), refresh };
    assert_eq!(cached.on_request(&config, at(5_019)), stale(5_018, None));
    let probe = flight(4, 5_020);
    assert_eq!(cached.on_request(&config, at(5_020)), stale(5_019, Some(probe)));
    assert_eq!(cached.on_request(&config, at(5_021)), stale(5_020, None));
    cached.on_failed(&config, at(5_030), probe, FailureClass::Unreachable);
    assert_eq!(cached.on_request(&config, at(10_029)), stale(10_028, None));
    let Answer::Stale { refresh: Some(probe), .. } = cached.on_request(&config, at(10_030)) else { panic!() };
    assert!(cached.on_answer(at(10_031), probe, Duration::ZERO, kept).stored);
    assert!(!cached.is_failing());
    take(&mut cached, 10_032);
}

/// Everything kept: flights with their ends, and answers in the order of their flights.
#[derive(Default)]
struct Model {
    /// Flights under way or lost, to be landed in any order.
    airborne: Vec<Flight>,
    answers: Vec<(u64, u64, Lifetime)>,
    outdated: u64,
    current: Option<Flight>,
    waiting: u32,
    begun: u64,
    quiet_until: u64,
    pass_until: u64,
}

impl Model {
    fn lose(&mut self, config: &StaleConfig, now: u64) {
        if let Some(flight) = self.current.filter(|flight| flight.due.as_nanos() <= now) {
            self.quiet_until = flight.due.as_nanos() + config.retry_interval.as_nanos() as u64;
            (self.current, self.waiting) = (None, 0);
        }
    }

    fn newest(&self) -> Option<(u64, u64, Lifetime)> {
        self.answers
            .iter()
            .copied()
            .filter(|(number, ..)| *number > self.outdated)
            .max_by_key(|(number, ..)| *number)
    }

    /// What a request must get; flights by number only.
    fn expected(&self, config: &StaleConfig, now: u64) -> String {
        let nanos = |span: Duration| span.as_nanos() as u64;
        if let Some((_, born, lifetime)) = self.newest() {
            let beyond = (now - born).checked_sub(nanos(lifetime.ttl));
            let quiet = now < self.quiet_until;
            match beyond {
                None => return "fresh".to_owned(),
                Some(beyond) if beyond < nanos(lifetime.stale_while_revalidate) => {
                    let refresh = !quiet && self.current.is_none();
                    return format!("stale, refresh {refresh}");
                }
                Some(beyond) if quiet && beyond < nanos(lifetime.stale_if_error) => {
                    return "stale, refresh false".to_owned();
                }
                Some(_) => {}
            }
        }
        match self.current {
            _ if now < self.pass_until => "pass".to_owned(),
            None => "fetch".to_owned(),
            Some(_) if self.waiting >= config.max_waiters => "busy".to_owned(),
            Some(flight) => format!("wait {}", flight.number),
        }
    }

    fn end(&mut self, flight: Flight, always: bool) -> u32 {
        let current = self.current == Some(flight);
        if current {
            self.current = None;
        }
        if current || always { std::mem::take(&mut self.waiting) } else { 0 }
    }
}

fn named(answer: Answer) -> String {
    match answer {
        Answer::Fresh { .. } => "fresh".to_owned(),
        Answer::Stale { refresh, .. } => format!("stale, refresh {}", refresh.is_some()),
        Answer::Fetch(_) => "fetch".to_owned(),
        Answer::Wait { flight, .. } => format!("wait {flight}"),
        Answer::Pass => "pass".to_owned(),
        Answer::Busy { .. } => "busy".to_owned(),
    }
}

#[test]
fn behaves_like_a_naive_cache() {
    for seed in 0..300 {
        let mut rng = Rng::seeded(seed);
        let mut span = |most: u64| Duration::from_nanos(rng.below(most));
        let lifetime =
            Lifetime { ttl: span(50), stale_while_revalidate: span(50), stale_if_error: span(200) };
        let config = StaleConfig {
            lifetime,
            flight_timeout: span(40) + Duration::from_nanos(1),
            retry_interval: span(40) + Duration::from_nanos(1),
            max_waiters: 2,
            ..StaleConfig::default()
        };
        assert_eq!(config.validate(), Ok(()));
        let (mut cached, mut model) = (Cached::new(), Model::default());
        let mut now = 0;
        for step in 0..400 {
            now += rng.below(2) * rng.below(30);
            model.lose(&config, now);
            let place = format!("seed {seed}, step {step}, at {now} ns");
            if rng.chance(0.6) || model.airborne.is_empty() {
                request(&config, &mut cached, &mut model, now, &place);
            } else if rng.chance(0.05) {
                assert_eq!(cached.invalidate(Time::from_nanos(now)), model.waiting, "{place}");
                (model.current, model.waiting, model.outdated) = (None, 0, model.begun);
            } else {
                land(&config, &mut cached, &mut model, now, &mut rng, &place);
            }
            cached.check_invariants();
        }
    }
}

fn request(config: &StaleConfig, cached: &mut Cached, model: &mut Model, now: u64, place: &str) {
    let expected = model.expected(config, now);
    let answer = cached.on_request(config, Time::from_nanos(now));
    assert_eq!(named(answer), expected, "{place}");
    match answer {
        Answer::Fetch(flight) | Answer::Stale { refresh: Some(flight), .. } => {
            assert!(model.current.is_none(), "{place}: one flight at a time");
            model.begun += 1;
            assert_eq!(flight.number, model.begun, "{place}");
            model.current = Some(flight);
            model.airborne.push(flight);
        }
        Answer::Wait { .. } => model.waiting += 1,
        _ => {}
    }
}

fn land(config: &StaleConfig, cached: &mut Cached, model: &mut Model, now: u64, rng: &mut Rng, place: &str) {
    let flight = model.airborne.swap_remove(rng.below(model.airborne.len() as u64) as usize);
    let time = Time::from_nanos(now);
    let newest =
        model.newest().is_none_or(|(number, ..)| number < flight.number) && flight.number > model.outdated;
    let (landing, expected) = match rng.below(5) {
        0 => {
            let landing = cached.on_failed(config, time, flight, FailureClass::Timeout);
            if model.current == Some(flight) {
                model.quiet_until = now + config.retry_interval.as_nanos() as u64;
                model.pass_until = model.quiet_until;
            }
            (landing, Landing { stored: false, waiters: model.end(flight, false) })
        }
        1 => {
            let landing = cached.on_uncacheable(config, time, flight);
            if newest {
                model.answers.clear();
                model.pass_until = now + config.retry_interval.as_nanos() as u64;
            }
            (landing, Landing { stored: false, waiters: model.end(flight, false) })
        }
        2 => {
            let landing = cached.on_cancelled(time, flight);
            (landing, Landing { stored: false, waiters: model.end(flight, false) })
        }
        3 => {
            let landing = cached.on_unwanted(config, time, flight);
            model.pass_until = now + config.retry_interval.as_nanos() as u64;
            (landing, Landing { stored: false, waiters: model.end(flight, false) })
        }
        _ => {
            let landing = cached.on_answer(time, flight, Duration::ZERO, config.lifetime);
            if newest {
                model.answers.push((flight.number, flight.began.as_nanos(), config.lifetime));
                (model.quiet_until, model.pass_until) = (0, 0);
            }
            (landing, Landing { stored: newest, waiters: model.end(flight, newest) })
        }
    };
    assert_eq!(landing, expected, "{place}: {flight:?}");
}

#[test]
fn validation_names_the_field() {
    let good = StaleConfig::default();
    assert_eq!(good.validate(), Ok(()));
    for (config, field) in [
        (StaleConfig { flight_timeout: Duration::ZERO, ..good }, "flight_timeout"),
        (StaleConfig { retry_interval: Duration::ZERO, ..good }, "retry_interval"),
        (StaleConfig { max_waiters: 0, ..good }, "max_waiters"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}
