//! The port by which the gateway remembers idempotency keys. Whoever keeps them implements it; the gateway does not
//! know where they are.
//!
//! **Contract.** An answer is given only once what it says is on disk. `begin` of one key answers [`KeyBegun::New`]
//! once, until the execution has ended with [`KeyOutcome::NotExecuted`]; a token names one execution, and an execution
//! that was overtaken changes nothing.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Names one execution under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyToken(pub u64);

/// A key, with whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    /// Whose key it is: caller, method and route.
    pub scope: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
}

/// Somebody wants to execute something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBegin {
    /// Under which key.
    pub name: KeyName,
    /// A cryptographic digest of what is asked for.
    pub fingerprint: [u8; 32],
    /// How long it may take before its outcome counts as unknown.
    pub lease: Duration,
    /// Execute it again when the outcome of an earlier execution is unknown.
    pub resend: bool,
}

/// What whoever wants to execute is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyBegun {
    /// Execute it.
    New(KeyToken),
    /// Execute it again, under the same key: the outcome of an earlier execution is unknown.
    Again(KeyToken),
    /// Another execution is under way.
    InFlight {
        /// It may take so long at most.
        left: Duration,
    },
    /// It was executed; this is what was kept of it.
    Done(Vec<u8>),
    /// It was begun, and nobody knows how it ended.
    Unknown,
    /// The key belongs to another request.
    Mismatch,
}

/// How an execution has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOutcome {
    /// This is to be told to those who come again.
    Done(Vec<u8>),
    /// There is proof that nothing was executed.
    NotExecuted,
    /// Nobody knows.
    Unknown,
}

/// Why nothing was remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysError {
    /// There is no room now. Nothing was kept.
    Full(String),
    /// The execution was overtaken, or has ended before. Nothing was changed.
    Overtaken,
    /// A write has failed; nothing is acknowledged any more, and the node is about to end.
    Broken(String),
}

impl std::fmt::Display for KeysError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(why) | Self::Broken(why) => formatter.write_str(why),
            Self::Overtaken => formatter.write_str("another execution has overtaken this one"),
        }
    }
}

impl std::error::Error for KeysError {}

/// An answer that comes once it is durable. Dropping it takes nothing back.
pub type KeysReply<T> = Pin<Box<dyn Future<Output = Result<T, KeysError>> + Send>>;

/// Remembers keys and answers.
pub trait KeyKeeper: Send + Sync {
    /// Begins an execution, or tells why not.
    fn begin(&self, begin: KeyBegin) -> KeysReply<KeyBegun>;
    /// Ends an execution.
    fn finish(&self, name: &KeyName, token: KeyToken, outcome: KeyOutcome) -> KeysReply<()>;
}
