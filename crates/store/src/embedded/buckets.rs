//! Keys that are forgotten by the bucket.
//!
//! **Problem.** Keys come at random places of an index and are forgotten in the order of time. Deleting them one by
//! one writes as much as inserting them did.
//!
//! **Model.** A bucket is a table of its own for everything that came in the same quarter of a retention; it is
//! appended to, with an index on a 64-bit hash, and dropped whole when its youngest key has been kept long enough.
//! A lookup asks every live bucket, at most six per retention. What was filled since the start has a Bloom filter
//! in memory, so that a new key, the usual case, asks the file nothing there.

use rusqlite::{Connection, params};

use crate::Timestamp;
use crate::embedded::convert::{int, nat};

/// Buckets per retention.
const PARTS: u64 = 4;
/// Shorter retentions are kept longer: making and dropping tables all the time is worse.
const KEEP_MIN_MS: u64 = 64_000;

/// What the tables are like. `{t}` stands for the table's name.
pub(super) struct Shape {
    pub(super) prefix: &'static str,
    pub(super) create: &'static str,
    pub(super) drop: &'static str,
    /// Statements by number, as the caller names them.
    pub(super) statements: &'static [&'static str],
}

/// One table.
pub(super) struct Bucket {
    pub(super) id: u64,
    /// How long what is in it is kept, in milliseconds.
    keep: u64,
    start: u64,
    stop: u64,
    statements: Vec<String>,
    /// Knows everything in it; `None` when the bucket is older than this process.
    filter: Option<Filter>,
}

impl Bucket {
    fn is_live(&self, now: Timestamp) -> bool {
        now.0 < self.stop.saturating_add(self.keep)
    }

    pub(super) fn sql(&self, number: usize) -> &str {
        &self.statements[number]
    }

    /// False only when a key with this hash is surely not in it.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_hold(hash))
    }
}

/// All buckets of a file.
pub(super) struct Buckets {
    shape: &'static Shape,
    /// Oldest first.
    list: Vec<Bucket>,
}

impl Buckets {
    pub(super) fn load(connection: &Connection, shape: &'static Shape) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare("SELECT id, keep, start, stop FROM buckets ORDER BY id")?;
        let rows = statement.query_map([], |row| {
            let number = |column| row.get(column).map(nat);
            Ok(bucket(shape, number(0)?, number(1)?, number(2)?..number(3)?, None))
        })?;
        Ok(Buckets { shape, list: rows.collect::<Result<_, _>>()? })
    }

    /// Live buckets, the youngest first.
    pub(super) fn live(&self, now: Timestamp) -> impl Iterator<Item = &Bucket> {
        self.list.iter().rev().filter(move |bucket| bucket.is_live(now))
    }

    /// The bucket for something that comes now and is kept so long; remembers its hash.
    pub(super) fn enter(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        keep_ms: u64,
        hash: u64,
    ) -> rusqlite::Result<&Bucket> {
        let keep = keep_ms.max(KEEP_MIN_MS);
        let fits = |bucket: &Bucket| bucket.keep == keep && (bucket.start..bucket.stop).contains(&now.0);
        let index = match self.list.iter().rposition(fits) {
            Some(index) => index,
            None => self.create(connection, now, keep)?,
        };
        let bucket = &mut self.list[index];
        if let Some(filter) = &mut bucket.filter
            && !filter.insert(hash)
        {
            bucket.filter = None;
        }
        Ok(&self.list[index])
    }

    fn create(&mut self, connection: &Connection, now: Timestamp, keep: u64) -> rusqlite::Result<usize> {
        let span = keep / PARTS;
        let start = now.0 - now.0 % span;
        let id = self.list.last().map_or(1, |last| last.id + 1);
        let made = bucket(self.shape, id, keep, start..start + span, Some(Filter::default()));
        connection.execute_batch(&named(self.shape.create, self.shape.prefix, id))?;
        let row = params![int(id), int(keep), int(start), int(start + span)];
        connection.execute("INSERT INTO buckets VALUES (?1, ?2, ?3, ?4)", row)?;
        self.list.push(made);
        Ok(self.list.len() - 1)
    }

    /// Drops the oldest bucket that is over, if one is. Answers how many rows it had.
    pub(super) fn drop_one(
        &mut self,
        connection: &Connection,
        now: Timestamp,
    ) -> rusqlite::Result<Option<u64>> {
        let Some(index) = self.list.iter().position(|bucket| !bucket.is_live(now)) else { return Ok(None) };
        let id = self.list[index].id;
        let rows = self.rows(connection, id)?;
        connection.execute_batch(&named(self.shape.drop, self.shape.prefix, id))?;
        connection.execute("DELETE FROM buckets WHERE id = ?1", [int(id)])?;
        self.list.remove(index);
        Ok(Some(rows))
    }

    /// Rows of all buckets.
    pub(super) fn len(&self, connection: &Connection) -> rusqlite::Result<u64> {
        self.list.iter().map(|bucket| self.rows(connection, bucket.id)).sum()
    }

    /// Rows are numbered from 1 and never removed one by one, or only at the end: close enough for a bound.
    fn rows(&self, connection: &Connection, id: u64) -> rusqlite::Result<u64> {
        let sql = named("SELECT ifnull(max(id), 0) FROM {t}", self.shape.prefix, id);
        connection.query_row(&sql, [], |row| row.get(0).map(nat))
    }
}

