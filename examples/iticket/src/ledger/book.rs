//! The tickets in SQLite, and what each step does to them.
//!
//! Never oversold, twice over: a seat is taken by an `UPDATE` that only matches while seats are left, and a
//! `CHECK` makes the database itself refuse any other outcome. Both happen in the transaction that writes the
//! ticket, and SQLite has one writer.

use std::path::Path;
use std::time::Duration;

use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use serde::Serialize;

/// A second process on the same file (the predecessor, finishing) is waited for this long.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS events (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents >= 0),
    seats       INTEGER NOT NULL CHECK (seats >= 0),
    taken       INTEGER NOT NULL DEFAULT 0 CHECK (taken BETWEEN 0 AND seats)
) STRICT;
CREATE TABLE IF NOT EXISTS tickets (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    key    TEXT    NOT NULL UNIQUE,
    event  INTEGER NOT NULL REFERENCES events (id),
    buyer  TEXT    NOT NULL,
    state  TEXT    NOT NULL CHECK (state IN ('reserved', 'confirmed', 'released')),
    charge INTEGER,
    CHECK ((state = 'confirmed') = (charge IS NOT NULL))
) STRICT;
INSERT OR IGNORE INTO events (id, name, price_cents, seats) VALUES
    (1, 'The Big Concert', 4500, 1000000),
    (2, 'The Small Theatre', 12000, 10);
";

const SELECT_TICKET: &str = "SELECT tickets.id, key, event, buyer, state, charge, price_cents
    FROM tickets JOIN events ON events.id = event WHERE key = ?1";

/// Something that people buy tickets for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) price_cents: i64,
    pub(super) seats: i64,
    pub(super) seats_left: i64,
}

/// Where a ticket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// A seat is taken, nothing is paid.
    Reserved,
    /// Paid; final.
    Confirmed,
    /// Given back; final.
    Released,
}

/// A seat for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ticket {
    pub(super) id: i64,
    pub(super) key: String,
    pub(super) event: u32,
    pub(super) buyer: String,
    pub(super) state: State,
    pub(super) price_cents: i64,
    /// The charge that paid for it, once confirmed.
    pub(super) charge: Option<i64>,
}

/// A step of a purchase.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Take a seat.
    Reserve { key: String, event: u32, buyer: String },
    /// It has been paid.
    Confirm { key: String, charge: i64 },
    /// It will not be paid.
    Release { key: String },
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The ticket as it now is. A repeated step answers what is already so.
    Ticket(Ticket),
    /// The step contradicts what has been decided for good: the ticket as it is.
    Contradiction(Ticket),
    /// No seat is left.
    SoldOut,
    /// The key already stands for another purchase.
    KeyReused,
    /// There is no such event.
    NoSuchEvent,
    /// There is no ticket under this key.
    NoSuchTicket,
}

/// The database.
pub(super) struct Book {
    connection: Connection,
}

impl Book {
    /// Opens or creates the file. What a commit has answered survives a crash of the process and of the
    /// machine: the log is synchronized at each commit.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_LIMIT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection })
    }

    /// Opens the file for reading only. It must exist.
    pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_LIMIT)?;
        Ok(Self { connection })
    }

    /// Applies all commands in one transaction, in order. When this returns, all outcomes are durable; on
    /// an error, none of the commands has happened.
    pub(super) fn apply<'a>(
        &mut self,
        commands: impl Iterator<Item = &'a Command>,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcomes = commands.map(|command| apply_one(&transaction, command)).collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(outcomes)
    }

    /// All events.
    pub(super) fn events(&self) -> rusqlite::Result<Vec<Event>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, name, price_cents, seats, seats - taken FROM events ORDER BY id")?;
        statement.query_map([], read_event)?.collect()
    }

    /// One event.
    pub(super) fn event(&self, id: u32) -> rusqlite::Result<Option<Event>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, name, price_cents, seats, seats - taken FROM events WHERE id = ?1")?;
        statement.query_row([id], read_event).optional()
    }

    /// The ticket under a key, whatever its state.
    pub(super) fn ticket(&self, key: &str) -> rusqlite::Result<Option<Ticket>> {
        ticket(&self.connection, key)
    }

    /// Hands every confirmed ticket to `each`, oldest first, as of one moment; stops when `each` says so.
    pub(super) fn confirmed(&self, mut each: impl FnMut(Ticket) -> Flow) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT tickets.id, key, event, buyer, state, charge, price_cents
             FROM tickets JOIN events ON events.id = event WHERE state = 'confirmed' ORDER BY tickets.id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if each(read_ticket(row)?) == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}

