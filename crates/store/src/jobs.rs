//! Jobs: durable work, claimed under a lease, kept until it is done or a dead letter.
//!
//! **Model.** A job is *waiting* (not due yet, due, or behind another one of its order key), *leased* (somebody
//! holds a receipt), or a *dead letter*. What is done is gone.
//!
//! **Who is next** in a queue: of the jobs that are due, the one with the earliest `due - priority x
//! [PRIORITY_HEAD_START]`, then the one enqueued first. So a higher priority goes first, and no priority starves:
//! after an hour per level the lower one has its turn. Of the jobs with the same order key only the oldest can be
//! claimed, and only while none of them is leased: a job that fails blocks its key until it is done or dead, and
//! nobody else.
//!
//! **A receipt** is good until the job is claimed again, settled or dropped. A lease that has run out makes the job
//! claimable; until somebody claims it, the receipt still settles it, because that is the truth. A job past its
//! deadline is never handed out: it becomes a dead letter instead.

use std::sync::Arc;
use std::time::Duration;

use crate::{Reply, Timestamp};

/// The most urgent priority; 0 is the usual one.
pub const PRIORITY_MAX: u8 = 9;
/// How much earlier a job counts as due for each level of its priority.
pub const PRIORITY_HEAD_START: Duration = Duration::from_hours(1);
/// The reason of a dead letter whose deadline has passed before an attempt.
pub const REASON_EXPIRED: &str = "expired";

/// The name of a job; never used twice in one store, and later ones are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// When a job can be claimed for the first time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Due {
    /// At once.
    #[default]
    Now,
    /// So much later.
    After(Duration),
    /// From then on.
    At(Timestamp),
}

/// Enqueue only if the same was not enqueued within a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// What makes two jobs of a queue the same.
    pub key: Vec<u8>,
    /// How long, from the moment of the first, others count as the same; whether or not it is done.
    pub window: Duration,
}

/// Work to be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewJob {
    /// The queue; made when first named.
    pub queue: String,
    /// Opaque.
    pub headers: Vec<u8>,
    /// Opaque.
    pub body: Vec<u8>,
    /// Whether the same may be enqueued again.
    pub dedupe: Option<Dedupe>,
    /// When it can be claimed.
    pub due: Due,
    /// 0 to [`PRIORITY_MAX`]; more is as much as that.
    pub priority: u8,
    /// Jobs of a queue with the same key are done one after the other, in the order in which they came.
    pub order: Option<Vec<u8>>,
    /// From then on it is not worth an attempt.
    pub deadline: Option<Timestamp>,
}

/// What became of an enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is kept.
    New(JobId),
    /// The same is known by this name; nothing was kept.
    Duplicate(JobId),
}

impl Enqueued {
    /// The job's name in either case.
    pub fn id(self) -> JobId {
        match self {
            Enqueued::New(id) | Enqueued::Duplicate(id) => id,
        }
    }
}

/// Who does the work, and thus whether a lease outlives the process that keeps the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Holder {
    /// This process: its leases end with it, and its jobs can be claimed at once after a restart.
    #[default]
    Inside,
    /// Another one: its lease is kept on disk, and its receipt is still good after a restart.
    Outside,
}

/// Asks for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// From which queue.
    pub queue: String,
    /// At most so many.
    pub max: usize,
    /// How long it may take before others can claim it.
    pub lease: Duration,
    /// Who asks.
    pub holder: Holder,
}

/// The right to settle a job: its name, and a token that only the latest claim has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// Which job.
    pub id: JobId,
    /// Which claim: larger than that of every earlier claim of this job.
    pub token: u64,
}

/// A job in somebody's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// To settle it with.
    pub receipt: Receipt,
    /// Which attempt this is, counted from 1.
    pub attempt: u32,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// From then on others can claim it.
    pub leased_until: Timestamp,
    /// From then on it is not worth an attempt.
    pub deadline: Option<Timestamp>,
    /// Its priority.
    pub priority: u8,
    /// Its order key.
    pub order: Option<Vec<u8>>,
    /// As they came.
    pub headers: Vec<u8>,
    /// As it came.
    pub body: Vec<u8>,
}

/// Whether an attempt is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Attempt {
    /// It was made.
    #[default]
    Counts,
    /// It was put off before anything was done.
    DoesNotCount,
}

/// Gives a job back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nack {
    /// How long until it can be claimed again.
    pub delay: Duration,
    /// Whether this was an attempt.
    pub attempt: Attempt,
    /// What happened, opaque; replaces the note of the attempt before when it is not empty.
    pub note: Vec<u8>,
}

