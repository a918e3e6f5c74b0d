use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use seaworthy_tower::*;
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, service_fn};

use crate::stub::{Reply, Stub, call};

#[tokio::test(start_paused = true)]
async fn each_limit_names_itself_and_ends_on_time() {
    let limit = Duration::from_millis(300);
    for (layer, which) in [
        (TimeoutLayer::total(limit).unwrap(), Which::Total),
        (TimeoutLayer::attempt(limit).unwrap(), Which::Attempt),
    ] {
        let stub = Stub::new(&[Reply::OK.after_ms(299), Reply::OK.after_ms(302)]);
        let mut service = layer.layer(InnerLayer.layer(stub.clone()));
        assert_eq!(call(&mut service).await, Ok(7));
        let began = Instant::now();
        let error = call(&mut service).await.unwrap_err();
        assert_eq!(error, Error::Timeout(Timeout { which, after: limit }));
        assert!(error.is_outcome_unknown() && !error.is_rejected());
        let took = began.elapsed();
        assert!((limit..limit + Duration::from_millis(2)).contains(&took), "{took:?}");
        assert_eq!(stub.in_flight(), 0, "the inner future is dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn inner_layers_know_the_nearest_deadline() {
    let stub = Stub::always(Reply::OK);
    let seconds = Duration::from_secs;
    for (total, attempt, expected) in [(9, 2, 2), (2, 9, 2)] {
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::total(seconds(total)).unwrap())
            .layer(TimeoutLayer::attempt(seconds(attempt)).unwrap())
            .layer(InnerLayer)
            .service(stub.clone());
        call(&mut service).await.unwrap();
        let told = stub.attempts().last().unwrap().deadline;
        assert_eq!(told, Some(Instant::now() + seconds(expected)), "{total} {attempt}");
    }
    assert_eq!(current().deadline, None, "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_left_is_rejected_and_not_sent() {
    let stub = Stub::always(Reply::OK);
    let inner = TimeoutLayer::attempt(Duration::from_secs(1)).unwrap().layer(InnerLayer.layer(stub.clone()));
    let late = service_fn(move |request: u32| {
        let inner = inner.clone();
        async move {
            // Spends the whole deadline before it calls on; nobody polls the outer timer meanwhile.
            tokio::time::advance(Duration::from_secs(2)).await;
            tower::ServiceExt::oneshot(inner, request).await
        }
    });
    let mut service = TimeoutLayer::total(Duration::from_secs(1)).unwrap().layer(late);
    let Err(Error::Rejected(rejection)) = call(&mut service).await else { panic!("must be rejected") };
    assert_eq!(rejection.by, By::Deadline);
    assert_eq!(stub.calls(), 0);
}

/// A service that spends the task's whole cooperative budget on every poll must still time out.
#[tokio::test(start_paused = true)]
async fn a_greedy_service_times_out_too() {
    async fn spends_every_budget() {
        loop {
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::coop::consume_budget().await;
            }
            // Waits for the next poll, whose budget is spent at once again.
            tokio::task::coop::consume_budget().await;
        }
    }
    let greedy = service_fn(|_: u32| async {
        spends_every_budget().await;
        Ok::<u32, Error<()>>(1)
    });
    // The greedy task never lets the runtime idle, so somebody has to move the time.
    tokio::spawn(async {
        loop {
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    });
    let mut service = TimeoutLayer::total(Duration::from_millis(50)).unwrap().layer(greedy);
    let began = Instant::now();
    let polls = std::cell::Cell::new(0);
    let answer = {
        let mut answer = std::pin::pin!(call(&mut service));
        poll_fn(|context| {
            polls.set(polls.get() + 1);
            if polls.get() > 1_000 { Poll::Ready(None) } else { answer.as_mut().poll(context).map(Some) }
        })
        .await
    };
    assert!(matches!(answer, Some(Err(Error::Timeout(_)))), "{:?} later", began.elapsed());
}

#[tokio::test]
async fn a_limit_of_nothing_is_refused_and_an_endless_one_is_not() {
    assert_eq!(TimeoutLayer::total(Duration::ZERO).unwrap_err().field, "total_timeout");
    assert_eq!(TimeoutLayer::attempt(Duration::ZERO).unwrap_err().field, "attempt_timeout");
    let mut service =
        TimeoutLayer::total(Duration::MAX).unwrap().layer(InnerLayer.layer(Stub::always(Reply::OK)));
    poll_fn(|context| tower::Service::<u32>::poll_ready(&mut service, context)).await.unwrap();
    assert_eq!(call(&mut service).await, Ok(7));
}
