//! The file of jobs.

use crate::embedded::buckets::Shape;
use crate::embedded::file::Format;

/// Small and changing columns first: what is behind them is not read when only they are asked for.
pub(in crate::embedded) static FORMAT: Format = Format {
    name: "jobs",
    letters: *b"JO",
    version: 1,
    schema: "
        CREATE TABLE queues (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, paused INTEGER NOT NULL);
        CREATE TABLE jobs (
            id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, due INTEGER NOT NULL,
            attempts INTEGER NOT NULL, token INTEGER NOT NULL, leased_until INTEGER NOT NULL,
            enqueued INTEGER NOT NULL, deadline INTEGER, order_key BLOB,
            note BLOB NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL);
        CREATE TABLE dead (
            id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, died INTEGER NOT NULL,
            reason TEXT NOT NULL, attempts INTEGER NOT NULL, enqueued INTEGER NOT NULL, order_key BLOB,
            note BLOB NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL);
        CREATE INDEX dead_by_queue ON dead (queue, id);
        CREATE TABLE buckets (id INTEGER PRIMARY KEY, keep INTEGER NOT NULL,
            start INTEGER NOT NULL, stop INTEGER NOT NULL);
        INSERT INTO meta VALUES ('reserved', 1);",
};

/// Which dedupe keys are taken, until when.
pub(super) static DEDUPE: Shape = Shape {
    prefix: "dedupe",
    create: "CREATE TABLE {t} (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, queue INTEGER NOT NULL,
                 job INTEGER NOT NULL, until INTEGER NOT NULL, key BLOB NOT NULL);
             CREATE INDEX {t}_by_hash ON {t} (hash);",
    drop: "DROP TABLE {t};",
    statements: &[
        "SELECT job FROM {t} WHERE hash = ?1 AND key = ?2 AND queue = ?3 AND until > ?4",
        "INSERT INTO {t} (hash, key, queue, until, job) VALUES (?1, ?2, ?3, ?4, ?5)",
    ],
};
pub(super) const DEDUPE_FIND: usize = 0;
pub(super) const DEDUPE_PUT: usize = 1;
