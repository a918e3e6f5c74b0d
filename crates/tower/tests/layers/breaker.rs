use std::pin::pin;
use std::time::Duration;

use seaworthy_tower::machines::breaker::State;
use seaworthy_tower::*;
use tower::{Layer, ServiceBuilder};

use crate::stub::{Broken, Reply, Stub, call};

/// Opens on three failures in a row, for a second, without jitter.
fn config() -> BreakerConfig {
    BreakerConfig {
        consecutive_failures: 3,
        quiet: Duration::ZERO,
        wait_jitter: 0.0,
        recovery_ramp: Duration::ZERO,
        ..BreakerConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn opens_rejects_probes_and_closes() {
    let stub = Stub::new(&[Reply::BROKEN; 3]);
    let layer = BreakerLayer::new(config()).unwrap();
    let mut service = layer.layer(InnerLayer.layer(stub.clone()));
    for _ in 0..3 {
        assert_eq!(call(&mut service).await, Err(Error::Inner(Broken)));
    }
    tokio::time::advance(Duration::from_millis(400)).await;
    let Err(Error::Rejected(rejection)) = call(&mut service).await else { panic!("must be open") };
    assert_eq!((rejection.by, rejection.reason), (By::CircuitBreaker, "open"));
    assert_eq!(rejection.retry_after, Duration::from_millis(600));
    assert_eq!(stub.calls(), 3, "nothing was sent");
    tokio::time::advance(Duration::from_millis(600)).await;
    assert_eq!(layer.handle().state(), State::HalfOpen);
    assert_eq!((call(&mut service).await, call(&mut service).await), (Ok(7), Ok(7)));
    assert_eq!(layer.handle().state(), State::Closed, "two of three probes are a majority");
}

/// Timeouts outside the breaker drop its calls. Where a deadline was told, that is a failure all the same.
#[tokio::test(start_paused = true)]
async fn calls_cut_off_by_a_deadline_do_not_blind_it() {
    for (limit_ms, opens) in [(300, true), (100, false)] {
        let layer = BreakerLayer::new(config()).unwrap();
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::total(Duration::from_millis(limit_ms)).unwrap())
            .layer(layer.clone())
            .layer(InnerLayer)
            .service(Stub::always(Reply::NEVER));
        for _ in 0..3 {
            assert!(matches!(call(&mut service).await, Err(Error::Timeout(_))));
        }
        let open = matches!(layer.handle().state(), State::Open { .. });
        assert_eq!(open, opens, "{limit_ms} ms: a short deadline says nothing about the backend");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_callers_drop_say_nothing() {
    let layer = BreakerLayer::new(config()).unwrap();
    let mut service = layer.layer(InnerLayer.layer(Stub::always(Reply::NEVER)));
    for _ in 0..100 {
        let dropped = tokio::time::timeout(Duration::from_secs(5), call(&mut service)).await;
        assert!(dropped.is_err());
    }
    assert_eq!(layer.handle().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_an_inner_policy_rejects_does_not_count() {
    let layer = BreakerLayer::new(config()).unwrap();
    let limit = ConcurrencyConfig { max_concurrent_calls: 1, ..ConcurrencyConfig::default() };
    let limit = ConcurrencyLimitLayer::new(limit).unwrap();
    let stub = Stub::always(Reply::NEVER);
    let service = ServiceBuilder::new().layer(layer.clone()).layer(limit).layer(InnerLayer).service(stub);
    let mut held = service.clone();
    let mut held = pin!(call(&mut held));
    assert!(tokio::time::timeout(Duration::from_millis(1), held.as_mut()).await.is_err());
    for _ in 0..50 {
        assert!(call(&mut service.clone()).await.unwrap_err().is_rejected());
    }
    assert_eq!(layer.handle().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_fails() {
    let layer = BreakerLayer::new(config()).unwrap();
    let panicking = tower::service_fn(|request: u32| async move {
        tokio::task::yield_now().await;
        assert_eq!(request, 0, "a panic on purpose");
        Ok::<u32, Error<Broken>>(1)
    });
    for _ in 0..3 {
        let mut service = layer.layer(panicking);
        assert!(tokio::spawn(async move { call(&mut service).await }).await.unwrap_err().is_panic());
    }
    assert!(matches!(layer.handle().state(), State::Open { .. }));
    layer.handle().reset();
    assert_eq!(layer.handle().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn half_open_admits_three_of_sixty_four() {
    let stub = Stub::new(&[Reply::BROKEN; 3]);
    let layer = BreakerLayer::new(config()).unwrap();
    let mut service = layer.layer(InnerLayer.layer(stub.clone()));
    for _ in 0..3 {
        let _ = call(&mut service).await;
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    stub.afterwards(Reply::OK.after_ms(100));
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let mut service = service.clone();
            tokio::spawn(async move { call(&mut service).await })
        })
        .collect();
    let mut admitted = 0;
    for call in calls {
        admitted += u32::from(call.await.unwrap().is_ok());
    }
    assert_eq!((admitted, stub.calls()), (3, 6));
}

/// Where a service answers in our words itself, no `Inner` takes old readings of the clock away; the layer does.
#[tokio::test(start_paused = true)]
async fn a_call_is_measured_with_its_own_readings() {
    let config = BreakerConfig {
        slow_call_duration: Some(Duration::from_millis(500)),
        minimum_number_of_calls: 3,
        ..config()
    };
    let layer = BreakerLayer::new(config).unwrap();
    let mut service = layer.layer(tower::service_fn(|_: u32| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<u32, Error<Broken>>(1)
    }));
    for _ in 0..3 {
        assert_eq!(call(&mut service).await, Ok(1));
    }
    assert!(matches!(layer.handle().state(), State::Open { .. }), "three of three were slow");
}
