//! The file of keys.

use crate::embedded::buckets::Shape;
use crate::embedded::file::Format;

pub(in crate::embedded) static FORMAT: Format = Format {
    name: "keys",
    letters: *b"KE",
    version: 1,
    schema: "
        CREATE TABLE buckets (id INTEGER PRIMARY KEY, keep INTEGER NOT NULL,
            start INTEGER NOT NULL, stop INTEGER NOT NULL);",
};

/// Answers are beside their keys: both are only ever appended, and a row that grows would be moved. A key that has an
/// answer is done, whatever its state says: an execution that ends well writes one row.
pub(in crate::embedded) static KEYS: Shape = Shape {
    prefix: "keys",
    create: "CREATE TABLE {t} (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, token INTEGER NOT NULL,
                 until INTEGER NOT NULL, state INTEGER NOT NULL, sent_before INTEGER NOT NULL,
                 fingerprint BLOB NOT NULL, name BLOB NOT NULL);
             CREATE INDEX {t}_by_hash ON {t} (hash);
             CREATE TABLE {t}_answers (id INTEGER PRIMARY KEY, answer BLOB NOT NULL);",
    drop: "DROP TABLE {t}; DROP TABLE {t}_answers;",
    statements: &[
        "SELECT k.id, token, until, iif(a.id IS NULL, state, 1), sent_before, fingerprint FROM {t} k
             LEFT JOIN {t}_answers a ON a.id = k.id WHERE hash = ?1 AND name = ?2",
        "INSERT INTO {t} (hash, name, fingerprint, token, until, state, sent_before) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)",
        "UPDATE {t} SET state = ?2 WHERE id = ?1",
        "DELETE FROM {t} WHERE id = ?1",
        "INSERT INTO {t}_answers VALUES (?1, ?2)",
        "SELECT answer FROM {t}_answers WHERE id = ?1",
    ],
};
pub(super) const FIND: usize = 0;
pub(super) const PUT: usize = 1;
pub(super) const CHANGE: usize = 2;
pub(super) const FORGET: usize = 3;
pub(super) const PUT_ANSWER: usize = 4;
pub(super) const FIND_ANSWER: usize = 5;

/// Of a key in the file.
pub(in crate::embedded) const IN_FLIGHT: u8 = 0;
pub(in crate::embedded) const DONE: u8 = 1;
pub(in crate::embedded) const UNKNOWN: u8 = 2;
