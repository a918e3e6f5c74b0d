//! How much extra traffic an edge may cause: one budget for retries and hedges.
//!
//! **Problem.** When a backend fails, retries multiply its load just when it can bear least; three layers with
//! three attempts each make 27 requests of one. **Model.** A store of tokens that only *successes* fill:
//! `retry_ratio` of a token each, so that extra traffic stays a fixed share of what works, and dries up when
//! nothing works. Time adds a small floor, so that a quiet edge may still retry. The store holds at most what
//! the successes of the last `window` brought, plus `burst`: an hour of good weather buys no storm.
//! An extra attempt is charged **when it is decided**, before its backoff: a budget that looks only at what is
//! in flight lets any number of retries gather in their waits. A hedge needs its own share of requests on top.
//! `max_concurrent` bounds how many extra attempts are decided and not yet ended.
//!
//! Tokens are counted in millionths, as integers: a budget that rounds gives one retry per request for a ratio
//! of 0.6. The ceiling is applied when the store is read, not at each deposit. That is the same thing: after a
//! ceiling was applied at an earlier moment `s`, the store could hold at most the burst, what came in the
//! window before `s`, and what came since; that is never less than today's ceiling.
//!
//! **Rejected:** a share of what is in flight (useless at low traffic, blind to backoff); refilling by requests
//! instead of successes (an outage then pays for its own retries).
//!
//! Worked number, with the defaults: 600 successes per second for 10 s store 600 tokens plus the burst of 10.
//! Then everything fails: 610 retries, and from there 1 per second. `max_concurrent` 100 with a service time of
//! 49 ms keeps 100 x 49 ms = 4.9 s of extra work below an attempt timeout of 5 s.

use std::time::Duration;

use crate::error::{require, require_positive, require_share};
use crate::time::nanos;
use crate::{ConfigError, Sample, Time, Window};

/// Millionths of a token in one token.
const TOKEN: u64 = 1_000_000;
/// Nanoseconds in one second.
const SECOND: u64 = 1_000_000_000;
/// Slices of the window that bounds the store.
const WINDOW_BUCKETS: usize = 10;
/// The highest floor that is still a floor, in tokens per second.
pub const FLOOR_PER_SECOND_MAX: f64 = 100_000.0;

/// How much extra traffic is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetConfig {
    /// Tokens that one success adds, from 0 to 1; exact to a millionth.
    pub retry_ratio: f64,
    /// Tokens that a second adds, whatever happens; up to [`FLOOR_PER_SECOND_MAX`].
    pub floor_per_second: f64,
    /// Tokens in store at the start, and above what the window's successes brought.
    pub burst: u32,
    /// How long a success counts towards what the store may hold.
    pub window: Duration,
    /// Hedges per request, at most, from 0 to 1; exact to a millionth.
    pub hedge_ratio: f64,
    /// Extra attempts decided and not yet ended, at most.
    pub max_concurrent: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        BudgetConfig {
            retry_ratio: 0.10,
            floor_per_second: 1.0,
            burst: 10,
            window: Duration::from_secs(10),
            hedge_ratio: 0.02,
            max_concurrent: 100,
        }
    }
}

impl BudgetConfig {
    /// Whether every share is a share and the window is a span.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_share(self.retry_ratio, "retry_ratio")?;
        require(
            (0.0..=FLOOR_PER_SECOND_MAX).contains(&self.floor_per_second),
            "floor_per_second",
            "be from 0 to 100000",
        )?;
        require_positive(self.window, "window")?;
        require_share(self.hedge_ratio, "hedge_ratio")?;
        require(self.max_concurrent > 0, "max_concurrent", "be at least 1")
    }

    /// The largest concurrency whose work fits into one timeout: `cap * service_time < timeout`, at least 1.
    pub fn concurrency_cap(service_time: Duration, timeout: Duration) -> u32 {
        let (service, timeout) = (nanos(service_time).max(1), nanos(timeout));
        u32::try_from(timeout.saturating_sub(1) / service).unwrap_or(u32::MAX).max(1)
    }
}

/// The store of one edge.
#[derive(Clone, Debug)]
pub struct Budget {
    config: BudgetConfig,
    /// The configuration's numbers in millionths of a token.
    per_success: u64,
    per_second: u64,
    per_request: u64,
    /// Millionths of a token in store, before today's ceiling.
    stored: u64,
    /// What the floor has earned below one millionth, in millionths of a token times nanoseconds per second.
    floor_remainder: u64,
    /// Millionths of a hedge allowed, before today's ceiling.
    hedges_allowed: u64,
    successes: Window,
    requests: Window,
    concurrent: u32,
    latest: Time,
}

impl Budget {
    /// A store that holds its burst.
    pub fn new(config: BudgetConfig) -> Self {
        Budget {
            per_success: millionths(config.retry_ratio),
            per_second: millionths(config.floor_per_second),
            per_request: millionths(config.hedge_ratio),
            stored: u64::from(config.burst) * TOKEN,
            floor_remainder: 0,
            hedges_allowed: 0,
            successes: Window::new(config.window, WINDOW_BUCKETS),
            requests: Window::new(config.window, WINDOW_BUCKETS),
            concurrent: 0,
            latest: Time::ZERO,
            config,
        }
    }

