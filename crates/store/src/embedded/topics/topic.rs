//! One topic, as its writer knows it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::embedded::convert::{int, nat, time};
use crate::embedded::writer::Moment;
use crate::time::milliseconds;
use crate::{Start, Timestamp, TopicConfig};

/// Events that are dropped in one step.
const TRIMMED_MAX: u64 = 1_000;

pub(super) struct Topic {
    pub(super) id: i64,
    pub(super) age_ms: u64,
    pub(super) size: u64,
    /// The oldest event that is kept.
    pub(super) first: u64,
    /// The next one that will be published.
    pub(super) next: u64,
    pub(super) bytes: u64,
    /// Of the latest event; times never go back.
    pub(super) last_at: Timestamp,
    pub(super) cursors: BTreeMap<String, u64>,
    /// When the oldest event was published, once it is known.
    first_at: Option<Timestamp>,
    pub(super) is_changed: bool,
}

impl Topic {
    pub(super) fn create(at: &Moment<'_>, name: &str, config: TopicConfig) -> rusqlite::Result<Self> {
        let (age_ms, size) = (milliseconds(config.age), config.size.min(u64::MAX / 4));
        let sql = "INSERT INTO topics (name, age, size, first, next, bytes) VALUES (?1, ?2, ?3, 1, 1, 0)";
        at.connection.execute(sql, params![name, int(age_ms), int(size)])?;
        let mut made = Topic::new(at.connection.last_insert_rowid());
        (made.age_ms, made.size) = (age_ms, size);
        Ok(made)
    }

    fn new(id: i64) -> Self {
        Topic {
            id,
            age_ms: 0,
            size: 0,
            first: 1,
            next: 1,
            bytes: 0,
            last_at: Timestamp(0),
            cursors: BTreeMap::new(),
            first_at: None,
            is_changed: false,
        }
    }

    /// All topics of a file.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Self>> {
        let mut topics = BTreeMap::new();
        let mut statement =
            connection.prepare("SELECT name, id, age, size, first, next, bytes FROM topics")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut topic = Topic::new(row.get(1)?);
            let number = |column| row.get(column).map(nat);
            (topic.age_ms, topic.size) = (number(2)?, number(3)?);
            (topic.first, topic.next, topic.bytes) = (number(4)?, number(5)?, number(6)?);
            topic.last_at = published(connection, topic.id, topic.next - 1)?.unwrap_or_default();
            let mut cursors = connection.prepare("SELECT name, cursor FROM subscribers WHERE topic = ?1")?;
            let cursors = cursors.query_map([topic.id], |row| Ok((row.get(0)?, nat(row.get(1)?))))?;
            topic.cursors = cursors.collect::<Result<_, _>>()?;
            topics.insert(row.get(0)?, topic);
        }
        Ok(topics)
    }

    /// The subscriber that is furthest behind.
    pub(super) fn slowest(&self) -> Option<(&str, u64)> {
        self.cursors.iter().map(|(name, cursor)| (name.as_str(), *cursor)).min_by_key(|(_, cursor)| *cursor)
    }

    /// Events before this one may go.
    fn free_until(&self) -> u64 {
        self.slowest().map_or(self.next, |(_, cursor)| cursor + 1)
    }

    pub(super) fn publish(&mut self, at: &Moment<'_>, headers: &[u8], body: &[u8]) -> rusqlite::Result<u64> {
        let id = self.next;
        self.last_at = self.last_at.max(at.now);
        let mut statement = at.connection.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5)")?;
        statement.execute(params![self.id, int(id), int(self.last_at.0), headers, body])?;
        self.next += 1;
        self.bytes += (headers.len() + body.len()) as u64;
        self.is_changed = true;
        Ok(id)
    }

    /// Drops what all have acknowledged, the oldest first, until `bytes` fit. False when they do not.
    pub(super) fn make_room(&mut self, at: &Moment<'_>, bytes: u64) -> rusqlite::Result<bool> {
        while self.bytes + bytes > self.size && self.first < self.free_until() {
            self.drop_first(at)?;
        }
        Ok(self.bytes + bytes <= self.size)
    }

    /// Drops what all have acknowledged and is too old.
    pub(super) fn drop_old(&mut self, at: &Moment<'_>) -> rusqlite::Result<()> {
        for _ in 0..TRIMMED_MAX {
            if self.first >= self.free_until() {
                break;
            }
            let published = match self.first_at {
                Some(time) => time,
                None => published(at.connection, self.id, self.first)?.unwrap_or_default(),
            };
            self.first_at = Some(published);
            if published.0.saturating_add(self.age_ms) > at.now.0 {
                break;
            }
            self.drop_first(at)?;
        }
        Ok(())
    }

    fn drop_first(&mut self, at: &Moment<'_>) -> rusqlite::Result<()> {
        let sql = "DELETE FROM events WHERE topic = ?1 AND seq = ?2 RETURNING length(headers) + length(body)";
        let mut statement = at.connection.prepare_cached(sql)?;
        let bytes: Option<i64> =
            statement.query_row([self.id, int(self.first)], |row| row.get(0)).optional()?;
        self.bytes -= bytes.map_or(0, nat);
        self.first += 1;
        self.first_at = None;
        self.is_changed = true;
        Ok(())
    }

    /// What counts as acknowledged by somebody who begins there.
    pub(super) fn place(&self, connection: &Connection, start: Start) -> rusqlite::Result<u64> {
        let time = match start {
            Start::Now => return Ok(self.next - 1),
            Start::Oldest => return Ok(self.first - 1),
            Start::At(time) => time,
        };
        // Times never go back, so the first event at that time or later can be found by halving.
        let (mut low, mut high) = (self.first, self.next);
        while low < high {
            let middle = low.midpoint(high);
            if published(connection, self.id, middle)?.is_some_and(|at| at < time) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low - 1)
    }

    pub(super) fn set_cursor(
        &mut self,
        at: &Moment<'_>,
        subscriber: &str,
        cursor: u64,
    ) -> rusqlite::Result<()> {
        let mut statement =
            at.connection.prepare_cached("INSERT OR REPLACE INTO subscribers VALUES (?1, ?2, ?3)")?;
        statement.execute(params![self.id, subscriber, int(cursor)])?;
        self.cursors.insert(subscriber.to_owned(), cursor);
        Ok(())
    }

    pub(super) fn save(&mut self, at: &Moment<'_>) -> rusqlite::Result<()> {
        if std::mem::take(&mut self.is_changed) {
            let sql =
                "UPDATE topics SET age = ?2, size = ?3, first = ?4, next = ?5, bytes = ?6 WHERE id = ?1";
            let mut statement = at.connection.prepare_cached(sql)?;
            let (age, size, bytes) = (int(self.age_ms), int(self.size), int(self.bytes));
            statement.execute(params![self.id, age, size, int(self.first), int(self.next), bytes])?;
        }
        Ok(())
    }
}

/// When an event was published, if it is kept.
pub(super) fn published(
    connection: &Connection,
    topic: i64,
    seq: u64,
) -> rusqlite::Result<Option<Timestamp>> {
    let mut statement = connection.prepare_cached("SELECT at FROM events WHERE topic = ?1 AND seq = ?2")?;
    statement.query_row([topic, int(seq)], |row| row.get(0).map(time)).optional()
}
