//! Tower layers on a service that answers at once: what each adds, and what five of them together add.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hot_paths::{FOR_EVER, call_at_once, opens_for_ever};
use seaworthy_tower::{
    BreakerConfig, BreakerLayer, ConcurrencyConfig, ConcurrencyLimitLayer, Error, FallbackLayer, HedgeConfig,
    HedgeDelay, HedgeLayer, Idempotent, InnerLayer, Policy, RateLimitConfig, RateLimitLayer, RetryConfig,
    RetryLayer, TimeoutLayer,
};
use tower::retry::budget::{Budget, TpsBudget};
use tower::{Layer, Service};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};
use tower_resilience_fallback::FallbackLayer as TheirFallback;
use tower_resilience_hedge::HedgeLayer as TheirHedge;
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_resilience_retry::{RetryBudgetBuilder, RetryLayer as TheirRetry};
use tower_resilience_timelimiter::{TimeLimiterError, TimeLimiterLayer};

use crate::case::{Case, OURS, RESILIENCE, TOWER};

const TOTAL: Duration = Duration::from_secs(15);
const ATTEMPT: Duration = Duration::from_secs(5);
const DELAY: Duration = Duration::from_secs(1);
const PLACES: usize = 100;
/// So many that nothing is ever turned away.
const PLENTY: u32 = 1_000_000_000;

/// Answers at once, and well.
#[derive(Clone, Copy)]
pub(crate) struct AtOnce;

/// An error that a backend could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault;

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the backend failed")
    }
}

impl std::error::Error for Fault {}

impl Service<u64> for AtOnce {
    type Response = u64;
    type Error = Fault;
    type Future = Ready<Result<u64, Fault>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request + 1))
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![Case::new("layer", "bare service", "none", succeeding(AtOnce))];
    cases.extend(breaker());
    cases.extend(limits());
    cases.extend(timeouts());
    cases.extend(retry());
    cases.extend(hedge());
    cases.extend(fallback());
    cases.extend(stacks());
    cases.extend(rejections());
    cases
}

/// Calls that all succeed.
fn succeeding<S: Service<u64>>(service: S) -> impl FnMut(u64) {
    call_at_once(service, Result::is_ok)
}

/// Calls that all fail: they are turned away, or the service behind is broken.
fn failing<S: Service<u64>>(service: S) -> impl FnMut(u64) {
    call_at_once(service, Result::is_err)
}

/// Fails at once.
fn broken() -> impl Service<u64, Response = u64, Error = Fault, Future = Ready<Result<u64, Fault>>> + Clone {
    tower::service_fn(|_| ready(Err(Fault)))
}

fn layer<S>(what: &str, who: &str, service: S) -> Case
where
    S: Service<u64, Response = u64> + 'static,
{
    Case::new("layer", what, who, succeeding(service))
}

fn inner() -> seaworthy_tower::Inner<AtOnce> {
    InnerLayer.layer(AtOnce)
}

fn breaker() -> [Case; 2] {
    let ours = BreakerLayer::new(BreakerConfig::default()).expect("valid");
    let theirs = CircuitBreakerLayer::builder().build().expect("valid");
    [
        layer("circuit breaker", OURS, ours.layer(inner())),
        layer("circuit breaker", RESILIENCE, theirs.layer(AtOnce)),
    ]
}

fn limits() -> Vec<Case> {
    let ours = ConcurrencyLimitLayer::new(ConcurrencyConfig::default()).expect("valid");
    let theirs =
        BulkheadLayer::builder().max_concurrent_calls(PLACES).reject_when_full().build().expect("valid");
    let towers = tower::limit::ConcurrencyLimitLayer::new(PLACES);
    let quota = RateLimitConfig {
        limit_for_period: PLENTY,
        limit_refresh_period: Duration::from_secs(1),
        burst: None,
        ..RateLimitConfig::default()
    };
    let our_rate = RateLimitLayer::new(quota).expect("valid");
    let their_rate = RateLimiterLayer::builder()
        .limit_for_period(PLENTY as usize)
        .refresh_period(Duration::from_secs(1))
        .build()
        .expect("valid");
    let towers_rate = tower::limit::RateLimitLayer::new(u64::from(PLENTY), Duration::from_secs(1));
    vec![
        layer("concurrency limit", OURS, ours.layer(inner())),
        layer("concurrency limit", RESILIENCE, theirs.layer(AtOnce)),
        layer("concurrency limit", TOWER, towers.layer(AtOnce)),
        layer("rate limit", OURS, our_rate.layer(inner())),
        layer("rate limit", RESILIENCE, their_rate.layer(AtOnce)),
        layer("rate limit", TOWER, towers_rate.layer(AtOnce)),
    ]
}

