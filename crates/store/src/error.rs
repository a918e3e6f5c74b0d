//! What a store can say instead of an answer.

use std::path::PathBuf;

use crate::Timestamp;

/// Why there is no answer, or why a store cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A bound is reached. Nothing was kept; later there may be room again.
    #[error("the store is full: {0}")]
    Full(Bound),
    /// A write or a sync has failed. What was asked for may have been kept or not; nothing is acknowledged any
    /// more, and the process has to end with a failure.
    #[error("the store is broken and acknowledges nothing any more: {0}")]
    Broken(String),
    /// The receipt or token is not the latest: the job was handed to somebody else, settled or dropped.
    #[error("stale: it was overtaken or settled before")]
    Stale,
    /// There is nothing of that name.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// Such as `topic`.
        what: &'static str,
        /// Which one.
        name: String,
    },
    /// The file is not ours, or damaged.
    #[error("{}: {reason}", path.display())]
    BadFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by another release.
    #[error("{}: written in format {found}, this program knows format {known}", path.display())]
    WrongVersion {
        /// Which file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// The format that this program reads and writes.
        known: u32,
    },
    /// Another process has the store open.
    #[error("{}: another process has this store open", path.display())]
    Busy {
        /// The folder of the store.
        path: PathBuf,
    },
}

/// Which bound was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Bound {
    /// Too much waits to be written; the disk does not keep up.
    #[error("{waiting} operations ({bytes} bytes) wait to be written")]
    Waiting {
        /// Operations.
        waiting: usize,
        /// Their size.
        bytes: usize,
    },
    /// So many jobs and dead letters as there may be.
    #[error("{limit} jobs are kept, dead letters included, and that is the limit")]
    Jobs {
        /// The limit.
        limit: u64,
    },
    /// So many keys as there may be.
    #[error("{limit} idempotency keys are kept, and that is the limit")]
    Keys {
        /// The limit.
        limit: u64,
    },
    /// One thing is too large.
    #[error("{what}: {size} bytes, and the limit is {limit}")]
    Size {
        /// Such as `body`.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A topic holds so much that somebody has not acknowledged that nothing more fits.
    #[error(
        "topic `{topic}` holds {bytes} bytes, its limit; `{held_by}` has acknowledged nothing since {since}"
    )]
    Topic {
        /// The topic.
        topic: String,
        /// What it holds, in bytes.
        bytes: u64,
        /// The subscriber that is furthest behind.
        held_by: String,
        /// When the oldest event that it has not acknowledged was published.
        since: Timestamp,
    },
    /// So many names of a sort as there may be.
    #[error("there are {limit} {what} already")]
    Names {
        /// Such as `queues`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}
