//! Where answers are kept: bounded in bytes and in entries, the least recently used go first.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use seaworthy_policy::Time;
use seaworthy_policy::fallback::FailureClass;
use seaworthy_policy::stale::{Answer, Cached, Flight, Landing, StaleConfig};
use seaworthy_spec::plan::CacheLimits;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::RouteCache;
use super::rules::{Asked, Key, Terms, variant};

/// What an entry takes beside its key, its fields and its body.
const ENTRY_BYTES: usize = 512;

/// An answer as it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Anybody may see it, whoever asked.
    pub(super) public: bool,
    pub(super) ttl: Duration,
}

impl Kept {
    fn bytes(&self) -> usize {
        let fields = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
        fields.sum::<usize>() + self.body.len()
    }
}

/// A stored answer that may be given.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) kept: Arc<Kept>,
    pub(crate) age: Duration,
    /// It is not fresh because the service fails.
    pub(crate) degraded: bool,
}

impl Hit {
    /// It is shown beyond its time.
    pub(crate) fn is_stale(&self) -> bool {
        self.age >= self.kept.ttl
    }
}

/// What the store says to a request.
pub(crate) enum Found {
    /// This; and a flight that somebody has to make.
    Hit(Hit, Option<Ticket>),
    /// Fetch it, for others too.
    Fetch(Ticket),
    /// Somebody is fetching it.
    Wait(Waiting),
    /// Nothing to do with it.
    Pass,
    /// Too many wait.
    Busy(Duration),
}

/// One store for all routes and threads.
pub(crate) struct Store {
    inner: Mutex<Inner>,
    limits: CacheLimits,
    evictions: AtomicU64,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Key, Entry>,
    /// The entries by their last use.
    order: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

struct Entry {
    /// Tells it from an earlier entry of the same name.
    birth: u64,
    used: u64,
    bytes: usize,
    cached: Cached,
    kept: Option<Arc<Kept>>,
    /// Wakes all who wait for a flight.
    ended: Arc<Notify>,
    /// The answers are elsewhere, by these request fields.
    vary: Option<Arc<[HeaderName]>>,
}

impl Store {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self { inner: Mutex::default(), limits, evictions: AtomicU64::new(0) }
    }

    /// Bodies up to this length are kept.
    pub(super) fn body_length_max(&self) -> usize {
        usize::try_from(self.limits.max_answer_bytes).unwrap_or(usize::MAX)
    }

    /// A request asks.
    pub(crate) fn find(
        self: &Arc<Self>,
        now: Time,
        cache: &RouteCache,
        asked: &Asked,
        request: &HeaderMap,
    ) -> Found {
        let mut inner = self.lock();
        let key = inner.variant_of(asked, request);
        if asked.only_reads_store && !inner.entries.contains_key(&key) {
            return Found::Pass;
        }
        let entry = inner.touch(&key);
        let config = match &entry.kept {
            Some(kept) if asked.personal && !kept.public => return Found::Pass,
            None if asked.personal => &cache.alone,
            _ => &cache.shared,
        };
        let answer = entry.cached.on_request(config, now);
        let ticket = |birth, flight| Ticket {
            place: Some(Place { store: Arc::clone(self), key: key.clone(), birth, flight }),
            asked: asked.clone(),
            config: *config,
        };
        let found = match answer {
            Answer::Fresh { age } => entry.hit(age).map(|hit| Found::Hit(hit, None)),
            Answer::Stale { age, refresh } => {
                let birth = entry.birth;
                entry.hit(age).map(|hit| Found::Hit(hit, refresh.map(|flight| ticket(birth, flight))))
            }
            Answer::Fetch(flight) if asked.only_reads_store => {
                entry.cached.on_cancelled(now, flight);
                None
            }
            Answer::Fetch(flight) => Some(Found::Fetch(ticket(entry.birth, flight))),
            Answer::Wait { flight, .. } if asked.only_reads_store => {
                entry.cached.on_waiter_left(now, flight);
                None
            }
            Answer::Wait { flight, until } => Some(Found::Wait(Waiting {
                ended: Some(Box::pin(Arc::clone(&entry.ended).notified_owned())),
                until,
                store: Arc::clone(self),
                key: key.clone(),
                birth: entry.birth,
                flight,
                now,
            })),
            Answer::Pass => None,
            Answer::Busy { retry_after } => Some(Found::Busy(retry_after)),
        };
        self.evict(&mut inner);
        found.unwrap_or(Found::Pass)
    }

