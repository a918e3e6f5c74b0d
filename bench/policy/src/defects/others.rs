//! Budgets, limits, retries and hedges.

use std::future::{poll_fn, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use seaworthy_policy::{BackoffConfig, Budget as OurBudget, BudgetConfig, Rng, Time};
use seaworthy_tower::{
    ConcurrencyConfig, ConcurrencyLimitLayer, HedgeConfig, HedgeDelay, InnerLayer, Policy, RateLimitConfig,
    RateLimitLayer, RetryConfig,
};
use tokio::task::coop;
use tower::retry::budget::{Budget, TpsBudget};
use tower::{Layer, Service, ServiceExt};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_hedge::HedgeLayer;
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_resilience_retry::{ExponentialRandomBackoff, IntervalFunction, RetryLayer};

use super::Defect;
use crate::case::{OURS, RESILIENCE, TOWER};
use crate::layers::{AtOnce, Budgeted, Fault};

pub(super) async fn all() -> Vec<Defect> {
    vec![
        truncated_budget(),
        amplified_retries().await,
        amplified_hedges().await,
        jitter_above_the_cap(),
        idle_permits().await,
        limit_per_instance().await,
        spent_coop_budget().await,
    ]
}

fn truncated_budget() -> Defect {
    let mut defect = Defect::new(
        "a budget that rounds",
        "retries that 1,000 successes pay for, as a share, when 0.3, 0.4, 0.6 and 0.9 are asked for",
    );
    let shares = [0.3, 0.4, 0.6, 0.9];
    for (who, got) in [(OURS, shares.map(our_share)), (TOWER, shares.map(towers_share))] {
        let right = got.iter().zip(shares).all(|(got, asked)| (got - asked).abs() < 0.02);
        defect.see(who, right, got.map(|share| format!("{share:.2}")).join(", "));
    }
    defect
}

fn our_share(share: f64) -> f64 {
    let config = BudgetConfig {
        retry_ratio: share,
        floor_per_second: 0.0,
        burst: 1,
        max_concurrent: 10_000,
        ..BudgetConfig::default()
    };
    let (mut budget, now) = (OurBudget::new(config), Time::ZERO);
    // What it held at the start is spent first.
    while budget.try_retry(now) {}
    (0..1_000).for_each(|_| budget.on_success(now));
    f64::from((0..3_000).map(|_| u32::from(budget.try_retry(now))).sum::<u32>()) / 1_000.0
}

fn towers_share(share: f64) -> f64 {
    let budget = TpsBudget::new(Duration::from_secs(10), 0, share as f32);
    (0..1_000).for_each(|_| budget.deposit());
    f64::from((0..3_000).map(|_| u32::from(budget.withdraw())).sum::<u32>()) / 1_000.0
}

/// Fails, and counts how often it was asked.
fn failing(
    attempts: &Arc<AtomicU32>,
) -> impl Service<u64, Response = u64, Error = Fault, Future: Send> + Clone + Send + use<> {
    let attempts = Arc::clone(attempts);
    tower::service_fn(move |_: u64| {
        attempts.fetch_add(1, Ordering::Relaxed);
        ready(Err(Fault))
    })
}

/// Answers after 20 ms, and counts how often it was asked.
fn slow(
    attempts: &Arc<AtomicU32>,
) -> impl Service<u64, Response = u64, Error = Fault, Future: Send> + Clone + Send + Sync + use<> {
    let attempts = Arc::clone(attempts);
    tower::service_fn(move |request: u64| {
        attempts.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(request)
        }
    })
}

async fn make<S: Service<u64>>(mut service: S, calls: u64) {
    for number in 0..calls {
        let Ok(ready) = service.ready().await else { continue };
        let _ = ready.call(number).await;
    }
}

async fn amplified_retries() -> Defect {
    let mut defect = Defect::new(
        "retries that multiply an outage",
        "everything fails; 3 attempts, and otherwise the defaults: how many attempts do 300 calls make?",
    );
    let mut see = |who, attempts: &AtomicU32| {
        let attempts = attempts.load(Ordering::Relaxed);
        defect.see(who, attempts <= 360, attempts.to_string());
    };
    let attempts = Arc::default();
    let backoff = BackoffConfig { initial: Duration::from_millis(1), ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, ..RetryConfig::default() };
    let policy = Policy::builder("retry").retry(retry).build().expect("valid");
    make(policy.layer(failing(&attempts)), 300).await;
    see(OURS, &attempts);

    let attempts = Arc::default();
    let layer = RetryLayer::<u64, u64, Fault>::builder()
        .fixed_backoff(Duration::from_millis(1))
        .max_attempts(3)
        .build();
    make(layer.layer(failing(&attempts)), 300).await;
    see(RESILIENCE, &attempts);

    let attempts = Arc::default();
    let layer = tower::retry::RetryLayer::new(Budgeted::default());
    make(layer.layer(failing(&attempts)), 300).await;
    see(TOWER, &attempts);
    defect
}

async fn amplified_hedges() -> Defect {
    let mut defect = Defect::new(
        "hedges that double a slow backend's load",
        "every call takes 20 ms, hedges go after 2 ms, and otherwise the defaults: how often do 100 calls ask the backend?",
    );
    let delay = Duration::from_millis(2);
    let attempts = Arc::default();
    let policy = Policy::builder("hedge").hedge(HedgeConfig { delay: HedgeDelay::Fixed(delay) });
    make(policy.build().expect("valid").layer(slow(&attempts)), 100).await;
    let count = attempts.load(Ordering::Relaxed);
    defect.see(OURS, count <= 120, count.to_string());
    let attempts = Arc::default();
    let layer = HedgeLayer::builder().delay(delay).max_hedged_attempts(2).build();
    make(layer.layer(slow(&attempts)), 100).await;
    let count = attempts.load(Ordering::Relaxed);
    defect.see(RESILIENCE, count <= 120, count.to_string());
    defect
}

