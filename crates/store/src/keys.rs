//! Idempotency keys: one key, one execution, and what is told to those who come again.
//!
//! A key is *new*, *in flight* (until its lease ends), *done* with an answer, or its *outcome is unknown*: the
//! lease has ended, or whoever executed it is gone. An execution that a restart of this store has cut off is
//! unknown at once.
//!
//! Keys are forgotten by the bucket: everything that was begun in the same quarter of a retention is forgotten in
//! one piece, so that a key lives at least one retention and at most one and a quarter. Beginning it again begins its
//! life again, and no lease is longer than a retention: what is being executed is never forgotten.

use std::time::Duration;

use crate::{Reply, Timestamp};

/// Names one execution under a key; larger than every earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What to do when the outcome of an earlier execution is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Takeover {
    /// Say so.
    #[default]
    Never,
    /// Execute it again: the backend honours keys.
    WhenUnknown,
}

/// Somebody wants to execute something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Whose key it is: caller, method and route.
    pub scope: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
    /// A cryptographic digest of what is asked for.
    pub fingerprint: [u8; 32],
    /// How long an execution may take before its outcome counts as unknown.
    pub lease: Duration,
    /// Whether an unknown outcome is taken over.
    pub takeover: Takeover,
}

/// What whoever wants to execute is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Execute it; the key is on disk.
    New(Token),
    /// Execute it again, under the same key: the outcome of an earlier execution is unknown.
    Again(Token),
    /// Another execution is under way, at most until then.
    InFlight {
        /// From then on its outcome is unknown.
        until: Timestamp,
    },
    /// It was executed; this is the answer.
    Done(Vec<u8>),
    /// It was begun, and nobody knows how it ended.
    Unknown,
    /// The key belongs to another request.
    Mismatch,
}

/// How an execution has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With this answer, opaque; also after its lease, as long as nobody has executed it again.
    Done(Vec<u8>),
    /// There is proof that nothing was executed: the key is new again, unless an earlier execution is unknown.
    NotExecuted,
    /// Nobody knows.
    Unknown,
}

/// Keys and answers.
pub trait Keys: Send + Sync {
    /// Begins an execution, or tells why not.
    fn begin(&self, begin: Begin) -> Reply<Begun>;
    /// Ends an execution.
    fn finish(&self, scope: &[u8], key: &[u8], token: Token, outcome: Outcome) -> Reply<()>;
}
