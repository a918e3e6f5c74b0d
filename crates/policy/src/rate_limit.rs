//! So many requests per period, for each key.
//!
//! **Problem.** One client must not use up what is there for all; and who is told to slow down must be told
//! until when. Counting per calendar second lets twice the limit through at its turn; limiters whose waiters
//! sleep and then ask again serve whoever wakes first.
//!
//! **Model.** The generic cell rate algorithm (ITU-T I.371): per key one moment, the *theoretical arrival
//! time*, up to which what was admitted has used the limit up. A request of `cost` moves it on by `cost`
//! times the interval between two requests; it may go when that does not lead further than `burst` intervals
//! into the future. A request that may not go yet, but could within `timeout_duration` and its own deadline,
//! **reserves**: the time moves on at once, the answer says when to go, and whoever comes later gets a later
//! time. Waiters are therefore served in the order they came, without a queue, and nobody has to be woken
//! (tower#454, tower#794). The intervals are exact: 3 per second means 3, not one per 333 ms, because the
//! part of a nanosecond that is left over is carried along.
//!
//! **Giving back.** A reservation cancelled before its time gives back its whole cost, if nobody reserved or
//! used anything after it. Otherwise it gives back nothing: those after it have been told their times, and a
//! place in the middle of a line that may not move is lost. (The last ones in line can leave one after the
//! other, last first, and each gives its place back.)
//!
//! **Other limits, same keys.** `reconfigure` keeps what each key has used, counted in requests; at most a
//! whole new burst counts as used, and places already given out stay on top. Nobody gets a fresh quota from a
//! reload, and a higher limit helps at once.
//!
//! **Keys** are bounded by [`Keyed`]: a quota is forgotten when it has refilled, so forgetting gives nobody
//! anything. No quota is idle before it has refilled, either: the keys' `idle_ttl` is prolonged to that where
//! it is shorter.
//!
//! **Rejected:** a token bucket refilled by a timer (work without traffic, and steps); a queue of waiters per
//! key (memory that strangers fill); sleep-then-recompute (starves, and costs a wake-up per waiter per
//! refill).
//!
//! Worked number, with the defaults (100 per second, burst 100): a client that sends 150 at once gets 100
//! answers, and 50 times "try again in 10 ms"; with a `timeout_duration` of 1 s these 50 are sent at 10 ms,
//! 20 ms ... 500 ms instead.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::Duration;

use crate::error::{require, require_positive};
use crate::time::nanos;
use crate::{ConfigError, Deadline, Forgettable, Keyed, KeyedConfig, Rng, Time};

/// The longest period, so that a limit means something within a lifetime.
pub const REFRESH_PERIOD_MAX: Duration = Duration::from_hours(31 * 24);

/// How much, per key, and how long a request may wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// Requests per period, at least 1.
    pub limit_for_period: u32,
    /// The period, up to [`REFRESH_PERIOD_MAX`]. At least a nanosecond per request.
    pub limit_refresh_period: Duration,
    /// Requests that may come at once after a rest; without it, as many as in a period.
    pub burst: Option<u32>,
    /// How long a request may wait for its turn; zero rejects at once.
    pub timeout_duration: Duration,
    /// How many keys are told apart, and for how long at least.
    pub keys: KeyedConfig,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        RateLimitConfig {
            limit_for_period: 100,
            limit_refresh_period: Duration::from_secs(1),
            burst: None,
            timeout_duration: Duration::ZERO,
            keys: KeyedConfig::default(),
        }
    }
}

impl RateLimitConfig {
    /// Whether this limits anything, and lets something through.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require(self.limit_for_period > 0, "limit_for_period", "be at least 1")?;
        require_positive(self.limit_refresh_period, "limit_refresh_period")?;
        let bounded = self.limit_refresh_period <= REFRESH_PERIOD_MAX;
        require(bounded, "limit_refresh_period", "be at most 31 days")?;
        let limits = nanos(self.limit_refresh_period) >= u64::from(self.limit_for_period);
        require(limits, "limit_refresh_period", "be at least a nanosecond per request")?;
        require(self.burst != Some(0), "burst", "be at least 1")?;
        let short = self.timeout_duration <= REFRESH_PERIOD_MAX;
        require(short, "timeout_duration", "be at most 31 days")?;
        self.keys.validate()
    }

    /// Requests that may come at once after a rest.
    pub fn effective_burst(&self) -> u32 {
        self.burst.unwrap_or(self.limit_for_period)
    }

    /// How long a quota that is used up takes to be whole again.
    pub fn refill(&self) -> Duration {
        self.interval(u64::from(self.effective_burst()))
    }

    /// So many requests as a span, rounded up.
    fn interval(&self, requests: u64) -> Duration {
        let parts = u128::from(requests) * u128::from(nanos(self.limit_refresh_period));
        let span = parts.div_ceil(u128::from(self.limit_for_period));
        Duration::from_nanos(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// The keys' bounds, with no quota idle before it has refilled and its last waiter has gone.
    fn effective_keys(&self) -> KeyedConfig {
        let held = self.refill().saturating_add(self.timeout_duration);
        KeyedConfig { idle_ttl: self.keys.idle_ttl.max(held), ..self.keys }
    }
}

/// What one key has used: the moment up to which it has used the limit up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    used_until: Time,
    /// What is left over below a nanosecond, in nanoseconds divided by `limit_for_period`.
    part: u32,
}

