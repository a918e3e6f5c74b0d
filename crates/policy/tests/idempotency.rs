//! Idempotency keys: the whole table, the map's bounds, a naive history, and a world that counts executions.

use std::collections::BTreeMap;
use std::time::Duration;

use seaworthy_policy::idempotency::{
    Arrival, Backend, Completion, Dialect, Entry, Fingerprint, Full, IN_FLIGHT_RETRY_AFTER_MAX, State, Token,
    Verdict,
};
use seaworthy_policy::{IdempotencyConfig, KeyMap, Rng, Time};

const SAME: Fingerprint = Fingerprint([1; 32]);
const OTHER: Fingerprint = Fingerprint([2; 32]);
const FIRST: Token = Token(1);
const NEXT: Token = Token(2);
const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

fn config(backend: Backend, dialect: Dialect) -> IdempotencyConfig {
    IdempotencyConfig {
        backend,
        dialect,
        retention: Duration::from_secs(1_000),
        lease: Duration::from_secs(20),
    }
}

fn entry(state: State) -> Entry {
    Entry { fingerprint: SAME, token: FIRST, sent_before: false, state }
}

#[test]
fn every_state_meets_every_request() {
    let flying = Some(entry(State::InFlight { deadline: at(20) }));
    let done = Some(entry(State::Done { since: at(5), replayable: true }));
    let large = Some(entry(State::Done { since: at(5), replayable: false }));
    let unknown = Some(entry(State::Unknown { since: at(5) }));
    let begin = |deadline| Arrival::Begin { token: NEXT, deadline: at(deadline) };
    let resend = |deadline| Arrival::Resend { token: NEXT, deadline: at(deadline) };
    let wait = |retry_after| Arrival::InFlight { token: FIRST, retry_after };
    let mismatch = |status| Arrival::Mismatch { status };
    let (plain, honours) = (Backend::Unaware, Backend::Honours);
    for (before, now, fingerprint, backend, expected) in [
        (None, 0, SAME, plain, begin(20)),
        (flying, 10, SAME, plain, wait(SECOND)),
        (flying, 10, SAME, honours, wait(SECOND)),
        (flying, 10, OTHER, plain, mismatch(422)),
        (flying, 20, SAME, plain, Arrival::OutcomeUnknown),
        (flying, 20, SAME, honours, resend(40)),
        (flying, 20, OTHER, honours, mismatch(422)),
        (flying, 1_019, SAME, plain, Arrival::OutcomeUnknown),
        (flying, 1_020, OTHER, plain, begin(1_040)),
        (done, 10, SAME, plain, Arrival::Replay { token: FIRST }),
        (done, 10, OTHER, plain, mismatch(422)),
        (done, 1_004, SAME, honours, Arrival::Replay { token: FIRST }),
        (done, 1_005, SAME, plain, begin(1_025)),
        (done, 1_005, OTHER, plain, begin(1_025)),
        (large, 10, SAME, plain, Arrival::NotReplayable { token: FIRST }),
        (large, 10, OTHER, plain, mismatch(422)),
        (unknown, 10, SAME, plain, Arrival::OutcomeUnknown),
        (unknown, 10, SAME, honours, resend(30)),
        (unknown, 10, OTHER, honours, mismatch(422)),
        (unknown, 1_005, SAME, plain, begin(1_025)),
    ] {
        let (_, arrival) =
            Entry::on_arrival(&config(backend, Dialect::Draft), before, at(now), fingerprint, NEXT);
        assert_eq!(arrival, expected, "{before:?} at {now} s, {backend:?}");
    }
    let (after, arrival) = Entry::on_arrival(&config(plain, Dialect::Stripe), done, at(10), OTHER, NEXT);
    assert_eq!((Some(after), arrival), (done, mismatch(400)), "and the entry is what it was");
}