fn timeouts() -> [Case; 3] {
    let ours = TimeoutLayer::total(TOTAL).expect("valid");
    let theirs = TimeLimiterLayer::builder().timeout_duration(TOTAL).build();
    let towers = tower::timeout::TimeoutLayer::new(TOTAL);
    [
        layer("timeout", OURS, ours.layer(inner())),
        layer("timeout", RESILIENCE, theirs.layer(AtOnce)),
        layer("timeout", TOWER, towers.layer(AtOnce)),
    ]
}

/// Tower's retry with its budget, as its documentation has it.
#[derive(Clone, Default)]
pub(crate) struct Budgeted(Arc<TpsBudget>);

impl<E> tower::retry::Policy<u64, u64, E> for Budgeted {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, E>) -> Option<Ready<()>> {
        if result.is_ok() {
            self.0.deposit();
            return None;
        }
        self.0.withdraw().then(|| ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

fn budgeted() -> tower::retry::RetryLayer<Budgeted> {
    tower::retry::RetryLayer::new(Budgeted::default())
}

fn retry() -> [Case; 3] {
    let ours = RetryLayer::new(RetryConfig::default(), Idempotent).expect("valid");
    let budget = RetryBudgetBuilder::new().token_bucket().build().expect("valid");
    let theirs = TheirRetry::<u64, u64, Fault>::builder().max_attempts(3).budget(budget).build();
    [
        layer("retry with a budget", OURS, ours.layer(inner())),
        layer("retry with a budget", RESILIENCE, theirs.layer(AtOnce)),
        layer("retry with a budget", TOWER, budgeted().layer(AtOnce)),
    ]
}

fn hedge() -> [Case; 2] {
    let ours = HedgeLayer::new(HedgeConfig { delay: HedgeDelay::Fixed(DELAY) }, Idempotent).expect("valid");
    let theirs = TheirHedge::builder().delay(DELAY).max_hedged_attempts(2).build();
    [layer("hedge", OURS, ours.layer(inner())), layer("hedge", RESILIENCE, theirs.layer(AtOnce))]
}

fn fallback() -> [Case; 2] {
    let ours = FallbackLayer::new(|_: Result<&u64, &Error<Fault>>| Some(0));
    let theirs = TheirFallback::<u64, u64, Fault>::value(0);
    [layer("fallback", OURS, ours.layer(inner())), layer("fallback", RESILIENCE, theirs.layer(AtOnce))]
}

/// Concurrency limit, total timeout, retry with a budget, circuit breaker, attempt timeout.
fn stacks() -> [Case; 3] {
    let what = "five policies";
    let ours = Policy::builder("five")
        .concurrency_limit(ConcurrencyConfig::default())
        .total_timeout(TOTAL)
        .retry(RetryConfig::default())
        .circuit_breaker(BreakerConfig::default())
        .attempt_timeout(ATTEMPT)
        .build()
        .expect("valid");

    let breaker = || CircuitBreakerLayer::builder().build().expect("valid");
    let timeout = |after| TimeLimiterLayer::builder().timeout_duration(after).build();
    let budget = RetryBudgetBuilder::new().token_bucket().build().expect("valid");
    let retry = TheirRetry::<u64, u64, CircuitBreakerError<TimeLimiterError<Fault>>>::builder();
    let retry = retry.max_attempts(3).budget(budget).build();
    let bulkhead =
        BulkheadLayer::builder().max_concurrent_calls(PLACES).reject_when_full().build().expect("valid");
    let theirs = breaker().layer(timeout(ATTEMPT).layer(AtOnce));
    let theirs = bulkhead.layer(timeout(TOTAL).layer(retry.layer(theirs)));

    let mixed = breaker().layer(tower::timeout::TimeoutLayer::new(ATTEMPT).layer(AtOnce));
    let mixed = tower::timeout::TimeoutLayer::new(TOTAL).layer(budgeted().layer(mixed));
    let mixed = tower::limit::ConcurrencyLimitLayer::new(PLACES).layer(mixed);
    let case = |who: &str, run: Box<dyn FnMut(u64)>| Case::new("stack", what, who, run);
    [
        case(OURS, Box::new(succeeding(ours.layer(AtOnce)))),
        case(RESILIENCE, Box::new(succeeding(theirs))),
        case("tower, and tower-resilience's breaker", Box::new(succeeding(mixed))),
    ]
}

fn rejections() -> [Case; 2] {
    let what = "turned away by an open circuit, as a layer";
    let layer = BreakerLayer::new(opens_for_ever()).expect("valid");
    failing(layer.layer(InnerLayer.layer(broken())))(1);
    let ours = Case::new("rejection", what, OURS, failing(layer.layer(inner())));

    let builder = CircuitBreakerLayer::builder().consecutive_failures(1).wait_duration_in_open(FOR_EVER);
    let (layer, handle) = builder.build_with_handle().expect("valid");
    failing(layer.layer(broken()))(3);
    assert!(handle.is_open(), "three failures in a row open a circuit that one opens");
    [ours, Case::new("rejection", what, RESILIENCE, failing(layer.layer(AtOnce)))]
}
