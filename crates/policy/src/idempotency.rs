//! One key, one execution: what a request is told whose idempotency key was seen before.
//!
//! **Problem.** A client that heard nothing sends its order again. Both were received; it must be executed
//! once, and the second be told what became of the first. The difficult answer is neither yes nor no: sent,
//! and nobody knows what happened.
//!
//! **Model**, per key. *New* → **in flight** (a token, a fingerprint of the request, a deadline) → **done**
//! (the stored answer is replayed), or **unknown** (sent, not answered; or whoever executed it is gone). A
//! proof that nothing was executed makes the key new again.
//!
//! | a request with the key | same fingerprint | another one |
//! |---|---|---|
//! | new, or retention over | [`Arrival::Begin`] | `Begin` |
//! | in flight | [`Arrival::InFlight`]: 409 + Retry-After | [`Arrival::Mismatch`]: 422 (400 for clients made for Stripe) |
//! | done | [`Arrival::Replay`], marked as replayed; [`Arrival::NotReplayable`] if the answer was too large to keep | `Mismatch` |
//! | unknown | [`Arrival::Resend`] if the backend honours keys, otherwise [`Arrival::OutcomeUnknown`]: 409 | `Mismatch` |
//!
//! A **token** names one execution, so that a completion which comes late, after the request was sent again,
//! changes nothing. While nobody has sent it again, a late answer is still the truth, and turns unknown into
//! done. An execution whose deadline has passed is unknown, whether or not anybody noticed: that is what a
//! crash in flight looks like from outside. `recovered` says the same of what a store reads at its start. And
//! a proof that the *second* sending was not executed says nothing about the first.
//!
//! What is stored: 2xx, 3xx and 4xx, except 409, 425 and 429 (nothing was executed: the key is new again) and
//! 408. What a 408 or a 5xx has executed nobody knows, so it is *unknown*; for a backend that honours keys
//! that means: sent again. For clients made for Stripe, which expect a failure to be replayed, 5xx are stored
//! as well. An answer of ours that was never sent is [`Completion::NotExecuted`].
//!
//! **Rejected:** letting a second request through when the first has taken long (two executions); forgetting
//! the oldest key when there are too many (the same, by flooding): a full map refuses new keys instead, and
//! the rate limit that stands before it keeps one caller from filling it. Keys from the client as they are:
//! the shell scopes them by caller, method and route, and a fingerprint is a cryptographic digest of method,
//! target, content type and body.
//!
//! Worked number: retained for 24 h at 10 keyed requests per second are 864 000 entries, of at most 200 bytes
//! each plus the text of the key.
//!
//! After the IETF draft "The Idempotency-Key HTTP Header Field" (httpapi, 2025) and the behaviour of Stripe's
//! interface.

use std::time::Duration;

use crate::error::require_positive;
use crate::{ConfigError, Time};

mod map;

pub use map::{Full, KEYS_MAX_DEFAULT, KeyMap};

/// The longest that a request is told to wait for another one in flight.
pub const IN_FLIGHT_RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

/// Whether the backend, too, executes a key once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Nothing is known: what may have been executed is not sent again.
    #[default]
    Unaware,
    /// It honours keys: sending one again is harmless.
    Honours,
}

/// Whose expectations about failures are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The IETF draft: a mismatch is 422, failures of the backend are not replayed.
    #[default]
    Draft,
    /// Stripe's: a mismatch is 400, failures of the backend are replayed.
    Stripe,
}

/// How keys are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyConfig {
    /// Whether the backend honours keys.
    pub backend: Backend,
    /// Which clients are served.
    pub dialect: Dialect,
    /// How long a result, or its being unknown, is remembered.
    pub retention: Duration,
    /// How long one execution may take before its outcome is unknown; to be longer than the route's deadline.
    pub lease: Duration,
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        IdempotencyConfig {
            backend: Backend::Unaware,
            dialect: Dialect::Draft,
            retention: Duration::from_hours(24),
            // The default deadline of a route is 15 s, and an answer has to be stored as well.
            lease: Duration::from_secs(20),
        }
    }
}

impl IdempotencyConfig {
    /// Whether an execution has time, and its result a life.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_positive(self.retention, "retention")?;
        require_positive(self.lease, "lease")
    }

    /// The status for a key that belongs to another request.
    pub fn mismatch_status(&self) -> u16 {
        if self.dialect == Dialect::Stripe { 400 } else { 422 }
    }

    /// What one execution has proved. `alone`: no other attempt of it may have been executed; without that, an answer
    /// that nothing was executed speaks for itself only.
    pub fn settle(&self, status: u16, alone: bool) -> Verdict {
        match self.judge(status) {
            Verdict::NotExecuted if !alone => Verdict::Unknown,
            verdict => verdict,
        }
    }

    /// Whether an answer with this status is kept, and if not, what it says about the execution.
    pub fn judge(&self, status: u16) -> Verdict {
        match status {
            409 | 425 | 429 => Verdict::NotExecuted,
            500.. if self.dialect == Dialect::Stripe => Verdict::Store,
            408 | 500.. => Verdict::Unknown,
            _ => Verdict::Store,
        }
    }
}

/// What an answer says about the execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the result: keep it and replay it.
    Store,
    /// Nothing was executed.
    NotExecuted,
    /// Something may have been.
    Unknown,
}

/// A digest of what the request asks for (SHA-256 of method, target, content type and body).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// The name of one execution; never used twice for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What is remembered of a key. Plain, so that a store can keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the first request asked for.
    pub fingerprint: Fingerprint,
    /// The latest execution.
    pub token: Token,
    /// An earlier execution under this key has an unknown outcome, so that no proof about the latest makes
    /// the key new.
    pub sent_before: bool,
    /// What became of the latest.
    pub state: State,
}