fn bucket(shape: &Shape, id: u64, keep: u64, lasts: std::ops::Range<u64>, filter: Option<Filter>) -> Bucket {
    let statements = shape.statements.iter().map(|sql| named(sql, shape.prefix, id)).collect();
    Bucket { id, keep, start: lasts.start, stop: lasts.end, statements, filter }
}

/// The name of a bucket's table.
pub(super) fn table(prefix: &str, id: u64) -> String {
    format!("{prefix}_{id}")
}

fn named(sql: &str, prefix: &str, id: u64) -> String {
    sql.replace("{t}", &table(prefix, id))
}

/// A Bloom filter that grows: 10 bits and 7 probes for each key, less than 1 % false hits.
#[derive(Default)]
struct Filter {
    /// Each twice as large as the one before.
    layers: Vec<Layer>,
}

struct Layer {
    words: Vec<u64>,
    room: usize,
}

const FIRST_LAYER_KEYS: usize = 1 << 14;
/// 64 Mi keys in all, 80 MiB; a bucket with more is asked in the file.
const LAYERS_MAX: usize = 12;
const BITS_PER_KEY: usize = 10;
const PROBES: u64 = 7;

impl Filter {
    /// False when it is full, and thus useless from now on.
    fn insert(&mut self, hash: u64) -> bool {
        if self.layers.last().is_none_or(|layer| layer.room == 0) {
            if self.layers.len() == LAYERS_MAX {
                return false;
            }
            let keys = FIRST_LAYER_KEYS << self.layers.len();
            self.layers.push(Layer { words: vec![0; keys * BITS_PER_KEY / 64], room: keys });
        }
        let layer = self.layers.last_mut().expect("there is one now");
        layer.room -= 1;
        for (word, bit) in probes(hash, layer.words.len()) {
            layer.words[word] |= bit;
        }
        true
    }

    fn may_hold(&self, hash: u64) -> bool {
        let holds =
            |layer: &Layer| probes(hash, layer.words.len()).all(|(word, bit)| layer.words[word] & bit != 0);
        self.layers.iter().any(holds)
    }
}

/// After A. Kirsch and M. Mitzenmacher, "Less hashing, same performance" (2006): two halves make all probes.
fn probes(hash: u64, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let (one, two) = (hash >> 32, hash & 0xffff_ffff | 1);
    let bits = words as u64 * 64;
    (0..PROBES).map(move |number| {
        let place = (one.wrapping_add(number.wrapping_mul(two)) % bits) as usize;
        (place / 64, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::siphash::{Secret, hash};

    #[test]
    fn a_filter_never_denies_and_rarely_lies() {
        let key = |number: u64| hash(Secret([1, 2]), &[&number.to_le_bytes()]);
        let mut filter = Filter::default();
        assert!(!filter.may_hold(key(0)));
        let keys = 100_000;
        assert!((0..keys).all(|number| filter.insert(key(number))));
        assert!((0..keys).all(|number| filter.may_hold(key(number))));
        let lies = (keys..2 * keys).filter(|number| filter.may_hold(key(*number))).count();
        assert!(lies < 3_000, "{lies} of {keys}");
    }

    static SHAPE: Shape = Shape {
        prefix: "t",
        create: "CREATE TABLE {t} (id INTEGER PRIMARY KEY, hash INTEGER);",
        drop: "DROP TABLE {t};",
        statements: &["INSERT INTO {t} (hash) VALUES (?1)"],
    };

    #[test]
    fn a_bucket_takes_a_quarter_and_is_dropped_after_its_youngest_key() {
        let connection = Connection::open_in_memory().unwrap();
        let registry =
            "CREATE TABLE buckets (id INTEGER PRIMARY KEY, keep INTEGER, start INTEGER, stop INTEGER)";
        connection.execute_batch(registry).unwrap();
        let mut buckets = Buckets::load(&connection, &SHAPE).unwrap();
        let keep = 400_000;
        let mut put = |at: u64| {
            let bucket = buckets.enter(&connection, Timestamp(at), keep, at).unwrap();
            connection.execute(bucket.sql(0), [int(at)]).unwrap();
            bucket.id
        };
        assert_eq!((put(0), put(99_999), put(100_000)), (1, 1, 2));
        assert_eq!(buckets.live(Timestamp(499_999)).map(|bucket| bucket.id).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(buckets.live(Timestamp(500_000)).map(|bucket| bucket.id).collect::<Vec<_>>(), [2]);
        assert_eq!(buckets.len(&connection).unwrap(), 3);
        assert_eq!(buckets.drop_one(&connection, Timestamp(499_999)).unwrap(), None);
        assert_eq!(buckets.drop_one(&connection, Timestamp(500_000)).unwrap(), Some(2));
        let again = Buckets::load(&connection, &SHAPE).unwrap();
        assert_eq!(again.live(Timestamp(0)).map(|bucket| bucket.id).collect::<Vec<_>>(), [2]);
        assert!(again.list[0].may_hold(7), "an older bucket has no filter, and cannot deny");
    }
}
