//! The cache: copies of other people's answers, in memory, for a while.
//!
//! `PUT /k/{key}?ttl_ms=..` stores, `GET /k/{key}` answers the copy with its `Age`, or 404. A copy past its
//! time is kept for ten more minutes and handed out to whoever says `Allow-Stale: 1`, marked `Stale: 1`.
//! The number of copies is bounded; the one that was not read or written for the longest time goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::http::header::{AGE, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::Deserialize;

use crate::StartError;
use crate::config::Config;
use crate::serve::{Shutdown, refuse, serve};

/// By this header a reader accepts a copy past its time.
pub(crate) const ALLOW_STALE_HEADER: &str = "allow-stale";
/// By this header the cache marks such a copy.
pub(crate) const STALE_HEADER: &str = "stale";

/// Copies held; with bodies of at most 64 KiB (the bound of any request), 640 MiB at the very worst.
const ENTRIES_MAX: usize = 10_000;
/// How long past its time a copy may still be handed out as stale.
const STALE_LIMIT: Duration = Duration::from_mins(10);
const TTL_MAX: Duration = Duration::from_hours(1);
const TTL_DEFAULT: Duration = Duration::from_secs(1);

/// Runs the service until it is told to stop.
pub(crate) async fn run(config: Config) -> Result<(), StartError> {
    let shutdown = Shutdown::on_signal()?;
    let copies = Arc::new(Mutex::new(Copies::new(ENTRIES_MAX)));
    let routes = Router::new().route("/k/{key}", get(read).put(write)).with_state(copies);
    serve(&config, routes, shutdown).await
}

type Shared = State<Arc<Mutex<Copies>>>;

async fn read(State(copies): Shared, Path(key): Path<String>, headers: HeaderMap) -> Response {
    let accept = if headers.contains_key(ALLOW_STALE_HEADER) { Accept::Stale } else { Accept::FreshOnly };
    let found = lock(&copies).get(&key, accept, Instant::now());
    let Some(found) = found else {
        return refuse(StatusCode::NOT_FOUND, "absent", "no copy of this");
    };
    let mut response = found.body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(AGE, HeaderValue::from(found.age.as_secs()));
    if found.freshness == Freshness::Stale {
        headers.insert(STALE_HEADER, HeaderValue::from_static("1"));
    }
    response
}

#[derive(Deserialize)]
struct Lifetime {
    ttl_ms: Option<u64>,
}

async fn write(
    State(copies): Shared,
    Path(key): Path<String>,
    Query(lifetime): Query<Lifetime>,
    body: Bytes,
) -> StatusCode {
    let ttl = lifetime.ttl_ms.map_or(TTL_DEFAULT, Duration::from_millis).min(TTL_MAX);
    lock(&copies).put(key, body, ttl, Instant::now());
    StatusCode::NO_CONTENT
}

fn lock(copies: &Mutex<Copies>) -> std::sync::MutexGuard<'_, Copies> {
    copies.lock().expect("no panic happens while the copies are locked")
}

/// What a reader puts up with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accept {
    FreshOnly,
    Stale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    Fresh,
    Stale,
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    body: Bytes,
    age: Duration,
    freshness: Freshness,
}

/// The copies, without a clock: time comes in.
struct Copies {
    entries_max: usize,
    entries: HashMap<String, Entry>,
    /// Keys by their last use, oldest first.
    by_use: BTreeMap<u64, String>,
    uses: u64,
}

struct Entry {
    body: Bytes,
    stored: Instant,
    expires: Instant,
    last_use: u64,
}

impl Copies {
    fn new(entries_max: usize) -> Self {
        assert!(entries_max > 0, "a cache of nothing is a mistake");
        Self { entries_max, entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    fn put(&mut self, key: String, body: Bytes, ttl: Duration, now: Instant) {
        self.remove(&key);
        if self.entries.len() == self.entries_max {
            let oldest = self.by_use.first_key_value().map(|(_, key)| key.clone());
            self.remove(&oldest.expect("as many uses as entries, and entries_max > 0"));
        }
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(key, Entry { body, stored: now, expires: now + ttl, last_use: self.uses });
        debug_assert_eq!(self.entries.len(), self.by_use.len(), "one use per entry");
    }

    fn get(&mut self, key: &str, accept: Accept, now: Instant) -> Option<Found> {
        let entry = self.entries.get_mut(key)?;
        if now >= entry.expires + STALE_LIMIT {
            self.remove(key);
            return None;
        }
        let freshness = if now < entry.expires { Freshness::Fresh } else { Freshness::Stale };
        if freshness == Freshness::Stale && accept == Accept::FreshOnly {
            return None;
        }
        self.uses += 1;
        let key = self.by_use.remove(&entry.last_use).expect("every entry has its use");
        self.by_use.insert(self.uses, key);
        entry.last_use = self.uses;
        let age = now.saturating_duration_since(entry.stored);
        Some(Found { body: entry.body.clone(), age, freshness })
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.last_use);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(2);

    fn held(copies: &mut Copies, key: &str, now: Instant) -> bool {
        copies.get(key, Accept::Stale, now).is_some()
    }

    #[test]
    fn a_copy_is_fresh_then_stale_then_gone() {
        let start = Instant::now();
        let fresh = Some(Freshness::Fresh);
        let stale = Some(Freshness::Stale);
        // (milliseconds after storing, found by who wants fresh copies, found by who accepts stale ones)
        let table = [
            (0, fresh, fresh),
            (1_999, fresh, fresh),
            (2_000, None, stale),
            (601_999, None, stale),
            (602_000, None, None),
        ];
        for (after_ms, strict, lenient) in table {
            let mut copies = Copies::new(2);
            copies.put("k".to_owned(), Bytes::from_static(b"1"), TTL, start);
            let now = start + Duration::from_millis(after_ms);
            let get = |copies: &mut Copies, accept| copies.get("k", accept, now).map(|found| found.freshness);
            assert_eq!(get(&mut copies, Accept::FreshOnly), strict, "{after_ms} ms, fresh only");
            assert_eq!(get(&mut copies, Accept::Stale), lenient, "{after_ms} ms, stale as well");
        }
    }

    #[test]
    fn the_age_counts_from_the_last_write() {
        let start = Instant::now();
        let mut copies = Copies::new(2);
        copies.put("k".to_owned(), Bytes::from_static(b"1"), TTL, start);
        copies.put("k".to_owned(), Bytes::from_static(b"2"), TTL, start + Duration::from_secs(5));
        let found = copies.get("k", Accept::FreshOnly, start + Duration::from_secs(6)).unwrap();
        assert_eq!((found.body.as_ref(), found.age), (b"2".as_slice(), Duration::from_secs(1)));
    }

    #[test]
    fn the_least_recently_used_copy_makes_room() {
        let now = Instant::now();
        let mut copies = Copies::new(2);
        for key in ["a", "b"] {
            copies.put(key.to_owned(), Bytes::new(), TTL, now);
        }
        assert!(held(&mut copies, "a", now));
        copies.put("c".to_owned(), Bytes::new(), TTL, now);
        assert!(!held(&mut copies, "b", now), "b was used least recently");
        assert!(held(&mut copies, "a", now) && held(&mut copies, "c", now));
        for number in 0..100 {
            copies.put(number.to_string(), Bytes::new(), TTL, now);
            assert_eq!((copies.entries.len(), copies.by_use.len()), (2, 2));
        }
    }
}
