//! Where jobs come from, in the words that a lane needs. The store implements it; so does a topic's cursor.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use seaworthy_policy::admission::Priority;
use seaworthy_policy::delivery::Reason;

use crate::{CloudEvent, Pushed};

/// The right to settle a job; what it says is the source's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// Which job. Later ones have higher numbers.
    pub id: u64,
    /// Which claim of it.
    pub token: u64,
}

/// A job that was claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// To settle it with.
    pub receipt: Receipt,
    /// What its receiver tells repetitions by.
    pub name: String,
    /// Attempts that count so far.
    pub attempts: u32,
    /// Its last attempt was begun, and nobody said what became of it.
    pub interrupted: bool,
    /// How long ago it was due for the first time.
    pub age: Duration,
    /// How long it may still be attempted; zero when it no longer may.
    pub deadline: Option<Duration>,
    /// How long the claim holds.
    pub lease: Duration,
    /// How much it matters.
    pub priority: Priority,
    /// Its order key.
    pub order_key: Option<Vec<u8>>,
    /// As it was accepted.
    pub headers: HeaderMap,
    /// As it was accepted.
    pub body: Bytes,
    /// What it is.
    pub event: Option<CloudEvent>,
}

/// What becomes of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is delivered: forget it.
    Done,
    /// An attempt failed: due again after the delay, with that many attempts.
    Retry {
        /// How long from now.
        delay: Duration,
        /// Attempts that count by now.
        attempts: u32,
        /// What came of it.
        last: Option<Pushed>,
    },
    /// Nothing was attempted that counts: due again after the delay.
    Defer {
        /// How long from now.
        delay: Duration,
        /// Attempts that count, as before.
        attempts: u32,
    },
    /// It becomes a dead letter.
    Dead {
        /// Why.
        reason: Reason,
        /// Attempts that count.
        attempts: u32,
        /// What came of the last attempt, when that was one of ours.
        last: Option<Pushed>,
    },
}

/// Why a source did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// The receipt is good no more: somebody else has the job, or it is gone. Nothing is lost.
    Stale,
    /// It promises nothing any more; the process has to end.
    Broken(String),
}

/// Jobs to be delivered.
pub trait Source: Send + Sync + 'static {
    /// Hands out what is due, at most so many, each for so long. Nothing when nothing is due.
    fn claim(
        &self,
        max: u32,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Claimed>, SourceError>> + Send;
    /// Settles a claim; answers when that is durable.
    fn settle(
        &self,
        receipt: Receipt,
        settlement: Settlement,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;
    /// Holds a claim for so long from now; answers how long it holds.
    fn extend(
        &self,
        receipt: Receipt,
        lease: Duration,
    ) -> impl Future<Output = Result<Duration, SourceError>> + Send;
    /// How long until something is due, as far as is known; zero when something is, `None` when nothing waits.
    fn next_due(&self) -> Option<Duration>;
    /// Returns when something may have become due since the last claim. May return for nothing.
    fn ready(&self) -> impl Future<Output = ()> + Send;
}