    /// A request has failed: what may be shown in its place.
    pub(crate) fn on_error(
        &self,
        now: Time,
        cache: &RouteCache,
        asked: &Asked,
        request: &HeaderMap,
        class: FailureClass,
    ) -> Option<Hit> {
        let mut inner = self.lock();
        let key = inner.variant_of(asked, request);
        let entry = inner.entries.get(&key)?;
        let age = entry.cached.on_error(&cache.shared, now, class)?;
        let hit = entry.hit(age).filter(|hit| hit.kept.public || !asked.personal)?;
        inner.touch(&key);
        Some(Hit { degraded: true, ..hit })
    }

    /// Bytes, entries and evictions so far.
    pub(super) fn figures(&self) -> (usize, usize, u64) {
        let inner = self.lock();
        (inner.bytes, inner.entries.len(), self.evictions.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // As with edges: whoever panicked under the lock has crashed its own request, and loudly.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn evict(&self, inner: &mut Inner) {
        let bytes_max = usize::try_from(self.limits.max_bytes).unwrap_or(usize::MAX);
        let entries_max = usize::try_from(self.limits.max_entries).unwrap_or(usize::MAX);
        while inner.bytes > bytes_max || inner.entries.len() > entries_max {
            let Some((_, key)) = inner.order.pop_first() else { return };
            if let Some(entry) = inner.entries.remove(&key) {
                inner.bytes -= entry.bytes;
                // They ask again, and the first of them fetches.
                entry.ended.notify_waiters();
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Inner {
    /// The name under which the answer to this request would be.
    fn variant_of(&self, asked: &Asked, request: &HeaderMap) -> Key {
        match self.entries.get(&asked.key).and_then(|entry| entry.vary.as_deref()) {
            Some(vary) => variant(&asked.key, vary, request),
            None => asked.key.clone(),
        }
    }

    /// The entry of this name, old or new; it is the most recently used now.
    fn touch(&mut self, key: &Key) -> &mut Entry {
        self.uses += 1;
        let uses = self.uses;
        if !self.entries.contains_key(key) {
            let bytes = ENTRY_BYTES + 2 * key.len();
            self.bytes += bytes;
            self.entries.insert(key.clone(), Entry::new(uses, bytes));
        }
        let entry = self.entries.get_mut(key).expect("it is there now");
        self.order.remove(&entry.used);
        self.order.insert(uses, key.clone());
        entry.used = uses;
        entry
    }

    fn keep(&mut self, key: &Key, kept: Arc<Kept>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let bytes = ENTRY_BYTES + 2 * key.len() + kept.bytes();
        self.bytes = self.bytes + bytes - entry.bytes;
        entry.bytes = bytes;
        entry.kept = Some(kept);
    }

    fn forget(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let bytes = ENTRY_BYTES + 2 * key.len();
        self.bytes = self.bytes + bytes - entry.bytes;
        entry.bytes = bytes;
        entry.kept = None;
    }
}

impl Entry {
    fn new(birth: u64, bytes: usize) -> Self {
        let (cached, ended) = (Cached::new(), Arc::default());
        Self { birth, used: birth, bytes, cached, kept: None, ended, vary: None }
    }

    fn hit(&self, age: Duration) -> Option<Hit> {
        let kept = Arc::clone(self.kept.as_ref()?);
        let degraded = age >= kept.ttl && self.cached.is_failing();
        Some(Hit { kept, age, degraded })
    }
}

/// Where a flight belongs.
struct Place {
    store: Arc<Store>,
    key: Key,
    birth: u64,
    flight: Flight,
}

impl Place {
    /// Ends the flight, if its entry is still there.
    fn end(&self, inner: &mut Inner, event: impl FnOnce(&mut Cached, Flight) -> Landing) -> bool {
        let Some(entry) = inner.entries.get_mut(&self.key).filter(|entry| entry.birth == self.birth) else {
            return false;
        };
        let landing = event(&mut entry.cached, self.flight);
        // By count it would be some; woken are all, because whoever asks again in vain only waits once more.
        if landing.waiters > 0 {
            entry.ended.notify_waiters();
        }
        if !entry.cached.is_filled() {
            inner.forget(&self.key);
        }
        landing.stored
    }
}

/// The duty to end a flight; dropped, it is given up.
pub(crate) struct Ticket {
    place: Option<Place>,
    pub(super) asked: Asked,
    pub(super) config: StaleConfig,
}

impl Ticket {
    /// Bodies up to this length are kept.
    pub(super) fn body_length_max(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.store.body_length_max())
    }

    /// The service or the way to it has failed.
    pub(crate) fn failed(mut self, now: Time, class: FailureClass) {
        if let Some(place) = self.place.take() {
            place.end(&mut place.store.lock(), |cached, flight| {
                cached.on_failed(&self.config, now, flight, class)
            });
        }
    }

    /// The answer may not be kept, and the one before is no longer true.
    pub(super) fn uncacheable(mut self, now: Time) {
        if let Some(place) = self.place.take() {
            place.end(&mut place.store.lock(), |cached, flight| {
                cached.on_uncacheable(&self.config, now, flight)
            });
        }
    }

    /// The answer says nothing about the one stored.
    pub(super) fn unwanted(mut self, now: Time) {
        if let Some(place) = self.place.take() {
            place
                .end(&mut place.store.lock(), |cached, flight| cached.on_unwanted(&self.config, now, flight));
        }
    }

    /// The answer is here.
    pub(super) fn landed(mut self, now: Time, terms: &Terms, kept: Kept, request: &HeaderMap) {
        let Some(place) = self.place.take() else { return };
        let store = Arc::clone(&place.store);
        let key = if terms.vary.is_empty() {
            self.asked.key.clone()
        } else {
            variant(&self.asked.key, &terms.vary, request)
        };
        let kept = Arc::new(kept);
        let mut inner = store.lock();
        if key == place.key {
            let landed =
                |cached: &mut Cached, flight| cached.on_answer(now, flight, terms.age, terms.lifetime);
            if place.end(&mut inner, landed) {
                inner.keep(&key, kept);
            }
        } else {
            // The first of its kind, or the service changed its mind about what the answer depends on.
            self.signpost(&mut inner, place.flight.began, now, terms, (&key, kept));
            place.end(&mut inner, |cached, flight| cached.on_cancelled(now, flight));
        }
        store.evict(&mut inner);
    }

    /// Puts the answer where those who ask alike will find it, and a sign where they ask.
    fn signpost(
        &self,
        inner: &mut Inner,
        began: Time,
        now: Time,
        terms: &Terms,
        (key, kept): (&Key, Arc<Kept>),
    ) {
        inner.forget(&self.asked.key);
        let sign = inner.touch(&self.asked.key);
        sign.vary = (!terms.vary.is_empty()).then(|| terms.vary.as_slice().into());
        let entry = inner.touch(key);
        // A flight of its own, begun when the request was, so that its age is right.
        if let Answer::Fetch(flight) =
            entry.cached.on_request(&StaleConfig { coalesce: false, ..self.config }, now)
        {
            let flight = Flight { began, ..flight };
            if entry.cached.on_answer(now, flight, terms.age, terms.lifetime).stored {
                inner.keep(key, kept);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let now = place.flight.began;
            place.end(&mut place.store.lock(), |cached, flight| cached.on_cancelled(now, flight));
        }
    }
}

/// A request that waits for another one's flight; dropped, it waits no longer.
pub(crate) struct Waiting {
    ended: Option<std::pin::Pin<Box<OwnedNotified>>>,
    until: Time,
    store: Arc<Store>,
    key: Key,
    birth: u64,
    flight: u64,
    now: Time,
}

impl Waiting {
    /// When the flight counts as lost.
    pub(crate) fn until(&self) -> Time {
        self.until
    }

    /// Waits for the flight's end; no longer than until then.
    pub(crate) async fn ended(&mut self, until: tokio::time::Instant) {
        if let Some(ended) = self.ended.take() {
            let _ = tokio::time::timeout_at(until, ended).await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.store.lock();
        if let Some(entry) = inner.entries.get_mut(&self.key).filter(|entry| entry.birth == self.birth) {
            entry.cached.on_waiter_left(self.now, self.flight);
        }
    }
}
