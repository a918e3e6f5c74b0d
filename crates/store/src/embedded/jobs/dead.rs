//! Dead letters: found, counted, retried, dropped.

use rusqlite::types::Value;
use rusqlite::{Connection, Row as SqlRow, params, params_from_iter};

use super::index::Row;
use super::shared::Shared;
use crate::embedded::convert::{int, nat, time};
use crate::embedded::writer::Moment;
use crate::{DeadFilter, DeadLetter, JobId, Moved};

/// At most so many are moved in one step: everybody else waits for the commit.
pub(super) const MOVED_MAX: usize = 1_000;

/// Conditions and their values; `None` when nothing can fit.
fn conditions(filter: &DeadFilter, shared: &Shared, after: Option<JobId>) -> Option<(String, Vec<Value>)> {
    let (mut sql, mut values) = ("TRUE".to_owned(), Vec::new());
    let mut add = |condition: &str, value: Value| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(queue) = &filter.queue {
        add("queue = ?", i64::from(shared.queue(queue)?).into());
    }
    if let Some(id) = filter.id {
        add("id = ?", int(id.0).into());
    }
    if let Some(after) = after {
        add("id > ?", int(after.0).into());
    }
    if let Some(reason) = &filter.reason {
        add("reason = ?", reason.clone().into());
    }
    if let Some(from) = filter.from {
        add("died >= ?", int(from.0).into());
    }
    if let Some(until) = filter.until {
        add("died < ?", int(until.0).into());
    }
    Some((sql, values))
}

pub(super) fn list(
    connection: &Connection,
    shared: &Shared,
    filter: &DeadFilter,
    after: Option<JobId>,
    max: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let Some((condition, mut values)) = conditions(filter, shared, after) else { return Ok(Vec::new()) };
    values.push(int(max.min(MOVED_MAX) as u64).into());
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, queue, reason, died, enqueued, attempts, note, headers, body FROM dead WHERE {condition} \
         ORDER BY id LIMIT ?"
    ))?;
    let letters = statement.query_map(params_from_iter(values), |row| letter(row, shared))?;
    letters.collect()
}

fn letter(row: &SqlRow<'_>, shared: &Shared) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        id: JobId(row.get(0).map(nat)?),
        queue: shared.name_of(row.get(1)?),
        reason: row.get(2)?,
        died: row.get(3).map(time)?,
        enqueued: row.get(4).map(time)?,
        attempts: row.get(5)?,
        note: row.get(6)?,
        headers: row.get(7)?,
        body: row.get(8)?,
    })
}

pub(super) fn count(connection: &Connection, shared: &Shared, filter: &DeadFilter) -> rusqlite::Result<u64> {
    let Some((condition, values)) = conditions(filter, shared, None) else { return Ok(0) };
    let mut statement = connection.prepare_cached(&format!("SELECT count(*) FROM dead WHERE {condition}"))?;
    statement.query_row(params_from_iter(values), |row| row.get(0).map(nat))
}

pub(super) fn retry(
    at: &Moment<'_>,
    shared: &Shared,
    filter: &DeadFilter,
) -> rusqlite::Result<(Moved, Vec<Row>)> {
    let (ids, moved) = some(at.connection, shared, filter)?;
    let mut rows = Vec::new();
    for id in ids {
        let mut copy = at.connection.prepare_cached(
            "INSERT INTO jobs SELECT id, queue, priority, ?1, 0, 0, 0, enqueued, NULL, order_key, note, headers, \
             body FROM dead WHERE id = ?2 RETURNING queue, priority, order_key",
        )?;
        let row = copy.query_row(params![int(at.now.0), id], |row| {
            let order: Option<Vec<u8>> = row.get(2)?;
            let order = shared.order(order.as_deref());
            Ok(Row { id: nat(id), queue: row.get(0)?, due: at.now.0, priority: row.get(1)?, order })
        })?;
        at.connection.prepare_cached("DELETE FROM dead WHERE id = ?1")?.execute([id])?;
        shared.index().announce(row);
        rows.push(row);
    }
    Ok((moved, rows))
}

pub(super) fn drop(at: &Moment<'_>, shared: &Shared, filter: &DeadFilter) -> rusqlite::Result<Moved> {
    let (ids, moved) = some(at.connection, shared, filter)?;
    let mut statement = at.connection.prepare_cached("DELETE FROM dead WHERE id = ?1")?;
    for id in ids {
        statement.execute([id])?;
    }
    Ok(moved)
}

/// The first that fit, and what to answer.
fn some(
    connection: &Connection,
    shared: &Shared,
    filter: &DeadFilter,
) -> rusqlite::Result<(Vec<i64>, Moved)> {
    let Some((condition, mut values)) = conditions(filter, shared, None) else {
        return Ok((Vec::new(), Moved { count: 0, more: false }));
    };
    values.push(int(MOVED_MAX as u64 + 1).into());
    let mut statement =
        connection.prepare_cached(&format!("SELECT id FROM dead WHERE {condition} ORDER BY id LIMIT ?"))?;
    let ids = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    let mut ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
    let more = ids.len() > MOVED_MAX;
    ids.truncate(MOVED_MAX);
    let moved = Moved { count: ids.len() as u64, more };
    Ok((ids, moved))
}
