//! The words of [`Jobs`], for the file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::claims::{Ask, Claims, Request};
use super::dead;
use super::enqueue::Intake;
use super::machine::{End, JobsMachine, Operation};
use super::schema::FORMAT;
use super::shared::Shared;
use crate::bytes::{HEADERS_MAX, KEY_MAX, NAME_MAX, fits};
use crate::embedded::convert::{int, nat, time};
use crate::embedded::file;
use crate::embedded::open::Limits;
use crate::embedded::reader::{Reader, query};
use crate::embedded::writer::{Context, Writer};
use crate::{
    Burial, Claim, Claimed, Clock, Counts, DeadFilter, DeadLetter, Enqueued, JobId, JobState, JobView, Jobs,
    Moved, Nack, NewJob, Receipt, Reply, StoreError, Timestamp,
};

/// Tokens of one opening of the file; those of the next are larger.
const TOKENS_PER_EPOCH: u64 = 1 << 40;

/// The file of jobs, open.
pub(in crate::embedded) struct JobsFile {
    // The reader feeds the writer, so it ends first.
    reader: Reader<Request>,
    writer: Writer<Operation>,
    shared: Arc<Shared>,
    clock: Clock,
    body_max: usize,
}

impl JobsFile {
    pub(in crate::embedded) fn open(
        folder: &Path,
        context: &Context,
        limits: &Limits,
    ) -> Result<Self, StoreError> {
        let (connection, identity) = file::open_to_write(folder, &FORMAT)?;
        let to_read = file::open_to_read(folder, &FORMAT)?;
        let loaded = Intake::load(&connection, identity.secret, limits.jobs_max).and_then(|intake| {
            let token = identity.epoch * TOKENS_PER_EPOCH;
            let shared = Arc::new(Shared::new(token, intake.boundary()));
            let dead = load(&connection, &shared)?;
            Ok((Arc::clone(&shared), JobsMachine::new(shared, intake, dead)))
        });
        let (shared, machine) = loaded.map_err(|error| StoreError::BadFile {
            path: folder.join(FORMAT.file_name()),
            reason: error.to_string(),
        })?;
        let writer = Writer::start(context, connection, machine)?;
        let claims = Claims {
            shared: Arc::clone(&shared),
            clock: context.clock.clone(),
            writer: Arc::clone(writer.inbox()),
        };
        let reader = Reader::start(context, to_read, claims)?;
        Ok(JobsFile { reader, writer, shared, clock: context.clock.clone(), body_max: limits.body_max })
    }

    fn check(&self, job: &NewJob) -> Result<usize, StoreError> {
        fits("name of the queue", job.queue.len(), NAME_MAX)?;
        fits("dedupe key", job.dedupe.as_ref().map_or(0, |dedupe| dedupe.key.len()), KEY_MAX)?;
        fits("order key", job.order.as_ref().map_or(0, Vec::len), KEY_MAX)?;
        fits("headers", job.headers.len(), HEADERS_MAX)?;
        fits("body", job.body.len(), self.body_max)?;
        Ok(job.headers.len() + job.body.len())
    }

    fn settle(&self, receipt: Receipt, bytes: usize, end: End) -> Reply<()> {
        if let Err(full) = fits("note", bytes, HEADERS_MAX) {
            return Reply::ready(Err(full));
        }
        self.writer.ask(bytes, |answer| Operation::Settle(receipt, end, answer))
    }
}

impl JobsFile {
    fn set_paused(&self, queue: &str, is_paused: bool) -> Reply<()> {
        if let Err(full) = fits("name of the queue", queue.len(), NAME_MAX) {
            return Reply::ready(Err(full));
        }
        let queue = queue.to_owned();
        self.writer.ask(0, |answer| Operation::Pause(queue, is_paused, answer))
    }
}

/// What is needed before the first answer: queues, and how many dead letters there are.
fn load(connection: &rusqlite::Connection, shared: &Shared) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare("SELECT id, name, paused FROM queues")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        shared.add_queue(&row.get::<_, String>(1)?, row.get(0)?);
        shared.index().set_paused(row.get(0)?, row.get(2)?);
    }
    connection.query_row("SELECT count(*) FROM dead", [], |row| row.get(0).map(nat))
}

impl Jobs for JobsFile {
    fn enqueue(&self, job: NewJob) -> Reply<Enqueued> {
        match self.check(&job) {
            Ok(bytes) => self.writer.ask(bytes, |answer| Operation::Enqueue(Box::new(job), answer)),
            Err(full) => Reply::ready(Err(full)),
        }
    }

