//! Random lives of idempotency keys.

use std::collections::BTreeMap;
use std::time::Duration;

use seaworthy_policy::Rng;
use seaworthy_store::{Begin, Begun, Keys, Options, Outcome, StoreError, Takeover, Timestamp, Token, verify};

use crate::stage::{Stage, each_seed, pick};

const RETENTION: Duration = Duration::from_secs(400);
const SECOND: Duration = Duration::from_secs(1);
const STEPS: usize = 250;

#[derive(Clone)]
struct Key {
    fingerprint: u8,
    begun: Timestamp,
    token: Token,
    until: Timestamp,
    /// `None`: in flight.
    ended: Option<Outcome>,
    sent_before: bool,
}

/// Forgotten by the quarter of a retention in which it was begun.
fn is_forgotten(key: &Key, now: Timestamp) -> bool {
    let quarter = RETENTION.as_millis() as u64 / 4;
    now.0 >= (key.begun.0 / quarter + 1) * quarter + 4 * quarter
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<(u8, u8), Key>,
    /// All executions: key and token.
    tokens: Vec<((u8, u8), Token)>,
}

#[test]
fn keys_do_what_the_naive_model_does() {
    each_seed(|rng| {
        let mut stage = Stage::new(Options { retention: RETENTION, ..Options::default() });
        let mut model = Model::default();
        for _ in 0..STEPS {
            let now = stage.now();
            model.keys.retain(|_, key| !is_forgotten(key, now));
            match rng.below(100) {
                0..50 => begin(&stage, &mut model, rng),
                50..85 => finish(&stage, &mut model, rng),
                85..95 => stage.pass(SECOND * rng.below(20) as u32),
                95..97 => stage.pass(SECOND * rng.below(300) as u32),
                _ => {
                    stage.reopen();
                    // Who executed it is gone.
                    for key in model.keys.values_mut().filter(|key| key.ended.is_none()) {
                        key.until = Timestamp(0);
                    }
                }
            }
        }
        stage.close();
        let checked = verify(stage.folder.path()).unwrap();
        assert!(checked.is_whole(), "{checked:?}");
    });
}

fn begin(stage: &Stage, model: &mut Model, rng: &mut Rng) {
    let (name, now) = ((rng.below(2) as u8, rng.below(8) as u8), stage.now());
    let asked = Begin {
        scope: vec![name.0],
        key: vec![name.1],
        fingerprint: [pick(rng, &[1, 1, 1, 2]); 32],
        lease: SECOND * (1 + rng.below(30)) as u32,
        takeover: pick(rng, &[Takeover::Never, Takeover::WhenUnknown]),
    };
    let (fingerprint, until) = (asked.fingerprint[0], now.after(asked.lease));
    let said = stage.store().begin(asked.clone()).wait().unwrap();
    let newest = |token: Token| model.tokens.iter().all(|(_, earlier)| *earlier < token);
    let Some(key) = model.keys.get_mut(&name) else {
        let Begun::New(token) = said else { panic!("a new key is new, not {said:?}") };
        assert!(newest(token));
        model.tokens.push((name, token));
        let key = Key { fingerprint, begun: now, token, until, ended: None, sent_before: false };
        model.keys.insert(name, key);
        return;
    };
    let is_unknown = key.ended == Some(Outcome::Unknown) || key.ended.is_none() && key.until <= now;
    match (&key.ended, said) {
        (_, said) if key.fingerprint != fingerprint => assert_eq!(said, Begun::Mismatch),
        (Some(Outcome::Done(answer)), said) => assert_eq!(said, Begun::Done(answer.clone())),
        (_, Begun::Again(token)) if is_unknown && asked.takeover == Takeover::WhenUnknown => {
            assert!(newest(token));
            model.tokens.push((name, token));
            (key.token, key.until, key.ended, key.sent_before) = (token, until, None, true);
            key.begun = now;
        }
        (_, said) if is_unknown => {
            assert_eq!((said, asked.takeover), (Begun::Unknown, Takeover::Never));
        }
        (_, said) => assert_eq!(said, Begun::InFlight { until: key.until }),
    }
}

fn finish(stage: &Stage, model: &mut Model, rng: &mut Rng) {
    if model.tokens.is_empty() {
        return;
    }
    let recent = model.tokens.len().saturating_sub(12);
    let index = recent + rng.below((model.tokens.len() - recent) as u64) as usize;
    let (name, token) = model.tokens[index];
    let outcome = match rng.below(4) {
        0 => Outcome::NotExecuted,
        1 => Outcome::Unknown,
        _ => Outcome::Done(rng.next_u64().to_le_bytes().to_vec()),
    };
    let said = stage.store().finish(&[name.0], &[name.1], token, outcome.clone()).wait();
    let latest = model.keys.get_mut(&name).filter(|key| key.token == token);
    let Some(key) = latest.filter(|key| !matches!(key.ended, Some(Outcome::Done(_)))) else {
        assert_eq!(said, Err(StoreError::Stale));
        return;
    };
    assert_eq!(said, Ok(()));
    match outcome {
        Outcome::NotExecuted if !key.sent_before => {
            model.keys.remove(&name);
        }
        Outcome::NotExecuted => key.ended = Some(Outcome::Unknown),
        other => key.ended = Some(other),
    }
}
