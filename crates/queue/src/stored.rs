//! A queue of the store as a [`Source`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use seaworthy_policy::admission::Priority;
use seaworthy_policy::delivery::{Answer, Guarantee, Proof};
use seaworthy_store::{
    Attempt, Burial, Claim, Clock, Holder, JobId, Jobs, Nack, StoreError, Timestamp as Millis,
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::cloud_event::CloudEvent;
use crate::envelope::decode_headers;
use crate::push::Pushed;
use crate::source::{Claimed, Receipt, Settlement, Source, SourceError};

/// How often a settlement is tried while the store has no room for it, and how long lies between; then the lease ends
/// the claim.
const TRIES_MAX: u32 = 200;
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// Retries that are remembered, where a job must not be executed twice.
const REMEMBERED_MAX: usize = 100_000;

/// A queue of a store.
pub struct Stored<S> {
    store: Arc<S>,
    queue: String,
    clock: Clock,
    guarantee: Guarantee,
    hint: Arc<Notify>,
    /// Jobs that we gave back after an attempt, with their attempts. Whoever comes back with others was interrupted; after
    /// a restart, so was everybody. Only where that matters.
    retried: Mutex<BTreeMap<u64, u32>>,
}

/// The level that the store gives to a priority.
pub fn level_of(priority: Priority) -> u8 {
    match priority {
        Priority::Sheddable => 0,
        Priority::SheddablePlus => 1,
        Priority::Critical => 2,
        Priority::CriticalPlus => 3,
    }
}

fn priority_of(level: u8) -> Priority {
    match level {
        0 => Priority::Sheddable,
        1 => Priority::SheddablePlus,
        2 => Priority::Critical,
        _ => Priority::CriticalPlus,
    }
}

impl<S: Jobs + 'static> Stored<S> {
    /// This queue of this store, whose clock it is.
    pub fn new(store: Arc<S>, queue: &str, clock: Clock, guarantee: Guarantee) -> Self {
        let hint = Arc::new(Notify::new());
        let wake = Arc::clone(&hint);
        store.on_ready(queue, Arc::new(move || wake.notify_one()));
        Stored { store, queue: queue.to_owned(), clock, guarantee, hint, retried: Mutex::default() }
    }

    /// How far away a moment of the store is; zero when it has come.
    fn until(&self, at: Millis) -> Duration {
        Duration::from_millis(at.0.saturating_sub(self.clock.now().0))
    }

    fn claimed(&self, claimed: seaworthy_store::Claimed) -> Claimed {
        let id = claimed.receipt.id.0;
        let attempts = claimed.attempt.saturating_sub(1);
        let headers = decode_headers(&claimed.headers).unwrap_or_default();
        Claimed {
            receipt: Receipt { id, token: claimed.receipt.token },
            name: format!("{}-{id}", self.queue),
            attempts,
            interrupted: attempts > 0 && self.is_interrupted(id, attempts),
            age: Duration::from_millis(self.clock.now().0.saturating_sub(claimed.enqueued.0)),
            deadline: claimed.deadline.map(|deadline| self.until(deadline)),
            lease: self.until(claimed.leased_until),
            priority: priority_of(claimed.priority),
            order_key: claimed.order,
            event: self.event(&headers, claimed.enqueued),
            headers,
            body: Bytes::from(claimed.body),
        }
    }

    /// What the job is, unless it says so itself.
    fn event(&self, headers: &HeaderMap, enqueued: Millis) -> Option<CloudEvent> {
        if headers.contains_key("ce-type") {
            return None;
        }
        Some(CloudEvent {
            source: format!("/queues/{}", self.queue),
            kind: format!("seaworthy.queue.{}", self.queue),
            subject: None,
            time: Timestamp::from_millisecond(i64::try_from(enqueued.0).ok()?).ok()?,
        })
    }

    fn is_interrupted(&self, id: u64, attempts: u32) -> bool {
        if self.guarantee == Guarantee::AtLeastOnce {
            return false;
        }
        let mut retried = self.retried.lock().unwrap_or_else(PoisonError::into_inner);
        retried.remove(&id) != Some(attempts)
    }

    fn remember(&self, id: u64, attempts: u32) {
        if self.guarantee == Guarantee::AtMostOnce && attempts > 0 {
            let mut retried = self.retried.lock().unwrap_or_else(PoisonError::into_inner);
            if retried.len() < REMEMBERED_MAX {
                retried.insert(id, attempts);
            }
        }
    }

    async fn try_settle(
        &self,
        receipt: seaworthy_store::Receipt,
        settlement: &Settlement,
    ) -> Result<(), StoreError> {
        let nack = |delay: Duration, attempt, note| Nack { delay, attempt, note };
        match settlement {
            Settlement::Done => self.store.ack(receipt).await,
            Settlement::Retry { delay, last, .. } => {
                self.store.nack(receipt, nack(*delay, Attempt::Counts, note_of(last.as_ref()))).await
            }
            Settlement::Defer { delay, .. } => {
                self.store.nack(receipt, nack(*delay, Attempt::DoesNotCount, Vec::new())).await
            }
            Settlement::Dead { reason, last, .. } => {
                let burial = Burial { reason: reason.as_str().to_owned(), note: note_of(last.as_ref()) };
                self.store.dead_letter(receipt, burial).await
            }
        }
    }
}