/// What became of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may still end.
    InFlight {
        /// From then on its outcome is unknown.
        deadline: Time,
    },
    /// Its answer is stored.
    Done {
        /// Since when.
        since: Time,
        /// The answer was small enough to be kept whole.
        replayable: bool,
    },
    /// Nobody knows.
    Unknown {
        /// Since when.
        since: Time,
    },
}

/// What a request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Execute it. The entry must be durable before anything is sent.
    Begin {
        /// To be named in the completion.
        token: Token,
        /// From when on its outcome counts as unknown.
        deadline: Time,
    },
    /// Execute it again, under the same key: its outcome is unknown, and the backend honours keys. The entry
    /// must be durable before.
    Resend {
        /// To be named in the completion.
        token: Token,
        /// From when on its outcome counts as unknown.
        deadline: Time,
    },
    /// 409: the first is under way.
    InFlight {
        /// Which one; for whoever would rather wait for it.
        token: Token,
        /// When to ask again; always more than nothing.
        retry_after: Duration,
    },
    /// The key belongs to another request.
    Mismatch {
        /// 422, or 400 for clients made for Stripe.
        status: u16,
    },
    /// Answer what was stored for this execution, marked as replayed.
    Replay {
        /// Which one.
        token: Token,
    },
    /// 409: it was executed, and its answer was too large to keep.
    NotReplayable {
        /// Which one.
        token: Token,
    },
    /// 409, problem type `outcome-unknown`: it may have been executed.
    OutcomeUnknown,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// With an answer. It must be durable before it is told here.
    Answered {
        /// Its status.
        status: u16,
        /// It was kept whole.
        replayable: bool,
    },
    /// With proof that nothing was executed: not sent, refused, or rejected by us.
    NotExecuted,
    /// Sent, and not answered.
    NoAnswer,
}

impl Entry {
    /// What a request with this key is told, and what is remembered from then on. `token` is used if it is
    /// executed.
    pub fn on_arrival(
        config: &IdempotencyConfig,
        entry: Option<Entry>,
        now: Time,
        fingerprint: Fingerprint,
        token: Token,
    ) -> (Entry, Arrival) {
        let deadline = now + config.lease;
        let begun = Entry { fingerprint, token, sent_before: false, state: State::InFlight { deadline } };
        let Some(entry) = entry.map(|entry| entry.at(now)).filter(|entry| !entry.is_over(config, now)) else {
            return (begun, Arrival::Begin { token, deadline });
        };
        debug_assert!(entry.token != token, "a token names one execution");
        if entry.fingerprint != fingerprint {
            return (entry, Arrival::Mismatch { status: config.mismatch_status() });
        }
        let arrival = match entry.state {
            State::InFlight { deadline } => {
                let retry_after = deadline.saturating_since(now).min(IN_FLIGHT_RETRY_AFTER_MAX);
                Arrival::InFlight { token: entry.token, retry_after }
            }
            State::Done { replayable: true, .. } => Arrival::Replay { token: entry.token },
            State::Done { replayable: false, .. } => Arrival::NotReplayable { token: entry.token },
            State::Unknown { .. } if config.backend == Backend::Honours => {
                return (Entry { sent_before: true, ..begun }, Arrival::Resend { token, deadline });
            }
            State::Unknown { .. } => Arrival::OutcomeUnknown,
        };
        (entry, arrival)
    }

    /// What is remembered after an execution ended: `None` for a key that is new again. A completion of
    /// another execution than the latest, or of one that is done, changes nothing.
    #[must_use]
    pub fn on_completion(
        self,
        config: &IdempotencyConfig,
        now: Time,
        token: Token,
        completion: Completion,
    ) -> Option<Entry> {
        let entry = self.at(now);
        // What has been forgotten in one place and not yet in another must not come back to life.
        if entry.is_over(config, now) {
            return None;
        }
        if entry.token != token || matches!(entry.state, State::Done { .. }) {
            return Some(entry);
        }
        let (verdict, replayable) = match completion {
            Completion::Answered { status, replayable } => (config.judge(status), replayable),
            Completion::NotExecuted => (Verdict::NotExecuted, false),
            Completion::NoAnswer => (Verdict::Unknown, false),
        };
        match (verdict, entry.state) {
            (Verdict::NotExecuted, _) if !entry.sent_before => None,
            (Verdict::Store, _) => Some(Entry { state: State::Done { since: now, replayable }, ..entry }),
            // Unknown since its deadline is unknown since then.
            (_, State::Unknown { .. }) => Some(entry),
            _ => Some(Entry { state: State::Unknown { since: now }, ..entry }),
        }
    }

    /// The entry as a store finds it when it starts: whoever executed it is gone.
    #[must_use]
    pub fn recovered(self, now: Time) -> Entry {
        match self.at(now).state {
            State::InFlight { .. } => Entry { state: State::Unknown { since: now }, ..self },
            _ => self.at(now),
        }
    }

    /// The entry as it is at `now`: unknown once its deadline has passed.
    #[must_use]
    pub fn at(self, now: Time) -> Entry {
        match self.state {
            State::InFlight { deadline } if deadline <= now => {
                Entry { state: State::Unknown { since: deadline }, ..self }
            }
            _ => self,
        }
    }

    /// Whether it is to be forgotten.
    pub fn is_over(&self, config: &IdempotencyConfig, now: Time) -> bool {
        self.expires(config) <= now
    }

    /// When it is to be forgotten, if nothing more happens to it.
    pub fn expires(&self, config: &IdempotencyConfig) -> Time {
        let settled = match self.state {
            State::InFlight { deadline } => deadline,
            State::Done { since, .. } | State::Unknown { since } => since,
        };
        settled + config.retention
    }
}
