//! A source that forgets everything when it ends, and knows nothing of order.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use seaworthy_policy::admission::Priority;
use seaworthy_policy::delivery::Reason;
use seaworthy_queue::{Claimed, Receipt, Settlement, Source, SourceError};
use tokio::sync::{Notify, watch};

use crate::support::PATIENCE;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Claimed,
    Done,
    /// Why, after how many attempts, and what the receiver said last.
    Dead(Reason, u32, String),
}

impl State {
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self, State::Dead(..))
    }
}

#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) state: State,
    pub(crate) attempts: u32,
    due: Instant,
    token: u64,
    order: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: BTreeMap<u64, Stored>,
    extended: u32,
    refuses_extensions: bool,
    is_broken: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    inner: Mutex<Inner>,
    /// For the lane.
    hint: Notify,
    /// For tests that wait.
    changed: Notify,
    /// While true, nothing is settled.
    is_slow: watch::Sender<bool>,
}

impl Memory {
    pub(crate) fn with(ids: RangeInclusive<u64>) -> Arc<Self> {
        let memory = Arc::new(Memory::default());
        memory.add(ids);
        memory
    }

    pub(crate) fn add(&self, ids: RangeInclusive<u64>) {
        let mut inner = self.inner.lock().unwrap();
        for id in ids {
            let due = Instant::now();
            let job = Stored { state: State::Pending, attempts: 0, due, token: 0, order: None };
            inner.jobs.insert(id, job);
        }
        drop(inner);
        self.hint.notify_one();
    }

    pub(crate) fn order(&self, key_of: impl Fn(u64) -> Option<&'static str>) {
        for (id, job) in &mut self.inner.lock().unwrap().jobs {
            job.order = key_of(*id);
        }
    }

    pub(crate) fn refuse_extensions(&self) {
        self.inner.lock().unwrap().refuses_extensions = true;
    }

    /// While slow, nothing is settled.
    pub(crate) fn set_slow(&self, slow: bool) {
        self.is_slow.send_replace(slow);
    }

    pub(crate) fn break_settling(&self) {
        self.inner.lock().unwrap().is_broken = true;
    }

    pub(crate) fn state(&self, id: u64) -> State {
        self.inner.lock().unwrap().jobs[&id].state.clone()
    }

    pub(crate) fn attempts(&self, id: u64) -> u32 {
        self.inner.lock().unwrap().jobs[&id].attempts
    }

    pub(crate) fn extended(&self) -> u32 {
        self.inner.lock().unwrap().extended
    }

    pub(crate) async fn wait_until(&self, holds: impl Fn(&BTreeMap<u64, Stored>) -> bool) {
        let begun = Instant::now();
        loop {
            let changed = self.changed.notified();
            if holds(&self.inner.lock().unwrap().jobs) {
                return;
            }
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let waited = tokio::time::timeout(left, changed).await;
            assert!(waited.is_ok(), "{:?}", self.inner.lock().unwrap().jobs);
        }
    }
}

impl Source for Memory {
    async fn claim(&self, max: u32, lease: Duration) -> Result<Vec<Claimed>, SourceError> {
        let now = Instant::now();
        let mut inner = self.inner.lock().unwrap();
        let due = inner.jobs.iter().filter(|(_, job)| job.state == State::Pending && job.due <= now);
        let mut due: Vec<(Instant, u64)> = due.map(|(id, job)| (job.due, *id)).collect();
        due.sort_unstable();
        due.truncate(max as usize);
        let claim = |(_, id)| {
            let job = inner.jobs.get_mut(&id).unwrap();
            job.state = State::Claimed;
            job.token += 1;
            let name = format!("job-{id}");
            Claimed {
                receipt: Receipt { id, token: job.token },
                attempts: job.attempts,
                interrupted: false,
                age: Duration::ZERO,
                deadline: None,
                lease,
                priority: Priority::Critical,
                order_key: job.order.map(|key| key.as_bytes().to_vec()),
                headers: HeaderMap::new(),
                body: Bytes::from(name.clone()),
                event: None,
                name,
            }
        };
        Ok(due.into_iter().map(claim).collect())
    }

    async fn settle(&self, receipt: Receipt, settlement: Settlement) -> Result<(), SourceError> {
        let mut slow = self.is_slow.subscribe();
        slow.wait_for(|slow| !slow).await.expect("the source is there");
        let mut inner = self.inner.lock().unwrap();
        if inner.is_broken {
            return Err(SourceError::Broken("the disk is gone".to_owned()));
        }
        let job = inner.jobs.get_mut(&receipt.id).filter(|job| job.token == receipt.token);
        let job = job.filter(|job| job.state == State::Claimed).ok_or(SourceError::Stale)?;
        match settlement {
            Settlement::Done => job.state = State::Done,
            Settlement::Retry { delay, attempts, .. } | Settlement::Defer { delay, attempts } => {
                (job.state, job.attempts, job.due) = (State::Pending, attempts, Instant::now() + delay);
            }
            Settlement::Dead { reason, attempts, last } => {
                let note = last.map(|last| String::from_utf8(last.note.to_vec()).unwrap());
                job.state = State::Dead(reason, attempts, note.unwrap_or_default());
            }
        }
        drop(inner);
        self.hint.notify_one();
        self.changed.notify_waiters();
        Ok(())
    }

    async fn extend(&self, receipt: Receipt, lease: Duration) -> Result<Duration, SourceError> {
        let mut inner = self.inner.lock().unwrap();
        let is_ours = inner.jobs.get(&receipt.id).is_some_and(|job| job.token == receipt.token);
        if !is_ours || inner.refuses_extensions {
            return Err(SourceError::Stale);
        }
        inner.extended += 1;
        Ok(lease)
    }

    fn next_due(&self) -> Option<Duration> {
        let inner = self.inner.lock().unwrap();
        let pending = inner.jobs.values().filter(|job| job.state == State::Pending);
        pending.map(|job| job.due.saturating_duration_since(Instant::now())).min()
    }

    async fn ready(&self) {
        self.hint.notified().await;
    }
}
