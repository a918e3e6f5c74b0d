//! The reader of the file of jobs: hands out, looks up, and loads the index after a start.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::index::Row;
use super::lease::{Lease, State};
use super::machine::{Began, Operation};
use super::shared::Shared;
use crate::embedded::convert::{int, nat, time};
use crate::embedded::inbox::{Inbox, Waits};
use crate::embedded::reader::{Query, Reading};
use crate::{Answer, Claim, Claimed, Clock, Holder, JobId, Receipt};

/// At most so many are handed out at once ...
pub(super) const CLAIM_MAX: usize = 1_000;
/// ... and about so many bytes.
const CLAIM_BYTES_MAX: usize = 16 << 20;
/// Jobs that are loaded while nobody can claim any: one or two milliseconds.
const LOAD_CHUNK: u64 = 4_000;

/// What is asked of the reader.
pub(super) enum Request {
    Claim(Ask),
    Query(Query),
}

/// A claim, and later what it gets.
pub(super) struct Ask {
    pub(super) claim: Claim,
    pub(super) answer: Answer<Vec<Claimed>>,
    /// Name and lease.
    pub(super) taken: Vec<(u64, Lease)>,
}

pub(super) struct Claims {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) writer: Arc<Inbox<Operation>>,
}

impl Reading for Claims {
    type Request = Request;

    fn prepare(&mut self, requests: &mut [Request]) {
        let now = self.clock.now();
        let mut index = self.shared.index();
        index.tick(now.0);
        for request in requests {
            let Request::Claim(ask) = request else { continue };
            let Some(queue) = self.shared.queue(&ask.claim.queue) else { continue };
            let (max, until) = (ask.claim.max.min(CLAIM_MAX), now.after(ask.claim.lease));
            ask.taken = index.claim(queue, max, until.0);
        }
    }

    fn serve(&mut self, connection: &Connection, requests: Vec<Request>) -> rusqlite::Result<()> {
        for request in requests {
            match request {
                Request::Claim(ask) => self.hand_out(connection, ask)?,
                Request::Query(query) => query(connection)?,
            }
        }
        Ok(())
    }

    fn work(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        // Under the lock, so that what ends meanwhile is either not in the file any more or known as leased.
        let mut index = self.shared.index();
        index.tick(self.clock.now().0);
        let Some((horizon, boundary)) = index.to_load() else { return Ok(false) };
        let mut statement = connection.prepare_cached(
            "SELECT id, queue, due, priority, order_key, token, leased_until, attempts FROM jobs \
             WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3",
        )?;
        let mut rows = statement.query([int(horizon), int(boundary), int(LOAD_CHUNK)])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let (loaded, lease) = self.row(row)?;
            last = Some(loaded.id);
            match lease {
                Some(lease) => index.load_leased(loaded, lease),
                None => index.load(loaded),
            }
        }
        index.set_horizon(last);
        Ok(last.is_some())
    }
}

impl Claims {
    fn row(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<(Row, Option<Lease>)> {
        let order = row.get_ref(4)?.as_blob_or_null().ok().flatten();
        let loaded = Row {
            id: row.get(0).map(nat)?,
            queue: row.get(1)?,
            due: row.get(2).map(nat)?,
            priority: row.get(3)?,
            order: self.shared.order(order),
        };
        let token: u64 = row.get(5).map(nat)?;
        let Row { queue, due, priority, order, .. } = loaded;
        let (until, attempts) = (row.get(6).map(nat)?, row.get(7)?);
        let lease = Lease { queue, due, priority, order, token, until, attempts, state: State::Held };
        Ok((loaded, (token != 0).then_some(lease)))
    }

    fn hand_out(&self, connection: &Connection, ask: Ask) -> rusqlite::Result<()> {
        let Ask { claim, answer, taken } = ask;
        let now = self.clock.now();
        let (mut claimed, mut expired, mut gone, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut left = taken.into_iter();
        for (id, lease) in left.by_ref() {
            let Some(job) = read(connection, id, &lease)? else {
                gone.push(id);
                continue;
            };
            if job.deadline.is_some_and(|deadline| deadline <= now) {
                expired.push(job.receipt);
                continue;
            }
            bytes += job.headers.len() + job.body.len();
            claimed.push(job);
            if bytes >= CLAIM_BYTES_MAX {
                break;
            }
        }
        let mut index = self.shared.index();
        left.for_each(|(id, lease)| index.requeue(id, lease.due));
        for id in gone {
            index.finish(id);
        }
        for receipt in &expired {
            index.settle(*receipt);
        }
        let mut began = Vec::with_capacity(claimed.len());
        for job in &mut claimed {
            job.attempt = index.begin_attempt(job.receipt, job.attempt);
            let kept_until = (claim.holder == Holder::Outside).then_some(job.leased_until.0);
            began.push(Began { receipt: job.receipt, attempts: job.attempt, kept_until });
        }
        drop(index);
        self.write(began, expired);
        answer.send(Ok(claimed));
        Ok(())
    }

    /// Nobody waits for these; they are always taken in.
    fn write(&self, began: Vec<Began>, expired: Vec<Receipt>) {
        if !began.is_empty() {
            let _ = self.writer.push(0, Waits::Nobody, || Operation::Began(began));
        }
        if !expired.is_empty() {
            let _ = self.writer.push(0, Waits::Nobody, || Operation::Expire(expired));
        }
    }
}

/// The rest of a claimed job; `attempt` is what the file knows of.
fn read(connection: &Connection, id: u64, lease: &Lease) -> rusqlite::Result<Option<Claimed>> {
    let mut statement = connection.prepare_cached(
        "SELECT attempts, enqueued, deadline, order_key, headers, body FROM jobs WHERE id = ?1",
    )?;
    let job = statement.query_row([int(id)], |row| {
        Ok(Claimed {
            receipt: Receipt { id: JobId(id), token: lease.token },
            attempt: row.get(0)?,
            enqueued: row.get(1).map(time)?,
            leased_until: crate::Timestamp(lease.until),
            deadline: row.get::<_, Option<i64>>(2)?.map(time),
            priority: lease.priority,
            order: row.get(3)?,
            headers: row.get(4)?,
            body: row.get(5)?,
        })
    });
    job.optional()
}