impl Forgettable for Quota {
    /// Whole again.
    fn is_forgettable(&self, now: Time) -> bool {
        self.used_until < now || (self.used_until == now && self.part == 0)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// For how many requests it counts; zero is always admitted.
    pub cost: u32,
    /// No wait leads to this moment or beyond it.
    pub deadline: Option<Deadline>,
}

impl Default for Request {
    fn default() -> Self {
        Request { cost: 1, deadline: None }
    }
}

/// A place in line. To be used at its time, or given back with [`cancel`](RateLimiter::cancel).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a place that is neither used nor cancelled is lost to others"]
pub struct Reservation {
    due: Time,
    before: Quota,
    after: Quota,
    cost: u32,
    shared: bool,
}

impl Reservation {
    /// When the request may go.
    pub fn due(&self) -> Time {
        self.due
    }
}

/// What a request is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go.
    Admitted,
    /// Go at the reservation's time, without asking again.
    Wait(Reservation),
    /// Not within the time there is. Ours, never to be counted as a failure of the backend.
    Rejected {
        /// When the same request would go at once, if nobody else came; always more than nothing.
        retry_after: Duration,
        /// The key had to share its quota, because too many keys are busy.
        shared: bool,
    },
    /// It costs more than a whole burst, so it never goes.
    NeverFits,
}

/// The limiter.
#[derive(Clone, Debug)]
pub struct RateLimiter<K> {
    config: RateLimitConfig,
    quotas: Keyed<K, Quota>,
    latest: Time,
}

impl<K: Hash + Eq> RateLimiter<K> {
    /// Bytes that one key takes at most; what the key itself refers to is extra.
    pub const BYTES_PER_KEY: usize = Keyed::<K, Quota>::BYTES_PER_KEY;

    /// A limiter of which nothing has been used. The generator is for the keys' hashes.
    pub fn new(config: RateLimitConfig, rng: &mut Rng) -> Self {
        let quotas = Keyed::new(config.effective_keys(), rng, Quota::default());
        RateLimiter { config, quotas, latest: Time::ZERO }
    }

    /// Asks for a key.
    pub fn acquire<Q>(&mut self, now: Time, key: &Q, request: Request) -> Decision
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.advance(now);
        if request.cost > self.config.effective_burst() {
            return Decision::NeverFits;
        }
        if request.cost == 0 {
            return Decision::Admitted;
        }
        let entry = self.quotas.entry(now, key, Quota::default);
        let before = entry.state.at(now);
        let after = before.plus(request.cost, &self.config);
        let wait = after.overdraft(now, &self.config);
        let patience = request.deadline.map_or(Duration::MAX, |deadline| {
            // A turn at the very moment of the deadline is of no use.
            deadline.remaining(now).saturating_sub(Duration::from_nanos(1))
        });
        if wait > self.config.timeout_duration.min(patience) {
            return Decision::Rejected { retry_after: wait, shared: entry.shared };
        }
        *entry.state = after;
        if wait.is_zero() {
            return Decision::Admitted;
        }
        let (cost, shared) = (request.cost, entry.shared);
        Decision::Wait(Reservation { due: now + wait, before, after, cost, shared })
    }

    /// Gives a place back; answers how many requests others may make in its stead: its whole cost if its time
    /// had not come and nobody came after it, otherwise none.
    #[expect(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub fn cancel<Q>(&mut self, now: Time, key: &Q, reservation: Reservation) -> u32
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.advance(now);
        let Reservation { due, before, after, cost, shared } = reservation;
        let quota = if shared { Some(self.quotas.overflow_mut()) } else { self.quotas.get_mut(now, key) };
        match quota {
            Some(quota) if *quota == after && now < due => {
                *quota = before;
                cost
            }
            _ => 0,
        }
    }

    /// How many requests a key could make at once now. Does not count as use.
    pub fn remaining<Q>(&self, now: Time, key: &Q) -> u32
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = now.max(self.latest);
        let quota = self.quotas.get(now, key).copied().unwrap_or_default();
        quota.at(now).remaining(now, &self.config)
    }

    /// Another limit. What each key has used stays used, in requests, up to a whole new burst; places given
    /// out stay on top of it, at their times. Takes as long as there are keys.
    pub fn reconfigure(&mut self, now: Time, config: RateLimitConfig) {
        let now = self.advance(now);
        for quota in self.quotas.states_mut() {
            *quota = quota.converted(now, &self.config, &config);
        }
        self.quotas.reconfigure(config.effective_keys());
        self.config = config;
    }

    /// Forgets keys that have long been idle; see [`Keyed::on_timer`].
    pub fn on_timer(&mut self, now: Time) {
        self.quotas.on_timer(now);
    }

    /// When the next key becomes idle. Waits have no timers here: each was told its time.
    pub fn next_deadline(&self) -> Option<Time> {
        self.quotas.next_deadline()
    }

    /// Keys that have a quota of their own.
    pub fn keys(&self) -> usize {
        self.quotas.len()
    }

    /// How often a key had to share a quota, since the beginning.
    pub fn overflowed(&self) -> u64 {
        self.quotas.overflowed()
    }

    /// Panics when the limiter contradicts itself. Walks all keys.
    pub fn check_invariants(&mut self) {
        self.quotas.check_invariants();
        let (latest, config) = (self.latest, self.config);
        for quota in self.quotas.states_mut() {
            assert!(quota.part < config.limit_for_period, "what is left over is less than a nanosecond");
            let overdraft = quota.at(latest).overdraft(latest, &config);
            let bound = config.timeout_duration.saturating_add(REFRESH_PERIOD_MAX);
            assert!(overdraft <= bound, "nobody waits longer than was ever allowed");
        }
    }

    fn advance(&mut self, now: Time) -> Time {
        self.latest = self.latest.max(now);
        self.latest
    }
}