    fn claim(&self, claim: Claim) -> Reply<Vec<Claimed>> {
        self.reader.ask(|answer| Request::Claim(Ask { claim, answer, taken: Vec::new() }))
    }

    fn ack(&self, receipt: Receipt) -> Reply<()> {
        self.settle(receipt, 0, End::Ack)
    }

    fn nack(&self, receipt: Receipt, nack: Nack) -> Reply<()> {
        self.settle(receipt, nack.note.len(), End::Nack(nack))
    }

    fn extend(&self, receipt: Receipt, lease: Duration) -> Reply<Timestamp> {
        self.writer.ask(0, |answer| Operation::Extend(receipt, lease, answer))
    }

    fn dead_letter(&self, receipt: Receipt, burial: Burial) -> Reply<()> {
        self.settle(receipt, burial.reason.len() + burial.note.len(), End::Dead(burial))
    }

    fn dead_letters(&self, filter: DeadFilter, after: Option<JobId>, max: usize) -> Reply<Vec<DeadLetter>> {
        let shared = Arc::clone(&self.shared);
        self.reader.ask(|answer| {
            Request::Query(query(answer, move |connection| {
                dead::list(connection, &shared, &filter, after, max).map(Ok)
            }))
        })
    }

    fn count_dead(&self, filter: DeadFilter) -> Reply<u64> {
        let shared = Arc::clone(&self.shared);
        self.reader.ask(|answer| {
            Request::Query(query(answer, move |connection| dead::count(connection, &shared, &filter).map(Ok)))
        })
    }

    fn retry_dead(&self, filter: DeadFilter) -> Reply<Moved> {
        self.writer.ask(0, |answer| Operation::RetryDead(filter, answer))
    }

    fn drop_dead(&self, filter: DeadFilter) -> Reply<Moved> {
        self.writer.ask(0, |answer| Operation::DropDead(filter, answer))
    }

    fn pause(&self, queue: &str) -> Reply<()> {
        self.set_paused(queue, true)
    }

    fn resume(&self, queue: &str) -> Reply<()> {
        self.set_paused(queue, false)
    }

    fn counts(&self, queue: &str) -> Reply<Counts> {
        let filter = DeadFilter { queue: Some(queue.to_owned()), ..DeadFilter::default() };
        let (shared, name, clock) = (Arc::clone(&self.shared), queue.to_owned(), self.clock.clone());
        self.reader.ask(|answer| {
            Request::Query(query(answer, move |connection| {
                let dead = dead::count(connection, &shared, &filter)?;
                let mut index = shared.index();
                index.tick(clock.now().0);
                let known = shared.queue(&name);
                let counts = index.counts(known.unwrap_or(u32::MAX));
                Ok(Ok(Counts { dead, ..counts }))
            }))
        })
    }

    fn job(&self, id: JobId) -> Reply<Option<JobView>> {
        let (shared, clock) = (Arc::clone(&self.shared), self.clock.clone());
        self.reader.ask(|answer| {
            Request::Query(query(answer, move |connection| {
                view(connection, &shared, clock.now(), id).map(Ok)
            }))
        })
    }

    fn next_due(&self, queue: &str) -> Option<Timestamp> {
        let queue = self.shared.queue(queue)?;
        self.shared.index().next_due(queue).map(Timestamp)
    }

    fn on_ready(&self, queue: &str, hint: Arc<dyn Fn() + Send + Sync>) {
        self.shared.add_hint(queue, hint);
    }
}

fn view(
    connection: &rusqlite::Connection,
    shared: &Shared,
    now: Timestamp,
    id: JobId,
) -> rusqlite::Result<Option<JobView>> {
    let mut statement = connection.prepare_cached(
        "SELECT queue, attempts, enqueued, FALSE FROM jobs WHERE id = ?1 \
         UNION ALL SELECT queue, attempts, enqueued, TRUE FROM dead WHERE id = ?1",
    )?;
    let mut rows = statement.query([int(id.0)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut index = shared.index();
    index.tick(now.0);
    let state = match row.get(3)? {
        true => JobState::Dead,
        false if index.is_leased(id.0) => JobState::Leased,
        false => JobState::Waiting,
    };
    let (queue, attempts) = (shared.name_of(row.get(0)?), row.get(1)?);
    Ok(Some(JobView { queue, state, attempts, enqueued: row.get(2).map(time)? }))
}
