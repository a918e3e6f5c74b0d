//! Whether a store that nobody has open is whole: SQLite's own check, and what must hold between our tables.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::StoreError;
use crate::embedded::buckets::table;
use crate::embedded::file::{Format, open_to_read};
use crate::embedded::open::{LOCK_FILE, bad, lock_or_busy};
use crate::embedded::{history, jobs, keys, topics};

/// Problems that are told of one file; one is reason enough to restore it.
const PROBLEMS_MAX: usize = 20;

/// What was found in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Each file.
    pub files: Vec<FileReport>,
}

/// What was found in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Which file.
    pub path: PathBuf,
    /// What it keeps, and how many of each.
    pub rows: Vec<(&'static str, u64)>,
    /// What is wrong with it; nothing when it is whole.
    pub problems: Vec<String>,
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.files.iter().all(|file| file.problems.is_empty())
    }
}

/// Checks the store in `folder`. Changes nothing.
///
/// # Errors
/// [`StoreError::Busy`] while somebody has it open, [`StoreError::BadFile`] when there is none.
pub fn verify(folder: &Path) -> Result<Checked, StoreError> {
    let lock = File::options().read(true).write(true).open(folder.join(LOCK_FILE));
    let lock = lock.map_err(|error| bad(&folder.join(LOCK_FILE), &error))?;
    lock_or_busy(&lock, folder)?;
    let files = [
        (&jobs::FORMAT, JOBS_COUNTS, JOBS_RULES),
        (&keys::FORMAT, &[] as _, &[] as _),
        (&topics::FORMAT, TOPICS_COUNTS, TOPICS_RULES),
        (&history::FORMAT, HISTORY_COUNTS, HISTORY_RULES),
    ];
    let reports = files.map(|(format, counts, rules)| {
        let mut report =
            FileReport { path: folder.join(format.file_name()), rows: Vec::new(), problems: Vec::new() };
        if let Err(error) = check(folder, format, counts, rules, &mut report) {
            report.problems.push(error);
        }
        report.problems.truncate(PROBLEMS_MAX);
        report
    });
    Ok(Checked { files: reports.into() })
}

/// What is counted: a name and a query for one number.
type Counts = &'static [(&'static str, &'static str)];
/// What must not be there: what it means, and a query for how many there are.
type Rules = &'static [(&'static str, &'static str)];

const JOBS_COUNTS: Counts =
    &[("jobs", "SELECT count(*) FROM jobs"), ("dead letters", "SELECT count(*) FROM dead")];
const JOBS_RULES: Rules = &[
    ("jobs of no queue", "SELECT count(*) FROM jobs WHERE queue NOT IN (SELECT id FROM queues)"),
    ("dead letters of no queue", "SELECT count(*) FROM dead WHERE queue NOT IN (SELECT id FROM queues)"),
    ("jobs that are dead letters too", "SELECT count(*) FROM jobs WHERE id IN (SELECT id FROM dead)"),
    (
        "names that may be used again",
        "SELECT count(*) FROM (SELECT id FROM jobs UNION ALL SELECT id FROM dead)
         WHERE id >= (SELECT value FROM meta WHERE name = 'reserved')",
    ),
    ("leases without an end", "SELECT count(*) FROM jobs WHERE token <> 0 AND leased_until = 0"),
];
const TOPICS_COUNTS: Counts =
    &[("topics", "SELECT count(*) FROM topics"), ("events", "SELECT count(*) FROM events")];
const TOPICS_RULES: Rules = &[
    (
        "events outside their topic",
        "SELECT count(*) FROM events e LEFT JOIN topics t ON t.id = e.topic
         WHERE t.id IS NULL OR e.seq < t.first OR e.seq >= t.next",
    ),
    (
        "topics with gaps",
        "SELECT count(*) FROM topics t
         WHERE next - first <> (SELECT count(*) FROM events WHERE topic = t.id)",
    ),
    (
        "topics that do not know their size",
        "SELECT count(*) FROM topics t WHERE bytes <>
         (SELECT ifnull(sum(length(headers) + length(body)), 0) FROM events WHERE topic = t.id)",
    ),
    (
        "subscribers that miss events",
        "SELECT count(*) FROM subscribers s LEFT JOIN topics t ON t.id = s.topic
         WHERE t.id IS NULL OR s.cursor >= t.next OR s.cursor + 1 < t.first",
    ),
    (
        "events that are older than the one before",
        "SELECT count(*) FROM (SELECT at, lag(at) OVER (PARTITION BY topic ORDER BY seq) AS earlier FROM events)
         WHERE at < earlier",
    ),
];
const HISTORY_COUNTS: Counts = &[("entries", "SELECT count(*) FROM history")];
const HISTORY_RULES: Rules = &[
    (
        "a size that is not that of the entries",
        "SELECT count(*) FROM meta WHERE name = 'bytes' AND value <>
         (SELECT ifnull(sum(length(body)), 0) FROM history)",
    ),
    (
        "entries that are older than the one before",
        "SELECT count(*) FROM (SELECT at, lag(at) OVER (ORDER BY id) AS earlier FROM history) WHERE at < earlier",
    ),
];

fn check(
    folder: &Path,
    format: &Format,
    counts: Counts,
    rules: Rules,
    report: &mut FileReport,
) -> Result<(), String> {
    let connection = open_to_read(folder, format).map_err(|error| error.to_string())?;
    let told = |error: rusqlite::Error| error.to_string();
    report.problems = integrity(&connection).map_err(told)?;
    if !report.problems.is_empty() {
        // What is counted in a broken file means nothing.
        return Ok(());
    }
    for (name, sql) in counts {
        report.rows.push((name, number(&connection, sql).map_err(told)?));
    }
    for (rule, sql) in rules {
        let offences = number(&connection, sql).map_err(told)?;
        if offences > 0 {
            report.problems.push(format!("{offences} {rule}"));
        }
    }
    if format.name == keys::FORMAT.name {
        check_keys(&connection, report).map_err(told)?;
    }
    Ok(())
}

fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection.query_row(sql, [], |row| row.get(0).map(i64::cast_unsigned))
}

/// Buckets have tables of their own.
fn check_keys(connection: &Connection, report: &mut FileReport) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT id FROM buckets")?;
    let buckets = statement.query_map([], |row| row.get(0))?;
    let mut keys = 0;
    for bucket in buckets {
        let table = table(keys::KEYS.prefix, i64::cast_unsigned(bucket?));
        keys += number(connection, &format!("SELECT count(*) FROM {table}"))?;
        let rules = [
            ("keys in no known state", format!("SELECT count(*) FROM {table} WHERE state NOT IN (0, 2)")),
            (
                "answers to no key",
                format!("SELECT count(*) FROM {table}_answers WHERE id NOT IN (SELECT id FROM {table})"),
            ),
        ];
        for (rule, sql) in rules {
            let offences = number(connection, &sql)?;
            if offences > 0 {
                report.problems.push(format!("{offences} {rule}"));
            }
        }
    }
    report.rows.push(("keys", keys));
    Ok(())
}