impl<S: Jobs + 'static> Source for Stored<S> {
    async fn claim(&self, max: u32, lease: Duration) -> Result<Vec<Claimed>, SourceError> {
        let queue = self.queue.clone();
        let claim = Claim { queue, max: max as usize, lease, holder: Holder::Inside };
        match self.store.claim(claim).await {
            Ok(claimed) => Ok(claimed.into_iter().map(|claimed| self.claimed(claimed)).collect()),
            // Looked for again before long.
            Err(StoreError::Full(_)) => Ok(Vec::new()),
            Err(error) => Err(said(error)),
        }
    }

    async fn settle(&self, receipt: Receipt, settlement: Settlement) -> Result<(), SourceError> {
        let id = JobId(receipt.id);
        let theirs = seaworthy_store::Receipt { id, token: receipt.token };
        // Before it can come back.
        if let Settlement::Retry { attempts, .. } | Settlement::Defer { attempts, .. } = settlement {
            self.remember(receipt.id, attempts);
        }
        for _ in 0..TRIES_MAX {
            match self.try_settle(theirs, &settlement).await {
                Err(StoreError::Full(_)) => sleep(TRY_AGAIN).await,
                result => return result.map_err(said),
            }
        }
        Err(SourceError::Stale)
    }

    async fn extend(&self, receipt: Receipt, lease: Duration) -> Result<Duration, SourceError> {
        let theirs = seaworthy_store::Receipt { id: JobId(receipt.id), token: receipt.token };
        let until = self.store.extend(theirs, lease).await.map_err(said)?;
        Ok(self.until(until))
    }

    fn next_due(&self) -> Option<Duration> {
        self.store.next_due(&self.queue).map(|at| self.until(at))
    }

    async fn ready(&self) {
        self.hint.notified().await;
    }
}

/// What a store said, in the words of a lane.
fn said(error: StoreError) -> SourceError {
    match error {
        StoreError::Stale | StoreError::Unknown { .. } | StoreError::Full(_) => SourceError::Stale,
        broken => SourceError::Broken(broken.to_string()),
    }
}

/// What came of an attempt, as people find it beside a dead letter.
fn note_of(last: Option<&Pushed>) -> Vec<u8> {
    let Some(Pushed { at, answer, note }) = last else { return Vec::new() };
    let (word, status, retry_after) = match *answer {
        Answer::Status { status, retry_after } => ("answered", Some(status), retry_after),
        Answer::TimedOut => ("timed-out", None, None),
        Answer::Failed { proof: Proof::Refused } => ("refused", None, None),
        Answer::Failed { proof: Proof::NotSent } => ("not-sent", None, None),
        Answer::Failed { .. } => ("torn", None, None),
        Answer::Abandoned { .. } => ("abandoned", None, None),
    };
    let mut json = json!({ "at": at.to_string(), "outcome": word });
    if let Some(status) = status {
        json["status"] = Value::from(status);
    }
    if let Some(seconds) = retry_after {
        json["retry_after_s"] = Value::from(seconds.as_secs());
    }
    json["body"] = Value::from(String::from_utf8_lossy(note));
    json.to_string().into_bytes()
}
