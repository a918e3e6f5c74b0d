//! What every layer owes to Tower and to its neighbours, checked for each of them in the same way.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use seaworthy_tower::*;
use tower::{Layer, Service, ServiceBuilder};

use crate::stub::{Broken, Reply, Stub, call};

/// Runs a check against each layer, each made anew.
macro_rules! for_every_layer {
    ($check:ident) => {
        $check("total timeout", TimeoutLayer::total(Duration::from_secs(9)).unwrap()).await;
        $check("attempt timeout", TimeoutLayer::attempt(Duration::from_secs(9)).unwrap()).await;
        $check("retry", RetryLayer::new(RetryConfig::default(), Idempotent).unwrap()).await;
        $check("retry, unsafe", RetryLayer::new(RetryConfig::default(), NotIdempotent).unwrap()).await;
        $check("hedge", HedgeLayer::new(hedge_soon(), Idempotent).unwrap()).await;
        $check("breaker", BreakerLayer::new(BreakerConfig::default()).unwrap()).await;
        $check(
            "keyed breaker",
            KeyedBreakerLayer::new(BreakerConfig::default(), KeyedConfig::default(), |request: &u32| {
                *request
            })
            .unwrap(),
        )
        .await;
        $check("limit", ConcurrencyLimitLayer::new(ConcurrencyConfig::default()).unwrap()).await;
        $check("limit with a queue", ConcurrencyLimitLayer::new(queueing()).unwrap()).await;
        $check("admission", AdmissionLayer::new(AdmissionConfig::default()).unwrap()).await;
        $check("admission of one", AdmissionLayer::new(one_at_a_time()).unwrap()).await;
        $check(
            "rate limit",
            RateLimitLayer::new(RateLimitConfig { limit_for_period: 999, ..Default::default() }).unwrap(),
        )
        .await;
        let ranked = ThrottleLayer::new(ThrottleConfig::default()).unwrap();
        $check("throttle by rank", ranked.prioritize(|_: &u32| Priority::Sheddable)).await;
        $check("throttle", ThrottleLayer::new(ThrottleConfig::default()).unwrap()).await;
        $check("fallback", FallbackLayer::new(|_: Result<&u32, &Error<Broken>>| None)).await;
        // What the second service answers would hide the first one's errors.
        let broken = Stub::always(Reply::BROKEN);
        let second =
            FallbackServiceLayer::new(FallbackConfig::default(), broken, |answer| answer, Idempotent);
        $check("fallback service", second.unwrap()).await;
        $check("all of them", everything()).await;
    };
}

fn hedge_soon() -> HedgeConfig {
    HedgeConfig { delay: HedgeDelay::Fixed(Duration::from_millis(10)) }
}

fn queueing() -> ConcurrencyConfig {
    ConcurrencyConfig {
        max_concurrent_calls: 1,
        max_queue: 4,
        max_wait_duration: Duration::from_secs(1),
        ..ConcurrencyConfig::default()
    }
}

fn one_at_a_time() -> AdmissionConfig {
    AdmissionConfig { limit: LimitConfig::fixed(1), ..AdmissionConfig::default() }
}

/// A whole stack, where the layers under test are composed by Tower's own builder.
fn everything() -> impl Layer<
    Inner<Stub>,
    Service = impl Service<u32, Response = u32, Error = Error<Broken>, Future: Send> + Clone + Send,
> {
    ServiceBuilder::new()
        .layer(FallbackLayer::new(|_: Result<&u32, &Error<Broken>>| None))
        .layer(TimeoutLayer::total(Duration::from_secs(9)).unwrap())
        .layer(RetryLayer::new(RetryConfig::default(), Idempotent).unwrap())
        .layer(HedgeLayer::new(hedge_soon(), Idempotent).unwrap())
        .layer(BreakerLayer::new(BreakerConfig::default()).unwrap())
        .layer(ConcurrencyLimitLayer::new(ConcurrencyConfig::default()).unwrap())
        .layer(AdmissionLayer::new(AdmissionConfig::default()).unwrap())
        .layer(ThrottleLayer::new(ThrottleConfig::default()).unwrap())
        .layer(TimeoutLayer::attempt(Duration::from_secs(2)).unwrap())
        .into_inner()
}

/// What the matrix asks of a layer.
trait Subject:
    Layer<Inner<Stub>, Service: Service<u32, Response = u32, Error = Error<Broken>, Future: Send> + Clone + Send>
{
}

impl<L> Subject for L where
    L: Layer<
            Inner<Stub>,
            Service: Service<u32, Response = u32, Error = Error<Broken>, Future: Send> + Clone + Send,
        >
{
}

