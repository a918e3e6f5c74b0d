//! History: what happened, appended and read back.
//!
//! Kept by size: when it is full, the oldest entries go, and `first` of the next answer tells.

use crate::{Reply, Timestamp};

/// The place of an entry; later ones are larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub id: EntryId,
    /// When it was appended.
    pub at: Timestamp,
    /// Which sort.
    pub kind: String,
    /// Opaque.
    pub body: Vec<u8>,
}

/// Which entries are meant: those that fit everything that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only after this one.
    pub after: Option<EntryId>,
    /// Only of this sort.
    pub kind: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// What happened, oldest first.
pub trait History: Send + Sync {
    /// Appends an entry.
    fn append(&self, kind: &str, body: Vec<u8>) -> Reply<EntryId>;
    /// Entries that fit, oldest first, at most `max` (and at most 1,000).
    fn entries(&self, query: HistoryQuery, max: usize) -> Reply<Vec<Entry>>;
}
