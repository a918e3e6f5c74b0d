//! New jobs: names, dedupe keys, queues.

use rusqlite::{Connection, OptionalExtension, params};

use super::index::Row;
use super::schema::{DEDUPE, DEDUPE_FIND, DEDUPE_PUT};
use super::shared::Shared;
use crate::embedded::buckets::Buckets;
use crate::embedded::convert::{int, nat};
use crate::embedded::file::{meta, set_meta};
use crate::embedded::siphash::{Secret, hash};
use crate::embedded::writer::Moment;
use crate::jobs::PRIORITY_MAX;
use crate::time::milliseconds;
use crate::{Bound, Dedupe, Due, Enqueued, JobId, NewJob, StoreError};

/// Names are reserved by the block, so that none is used twice although those of done jobs are not kept.
const BLOCK: u64 = 1 << 20;
/// Queues in one store.
const QUEUES_MAX: usize = 10_000;

/// What enqueuing needs to know.
pub(super) struct Intake {
    secret: Secret,
    dedupe: Buckets,
    next_id: u64,
    reserved: u64,
    jobs_max: u64,
    /// So many jobs fit.
    room: u64,
}

impl Intake {
    pub(super) fn load(connection: &Connection, secret: Secret, jobs_max: u64) -> rusqlite::Result<Self> {
        let dedupe = Buckets::load(connection, &DEDUPE)?;
        let next_id = meta(connection, "reserved")?;
        Ok(Intake { secret, dedupe, next_id, reserved: next_id, jobs_max, room: 0 })
    }

    /// The first name that this opening gives.
    pub(super) fn boundary(&self) -> u64 {
        self.next_id
    }

    pub(super) fn expect(&mut self, kept: u64) {
        self.room = self.jobs_max.saturating_sub(kept);
    }

    pub(super) fn finish(&mut self, at: &Moment<'_>) -> rusqlite::Result<()> {
        self.dedupe.drop_one(at.connection, at.now).map(drop)
    }

    /// What to answer, and what is new.
    pub(super) fn enqueue(
        &mut self,
        at: &Moment<'_>,
        shared: &Shared,
        job: &NewJob,
    ) -> rusqlite::Result<(Result<Enqueued, StoreError>, Option<Row>)> {
        let queue = match queue_number(at, shared, &job.queue)? {
            Ok(queue) => queue,
            Err(full) => return Ok((Err(full), None)),
        };
        let hashed = job.dedupe.as_ref().map(|dedupe| self.hash(queue, dedupe));
        if let (Some(dedupe), Some(hash)) = (&job.dedupe, hashed)
            && let Some(same) = self.find(at, queue, dedupe, hash)?
        {
            return Ok((Ok(Enqueued::Duplicate(same)), None));
        }
        if self.room == 0 {
            return Ok((Err(StoreError::Full(Bound::Jobs { limit: self.jobs_max })), None));
        }
        self.room -= 1;
        let id = self.new_id(at)?;
        if let (Some(dedupe), Some(hash)) = (&job.dedupe, hashed) {
            self.put(at, queue, dedupe, hash, id)?;
        }
        let row = insert(at, shared, queue, id, job)?;
        Ok((Ok(Enqueued::New(JobId(id))), Some(row)))
    }

    fn new_id(&mut self, at: &Moment<'_>) -> rusqlite::Result<u64> {
        if self.next_id == self.reserved {
            self.reserved += BLOCK;
            set_meta(at.connection, "reserved", self.reserved)?;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    fn hash(&self, queue: u32, dedupe: &Dedupe) -> u64 {
        hash(self.secret, &[&queue.to_le_bytes(), &dedupe.key])
    }

    fn find(
        &self,
        at: &Moment<'_>,
        queue: u32,
        dedupe: &Dedupe,
        hash: u64,
    ) -> rusqlite::Result<Option<JobId>> {
        for bucket in self.dedupe.live(at.now).filter(|bucket| bucket.may_hold(hash)) {
            let mut statement = at.connection.prepare_cached(bucket.sql(DEDUPE_FIND))?;
            let row = params![hash.cast_signed(), dedupe.key, queue, int(at.now.0)];
            let found: Option<i64> = statement.query_row(row, |row| row.get(0)).optional()?;
            if let Some(id) = found {
                return Ok(Some(JobId(nat(id))));
            }
        }
        Ok(None)
    }

    fn put(
        &mut self,
        at: &Moment<'_>,
        queue: u32,
        dedupe: &Dedupe,
        hash: u64,
        id: u64,
    ) -> rusqlite::Result<()> {
        let until = at.now.after(dedupe.window);
        // Few sorts of buckets, whatever windows there are.
        let keep = milliseconds(dedupe.window).clamp(1, 1 << 42).next_power_of_two();
        let bucket = self.dedupe.enter(at.connection, at.now, keep, hash)?;
        let mut statement = at.connection.prepare_cached(bucket.sql(DEDUPE_PUT))?;
        statement.execute(params![hash.cast_signed(), dedupe.key, queue, int(until.0), int(id)])?;
        Ok(())
    }
}

/// The queue's number; made when first named.
fn queue_number(at: &Moment<'_>, shared: &Shared, name: &str) -> rusqlite::Result<Result<u32, StoreError>> {
    if let Some(queue) = shared.queue(name) {
        return Ok(Ok(queue));
    }
    if shared.queues() >= QUEUES_MAX {
        return Ok(Err(StoreError::Full(Bound::Names { what: "queues", limit: QUEUES_MAX })));
    }
    at.connection.execute("INSERT INTO queues (name, paused) VALUES (?1, 0)", [name])?;
    let number = at.connection.last_insert_rowid() as u32;
    // Known before it is committed, which only means that it is empty.
    shared.add_queue(name, number);
    Ok(Ok(number))
}

pub(super) fn pause(
    at: &Moment<'_>,
    shared: &Shared,
    name: &str,
    is_paused: bool,
) -> rusqlite::Result<Result<u32, StoreError>> {
    let queue = match queue_number(at, shared, name)? {
        Ok(queue) => queue,
        Err(full) => return Ok(Err(full)),
    };
    at.connection.execute("UPDATE queues SET paused = ?1 WHERE id = ?2", params![is_paused, queue])?;
    Ok(Ok(queue))
}

fn insert(at: &Moment<'_>, shared: &Shared, queue: u32, id: u64, job: &NewJob) -> rusqlite::Result<Row> {
    let due = match job.due {
        Due::Now => at.now,
        Due::After(delay) => at.now.after(delay),
        Due::At(time) => time.max(at.now),
    };
    let priority = job.priority.min(PRIORITY_MAX);
    let mut statement = at
        .connection
        .prepare_cached("INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, 0, 0, 0, ?5, ?6, ?7, x'', ?8, ?9)")?;
    statement.execute(params![
        int(id),
        queue,
        priority,
        int(due.0),
        int(at.now.0),
        job.deadline.map(|deadline| int(deadline.0)),
        job.order,
        job.headers,
        job.body,
    ])?;
    Ok(Row { id, queue, due: due.0, priority, order: shared.order(job.order.as_deref()) })
}