#[test]
fn a_retry_after_is_short_and_never_nothing() {
    let flying = Some(entry(State::InFlight { deadline: Time::from_nanos(20_000_000_000) }));
    for (now, expected) in [(0, IN_FLIGHT_RETRY_AFTER_MAX), (19_999_999_999, Duration::from_nanos(1))] {
        let (_, arrival) =
            Entry::on_arrival(&IdempotencyConfig::default(), flying, Time::from_nanos(now), SAME, NEXT);
        assert_eq!(arrival, Arrival::InFlight { token: FIRST, retry_after: expected });
    }
}

#[test]
fn every_state_meets_every_completion() {
    let flying = State::InFlight { deadline: at(20) };
    let done = |since| Some(State::Done { since: at(since), replayable: true });
    let unknown = |since| Some(State::Unknown { since: at(since) });
    let answered = |status| Completion::Answered { status, replayable: true };
    for (sent_before, before, now, token, completion, expected) in [
        (false, flying, 10, FIRST, answered(201), done(10)),
        (false, flying, 10, FIRST, answered(404), done(10)),
        (false, flying, 10, FIRST, answered(429), None),
        (false, flying, 10, FIRST, answered(408), unknown(10)),
        (false, flying, 10, FIRST, answered(503), unknown(10)),
        (false, flying, 10, FIRST, Completion::NoAnswer, unknown(10)),
        (false, flying, 10, FIRST, Completion::NotExecuted, None),
        (false, flying, 10, NEXT, answered(201), Some(flying)),
        (false, flying, 10, NEXT, Completion::NotExecuted, Some(flying)),
        // Late, but nobody has sent it again: still the truth.
        (false, flying, 30, FIRST, answered(201), done(30)),
        (false, flying, 30, FIRST, Completion::NotExecuted, None),
        (false, flying, 30, FIRST, Completion::NoAnswer, unknown(20)),
        (false, State::Done { since: at(5), replayable: true }, 9, FIRST, Completion::NotExecuted, done(5)),
        (false, State::Done { since: at(5), replayable: true }, 9, FIRST, answered(500), done(5)),
        (false, State::Unknown { since: at(5) }, 9, NEXT, answered(201), unknown(5)),
        // The second sending was surely not executed; the first may have been.
        (true, flying, 10, FIRST, Completion::NotExecuted, unknown(10)),
        (true, flying, 10, FIRST, answered(409), unknown(10)),
        (true, flying, 10, FIRST, answered(200), done(10)),
    ] {
        let before = Entry { fingerprint: SAME, token: FIRST, sent_before, state: before };
        let after =
            before.on_completion(&config(Backend::Unaware, Dialect::Draft), at(now), token, completion);
        assert_eq!(
            after.map(|entry| entry.state),
            expected,
            "{before:?}, {completion:?} of {token:?} at {now} s"
        );
    }
}

#[test]
fn statuses_are_judged() {
    let draft = config(Backend::Unaware, Dialect::Draft);
    let stripe = config(Backend::Unaware, Dialect::Stripe);
    for (status, expected, for_stripe) in [
        (200, Verdict::Store, Verdict::Store),
        (302, Verdict::Store, Verdict::Store),
        (402, Verdict::Store, Verdict::Store),
        (408, Verdict::Unknown, Verdict::Unknown),
        (409, Verdict::NotExecuted, Verdict::NotExecuted),
        (425, Verdict::NotExecuted, Verdict::NotExecuted),
        (429, Verdict::NotExecuted, Verdict::NotExecuted),
        (500, Verdict::Unknown, Verdict::Store),
        (504, Verdict::Unknown, Verdict::Store),
    ] {
        assert_eq!((draft.judge(status), stripe.judge(status)), (expected, for_stripe), "{status}");
    }
}

#[test]
fn after_a_crash_what_was_in_flight_is_unknown() {
    for (state, expected) in [
        (State::InFlight { deadline: at(20) }, State::Unknown { since: at(7) }),
        (State::InFlight { deadline: at(3) }, State::Unknown { since: at(3) }),
        (State::Done { since: at(2), replayable: true }, State::Done { since: at(2), replayable: true }),
        (State::Unknown { since: at(2) }, State::Unknown { since: at(2) }),
    ] {
        assert_eq!(entry(state).recovered(at(7)).state, expected);
    }
}

