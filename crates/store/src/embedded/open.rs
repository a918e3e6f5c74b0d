//! Opening a store: one process at a time.

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use crate::embedded::history::HistoryFile;
use crate::embedded::jobs::JobsFile;
use crate::embedded::keys::KeysFile;
use crate::embedded::latch::{Latch, OnBroken};
use crate::embedded::topics::TopicsFile;
use crate::embedded::writer::Context;
use crate::{Clock, StoreError};

/// Locked as long as the store is open. The files themselves cannot tell: SQLite's own locks are brief.
pub(super) const LOCK_FILE: &str = "lock";

/// Bounds, and where the time comes from.
#[derive(Clone)]
pub struct Options {
    /// Jobs and dead letters; more are refused.
    pub jobs_max: u64,
    /// Idempotency keys; more are refused.
    pub keys_max: u64,
    /// How long keys are kept.
    pub retention: Duration,
    /// The largest body or answer, in bytes.
    pub body_max: usize,
    /// The history, in bytes of bodies; the oldest goes first.
    pub history_max: u64,
    /// Operations that wait for one file.
    pub waiting_max: usize,
    /// What these hold, in bytes.
    pub waiting_bytes_max: usize,
    /// Where the time comes from.
    pub clock: Clock,
    /// Told once when the store breaks; the process has to end with a failure then.
    pub on_broken: Option<OnBroken>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            jobs_max: 10_000_000,
            keys_max: 200_000_000,
            retention: Duration::from_hours(24),
            body_max: 1 << 20,
            history_max: 1 << 30,
            waiting_max: 65_536,
            waiting_bytes_max: 64 << 20,
            clock: Clock::system(),
            on_broken: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("jobs_max", &self.jobs_max)
            .field("keys_max", &self.keys_max)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

/// The bounds that the files need.
pub(super) struct Limits {
    pub(super) jobs_max: u64,
    pub(super) keys_max: u64,
    pub(super) retention: Duration,
    pub(super) body_max: usize,
    pub(super) history_max: u64,
}

/// The store in a folder of this machine. Dropping it writes what waits, and closes it.
pub struct Embedded {
    pub(super) jobs: JobsFile,
    pub(super) keys: KeysFile,
    pub(super) topics: TopicsFile,
    pub(super) history: HistoryFile,
    latch: Arc<Latch>,
    /// Unlocked last.
    _lock: File,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("latch", &self.latch).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store in `folder`, and makes both when they are not there.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another process has it open, [`StoreError::BadFile`] and
    /// [`StoreError::WrongVersion`] when it cannot be read; nothing is changed then.
    pub fn open(folder: &Path, options: &Options) -> Result<Self, StoreError> {
        let made = make(folder).and_then(|()| File::create(folder.join(LOCK_FILE)));
        let lock = made.map_err(|error| bad(folder, &error))?;
        lock_or_busy(&lock, folder)?;
        let latch = Arc::new(Latch::new(options.on_broken.clone()));
        let context = |name| Context {
            name,
            latch: Arc::clone(&latch),
            clock: options.clock.clone(),
            waiting_max: options.waiting_max,
            bytes_max: options.waiting_bytes_max,
        };
        let limits = Limits {
            jobs_max: options.jobs_max,
            keys_max: options.keys_max,
            retention: options.retention,
            body_max: options.body_max,
            history_max: options.history_max,
        };
        // Each of them syncs; on a slow disk one after the other would delay the first job.
        let (jobs, keys, topics, history) = std::thread::scope(|scope| {
            let keys = scope.spawn(|| KeysFile::open(folder, &context("keys"), &limits));
            let topics = scope.spawn(|| TopicsFile::open(folder, &context("topics"), &limits));
            let history = scope.spawn(|| HistoryFile::open(folder, &context("history"), &limits));
            let jobs = JobsFile::open(folder, &context("jobs"), &limits);
            (jobs, joined(keys), joined(topics), joined(history))
        });
        let (jobs, keys, topics, history) = (jobs?, keys?, topics?, history?);
        Ok(Embedded { jobs, keys, topics, history, latch, _lock: lock })
    }

    /// Why the store is broken, if it is.
    pub fn broken(&self) -> Option<&str> {
        self.latch.reason()
    }
}

fn joined<T>(opening: ScopedJoinHandle<'_, T>) -> T {
    opening.join().expect("opening a file does not panic")
}

/// The name of a new folder has to be as durable as what is in it.
fn make(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

pub(super) fn lock_or_busy(lock: &File, folder: &Path) -> Result<(), StoreError> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreError::Busy { path: folder.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(bad(folder, &error)),
    }
}

pub(super) fn bad(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::BadFile { path: path.to_path_buf(), reason: error.to_string() }
}
