//! How a lease ends, in the file.

use rusqlite::{OptionalExtension, params};

use super::index::{Row, Settling};
use super::lease::{Lease, State};
use super::machine::{After, Began};
use super::shared::Shared;
use crate::embedded::convert::{int, nat};
use crate::embedded::writer::Moment;
use crate::jobs::REASON_EXPIRED;
use crate::{Attempt, Burial, Nack, Receipt, StoreError, Timestamp};

impl Burial {
    pub(super) fn expired() -> Self {
        Burial { reason: REASON_EXPIRED.to_owned(), note: Vec::new() }
    }
}

/// The lease that a receipt belongs to, out of everybody's reach from now on.
pub(super) fn lease(
    at: &Moment<'_>,
    shared: &Shared,
    receipt: Receipt,
) -> rusqlite::Result<Result<Lease, StoreError>> {
    find(at, shared, receipt, |index| index.settle(receipt))
}

/// Puts the end of a lease off.
pub(super) fn extend(
    at: &Moment<'_>,
    shared: &Shared,
    receipt: Receipt,
    until: Timestamp,
) -> rusqlite::Result<Result<Timestamp, StoreError>> {
    if let Err(stale) = find(at, shared, receipt, |index| index.extend(receipt, until.0))? {
        return Ok(Err(stale));
    }
    // Only a lease that outlives this process is in the file.
    let mut statement =
        at.connection.prepare_cached("UPDATE jobs SET leased_until = ?1 WHERE id = ?2 AND token = ?3")?;
    statement.execute(params![int(until.0), int(receipt.id.0), int(receipt.token)])?;
    Ok(Ok(until))
}

fn find(
    at: &Moment<'_>,
    shared: &Shared,
    receipt: Receipt,
    ask: impl Fn(&mut super::index::Index) -> Settling,
) -> rusqlite::Result<Result<Lease, StoreError>> {
    let mut index = shared.index();
    index.tick(at.now.0);
    let mut settling = ask(&mut index);
    if settling == Settling::AskFile {
        settling = match in_file(at, shared, receipt)? {
            Some((row, lease)) => {
                index.load_leased(row, lease);
                ask(&mut index)
            }
            None => Settling::Stale,
        };
    }
    Ok(match settling {
        Settling::Good(lease) => Ok(lease),
        Settling::Stale | Settling::AskFile => Err(StoreError::Stale),
    })
}

/// A job that the loader has not reached, if the receipt is its latest.
fn in_file(at: &Moment<'_>, shared: &Shared, receipt: Receipt) -> rusqlite::Result<Option<(Row, Lease)>> {
    let mut statement = at.connection.prepare_cached(
        "SELECT queue, due, priority, order_key, attempts, leased_until FROM jobs WHERE id = ?1 AND token = ?2",
    )?;
    let id = receipt.id.0;
    let found = statement.query_row([int(id), int(receipt.token)], |row| {
        let order: Option<Vec<u8>> = row.get(3)?;
        let lease = Lease {
            queue: row.get(0)?,
            due: row.get(1).map(nat)?,
            priority: row.get(2)?,
            order: shared.order(order.as_deref()),
            token: receipt.token,
            until: row.get(5).map(nat)?,
            attempts: row.get(4)?,
            state: State::Held,
        };
        Ok((lease.row(id), lease))
    });
    found.optional()
}

pub(super) fn begin_attempt(at: &Moment<'_>, began: &Began) -> rusqlite::Result<()> {
    let (token, until) = began.kept_until.map_or((0, 0), |until| (began.receipt.token, until));
    let mut statement = at
        .connection
        .prepare_cached("UPDATE jobs SET attempts = ?1, token = ?2, leased_until = ?3 WHERE id = ?4")?;
    statement.execute(params![began.attempts, int(token), int(until), int(began.receipt.id.0)])?;
    Ok(())
}

pub(super) fn delete(at: &Moment<'_>, id: u64) -> rusqlite::Result<After> {
    at.connection.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([int(id)])?;
    Ok(After::Gone)
}

pub(super) fn give_back(at: &Moment<'_>, id: u64, attempts: u32, nack: &Nack) -> rusqlite::Result<After> {
    let due = at.now.after(nack.delay);
    let made = match nack.attempt {
        Attempt::Counts => attempts,
        Attempt::DoesNotCount => attempts.saturating_sub(1),
    };
    let mut statement = at.connection.prepare_cached(
        "UPDATE jobs SET due = ?1, attempts = ?2, token = 0, leased_until = 0, note = ifnull(?3, note) WHERE id = ?4",
    )?;
    statement.execute(params![int(due.0), made, said(&nack.note), int(id)])?;
    Ok(After::Due(due.0))
}

/// Moves a job to the dead letters; `attempts` when more are known of than are in the file.
pub(super) fn bury(
    at: &Moment<'_>,
    id: u64,
    attempts: Option<u32>,
    burial: &Burial,
) -> rusqlite::Result<After> {
    let mut statement = at.connection.prepare_cached(
        "INSERT INTO dead SELECT id, queue, priority, ?1, ?2, ifnull(?3, attempts), enqueued, order_key, \
         ifnull(?4, note), headers, body FROM jobs WHERE id = ?5",
    )?;
    statement.execute(params![int(at.now.0), burial.reason, attempts, said(&burial.note), int(id)])?;
    delete(at, id)
}

fn said(note: &[u8]) -> Option<&[u8]> {
    (!note.is_empty()).then_some(note)
}