#[test]
fn a_full_map_refuses_rather_than_forgets() {
    let config = config(Backend::Unaware, Dialect::Draft);
    let mut map: KeyMap<String> = KeyMap::new(config, 2, &mut Rng::seeded(1));
    let Ok(Arrival::Begin { token, .. }) = map.on_arrival(at(0), "a", SAME) else { panic!("new") };
    assert!(matches!(map.on_arrival(at(1), "b", SAME), Ok(Arrival::Begin { .. })));
    assert_eq!(map.on_arrival(at(2), "c", SAME), Err(Full { retry_after: Duration::from_secs(1_018) }));
    assert!(
        matches!(map.on_arrival(at(2), "a", SAME), Ok(Arrival::InFlight { .. })),
        "known keys are served"
    );
    map.on_completion(at(3), "a", token, Completion::Answered { status: 201, replayable: true });
    assert_eq!(map.on_arrival(at(4), "c", SAME), Err(Full { retry_after: Duration::from_secs(1_017) }));
    assert!(matches!(map.on_arrival(at(1_021), "c", SAME), Ok(Arrival::Begin { .. })), "b is over");
    assert_eq!(map.len(), 1, "and so is a");
    map.check_invariants();
}

#[test]
fn what_is_over_is_forgotten() {
    let config = config(Backend::Unaware, Dialect::Draft);
    let mut map: KeyMap<u64> = KeyMap::new(config, 100, &mut Rng::seeded(1));
    for key in 0..100 {
        map.on_arrival(at(key), &key, SAME).unwrap();
    }
    assert_eq!(map.next_deadline(), Some(at(1_020)));
    let mut timers = 0;
    while let Some(due) = map.next_deadline() {
        map.on_timer(due);
        map.check_invariants();
        timers += 1;
    }
    assert!(map.is_empty() && timers <= 100, "{timers} timers");
}

/// All that ever happened under one key, from which every answer is worked out anew.
#[derive(Default)]
struct History {
    executions: Vec<Execution>,
}

struct Execution {
    token: Token,
    fingerprint: Fingerprint,
    begun: Time,
    resent: bool,
    told: Vec<(Time, Completion)>,
}

#[derive(Debug, PartialEq)]
enum Known {
    New,
    Flying,
    Done(Time, bool),
    Unknown(Time),
}

impl History {
    fn known(&self, config: &IdempotencyConfig, now: Time) -> Known {
        let Some(latest) = self.executions.last() else { return Known::New };
        let deadline = latest.begun + config.lease;
        let mut known = if deadline <= now { Known::Unknown(deadline) } else { Known::Flying };
        for (when, completion) in &latest.told {
            let verdict = match completion {
                Completion::Answered { status, .. } => config.judge(*status),
                Completion::NotExecuted => Verdict::NotExecuted,
                Completion::NoAnswer => Verdict::Unknown,
            };
            let still_unknown = Known::Unknown(match known {
                Known::Unknown(since) => since.min(*when),
                _ => *when,
            });
            match (verdict, completion) {
                (Verdict::Store, Completion::Answered { replayable, .. }) => {
                    known = Known::Done(*when, *replayable);
                    break;
                }
                (Verdict::NotExecuted, _) if !latest.resent => return Known::New,
                _ => known = still_unknown,
            }
        }
        match known {
            Known::Done(since, _) | Known::Unknown(since) if since + config.retention <= now => Known::New,
            known => known,
        }
    }
}

