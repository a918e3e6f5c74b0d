//! A job in somebody's hands.

use super::index::Row;

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Held,
    /// Its time is over and nobody else has it yet.
    Lapsed,
    /// What becomes of it is being written.
    Settling,
}

/// Everything that is needed to give a job back without asking the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) queue: u32,
    pub(super) due: u64,
    pub(super) priority: u8,
    pub(super) order: u64,
    pub(super) token: u64,
    pub(super) until: u64,
    /// This one included.
    pub(super) attempts: u32,
    pub(super) state: State,
}

impl Lease {
    pub(super) fn row(&self, id: u64) -> Row {
        Row { id, queue: self.queue, due: self.due, priority: self.priority, order: self.order }
    }
}