/// Ends a job without success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Burial {
    /// Why, in a word.
    pub reason: String,
    /// What happened last, opaque; replaces the note of the attempt before when it is not empty.
    pub note: Vec<u8>,
}

/// Which dead letters are meant: those that fit everything that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// One of them.
    pub id: Option<JobId>,
    /// Only of this queue.
    pub queue: Option<String>,
    /// Only for this reason.
    pub reason: Option<String>,
    /// Dead at this time or later.
    pub from: Option<Timestamp>,
    /// Dead before this time.
    pub until: Option<Timestamp>,
}

/// A job that has ended without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its name when it was a job.
    pub id: JobId,
    /// Its queue.
    pub queue: String,
    /// Why.
    pub reason: String,
    /// When it died.
    pub died: Timestamp,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// Attempts that were made.
    pub attempts: u32,
    /// What happened last.
    pub note: Vec<u8>,
    /// As they came.
    pub headers: Vec<u8>,
    /// As it came.
    pub body: Vec<u8>,
}

/// How many dead letters were moved, at most 1,000 at a time; ask again while there are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// So many.
    pub count: u64,
    /// Whether others fit the filter as well.
    pub more: bool,
}

/// What is in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Can be claimed now.
    pub ready: u64,
    /// Not due yet.
    pub delayed: u64,
    /// Behind another one of its order key.
    pub blocked: u64,
    /// In somebody's hands.
    pub leased: u64,
    /// Dead letters.
    pub dead: u64,
    /// Nothing is handed out.
    pub paused: bool,
    /// All that is on disk has been counted; false in the first moments after a start.
    pub complete: bool,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// To be claimed.
    Waiting,
    /// In somebody's hands.
    Leased,
    /// A dead letter.
    Dead,
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Its queue.
    pub queue: String,
    /// Where it is.
    pub state: JobState,
    /// Attempts that were begun.
    pub attempts: u32,
    /// When it was enqueued.
    pub enqueued: Timestamp,
}

/// Durable work. Every answer but those of `claim` and `extend` is given after a sync; a claim that is lost in a
/// crash means that the job is handed out again.
pub trait Jobs: Send + Sync {
    /// Keeps a job.
    fn enqueue(&self, job: NewJob) -> Reply<Enqueued>;
    /// Hands out what is due; empty when nothing is, or while the queue is paused.
    fn claim(&self, claim: Claim) -> Reply<Vec<Claimed>>;
    /// It is done.
    fn ack(&self, receipt: Receipt) -> Reply<()>;
    /// It is given back, and can be claimed again later.
    fn nack(&self, receipt: Receipt, nack: Nack) -> Reply<()>;
    /// It takes longer: the lease ends so long from now. Answers the new end.
    fn extend(&self, receipt: Receipt, lease: Duration) -> Reply<Timestamp>;
    /// It becomes a dead letter.
    fn dead_letter(&self, receipt: Receipt, burial: Burial) -> Reply<()>;
    /// Dead letters in the order of their names, after one of them, at most `max` (and at most 1,000).
    fn dead_letters(&self, filter: DeadFilter, after: Option<JobId>, max: usize) -> Reply<Vec<DeadLetter>>;
    /// How many dead letters fit.
    fn count_dead(&self, filter: DeadFilter) -> Reply<u64>;
    /// Those that fit become jobs again: due now, no attempts, no deadline.
    fn retry_dead(&self, filter: DeadFilter) -> Reply<Moved>;
    /// Those that fit are dropped for good.
    fn drop_dead(&self, filter: DeadFilter) -> Reply<Moved>;
    /// Nothing is handed out until `resume`; over restarts, too. What is leased may still be settled.
    fn pause(&self, queue: &str) -> Reply<()>;
    /// Undoes `pause`.
    fn resume(&self, queue: &str) -> Reply<()>;
    /// What is in a queue.
    fn counts(&self, queue: &str) -> Reply<Counts>;
    /// What is known of a job; `None` when it is done or was never there.
    fn job(&self, id: JobId) -> Reply<Option<JobView>>;
    /// When the queue has something to hand out next, if nothing new comes: a time in the past while jobs wait,
    /// `None` when it is empty. Delays and ends of leases both count.
    fn next_due(&self, queue: &str) -> Option<Timestamp>;
    /// Calls `hint` whenever something in the queue may have become claimable by an enqueue, a nack, a retry or
    /// a `resume`. A hint may come for nothing. It runs on a thread of the store and must be brief.
    fn on_ready(&self, queue: &str, hint: Arc<dyn Fn() + Send + Sync>);
}
