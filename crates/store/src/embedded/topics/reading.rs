//! What is read from the file of topics.

use rusqlite::{Connection, OptionalExtension, params};

use crate::embedded::convert::{int, nat, time};
use crate::{Event, EventId, StoreError, Subscription, TopicView};

/// At most so many events are read at once ...
const READ_MAX: usize = 1_000;
/// ... and about so many bytes.
const READ_BYTES_MAX: usize = 16 << 20;

type Said<T> = rusqlite::Result<Result<T, StoreError>>;

fn unknown(what: &'static str, name: &str) -> StoreError {
    StoreError::Unknown { what, name: name.to_owned() }
}

fn number(connection: &Connection, topic: &str) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM topics WHERE name = ?1")?;
    statement.query_row([topic], |row| row.get(0)).optional()
}

pub(super) fn events(
    connection: &Connection,
    topic: &str,
    subscriber: &str,
    after: Option<EventId>,
    max: usize,
) -> Said<Vec<Event>> {
    let Some(id) = number(connection, topic)? else { return Ok(Err(unknown("topic", topic))) };
    let mut statement =
        connection.prepare_cached("SELECT cursor FROM subscribers WHERE topic = ?1 AND name = ?2")?;
    let cursor: Option<i64> = statement.query_row(params![id, subscriber], |row| row.get(0)).optional()?;
    let Some(cursor) = cursor else { return Ok(Err(unknown("subscriber", subscriber))) };
    let after = after.map_or(cursor, |after| int(after.0));
    let mut statement = connection.prepare_cached(
        "SELECT seq, at, headers, body FROM events WHERE topic = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = statement.query(params![id, after, int(max.min(READ_MAX) as u64)])?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let event = Event {
            id: EventId(row.get(0).map(nat)?),
            at: row.get(1).map(time)?,
            headers: row.get(2)?,
            body: row.get(3)?,
        };
        bytes += event.headers.len() + event.body.len();
        events.push(event);
        if bytes >= READ_BYTES_MAX {
            break;
        }
    }
    Ok(Ok(events))
}

pub(super) fn view(connection: &Connection, topic: &str) -> Said<TopicView> {
    let mut statement =
        connection.prepare_cached("SELECT id, first, next, bytes FROM topics WHERE name = ?1")?;
    let found = statement.query_row([topic], |row| {
        let view = TopicView {
            first: EventId(row.get(1).map(nat)?),
            last: EventId(row.get(2).map(nat)? - 1),
            bytes: row.get(3).map(nat)?,
            subscriptions: Vec::new(),
        };
        Ok((row.get::<_, i64>(0)?, view))
    });
    let Some((id, mut view)) = found.optional()? else { return Ok(Err(unknown("topic", topic))) };
    let mut statement =
        connection.prepare_cached("SELECT name, cursor FROM subscribers WHERE topic = ?1 ORDER BY name")?;
    let subscriptions = statement.query_map([id], |row| {
        Ok(Subscription { name: row.get(0)?, acknowledged: EventId(row.get(1).map(nat)?) })
    })?;
    view.subscriptions = subscriptions.collect::<Result<_, _>>()?;
    Ok(Ok(view))
}
