//! Keeps idempotency keys in memory, by the machine of `policy`; it can be told to fail, and what it is told is seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_observe::{
    Clock, KeyBegin, KeyBegun, KeyKeeper, KeyName, KeyOutcome, KeyToken, KeysError, KeysReply,
};
use seaworthy_policy::idempotency::{
    Arrival, Backend, Completion, Entry, Fingerprint, IdempotencyConfig, Token,
};

use crate::stub::PATIENCE;

/// What is remembered of one key.
struct Kept {
    entry: Option<Entry>,
    answer: Vec<u8>,
}

/// Scope and key.
type Name = (Vec<u8>, Vec<u8>);

#[derive(Default)]
pub(crate) struct Memory {
    keys: Mutex<BTreeMap<Name, Kept>>,
    tokens: AtomicU64,
    broken: AtomicBool,
    /// How long an answer to anything takes.
    pub(crate) delay: Mutex<Duration>,
    log: Mutex<Vec<&'static str>>,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on nothing is acknowledged.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// What it was told, in order.
    pub(crate) fn log(&self) -> Vec<&'static str> {
        self.log.lock().unwrap().clone()
    }

    fn note(&self, what: &'static str) {
        self.log.lock().unwrap().push(what);
    }

    fn reply<T: Send + 'static>(&self, result: T) -> KeysReply<T> {
        let broken = self.broken.load(Ordering::SeqCst);
        let delay = *self.delay.lock().unwrap();
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            if broken { Err(KeysError::Broken("the disk is gone".to_owned())) } else { Ok(result) }
        })
    }

    /// The store was closed in the middle: whoever executed something is gone.
    pub(crate) fn restart(&self) {
        for kept in self.keys.lock().unwrap().values_mut() {
            kept.entry = kept.entry.map(|entry| entry.recovered(Clock.now()));
        }
    }
}

fn config(resend: bool, lease: Duration) -> IdempotencyConfig {
    let backend = if resend { Backend::Honours } else { Backend::Unaware };
    IdempotencyConfig { backend, lease, ..IdempotencyConfig::default() }
}

impl KeyKeeper for Memory {
    fn begin(&self, begin: KeyBegin) -> KeysReply<KeyBegun> {
        let config = config(begin.resend, begin.lease);
        let token = Token(self.tokens.fetch_add(1, Ordering::SeqCst) + 1);
        let mut keys = self.keys.lock().unwrap();
        let kept = keys
            .entry((begin.name.scope, begin.name.key))
            .or_insert_with(|| Kept { entry: None, answer: Vec::new() });
        let now = Clock.now();
        let fingerprint = Fingerprint(begin.fingerprint);
        let (entry, arrival) = Entry::on_arrival(&config, kept.entry, now, fingerprint, token);
        kept.entry = Some(entry);
        let begun = match arrival {
            Arrival::Begin { token, .. } => KeyBegun::New(KeyToken(token.0)),
            Arrival::Resend { token, .. } => KeyBegun::Again(KeyToken(token.0)),
            // Longer than any test has patience: whoever waits has to be woken.
            Arrival::InFlight { .. } => KeyBegun::InFlight { left: PATIENCE * 2 },
            Arrival::Mismatch { .. } => KeyBegun::Mismatch,
            Arrival::Replay { .. } | Arrival::NotReplayable { .. } => KeyBegun::Done(kept.answer.clone()),
            Arrival::OutcomeUnknown => KeyBegun::Unknown,
        };
        drop(keys);
        self.note("begin");
        self.reply(begun)
    }

    fn finish(&self, name: &KeyName, token: KeyToken, outcome: KeyOutcome) -> KeysReply<()> {
        let mut keys = self.keys.lock().unwrap();
        let kept = keys.get_mut(&(name.scope.clone(), name.key.clone())).unwrap();
        let (completion, what) = match outcome {
            KeyOutcome::Done(answer) => {
                kept.answer = answer;
                (Completion::Answered { status: 200, replayable: true }, "done")
            }
            KeyOutcome::NotExecuted => (Completion::NotExecuted, "not executed"),
            KeyOutcome::Unknown => (Completion::NoAnswer, "unknown"),
        };
        let config = config(false, Duration::from_secs(20));
        let entry = kept.entry.unwrap();
        kept.entry = entry.on_completion(&config, Clock.now(), Token(token.0), completion);
        drop(keys);
        self.note(what);
        self.reply(())
    }
}
