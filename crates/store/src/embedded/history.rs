//! History in a file.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use crate::bytes::{NAME_MAX, fits};
use crate::embedded::convert::{int, nat, time};
use crate::embedded::file::{self, Format, meta, set_meta};
use crate::embedded::open::Limits;
use crate::embedded::reader::{Queries, Query, Reader, query};
use crate::embedded::writer::{Context, Machine, Moment, Writer};
use crate::{Answer, Entry, EntryId, History, HistoryQuery, Reply, StoreError, Timestamp};

pub(super) static FORMAT: Format = Format {
    name: "history",
    letters: *b"HI",
    version: 1,
    schema: "
        CREATE TABLE history (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL,
            body BLOB NOT NULL);
        CREATE INDEX history_by_kind ON history (kind, id);
        CREATE INDEX history_by_time ON history (at, id);
        INSERT INTO meta VALUES ('bytes', 0);",
};

/// At most so many entries are read at once.
const READ_MAX: usize = 1_000;

struct Append {
    kind: String,
    body: Vec<u8>,
    answer: Answer<EntryId>,
}

struct HistoryMachine {
    bytes: u64,
    bytes_max: u64,
    first: u64,
    next: u64,
    /// Times never go back.
    last_at: Timestamp,
}

impl HistoryMachine {
    fn load(connection: &Connection, bytes_max: u64) -> rusqlite::Result<Self> {
        let bytes = meta(connection, "bytes")?;
        let sql = "SELECT ifnull(min(id), 1), ifnull(max(id), 0) + 1, ifnull(max(at), 0) FROM history";
        connection.query_row(sql, [], |row| {
            let (first, next) = (row.get(0).map(nat)?, row.get(1).map(nat)?);
            Ok(HistoryMachine { bytes, bytes_max, first, next, last_at: row.get(2).map(time)? })
        })
    }
}

impl Machine for HistoryMachine {
    type Operation = Append;
    type Done = (Answer<EntryId>, EntryId);

    fn apply(&mut self, at: &Moment<'_>, append: Append) -> rusqlite::Result<Self::Done> {
        let id = self.next;
        self.last_at = self.last_at.max(at.now);
        let mut statement = at.connection.prepare_cached("INSERT INTO history VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute(params![int(id), int(self.last_at.0), append.kind, append.body])?;
        self.next += 1;
        self.bytes += append.body.len() as u64;
        Ok((append.answer, EntryId(id)))
    }

    fn finish(&mut self, at: &Moment<'_>) -> rusqlite::Result<()> {
        // The latest one stays in any case, and with it the next name.
        while self.bytes > self.bytes_max && self.first + 1 < self.next {
            let sql = "DELETE FROM history WHERE id = ?1 RETURNING length(body)";
            let mut statement = at.connection.prepare_cached(sql)?;
            let bytes: Option<i64> = statement.query_row([int(self.first)], |row| row.get(0)).optional()?;
            self.bytes -= bytes.map_or(0, nat);
            self.first += 1;
        }
        set_meta(at.connection, "bytes", self.bytes)
    }

    fn committed(&mut self, done: Vec<Self::Done>) {
        for (answer, id) in done {
            answer.send(Ok(id));
        }
    }
}

/// The file of history, open.
pub(super) struct HistoryFile {
    writer: Writer<Append>,
    reader: Reader<Query>,
    body_max: usize,
}

impl HistoryFile {
    pub(super) fn open(folder: &Path, context: &Context, limits: &Limits) -> Result<Self, StoreError> {
        let (connection, _) = file::open_to_write(folder, &FORMAT)?;
        let to_read = file::open_to_read(folder, &FORMAT)?;
        let machine = HistoryMachine::load(&connection, limits.history_max).map_err(|error| {
            StoreError::BadFile { path: folder.join(FORMAT.file_name()), reason: error.to_string() }
        })?;
        Ok(HistoryFile {
            writer: Writer::start(context, connection, machine)?,
            reader: Reader::start(context, to_read, Queries)?,
            body_max: limits.body_max,
        })
    }
}

impl History for HistoryFile {
    fn append(&self, kind: &str, body: Vec<u8>) -> Reply<EntryId> {
        let fit = fits("kind", kind.len(), NAME_MAX).and_then(|()| fits("body", body.len(), self.body_max));
        if let Err(full) = fit {
            return Reply::ready(Err(full));
        }
        let kind = kind.to_owned();
        self.writer.ask(body.len(), |answer| Append { kind, body, answer })
    }

    fn entries(&self, asked: HistoryQuery, max: usize) -> Reply<Vec<Entry>> {
        self.reader.ask(|answer| query(answer, move |connection| entries(connection, &asked, max).map(Ok)))
    }
}

fn entries(connection: &Connection, asked: &HistoryQuery, max: usize) -> rusqlite::Result<Vec<Entry>> {
    let (mut sql, mut values) = ("SELECT id, at, kind, body FROM history WHERE TRUE".to_owned(), Vec::new());
    let mut add = |condition: &str, value: Value| {
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(after) = asked.after {
        add(" AND id > ?", int(after.0).into());
    }
    if let Some(kind) = &asked.kind {
        add(" AND kind = ?", kind.clone().into());
    }
    if let Some(from) = asked.from {
        add(" AND at >= ?", int(from.0).into());
    }
    if let Some(until) = asked.until {
        add(" AND at < ?", int(until.0).into());
    }
    add(" ORDER BY id LIMIT ?", int(max.min(READ_MAX) as u64).into());
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), |row| {
        Ok(Entry {
            id: EntryId(row.get(0).map(nat)?),
            at: row.get(1).map(time)?,
            kind: row.get(2)?,
            body: row.get(3)?,
        })
    })?;
    found.collect()
}
