//! The file of topics.

use crate::embedded::file::Format;

pub(in crate::embedded) static FORMAT: Format = Format {
    name: "topics",
    letters: *b"TO",
    version: 1,
    schema: "
        CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, age INTEGER NOT NULL,
            size INTEGER NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL, bytes INTEGER NOT NULL);
        CREATE TABLE subscribers (topic INTEGER NOT NULL, name TEXT NOT NULL, cursor INTEGER NOT NULL,
            PRIMARY KEY (topic, name)) WITHOUT ROWID;
        CREATE TABLE events (topic INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL,
            headers BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (topic, seq)) WITHOUT ROWID;",
};