    /// A call of this edge succeeded.
    pub fn on_success(&mut self, now: Time) {
        self.successes.record(now, Sample::Ok);
        self.stored = self.stored.saturating_add(self.per_success);
    }

    /// A call of this edge began.
    pub fn on_request(&mut self, now: Time) {
        self.requests.record(now, Sample::Ok);
        self.hedges_allowed = self.hedges_allowed.saturating_add(self.per_request);
    }

    /// Charges one retry, if there is one to be had. When it answers true, the retry counts as running until
    /// [`Budget::release`], its backoff included.
    #[must_use = "a retry that was charged must be made or released"]
    pub fn try_retry(&mut self, now: Time) -> bool {
        self.settle(now);
        if self.concurrent >= self.config.max_concurrent || self.stored < TOKEN {
            return false;
        }
        self.charge();
        true
    }

    /// Charges one hedge, if both the hedges' share of requests and the common store have one. When it answers
    /// true, the hedge counts as running until [`Budget::release`].
    #[must_use = "a hedge that was charged must be made or released"]
    pub fn try_hedge(&mut self, now: Time) -> bool {
        self.settle(now);
        let busy = self.concurrent >= self.config.max_concurrent;
        if busy || self.stored < TOKEN || self.hedges_allowed < TOKEN {
            return false;
        }
        self.hedges_allowed -= TOKEN;
        self.charge();
        true
    }

    /// Whether more than three quarters of what hedges may store is there. Ordinary slowness lives off the upper quarter; the
    /// rest is for requests that wait far longer than any usual one, as all do that hang. Without this reserve a percentile above
    /// the hedges' share (5 % against 2 %) would have spent everything when a hang begins.
    pub fn has_spare_hedges(&mut self, now: Time) -> bool {
        self.settle(now);
        self.hedges_allowed > self.hedges_max(now) / 4 * 3
    }

    /// An extra attempt has ended, or was given up before it began. Its token is spent all the same.
    pub fn release(&mut self) {
        debug_assert!(self.concurrent > 0, "released an extra attempt that was never charged");
        self.concurrent = self.concurrent.saturating_sub(1);
    }

    /// Tokens in store.
    pub fn balance(&self, now: Time) -> f64 {
        let (stored, _) = self.stored_at(now);
        stored as f64 / TOKEN as f64
    }

    /// Extra attempts decided and not yet ended.
    pub fn concurrent(&self) -> u32 {
        self.concurrent
    }

    /// Begins anew with the burst. What is running still is, and will be released.
    pub fn reset(&mut self, now: Time) {
        let (concurrent, latest) = (self.concurrent, self.latest.max(now));
        *self = Budget { concurrent, latest, ..Budget::new(self.config) };
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        assert!(self.concurrent <= self.config.max_concurrent, "more extra attempts than allowed");
        assert!(self.floor_remainder < SECOND, "the floor owes a whole millionth");
        assert!(self.stored_at(self.latest).0 <= self.ceiling(self.latest), "more in store than the ceiling");
    }

    fn charge(&mut self) {
        self.stored -= TOKEN;
        self.concurrent += 1;
        #[cfg(debug_assertions)]
        self.check_invariants();
    }

    /// Brings the store up to `now`: the floor's tokens in, what exceeds the ceilings out.
    fn settle(&mut self, now: Time) {
        let now = now.max(self.latest);
        (self.stored, self.floor_remainder) = self.stored_at(now);
        self.hedges_allowed = self.hedges_allowed.min(self.hedges_max(now));
        self.latest = now;
    }

    /// At least one, or an edge with few requests could never hedge; tokens still come from requests alone.
    fn hedges_max(&self, now: Time) -> u64 {
        self.requests.totals(now).ok.saturating_mul(self.per_request).max(TOKEN)
    }

    /// What is in store at `now`, and what the floor has earned below a millionth.
    fn stored_at(&self, now: Time) -> (u64, u64) {
        let elapsed = u128::from(nanos(now.saturating_since(self.latest)));
        let earned = elapsed * u128::from(self.per_second) + u128::from(self.floor_remainder);
        let whole = u64::try_from(earned / u128::from(SECOND)).unwrap_or(u64::MAX);
        let remainder = (earned % u128::from(SECOND)) as u64;
        (self.stored.saturating_add(whole).min(self.ceiling(now)), remainder)
    }

    /// The most the store may hold at `now`.
    fn ceiling(&self, now: Time) -> u64 {
        let earned = self.successes.totals(now).ok.saturating_mul(self.per_success);
        earned.saturating_add(u64::from(self.config.burst) * TOKEN)
    }
}

/// Tokens as whole millionths of a token; the nearest, so that 0.3 is 300 000 and not 299 999.
fn millionths(tokens: f64) -> u64 {
    (tokens * TOKEN as f64).round() as u64
}
