use std::time::Duration;

use seaworthy_tower::*;
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder};

use crate::stub::{Reply, Stub, call};

fn limit(max_concurrent_calls: u32, max_queue: u32, wait_ms: u64) -> ConcurrencyLimitLayer {
    let max_wait_duration = Duration::from_millis(wait_ms);
    let config = ConcurrencyConfig {
        max_concurrent_calls,
        max_queue,
        max_wait_duration,
        ..ConcurrencyConfig::default()
    };
    ConcurrencyLimitLayer::new(config).unwrap()
}

/// Sends so many calls at once, and tells how many succeeded.
async fn burst(layer: &ConcurrencyLimitLayer, stub: &Stub, calls: u32) -> u32 {
    let calls: Vec<_> = (0..calls)
        .map(|_| {
            let mut service = layer.layer(InnerLayer.layer(stub.clone()));
            tokio::spawn(async move { call(&mut service).await })
        })
        .collect();
    let mut good = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => good += 1,
            Err(Error::Rejected(rejection)) => {
                assert_eq!(rejection.by, By::ConcurrencyLimit);
                assert!(!rejection.retry_after.is_zero());
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((layer.in_flight(), layer.queued(), stub.in_flight()), (0, 0, 0));
    good
}

#[tokio::test(start_paused = true)]
async fn places_and_queue_are_bounded() {
    // Calls of 100 ms: in 250 ms of waiting, a place is given on twice.
    for (places, queue, wait_ms, calls, good) in
        [(5, 0, 0, 20, 5), (5, 8, 250, 20, 13), (5, 15, 250, 40, 15), (1, 2, 250, 9, 3), (1, 2, 150, 9, 2)]
    {
        let stub = Stub::always(Reply::OK.after_ms(100));
        let layer = limit(places, queue, wait_ms);
        assert_eq!(burst(&layer, &stub, calls).await, good, "{places} {queue} {wait_ms} {calls}");
        assert_eq!(stub.in_flight_max(), places);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_deadline() {
    let stub = Stub::always(Reply::NEVER);
    let layer = limit(1, 4, 10_000);
    let mut held = layer.layer(InnerLayer.layer(stub.clone()));
    let held = tokio::spawn(async move { call(&mut held).await });
    tokio::task::yield_now().await;
    let total = TimeoutLayer::total(Duration::from_millis(200)).unwrap();
    let mut service = ServiceBuilder::new().layer(total).layer(layer.clone()).layer(InnerLayer).service(stub);
    let began = Instant::now();
    assert!(
        call(&mut service).await.unwrap_err().is_rejected(),
        "nothing was sent, and that is what it says"
    );
    assert!(began.elapsed() < Duration::from_millis(203));
    assert_eq!(layer.queued(), 0);
    held.abort();
}

/// apollographql/router#9034: a task whose cooperative budget is spent was answered with 429.
#[tokio::test(start_paused = true)]
async fn apollo_9034_a_spent_budget_is_no_overload() {
    let mut service = limit(1, 0, 0).layer(InnerLayer.layer(Stub::always(Reply::OK)));
    let answers = tokio::spawn(async move {
        std::future::poll_fn(|context| tower::Service::<u32>::poll_ready(&mut service, context))
            .await
            .unwrap();
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        tower::Service::call(&mut service, 1).await
    });
    assert_eq!(answers.await.unwrap(), Ok(7));
}

#[test]
fn validation_names_the_field() {
    let good = ConcurrencyConfig::default();
    assert_eq!(good.validate(), Ok(()));
    let wait = Duration::from_secs(1);
    for (config, field) in [
        (ConcurrencyConfig { max_concurrent_calls: 0, ..good }, "max_concurrent_calls"),
        (ConcurrencyConfig { max_wait_duration: wait, ..good }, "max_queue"),
        (ConcurrencyConfig { max_queue: 1, ..good }, "max_wait_duration"),
        (ConcurrencyConfig { retry_after: Duration::ZERO, ..good }, "retry_after"),
    ] {
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}