fn jitter_above_the_cap() -> Defect {
    let mut defect = Defect::new(
        "jitter on top of the cap",
        "the longest of 10,000 waits before the tenth retry, with a cap of 1,000 ms",
    );
    let cap = Duration::from_secs(1);
    let mut see = |who, longest: Duration| {
        defect.see(who, longest <= cap, format!("{} ms", longest.as_millis()));
    };
    let backoff = BackoffConfig { max: cap, ..BackoffConfig::default() };
    let mut rng = Rng::seeded(1);
    see(OURS, (0..10_000).map(|_| backoff.delay(&mut rng, 10, Duration::ZERO)).max().unwrap_or_default());
    let theirs =
        ExponentialRandomBackoff::new(Duration::from_millis(25), 0.5).expect("valid").max_interval(cap);
    see(RESILIENCE, (0..10_000).map(|_| theirs.next_interval(10)).max().unwrap_or_default());
    defect
}

async fn idle_permits() -> Defect {
    let mut defect = Defect::new(
        "idle callers hold the places",
        "one place; one caller is ready and does nothing: does another caller's call pass?",
    );
    let config = ConcurrencyConfig { max_concurrent_calls: 1, ..ConcurrencyConfig::default() };
    let ours = ConcurrencyLimitLayer::new(config).expect("valid").layer(InnerLayer.layer(AtOnce));
    let theirs = BulkheadLayer::builder().max_concurrent_calls(1).reject_when_full().build().expect("valid");
    let towers = tower::limit::ConcurrencyLimitLayer::new(1).layer(AtOnce);
    let passed = [
        (OURS, passes_beside_an_idle_one(ours).await),
        (RESILIENCE, passes_beside_an_idle_one(theirs.layer(AtOnce)).await),
        (TOWER, passes_beside_an_idle_one(towers).await),
    ];
    for (who, passed) in passed {
        defect.see(who, passed, if passed { "yes" } else { "no" });
    }
    defect
}

async fn passes_beside_an_idle_one<S: Service<u64> + Clone>(mut idle: S) -> bool {
    let mut other = idle.clone();
    assert!(idle.ready().await.is_ok());
    let call = async {
        let ready = other.ready().await.ok()?;
        ready.call(1).await.ok()
    };
    matches!(tokio::time::timeout(Duration::from_millis(50), call).await, Ok(Some(_)))
}

async fn limit_per_instance() -> Defect {
    let mut defect = Defect::new(
        "a rate limit per instance",
        "5 calls an hour; a layer makes 10 services, each called 5 times: how many calls pass?",
    );
    let hour = Duration::from_hours(1);
    let quota =
        RateLimitConfig { limit_for_period: 5, limit_refresh_period: hour, ..RateLimitConfig::default() };
    let ours = RateLimitLayer::new(quota).expect("valid");
    let theirs = RateLimiterLayer::builder().limit_for_period(5).refresh_period(hour);
    let theirs = theirs.timeout_duration(Duration::ZERO).build().expect("valid");
    let towers = tower::limit::RateLimitLayer::new(5, hour);
    let passed = [
        (OURS, passes(|| ours.layer(InnerLayer.layer(AtOnce))).await),
        (RESILIENCE, passes(|| theirs.layer(AtOnce)).await),
        (TOWER, passes(|| towers.layer(AtOnce)).await),
    ];
    for (who, passed) in passed {
        defect.see(who, passed <= 5, format!("{passed} of 50"));
    }
    defect
}

async fn passes<S: Service<u64>>(make: impl Fn() -> S) -> u32 {
    let mut passed = 0;
    for mut service in (0..10).map(|_| make()) {
        for number in 0..5 {
            let call = async { service.ready().await.ok()?.call(number).await.ok() };
            let answer = tokio::time::timeout(Duration::from_millis(20), call).await;
            passed += u32::from(matches!(answer, Ok(Some(_))));
        }
    }
    passed
}

async fn spent_coop_budget() -> Defect {
    let mut defect = Defect::new(
        "a busy task taken for an overload",
        "100 places, all free; a task has used its share of the executor up: is its next call let in?",
    );
    let ours = ConcurrencyLimitLayer::new(ConcurrencyConfig::default()).expect("valid");
    let ours = ours.layer(InnerLayer.layer(AtOnce));
    let theirs =
        BulkheadLayer::builder().max_concurrent_calls(100).reject_when_full().build().expect("valid");
    let theirs = theirs.layer(AtOnce);
    let towers = tower::limit::ConcurrencyLimitLayer::new(100).layer(AtOnce);
    let towers = tower::load_shed::LoadShed::new(towers);
    let admitted = [
        (OURS, tokio::spawn(is_let_in(ours)).await),
        (RESILIENCE, tokio::spawn(is_let_in(theirs)).await),
        ("tower", tokio::spawn(is_let_in(towers)).await),
    ];
    for (who, admitted) in admitted {
        let admitted = admitted.is_ok_and(|admitted| admitted);
        defect.see(who, admitted, if admitted { "yes" } else { "no: shed as an overload" });
    }
    defect
}

async fn is_let_in<S: Service<u64>>(mut service: S) -> bool {
    while coop::has_budget_remaining() {
        tokio::task::consume_budget().await;
    }
    let readiness = poll_fn(|context| Poll::Ready(service.poll_ready(context))).await;
    if !matches!(readiness, Poll::Ready(Ok(()))) {
        return true;
    }
    service.call(1).await.is_ok()
}