#[test]
fn behaves_like_a_naive_history_and_never_executes_twice() {
    for seed in 0..300 {
        let mut rng = Rng::seeded(seed);
        let backend = if rng.chance(0.5) { Backend::Honours } else { Backend::Unaware };
        let dialect = if rng.chance(0.3) { Dialect::Stripe } else { Dialect::Draft };
        let config = IdempotencyConfig {
            backend,
            dialect,
            retention: Duration::from_secs(1 + rng.below(200)),
            lease: Duration::from_secs(1 + rng.below(20)),
        };
        assert_eq!(config.validate(), Ok(()));
        let mut map: KeyMap<u64> = KeyMap::new(config, 1_000, &mut rng);
        let mut histories: BTreeMap<u64, History> = BTreeMap::new();
        let mut now = Time::ZERO;
        for step in 0..300 {
            now = now + Duration::from_secs(rng.below(2) * rng.below(12));
            let key = rng.below(5);
            let place = format!("seed {seed}, step {step}, key {key} at {now:?}");
            let history = histories.entry(key).or_default();
            if rng.chance(0.5) {
                let fingerprint = if rng.chance(0.9) { SAME } else { OTHER };
                let known = history.known(&config, now);
                let arrival = map.on_arrival(now, &key, fingerprint).unwrap();
                check_arrival(&config, history, &known, fingerprint, arrival, &place);
                if let Arrival::Begin { token, deadline } | Arrival::Resend { token, deadline } = arrival {
                    assert_eq!(deadline, now + config.lease, "{place}");
                    let resent = matches!(arrival, Arrival::Resend { .. });
                    history.executions.push(Execution {
                        token,
                        fingerprint,
                        begun: now,
                        resent,
                        told: Vec::new(),
                    });
                }
            } else if !history.executions.is_empty() {
                // Of any execution, the latest or an older one, once or several times.
                let which = rng.below(history.executions.len() as u64) as usize;
                let status = [200, 201, 302, 404, 408, 409, 429, 500, 503][rng.below(9) as usize];
                let completion = match rng.below(4) {
                    0 => Completion::NotExecuted,
                    1 => Completion::NoAnswer,
                    _ => Completion::Answered { status, replayable: rng.chance(0.8) },
                };
                let forgotten = history.known(&config, now) == Known::New;
                let execution = &mut history.executions[which];
                map.on_completion(now, &key, execution.token, completion);
                if !forgotten {
                    execution.told.push((now, completion));
                }
            }
            map.check_invariants();
        }
    }
}

fn check_arrival(
    config: &IdempotencyConfig,
    history: &History,
    known: &Known,
    fingerprint: Fingerprint,
    arrival: Arrival,
    place: &str,
) {
    let latest = history.executions.last();
    let token = latest.map(|execution| execution.token);
    let matches = latest.is_none_or(|execution| execution.fingerprint == fingerprint);
    let honours = config.backend == Backend::Honours;
    let right = match (known, arrival) {
        (Known::New, Arrival::Begin { .. }) => true,
        (Known::New, _) | (_, Arrival::Begin { .. }) => false,
        (_, Arrival::Mismatch { .. }) => !matches,
        (Known::Flying, Arrival::InFlight { token: named, retry_after }) => {
            matches && Some(named) == token && !retry_after.is_zero()
        }
        (Known::Done(_, true), Arrival::Replay { token: named })
        | (Known::Done(_, false), Arrival::NotReplayable { token: named }) => matches && Some(named) == token,
        (Known::Unknown(_), Arrival::Resend { .. }) => matches && honours,
        (Known::Unknown(_), Arrival::OutcomeUnknown) => matches && !honours,
        _ => false,
    };
    assert!(right, "{place}: {arrival:?} for a key that is {known:?}");
}

#[test]
fn validation_names_the_field() {
    let good = IdempotencyConfig::default();
    assert_eq!((good.validate(), good.retention), (Ok(()), Duration::from_hours(24)));
    for (config, field) in [
        (IdempotencyConfig { retention: Duration::ZERO, ..good }, "retention"),
        (IdempotencyConfig { lease: Duration::ZERO, ..good }, "lease"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}