/// Whether to go on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Stop,
}

fn apply_one(transaction: &Transaction<'_>, command: &Command) -> rusqlite::Result<Outcome> {
    match command {
        Command::Reserve { key, event, buyer } => reserve(transaction, key, *event, buyer),
        Command::Confirm { key, charge } => confirm(transaction, key, *charge),
        Command::Release { key } => release(transaction, key),
    }
}

fn reserve(transaction: &Transaction<'_>, key: &str, event: u32, buyer: &str) -> rusqlite::Result<Outcome> {
    if let Some(found) = ticket(transaction, key)? {
        let same = found.event == event && found.buyer == buyer;
        return Ok(if same { Outcome::Ticket(found) } else { Outcome::KeyReused });
    }
    let mut take =
        transaction.prepare_cached("UPDATE events SET taken = taken + 1 WHERE id = ?1 AND taken < seats")?;
    if take.execute([event])? == 0 {
        let mut known = transaction.prepare_cached("SELECT 1 FROM events WHERE id = ?1")?;
        return Ok(if known.exists([event])? { Outcome::SoldOut } else { Outcome::NoSuchEvent });
    }
    transaction
        .prepare_cached("INSERT INTO tickets (key, event, buyer, state) VALUES (?1, ?2, ?3, 'reserved')")?
        .execute(params![key, event, buyer])?;
    now(transaction, key)
}

fn confirm(transaction: &Transaction<'_>, key: &str, charge: i64) -> rusqlite::Result<Outcome> {
    match ticket(transaction, key)? {
        None => Ok(Outcome::NoSuchTicket),
        Some(found) if found.state == State::Released => Ok(Outcome::Contradiction(found)),
        Some(found) if found.state == State::Confirmed => Ok(Outcome::Ticket(found)),
        Some(_) => {
            transaction
                .prepare_cached("UPDATE tickets SET state = 'confirmed', charge = ?2 WHERE key = ?1")?
                .execute(params![key, charge])?;
            now(transaction, key)
        }
    }
}

fn release(transaction: &Transaction<'_>, key: &str) -> rusqlite::Result<Outcome> {
    match ticket(transaction, key)? {
        None => Ok(Outcome::NoSuchTicket),
        Some(found) if found.state == State::Confirmed => Ok(Outcome::Contradiction(found)),
        Some(found) if found.state == State::Released => Ok(Outcome::Ticket(found)),
        Some(found) => {
            transaction
                .prepare_cached("UPDATE tickets SET state = 'released' WHERE key = ?1")?
                .execute([key])?;
            transaction
                .prepare_cached("UPDATE events SET taken = taken - 1 WHERE id = ?1")?
                .execute([found.event])?;
            now(transaction, key)
        }
    }
}

/// The ticket that this transaction has just written.
fn now(transaction: &Transaction<'_>, key: &str) -> rusqlite::Result<Outcome> {
    ticket(transaction, key)?.map(Outcome::Ticket).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

fn ticket(connection: &Connection, key: &str) -> rusqlite::Result<Option<Ticket>> {
    connection.prepare_cached(SELECT_TICKET)?.query_row([key], read_ticket).optional()
}

fn read_ticket(row: &Row<'_>) -> rusqlite::Result<Ticket> {
    let state = match row.get_ref(4)?.as_str()? {
        "confirmed" => State::Confirmed,
        "released" => State::Released,
        // The table's CHECK admits nothing else.
        _ => State::Reserved,
    };
    Ok(Ticket {
        id: row.get(0)?,
        key: row.get(1)?,
        event: row.get(2)?,
        buyer: row.get(3)?,
        state,
        charge: row.get(5)?,
        price_cents: row.get(6)?,
    })
}

fn read_event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        id: row.get(0)?,
        name: row.get(1)?,
        price_cents: row.get(2)?,
        seats: row.get(3)?,
        seats_left: row.get(4)?,
    })
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
