//! One file: made, recognized, or refused.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::StoreError;
use crate::embedded::convert::int;
use crate::embedded::siphash::Secret;

/// Before 3.51.3 and 3.53.1 two connections could lose a commit when the WAL was reset.
const SQLITE_VERSION_MIN: i32 = 3_053_001;
/// Readers wait so long while the file recovers.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// "SW" and two letters that name the sort of file.
const APPLICATION: i32 = 0x5357_0000;

/// A sort of file.
pub(super) struct Format {
    /// Without its extension.
    pub(super) name: &'static str,
    /// Two letters.
    pub(super) letters: [u8; 2],
    /// Raised whenever an older program could misread the file.
    pub(super) version: u32,
    /// Tables, besides `meta`.
    pub(super) schema: &'static str,
}

impl Format {
    pub(super) fn file_name(&self) -> String {
        format!("{}.db", self.name)
    }

    fn application(&self) -> i32 {
        APPLICATION | i32::from(self.letters[0]) << 8 | i32::from(self.letters[1])
    }
}

/// What every file keeps about itself.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    /// How often the file was opened; larger each time.
    pub(super) epoch: u64,
    pub(super) secret: Secret,
}

/// Opens the file to write, makes it when it is not there, and begins a new epoch.
pub(super) fn open_to_write(folder: &Path, format: &Format) -> Result<(Connection, Identity), StoreError> {
    let path = folder.join(format.file_name());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = connect(&path, flags)?;
    let identity = begin(&connection, &path, format, folder).map_err(|problem| problem.about(&path))?;
    Ok((connection, identity))
}

/// Opens the file to read what is committed. It has to exist.
pub(super) fn open_to_read(folder: &Path, format: &Format) -> Result<Connection, StoreError> {
    let path = folder.join(format.file_name());
    let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let opened = recognize(&connection, &path, format).and_then(|exists| {
        let reason = format!("there are no {} in it", format.name);
        if !exists {
            return Err(Problem::Said(StoreError::BadFile { path: path.clone(), reason }));
        }
        Ok(settings(&connection)?)
    });
    opened.map_err(|problem| problem.about(&path))?;
    connection.pragma_update(None, "query_only", true).map_err(|error| Problem::from(error).about(&path))?;
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| Problem::from(error).about(path))?;
    let version = rusqlite::version_number();
    if version < SQLITE_VERSION_MIN {
        let reason = format!("SQLite {} is too old to be trusted with it", rusqlite::version());
        return Err(StoreError::BadFile { path: path.to_path_buf(), reason });
    }
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| Problem::from(error).about(path))?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// Why a file cannot be used; its path is added by the caller.
enum Problem {
    Said(StoreError),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Problem::Sql(error)
    }
}

impl Problem {
    fn about(self, path: &Path) -> StoreError {
        let error = match self {
            Problem::Said(error) => return error,
            Problem::Sql(error) => error,
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Busy { path: path.to_path_buf() }
            }
            Some(ErrorCode::SystemIoFailure | ErrorCode::DiskFull) => {
                StoreError::Broken(format!("{}: {error}", path.display()))
            }
            _ => StoreError::BadFile { path: path.to_path_buf(), reason: error.to_string() },
        }
    }
}

fn settings(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; \
         PRAGMA cache_size = -16384;",
    )?;
    // Whoever closes last would write the log back into the file: after a failed sync that must not be tried again,
    // and whoever only reads must change nothing.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

/// Whether the file has content, and whether it is ours.
fn recognize(connection: &Connection, path: &Path, format: &Format) -> Result<bool, Problem> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && found == 0 && tables == 0 {
        return Ok(false);
    }
    if application != format.application() {
        let reason = format!("not the {} of a Seaworthy store", format.name);
        return Err(Problem::Said(StoreError::BadFile { path: path.to_path_buf(), reason }));
    }
    if found != format.version {
        let (path, known) = (path.to_path_buf(), format.version);
        return Err(Problem::Said(StoreError::WrongVersion { path, found, known }));
    }
    Ok(true)
}

fn begin(connection: &Connection, path: &Path, format: &Format, folder: &Path) -> Result<Identity, Problem> {
    let exists = recognize(connection, path, format)?;
    let mode: String = answer_and_end(connection, "PRAGMA journal_mode = WAL")?;
    if mode != "wal" {
        let reason = format!("the file system cannot keep a write-ahead log (journal mode {mode})");
        return Err(Problem::Said(StoreError::BadFile { path: path.to_path_buf(), reason }));
    }
    settings(connection)?;
    if !exists {
        make(connection, format)?;
    }
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'", [])?;
    let identity = Identity {
        epoch: meta(connection, "epoch")?,
        secret: Secret([meta(connection, "secret_a")?, meta(connection, "secret_b")?]),
    };
    if !exists {
        // The names of new files are in the folder, and have to be as durable as what is in them.
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced
            .map_err(|error| Problem::Said(StoreError::Broken(format!("{}: {error}", folder.display()))))?;
    }
    Ok(identity)
}

fn make(connection: &Connection, format: &Format) -> Result<(), Problem> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         PRAGMA application_id = {};
         PRAGMA user_version = {};
         CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
         INSERT INTO meta VALUES ('epoch', 0), ('secret_a', random()), ('secret_b', random());
         {}
         COMMIT;",
        format.application(),
        format.version,
        format.schema,
    ))?;
    // So that the file says what it is without its log.
    let _: i64 = answer_and_end(connection, "PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

/// The first value of a statement that writes outside a transaction, and its end: it commits only after its last row,
/// and whoever stops reading before never hears that this has failed.
pub(super) fn answer_and_end<T: FromSql>(connection: &Connection, sql: &str) -> rusqlite::Result<T> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let value = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?.get(0)?;
    while rows.next()?.is_some() {}
    Ok(value)
}

/// A number that the file keeps about itself.
pub(super) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let value = connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))?;
    Ok(i64::cast_unsigned(value))
}

pub(super) fn set_meta(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
    statement.execute(rusqlite::params![name, int(value)])?;
    Ok(())
}
