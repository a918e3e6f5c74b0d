//! Carries reading out: the cache first, then the ledger, and beside them the chat. Parts of a page fail
//! separately.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::http::StatusCode;
use ::http::header::AGE;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::cooldown::Cooldown;
use super::reading::{AfterCache, Chat, Copy, LedgerManners, Original, Shown, after_cache, after_ledger};
use crate::cache::{ALLOW_STALE_HEADER, STALE_HEADER};
use crate::config::Degradation;
use crate::http::{Client, Outgoing};

/// A cache that takes longer is no help.
const CACHE_LIMIT: Duration = Duration::from_millis(100);
/// The chat is an ornament of the page and may not cost more.
const CHAT_LIMIT: Duration = Duration::from_millis(50);
/// How long a copy is shown without asking the ledger: how old "seats left" may be.
const COPY_LIFETIME_MS: u64 = 1000;
/// Copies on their way into the cache; more are not stored.
const FILLS_MAX: usize = 64;

/// What pages are made of.
pub(super) struct Pages {
    pub(super) degradation: Degradation,
    ledger: Part,
    cache: Option<Part>,
    chat: Option<Part>,
    fills: Arc<Semaphore>,
}

/// A service that a page asks, and what we remember of its manners.
struct Part {
    client: Arc<Client>,
    cooldown: Mutex<Cooldown>,
}

impl Part {
    fn new(client: Arc<Client>) -> Self {
        Self { client, cooldown: Mutex::new(Cooldown::default()) }
    }

    /// Whether to ask at all; if so, the result must be reported by [`Part::remember`].
    fn may_ask(&self) -> bool {
        self.cooldown().may_ask(Instant::now())
    }

    fn remember(&self, health: Health) {
        match health {
            Health::Answered => self.cooldown().answered(),
            Health::Silent => self.cooldown().failed(Instant::now()),
        }
    }

    fn cooldown(&self) -> std::sync::MutexGuard<'_, Cooldown> {
        self.cooldown.lock().expect("no panic happens while a part's manners are locked")
    }
}

#[derive(Clone, Copy)]
enum Health {
    Answered,
    Silent,
}

impl Pages {
    pub(super) fn new(
        degradation: Degradation,
        ledger: Arc<Client>,
        cache: Option<Client>,
        chat: Option<Client>,
    ) -> Self {
        let part = |client| Part::new(Arc::new(client));
        Self {
            degradation,
            ledger: Part::new(ledger),
            cache: cache.map(part),
            chat: chat.map(part),
            fills: Arc::new(Semaphore::new(FILLS_MAX)),
        }
    }

    /// Whether people can talk about the event.
    pub(super) async fn chat(&self) -> Chat {
        let Some(chat) = &self.chat else { return Chat::Unavailable };
        if !chat.may_ask() {
            return Chat::Unavailable;
        }
        match chat.client.call(&Outgoing::get("/available", CHAT_LIMIT)).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                chat.remember(Health::Answered);
                let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                if body["available"] == true { Chat::Available } else { Chat::Unavailable }
            }
            _ => {
                chat.remember(Health::Silent);
                Chat::Unavailable
            }
        }
    }

    /// What the ledger answers under `path`, or a copy of it.
    pub(super) async fn read(&self, path: &str) -> Shown<Value> {
        let copy = self.copy(path).await;
        let ledger = match copy {
            // Only who has something else to show is considerate.
            Copy::Stale(..) if !self.ledger.may_ask() => LedgerManners::Resting,
            _ => LedgerManners::Ask,
        };
        match after_cache(copy, ledger, self.degradation) {
            AfterCache::Show(shown) => shown,
            AfterCache::AskLedger { limit, stale } => after_ledger(self.original(path, limit).await, stale),
        }
    }

    async fn copy(&self, path: &str) -> Copy<Value> {
        // A backend without a cache is not one whose cache is down.
        let Some(cache) = &self.cache else { return Copy::Absent };
        if !cache.may_ask() {
            return Copy::Unavailable;
        }
        let request = Outgoing::get(cache_path(path), CACHE_LIMIT).header(ALLOW_STALE_HEADER, "1");
        let copy = match cache.client.call(&request).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Copy::Absent,
            Ok(answer) if answer.status == StatusCode::OK => match serde_json::from_slice(&answer.body) {
                Ok(thing) if answer.headers.contains_key(STALE_HEADER) => {
                    let age = answer.headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok());
                    Copy::Stale(thing, age.unwrap_or(0))
                }
                Ok(thing) => Copy::Fresh(thing),
                Err(_) => Copy::Absent,
            },
            _ => Copy::Unavailable,
        };
        cache.remember(if copy == Copy::Unavailable { Health::Silent } else { Health::Answered });
        copy
    }

    async fn original(&self, path: &str, limit: Duration) -> Original<Value> {
        let original = match self.ledger.client.call(&Outgoing::get(path, limit)).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Original::Absent,
            Ok(answer) if answer.status == StatusCode::OK => match serde_json::from_slice(&answer.body) {
                Ok(thing) => {
                    self.fill(path, answer.body);
                    Original::Found(thing)
                }
                Err(_) => Original::Unavailable,
            },
            _ => Original::Unavailable,
        };
        let health = if original == Original::Unavailable { Health::Silent } else { Health::Answered };
        self.ledger.remember(health);
        original
    }

    /// Stores a copy while the page is already on its way. A copy that does not get there is no loss.
    fn fill(&self, path: &str, body: Bytes) {
        let Some(cache) = &self.cache else { return };
        let Ok(place) = Arc::clone(&self.fills).try_acquire_owned() else { return };
        let path = format!("{}?ttl_ms={COPY_LIFETIME_MS}", cache_path(path));
        let client = Arc::clone(&cache.client);
        tokio::spawn(async move {
            let _ = client.call(&Outgoing::put(path, body, CACHE_LIMIT)).await;
            drop(place);
        });
    }
}

/// `/events/1` is kept under the key `events:1`.
fn cache_path(path: &str) -> String {
    format!("/k/{}", path.trim_start_matches('/').replace('/', ":"))
}
