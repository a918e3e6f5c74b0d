//! The store in files of this machine: SQLite, used like a log.
//!
//! **Model.** Four files (jobs, keys, topics, history), so that they sync in parallel. Each has one *writer*
//! thread: it takes everything that waits, carries it out in one transaction, commits (WAL, `synchronous=FULL`:
//! one `fdatasync`), and only then answers: group commit. Each has one *reader* thread, which sees what is
//! committed. What decides who is next (ready, delayed, leased, blocked by an order key) is an index in memory: it
//! is rebuilt from the file after a start, in the order of the jobs' names and in the background, and jobs are
//! handed out as soon as they are in it.
//!
//! That an attempt has begun rides along in the next commit without anybody waiting for it; so attempts are
//! counted over crashes, and a claim costs no sync.
//!
//! **Failure.** Any failed write, sync or read latches the store: nothing is answered but
//! [`StoreError::Broken`](crate::StoreError::Broken) any more, and nothing is tried again. Checkpoints are ours
//! rather than SQLite's automatic ones, because those swallow their errors.
//!
//! **Rejected:** one file for everything (the syncs of jobs and keys would queue up behind each other); leases as
//! rows that are synced before the worker starts (half the throughput, and no promise more: deliveries are at
//! least once either way); SQL for "who is next" (an index in the file for each order would be written with each
//! job, and again with each attempt).

mod buckets;
mod convert;
mod delegate;
mod file;
mod history;
mod inbox;
mod jobs;
mod keys;
mod latch;
mod open;
mod reader;
mod siphash;
mod topics;
mod verify;
mod writer;

pub use open::{Embedded, Options};
pub use verify::{Checked, FileReport, verify};
