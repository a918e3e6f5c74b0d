//! The thread that reads one file: what is committed, and never anything else.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::embedded::inbox::{Abandon, Inbox, Waits};
use crate::embedded::latch::Latch;
use crate::embedded::writer::Context;
use crate::{Answer, Reply, StoreError, channel};

/// Between two pieces of background work others get a chance at what it locks.
const PAUSE: Duration = Duration::from_micros(50);

/// What is read. `prepare` runs before the snapshot is taken, so that whatever it saw as committed is in it.
pub(super) trait Reading: Send + 'static {
    type Request: Send + 'static;

    fn prepare(&mut self, _requests: &mut [Self::Request]) {}
    fn serve(&mut self, connection: &Connection, requests: Vec<Self::Request>) -> rusqlite::Result<()>;
    /// One piece of the background work; false when there is none left.
    fn work(&mut self, _connection: &Connection) -> rusqlite::Result<bool> {
        Ok(false)
    }
}

/// A handle on the reader.
pub(super) struct Reader<R> {
    inbox: Arc<Inbox<R>>,
    latch: Arc<Latch>,
    thread: Option<JoinHandle<()>>,
}

impl<R: Send + 'static> Reader<R> {
    pub(super) fn start<M>(context: &Context, connection: Connection, reading: M) -> Result<Self, StoreError>
    where
        M: Reading<Request = R>,
    {
        let inbox = Arc::new(Inbox::new(context.waiting_max, context.bytes_max));
        let (name, latch) = (context.name, Arc::clone(&context.latch));
        let work = Arc::clone(&inbox);
        let thread = std::thread::Builder::new()
            .name(format!("store-{name}-r"))
            .spawn(move || run(reading, &connection, &work, &latch, name));
        let thread = thread.map_err(|error| StoreError::Broken(format!("starting a thread: {error}")))?;
        Ok(Reader { inbox, latch: Arc::clone(&context.latch), thread: Some(thread) })
    }

    pub(super) fn ask<T>(&self, make: impl FnOnce(Answer<T>) -> R) -> Reply<T> {
        if let Err(broken) = self.latch.check() {
            return Reply::ready(Err(broken));
        }
        let (answer, reply) = channel();
        match self.inbox.push(0, Waits::Somebody, || make(answer)) {
            Ok(()) => reply,
            Err(full) => Reply::ready(Err(full)),
        }
    }
}

impl<R> Drop for Reader<R> {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run<M: Reading>(
    mut reading: M,
    connection: &Connection,
    inbox: &Inbox<M::Request>,
    latch: &Latch,
    name: &str,
) {
    let _abandon = Abandon(inbox);
    let mut is_working = true;
    loop {
        let taken = if is_working { inbox.take_now() } else { inbox.take() };
        let Some(mut requests) = taken else { break };
        if latch.reason().is_some() {
            is_working = false;
            continue;
        }
        let read = serve(&mut reading, connection, &mut requests);
        let read = read.and_then(|()| if is_working { reading.work(connection) } else { Ok(false) });
        match read {
            Ok(more) => is_working = more,
            Err(error) => latch.trip(name, &error),
        }
        if is_working {
            std::thread::sleep(PAUSE);
        }
    }
}

fn serve<M: Reading>(
    reading: &mut M,
    connection: &Connection,
    requests: &mut Vec<M::Request>,
) -> rusqlite::Result<()> {
    if requests.is_empty() {
        return Ok(());
    }
    reading.prepare(requests);
    // One snapshot for all of them: taking one costs system calls.
    connection.prepare_cached("BEGIN")?.execute([])?;
    let served = reading.serve(connection, std::mem::take(requests));
    connection.prepare_cached("COMMIT")?.execute([])?;
    served
}

/// A request that only reads.
pub(super) type Query = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

/// Serves queries and nothing else.
pub(super) struct Queries;

impl Reading for Queries {
    type Request = Query;

    fn serve(&mut self, connection: &Connection, requests: Vec<Query>) -> rusqlite::Result<()> {
        requests.into_iter().try_for_each(|query| query(connection))
    }
}

/// Makes a query that answers what `read` finds.
pub(super) fn query<T: Send + 'static>(
    answer: Answer<T>,
    read: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, StoreError>> + Send + 'static,
) -> Query {
    Box::new(move |connection| {
        let found = read(connection)?;
        answer.send(found);
        Ok(())
    })
}
