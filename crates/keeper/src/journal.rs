//! The journal of applied faults: an append-only file that several processes write and anybody can read.
//!
//! There is no lock. Each record is one `write` to a file opened for appending, which the kernel does not
//! interleave with others; a lock could be held for ever by a node that is itself paused.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::thread::gettid;

use crate::record::{Entry, Fault, Id, intend_record, note_record, open_entries};
use crate::undo::boottime_nanos;

/// The journal refuses new faults beyond this size, which is room for some 5,000 faults during one life of a
/// node. Records that close a fault are always accepted.
pub const JOURNAL_BYTES_MAX: u64 = 1024 * 1024;

/// What is read at most: the intents plus the records that close them, which are shorter.
const READ_BYTES_MAX: u64 = 2 * JOURNAL_BYTES_MAX;

/// A handle on the journal of a state folder. Any number of handles may be open, in any number of processes.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

impl Journal {
    /// Opens the journal in `state_dir`, creating an empty one when there is none. The folder must exist.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("journal");
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { file })
    }

    /// Writes down, durably, that `fault` is about to be applied. After an error the fault must not be
    /// applied.
    pub fn intend(&self, fault: &Fault) -> io::Result<Id> {
        if self.file.metadata()?.len() >= JOURNAL_BYTES_MAX {
            return Err(io::Error::other("the journal of faults is full until the node starts again"));
        }
        let id = Id(format!("{}-{}", boottime_nanos(), gettid().as_raw_nonzero()));
        self.append(&intend_record(&id, fault))?;
        self.file.sync_data()?;
        Ok(id)
    }

    /// Notes that the fault is in effect. Until then the keeper does not close it when its deadline passes,
    /// because a writer that hangs between intent and application may still apply it.
    pub fn applied(&self, id: &Id) -> io::Result<()> {
        self.append(&note_record("applied", id))
    }

    /// Notes that the fault is undone, or was never applied. Not synced: undoing once more does no harm.
    pub fn reverted(&self, id: &Id) -> io::Result<()> {
        self.append(&note_record("reverted", id))
    }

    /// The faults that are not known to be undone, oldest first.
    pub fn open_entries(&self) -> io::Result<Vec<Entry>> {
        let bytes = self.file.metadata()?.len().min(READ_BYTES_MAX);
        let mut text = vec![0; bytes as usize];
        self.file.read_exact_at(&mut text, 0)?;
        Ok(open_entries(&String::from_utf8_lossy(&text)))
    }

    /// Empties a journal in which nothing is open. Only for the keeper, and only while no other process can
    /// write: a record that arrives between look and cut would be lost.
    pub(crate) fn empty_if_closed(&self) -> io::Result<()> {
        if self.open_entries()?.is_empty() { self.file.set_len(0) } else { Ok(()) }
    }

    fn append(&self, record: &str) -> io::Result<()> {
        (&self.file).write_all(record.as_bytes())
    }
}
