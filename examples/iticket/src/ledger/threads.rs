//! Two threads: one that writes, one that reads.
//!
//! The writer takes everything that waits, applies it in one transaction, and answers when the commit is on
//! the disk. One synchronization serves the whole group, so that throughput grows with load instead of being
//! the disk's latency per purchase. Readers do not wait for it: in WAL mode they see the last commit.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::book::{Book, Command, Outcome};
use crate::log;

/// Steps that wait for the writer; more are refused with 503, untouched. At 64 bytes to a few hundred each
/// this is far below a megabyte, and at any sensible disk less than a second of work.
const WRITE_QUEUE_MAX: usize = 2048;
/// Reads that wait for the reader; more are refused.
const READ_QUEUE_MAX: usize = 2048;
/// Steps in one transaction: long enough to share the disk, short enough not to make the first wait.
const GROUP_MAX: usize = 256;

/// Why the ledger did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    /// The queue is full: not done.
    #[error("the ledger has too much to do, nothing was done")]
    Busy,
    /// The database refused: not done.
    #[error("the ledger could not write, nothing was done")]
    Failed,
    /// The process is stopping: perhaps done.
    #[error("the ledger is stopping")]
    Stopping,
}

type Reading = Box<dyn FnOnce(&Book) + Send>;

/// The way to both threads. Dropping it ends them, after what they have accepted.
pub(super) struct Ledger {
    writes: Option<mpsc::Sender<Write>>,
    reads: Option<mpsc::Sender<Reading>>,
    threads: Vec<JoinHandle<()>>,
}

struct Write {
    command: Command,
    done: oneshot::Sender<Result<Outcome, Unavailable>>,
}

impl Ledger {
    /// Opens the database and starts the threads.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let writer = Book::open(path)?;
        let reader = Book::open_to_read(path)?;
        let (writes, write_queue) = mpsc::channel(WRITE_QUEUE_MAX);
        let (reads, mut read_queue) = mpsc::channel::<Reading>(READ_QUEUE_MAX);
        let threads = vec![
            std::thread::spawn(move || write_groups(writer, write_queue)),
            std::thread::spawn(move || {
                while let Some(reading) = read_queue.blocking_recv() {
                    reading(&reader);
                }
            }),
        ];
        Ok(Self { writes: Some(writes), reads: Some(reads), threads })
    }

    /// Takes a step; returns when it is durable.
    pub(super) async fn write(&self, command: Command) -> Result<Outcome, Unavailable> {
        let (done, outcome) = oneshot::channel();
        let writes = self.writes.as_ref().ok_or(Unavailable::Stopping)?;
        writes.try_send(Write { command, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unavailable::Busy,
            mpsc::error::TrySendError::Closed(_) => Unavailable::Stopping,
        })?;
        outcome.await.unwrap_or(Err(Unavailable::Stopping))
    }

    /// Looks something up.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Book) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (done, answer) = oneshot::channel();
        let reading: Reading = Box::new(move |book| {
            // Whoever asked may be gone.
            let _ = done.send(question(book));
        });
        let reads = self.reads.as_ref().ok_or(Unavailable::Stopping)?;
        reads.try_send(reading).map_err(|_| Unavailable::Busy)?;
        let result = answer.await.map_err(|_| Unavailable::Stopping)?;
        result.map_err(|error| {
            log::error("read failed", &json!({ "error": error.to_string() }));
            Unavailable::Failed
        })
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop((self.writes.take(), self.reads.take()));
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; there is nothing to add while ending.
            let _ = thread.join();
        }
    }
}

/// Shared by the routes.
pub(super) type SharedLedger = Arc<Ledger>;

fn write_groups(mut book: Book, mut queue: mpsc::Receiver<Write>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let result = book.apply(group.iter().map(|write| &write.command));
        if let Err(error) = &result {
            let fields = json!({ "error": error.to_string(), "steps": group.len() });
            log::error("transaction failed", &fields);
        }
        let outcomes: Vec<Result<Outcome, Unavailable>> = match result {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(_) => vec![Err(Unavailable::Failed); group.len()],
        };
        debug_assert_eq!(outcomes.len(), group.len(), "one outcome per step");
        for (write, outcome) in group.drain(..).zip(outcomes) {
            // Whoever asked may be gone; the step is done all the same, and its repetition finds it so.
            let _ = write.done.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(key: String) -> Command {
        Command::Reserve { key, event: 2, buyer: "ann".to_owned() }
    }

    #[tokio::test]
    async fn sixty_four_buyers_at_once_get_the_ten_seats_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(&folder.path().join("ledger.sqlite3")).unwrap());
        let buyers: Vec<_> = (0..64)
            .map(|number| {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move { ledger.write(reserve(format!("buyer {number}"))).await })
            })
            .collect();
        let (mut tickets, mut sold_out) = (0, 0);
        for buyer in buyers {
            match buyer.await.unwrap().unwrap() {
                Outcome::Ticket(_) => tickets += 1,
                Outcome::SoldOut => sold_out += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((tickets, sold_out), (10, 54));
        let left = ledger.read(|book| book.event(2)).await.unwrap().unwrap().seats_left;
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn the_same_key_many_times_at_once_is_one_ticket() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(&folder.path().join("ledger.sqlite3")).unwrap());
        let askers: Vec<_> = (0..32)
            .map(|_| {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move { ledger.write(reserve("k".to_owned())).await })
            })
            .collect();
        for asker in askers {
            assert!(matches!(asker.await.unwrap(), Ok(Outcome::Ticket(ticket)) if ticket.id == 1));
        }
        assert_eq!(ledger.read(|book| book.event(2)).await.unwrap().unwrap().seats_left, 9);
    }

    #[tokio::test]
    async fn a_full_queue_is_refused_at_once() {
        // No thread empties this queue.
        let (writes, _queue) = mpsc::channel(1);
        let ledger = Ledger { writes: Some(writes), reads: None, threads: Vec::new() };
        let waiting = ledger.write(reserve("a".to_owned()));
        let mut waiting = std::pin::pin!(waiting);
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("nobody answers this"),
            () = std::future::ready(()) => (),
        }
        assert_eq!(ledger.write(reserve("b".to_owned())).await, Err(Unavailable::Busy));
    }
}