fn around<L: Subject>(layer: &L, stub: &Stub) -> L::Service {
    layer.layer(InnerLayer.layer(stub.clone()))
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_inner_service_s() {
    async fn check<L: Subject>(name: &str, layer: L) {
        let stub = Stub::always(Reply::OK);
        let mut service = around(&layer, &stub);
        stub.busy_for(2);
        let mut waits = 0;
        poll_fn(|context| {
            let polled = service.poll_ready(context);
            waits += u32::from(polled.is_pending());
            polled
        })
        .await
        .unwrap();
        assert_eq!(waits, 2, "{name}");
        assert_eq!(service.call(1).await, Ok(7), "{name}");
    }
    for_every_layer!(check);
}

/// tower-resilience#293: a clone that nobody polled ready was called. The stub panics when that happens to it.
#[tokio::test(start_paused = true)]
async fn only_an_instance_that_was_polled_ready_is_called() {
    async fn check<L: Subject>(name: &str, layer: L) {
        let stub = Stub::new(&[Reply::BROKEN, Reply::OK.after_ms(50)]);
        let mut service = around(&layer, &stub);
        for _ in 0..4 {
            let _ = call(&mut service).await;
        }
        let mut clone = service.clone();
        assert_eq!(call(&mut clone).await, Ok(7), "{name}");
        assert_eq!(call(&mut service).await, Ok(7), "{name}");
        assert_eq!(stub.in_flight(), 0, "{name}");
    }
    for_every_layer!(check);
}

/// vector#26457: a connection that is ready and idle held a place, and the others starved.
#[tokio::test(start_paused = true)]
async fn being_ready_takes_nothing() {
    async fn check<L: Subject>(name: &str, layer: L) {
        let stub = Stub::always(Reply::OK);
        let mut services: Vec<_> = (0..200).map(|_| around(&layer, &stub)).collect();
        for service in &mut services {
            poll_fn(|context| service.poll_ready(context)).await.unwrap();
        }
        let mut other = around(&layer, &stub);
        assert_eq!(call(&mut other).await, Ok(7), "{name}");
        for service in &mut services {
            assert_eq!(service.call(1).await, Ok(7), "{name}");
        }
    }
    for_every_layer!(check);
}

#[tokio::test(start_paused = true)]
async fn the_service_s_own_error_comes_through_unchanged() {
    async fn check<L: Subject>(name: &str, layer: L) {
        let mut service = around(&layer, &Stub::always(Reply::BROKEN));
        assert_eq!(call(&mut service).await, Err(Error::Inner(Broken)), "{name}");
    }
    for_every_layer!(check);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_before_its_first_poll_leaves_nothing_behind() {
    async fn check<L: Subject>(name: &str, layer: L) {
        let stub = Stub::always(Reply::OK);
        let mut service = around(&layer, &stub);
        for _ in 0..300 {
            poll_fn(|context| service.poll_ready(context)).await.unwrap();
            drop(service.call(1));
        }
        assert_eq!(stub.in_flight(), 0, "{name}");
        assert_eq!(call(&mut service).await, Ok(7), "{name}");
    }
    for_every_layer!(check);
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_services_of_one_layer() {
    let layer =
        ConcurrencyLimitLayer::new(ConcurrencyConfig { max_concurrent_calls: 1, ..Default::default() });
    let layer = layer.unwrap();
    let stub = Stub::always(Reply::NEVER);
    let (mut first, mut second) = (around(&layer, &stub), around(&layer, &stub));
    poll_fn(|context| first.poll_ready(context)).await.unwrap();
    let held = first.call(1);
    assert!(call(&mut second).await.unwrap_err().is_rejected());
    assert!(call(&mut first.clone()).await.unwrap_err().is_rejected());
    drop(held);
    assert_eq!(layer.in_flight(), 0);
}

/// What a layer tells the inner ones must not outlive its poll, not even by way of a panic.
#[tokio::test(start_paused = true)]
async fn what_is_said_inside_stays_inside() {
    async fn check<L: Subject>(name: &str, layer: L) {
        let outside = current();
        let stub = Stub::always(Reply::OK.after_ms(1));
        let mut service = around(&layer, &stub);
        poll_fn(|context| service.poll_ready(context)).await.unwrap();
        {
            let mut future = pin!(service.call(1));
            assert_eq!(current(), outside, "{name}, after the call");
            poll_fn(|context| {
                assert!(future.as_mut().poll(context).is_pending(), "{name}");
                assert_eq!(current(), outside, "{name}, after a poll");
                Poll::Ready(())
            })
            .await;
        }
        let mut unready = around(&layer, &stub);
        assert!(catch_unwind(AssertUnwindSafe(|| unready.call(1))).is_err(), "{name}: the stub panics");
        assert_eq!(current(), outside, "{name}, after a panic");
    }
    for_every_layer!(check);
}
