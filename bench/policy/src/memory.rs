//! What one key takes: ten thousand of a kind, each used, and the bytes that are allocated for all of them.

use std::hint::black_box;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use failsafe::CircuitBreaker as _;
use recloser::Recloser;
use seaworthy_policy::breaker::Outcome;
use seaworthy_policy::rate_limit::Request;
use seaworthy_policy::{Breaker, BreakerConfig, RateLimitConfig, RateLimiter, Rng, Time};
use serde_json::{Value, json};
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, SlidingWindowType};

use crate::case::{FAILSAFE, OURS, RECLOSER, RESILIENCE};
use crate::layers::AtOnce;
use crate::measure::{block_on, live_bytes};

const KEYS: u64 = 10_000;
/// Calls that each key has seen.
const CALLS: u64 = 200;

/// Bytes per key, everything that is not shared between keys included.
fn per_key<T>(make: impl FnOnce() -> T) -> f64 {
    let before = live_bytes();
    let keys = black_box(make());
    let bytes = (live_bytes() - before) as f64 / KEYS as f64;
    drop(keys);
    bytes
}

pub(crate) fn all() -> Vec<Value> {
    let row = |what: &str, who: &str, bytes: f64| json!({ "what": what, "who": who, "bytes_per_key": bytes });
    let breaker = "breaker, 200 calls seen";
    vec![
        row(breaker, OURS, per_key(our_breakers)),
        row(
            &format!("{breaker}, window by count"),
            RESILIENCE,
            per_key(|| their_breakers(SlidingWindowType::CountBased)),
        ),
        row(
            &format!("{breaker}, window by time"),
            RESILIENCE,
            per_key(|| their_breakers(SlidingWindowType::TimeBased)),
        ),
        row(breaker, FAILSAFE, per_key(failsafes)),
        row(&format!("{breaker}, ring of 100"), RECLOSER, per_key(reclosers)),
        row("rate limit, with its table", OURS, per_key(our_quotas)),
    ]
}

fn our_breakers() -> Vec<Breaker> {
    let config = Arc::new(BreakerConfig::default());
    let mut rng = Rng::seeded(1);
    let mut all = Vec::with_capacity(KEYS as usize);
    all.extend((0..KEYS).map(|_| Breaker::new(Arc::clone(&config), Time::ZERO)));
    for breaker in &mut all {
        for call in 0..CALLS {
            let now = Time::from_millis(call);
            let permit = breaker.admit(now, &mut rng).expect("closed");
            breaker.complete(now, &mut rng, permit, Outcome::Success { elapsed: Duration::ZERO });
        }
    }
    all
}

fn their_breakers(kind: SlidingWindowType) -> Vec<impl Service<u64>> {
    let layer = CircuitBreakerLayer::builder().sliding_window_type(kind);
    let layer = layer.sliding_window_duration(Duration::from_secs(10)).build().expect("valid");
    let mut all = Vec::with_capacity(KEYS as usize);
    all.extend((0..KEYS).map(|_| layer.layer(AtOnce)));
    for service in &mut all {
        for call in 0..CALLS {
            assert!(block_on(Waker::noop(), service.call(call)).is_ok());
        }
    }
    all
}

fn failsafes() -> Vec<impl failsafe::CircuitBreaker> {
    let mut all = Vec::with_capacity(KEYS as usize);
    all.extend((0..KEYS).map(|_| {
        let wait = failsafe::backoff::constant(Duration::from_secs(1));
        failsafe::Config::new()
            .failure_policy(failsafe::failure_policy::consecutive_failures(5, wait))
            .build()
    }));
    for breaker in &all {
        for _ in 0..CALLS {
            assert!(breaker.call(|| Ok::<(), ()>(())).is_ok());
        }
    }
    all
}

fn reclosers() -> Vec<Recloser> {
    let mut all = Vec::with_capacity(KEYS as usize);
    all.extend((0..KEYS).map(|_| Recloser::custom().closed_len(100).build()));
    for breaker in &all {
        for _ in 0..CALLS {
            assert!(breaker.call(|| Ok::<(), ()>(())).is_ok());
        }
    }
    all
}

fn our_quotas() -> RateLimiter<u64> {
    let mut limiter = RateLimiter::new(RateLimitConfig::default(), &mut Rng::seeded(1));
    for key in 0..KEYS {
        for call in 0..CALLS {
            let _ = black_box(limiter.acquire(Time::from_millis(call), &key, Request::default()));
        }
    }
    limiter
}
