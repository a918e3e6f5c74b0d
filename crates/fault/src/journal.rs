//! The port to the journal of faults that outlive this process.

use std::io;
use std::time::Duration;

/// A process is about to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseIntent {
    /// Its process id and process group.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: tells it from a later process with the same id.
    pub start_time: u64,
    /// After this time somebody else should undo it, if we have not.
    pub limit: Duration,
    /// For people: which replica.
    pub label: String,
}

/// Remembers pauses across our death. Implemented over a durable file by whoever heals; its calls may block.
pub trait Journal: Send + Sync {
    /// Writes down durably, before it happens, that a process will be stopped. After an error it is not stopped.
    fn intend(&self, intent: &PauseIntent) -> io::Result<u64>;

    /// The process of this entry is stopped now. After an error it is continued again.
    fn applied(&self, id: u64) -> io::Result<()>;

    /// The process of this entry was continued, or never stopped. An error does no harm: continuing twice is safe.
    fn reverted(&self, id: u64) -> io::Result<()>;
}
