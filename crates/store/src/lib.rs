//! What must never be lost: jobs, idempotency keys, topics, history.
//!
//! The traits [`Jobs`], [`Keys`], [`Topics`] and [`History`] are the words; whoever uses them does not know which
//! engine is behind. [`Embedded`] keeps everything in files of this machine (SQLite). Three promises hold for
//! every engine:
//!
//! - **An answer is durable.** A [`Reply`] is given only after the sync that covers it has returned.
//! - **A stale receipt changes nothing.** Each claim and each execution has a token; whoever was overtaken is
//!   told [`StoreError::Stale`].
//! - **A broken store says so, for good.** After the first failed write or sync nothing is acknowledged any more
//!   ([`StoreError::Broken`]), and the process has to end with a failure: what a failed sync has left in the
//!   page cache cannot be known, and asking again is answered wrongly (fsyncgate, PostgreSQL 2018).
//!
//! Deliveries are at least once: a job whose lease has run out, or whose claim was not yet on disk when the
//! process was killed, is handed out again.

mod bytes;
mod embedded;
mod error;
mod history;
mod jobs;
mod keys;
mod reply;
mod time;
mod topics;

pub use embedded::{Checked, Embedded, FileReport, Options, verify};
pub use error::{Bound, StoreError};
pub use history::{Entry, EntryId, History, HistoryQuery};
pub use jobs::{
    Attempt, Burial, Claim, Claimed, Counts, DeadFilter, DeadLetter, Dedupe, Due, Enqueued, Holder, JobId,
    JobState, JobView, Jobs, Moved, Nack, NewJob, PRIORITY_HEAD_START, PRIORITY_MAX, REASON_EXPIRED, Receipt,
};
pub use keys::{Begin, Begun, Keys, Outcome, Takeover, Token};
pub use reply::{Answer, Reply, channel};
pub use time::{Clock, Timestamp};
pub use topics::{Event, EventId, NewEvent, Start, Subscription, TopicConfig, TopicView, Topics};

/// Everything that is kept, behind one name.
pub trait Store: Jobs + Keys + Topics + History {}

impl<T: Jobs + Keys + Topics + History> Store for T {}