impl Quota {
    /// The quota as it matters at `now`: what was used up earlier has come back.
    fn at(self, now: Time) -> Quota {
        if self.is_forgettable(now) { Quota { used_until: now, part: 0 } } else { self }
    }

    fn plus(self, cost: u32, config: &RateLimitConfig) -> Quota {
        let limit = u64::from(config.limit_for_period);
        let parts = u128::from(cost) * u128::from(nanos(config.limit_refresh_period)) + u128::from(self.part);
        // Both fit: a burst of 2^32 periods of 31 days saturates, and a remainder is less than the limit.
        let (whole, part) = match u64::try_from(parts) {
            Ok(parts) => (parts / limit, parts % limit),
            Err(_) => (
                u64::try_from(parts / u128::from(limit)).unwrap_or(u64::MAX),
                (parts % u128::from(limit)) as u64,
            ),
        };
        Quota { used_until: self.used_until + Duration::from_nanos(whole), part: part as u32 }
    }

    /// How far this leads beyond `burst` intervals from now, rounded up: how long to wait.
    fn overdraft(self, now: Time, config: &RateLimitConfig) -> Duration {
        let limit = u128::from(config.limit_for_period);
        let ahead = u128::from(nanos(self.used_until.saturating_since(now))) * limit + u128::from(self.part);
        let burst = u128::from(config.effective_burst()) * u128::from(nanos(config.limit_refresh_period));
        if ahead <= burst {
            return Duration::ZERO;
        }
        Duration::from_nanos(u64::try_from((ahead - burst).div_ceil(limit)).unwrap_or(u64::MAX))
    }

    fn remaining(self, now: Time, config: &RateLimitConfig) -> u32 {
        let limit = u128::from(config.limit_for_period);
        let ahead = u128::from(nanos(self.used_until.saturating_since(now))) * limit + u128::from(self.part);
        let period = u128::from(nanos(config.limit_refresh_period));
        let burst = u128::from(config.effective_burst()) * period;
        (burst.saturating_sub(ahead) / period) as u32
    }

    fn converted(self, now: Time, from: &RateLimitConfig, to: &RateLimitConfig) -> Quota {
        let pace = |config: &RateLimitConfig| {
            (config.limit_for_period, config.limit_refresh_period, config.effective_burst())
        };
        if pace(from) == pace(to) {
            return self;
        }
        let ahead = self.used_until.saturating_since(now).as_secs_f64();
        let requests = ahead * f64::from(from.limit_for_period) / from.limit_refresh_period.as_secs_f64();
        let waiting = (requests - f64::from(from.effective_burst())).max(0.0);
        let used = (requests - waiting).min(f64::from(to.effective_burst()));
        let span = (used + waiting) * to.limit_refresh_period.as_secs_f64() / f64::from(to.limit_for_period);
        let span = Duration::try_from_secs_f64(span).unwrap_or(Duration::MAX);
        Quota { used_until: now + span, part: 0 }
    }
}
