//! The thread that writes one file: group commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::embedded::file::answer_and_end;
use crate::embedded::inbox::{Abandon, Inbox, Waits};
use crate::embedded::latch::Latch;
use crate::{Answer, Clock, Reply, StoreError, Timestamp, channel};

/// From so many pages on the log is written back into the file.
const CHECKPOINT_PAGES: i32 = 1_000;
/// From so many on readers are waited for: each of them reads briefly, but one of them may always be reading.
const CHECKPOINT_PAGES_URGENT: i32 = 8_000;

/// What a file is about. `apply` runs inside a transaction; nothing that it promises may be visible before
/// `committed`.
pub(super) trait Machine: Send + 'static {
    type Operation: Send + 'static;
    type Done;

    /// Looks at a batch before it is carried out.
    fn expect(&mut self, _batch: &[Self::Operation]) {}
    /// Carries one operation out. An error breaks the store.
    fn apply(&mut self, at: &Moment<'_>, operation: Self::Operation) -> rusqlite::Result<Self::Done>;
    /// The last writes of the transaction.
    fn finish(&mut self, _at: &Moment<'_>) -> rusqlite::Result<()> {
        Ok(())
    }
    /// It is durable: make it visible, and answer.
    fn committed(&mut self, done: Vec<Self::Done>);
}

/// An open transaction, and the time that all its operations see.
pub(super) struct Moment<'c> {
    pub(super) connection: &'c Connection,
    pub(super) now: Timestamp,
}

/// A handle on the writer. The last one that is dropped waits until everything is written.
pub(super) struct Writer<O> {
    inbox: Arc<Inbox<O>>,
    latch: Arc<Latch>,
    thread: Option<JoinHandle<()>>,
}

/// What a thread of the store needs besides its connection.
pub(super) struct Context {
    /// Of the file.
    pub(super) name: &'static str,
    pub(super) latch: Arc<Latch>,
    pub(super) clock: Clock,
    pub(super) waiting_max: usize,
    pub(super) bytes_max: usize,
}

impl<O: Send + 'static> Writer<O> {
    pub(super) fn start<M>(context: &Context, connection: Connection, machine: M) -> Result<Self, StoreError>
    where
        M: Machine<Operation = O>,
    {
        let inbox = Arc::new(Inbox::new(context.waiting_max, context.bytes_max));
        let latch = Arc::clone(&context.latch);
        let pages = Arc::new(AtomicI32::new(0));
        let hook = Arc::clone(&pages);
        let mut connection = connection;
        let hooked = connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, in_log: i32| {
            hook.store(in_log, Ordering::Relaxed);
            Ok(())
        }));
        hooked.map_err(|error| StoreError::Broken(error.to_string()))?;
        let thread = Thread {
            name: context.name,
            connection,
            machine,
            pages,
            clock: context.clock.clone(),
            latch: Arc::clone(&latch),
        };
        let (work, name) = (Arc::clone(&inbox), format!("store-{}-w", context.name));
        let thread = std::thread::Builder::new().name(name).spawn(move || thread.run(&work));
        let thread = thread.map_err(|error| StoreError::Broken(format!("starting a thread: {error}")))?;
        Ok(Writer { inbox, latch, thread: Some(thread) })
    }

    /// Has an operation carried out; `bytes` is what it holds in memory meanwhile.
    pub(super) fn ask<T>(&self, bytes: usize, make: impl FnOnce(Answer<T>) -> O) -> Reply<T> {
        if let Err(broken) = self.latch.check() {
            return Reply::ready(Err(broken));
        }
        let (answer, reply) = channel();
        match self.inbox.push(bytes, Waits::Somebody, || make(answer)) {
            Ok(()) => reply,
            Err(full) => Reply::ready(Err(full)),
        }
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox<O>> {
        &self.inbox
    }
}

impl<O> Drop for Writer<O> {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported on stderr, and everybody who waited has been told.
            let _ = thread.join();
        }
    }
}

struct Thread<M> {
    name: &'static str,
    connection: Connection,
    machine: M,
    /// In the log after the latest commit.
    pages: Arc<AtomicI32>,
    clock: Clock,
    latch: Arc<Latch>,
}

impl<M: Machine> Thread<M> {
    fn run(mut self, inbox: &Inbox<M::Operation>) {
        let _abandon = Abandon(inbox);
        while let Some(batch) = inbox.take() {
            if self.latch.reason().is_some() {
                // Who waits is told by the answers being dropped. Nothing may be tried again.
                continue;
            }
            match self.commit(batch) {
                Ok(done) => self.machine.committed(done),
                Err(error) => self.latch.trip(self.name, &error),
            }
            // After the answers: nobody has to wait for it.
            if let Err(error) = self.checkpoint() {
                self.latch.trip(self.name, &error);
            }
        }
    }

    fn commit(&mut self, batch: Vec<M::Operation>) -> rusqlite::Result<Vec<M::Done>> {
        let at = Moment { connection: &self.connection, now: self.clock.now() };
        self.machine.expect(&batch);
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut done = Vec::with_capacity(batch.len());
        for operation in batch {
            done.push(self.machine.apply(&at, operation)?);
        }
        self.machine.finish(&at)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        // Another file may have broken meanwhile; this commit is good, and so are its answers.
        Ok(done)
    }

    fn checkpoint(&self) -> rusqlite::Result<()> {
        if self.latch.reason().is_some() {
            return Ok(());
        }
        let mode = match self.pages.load(Ordering::Relaxed) {
            ..CHECKPOINT_PAGES => return Ok(()),
            CHECKPOINT_PAGES..CHECKPOINT_PAGES_URGENT => "PRAGMA wal_checkpoint(PASSIVE)",
            _ => "PRAGMA wal_checkpoint(RESTART)",
        };
        let _: i64 = answer_and_end(&self.connection, mode)?;
        self.pages.store(0, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts what it carries out, and answers.
    struct Count(Arc<AtomicUsize>);

    impl Machine for Count {
        type Operation = Answer<()>;
        type Done = Answer<()>;

        fn apply(&mut self, _at: &Moment<'_>, answer: Answer<()>) -> rusqlite::Result<Answer<()>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(answer)
        }

        fn committed(&mut self, done: Vec<Answer<()>>) {
            for answer in done {
                answer.send(Ok(()));
            }
        }
    }

    #[test]
    fn what_waits_when_another_file_breaks_is_not_carried_out() {
        let latch = Arc::new(Latch::new(None));
        let clock = Clock::system();
        let context =
            Context { name: "test", latch: Arc::clone(&latch), clock, waiting_max: 10, bytes_max: 10 };
        let count = Arc::new(AtomicUsize::new(0));
        let connection = Connection::open_in_memory().unwrap();
        let writer = Writer::start(&context, connection, Count(Arc::clone(&count))).unwrap();
        assert_eq!(writer.ask(1, |answer| answer).wait(), Ok(()));
        latch.trip("another", &rusqlite::Error::InvalidQuery);
        // Past the check at the door, as if it had waited since before.
        let (answer, reply) = channel();
        writer.inbox().push(1, Waits::Somebody, || answer).unwrap();
        assert!(matches!(reply.wait(), Err(StoreError::Broken(_))));
        assert!(matches!(writer.ask(1, |answer| answer).wait(), Err(StoreError::Broken(_))));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
