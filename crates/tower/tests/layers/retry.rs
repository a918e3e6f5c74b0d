use std::time::Duration;

use seaworthy_tower::*;
use std::sync::Arc;
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder};

use crate::stub::{Broken, Record, Reply, Stub, call};

fn retrying(replay: bool) -> (RetryLayer<FailOnError, Says>, Arc<Record>) {
    let record = Arc::new(Record::default());
    let replay = Says(if replay { Safety::Safe } else { Safety::Unsafe });
    let layer = RetryLayer::new(RetryConfig::default(), replay).unwrap();
    (layer.observed_by(Arc::clone(&record) as Arc<dyn Observer>), record)
}

#[derive(Clone, Copy, Debug)]
struct Says(Safety);

impl Replay<u32> for Says {
    fn safety(&self, _: &u32) -> Safety {
        self.0
    }

    fn copy(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }
}

#[tokio::test(start_paused = true)]
async fn sends_again_until_it_works_or_attempts_end() {
    for (failures, expected, calls) in
        [(0, Ok(7), 1), (1, Ok(7), 2), (2, Ok(7), 3), (3, Err(Error::Inner(Broken)), 3)]
    {
        let stub = Stub::new(&[Reply::BROKEN; 3][..failures]);
        let (layer, _) = retrying(true);
        let mut service = layer.layer(InnerLayer.layer(stub.clone()));
        assert_eq!(call(&mut service).await, expected, "{failures}");
        let numbers: Vec<u32> = stub.attempts().iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (1..=calls).collect::<Vec<_>>(), "{failures}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_executed_is_sent_again_only_when_that_does_no_harm() {
    let table = [
        (Safety::Safe, Verdict::TRANSIENT, 3),
        (Safety::Keyed, Verdict::TRANSIENT, 3),
        (Safety::Unsafe, Verdict::TRANSIENT, 1),
        (Safety::Unsafe, Verdict::UNEXECUTED, 3),
        (Safety::Safe, Verdict::PERMANENT, 1),
        (Safety::Safe, Verdict::Ignored, 1),
    ];
    for (safety, verdict, calls) in table {
        let stub = Stub::always(Reply::BROKEN);
        let classifier =
            move |answer: Result<&u32, &Broken>| if answer.is_ok() { Verdict::Success } else { verdict };
        let layer = RetryLayer::new(RetryConfig::default(), Says(safety)).unwrap().classify(classifier);
        let mut service = layer.layer(InnerLayer.layer(stub.clone()));
        assert_eq!(call(&mut service).await, Err(Error::Inner(Broken)));
        assert_eq!(stub.calls(), calls, "{safety:?} {verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timed_out_attempt_is_sent_again() {
    let stub = Stub::new(&[Reply::NEVER]);
    let (layer, record) = retrying(true);
    let mut service = ServiceBuilder::new()
        .layer(layer)
        .layer(TimeoutLayer::attempt(Duration::from_millis(100)).unwrap())
        .layer(InnerLayer)
        .service(stub.clone());
    assert_eq!(call(&mut service).await, Ok(7));
    assert_eq!(record.names(), ["retry"]);
}

#[tokio::test(start_paused = true)]
async fn our_own_rejections_are_passed_on() {
    let stub = Stub::always(Reply::OK);
    let (layer, record) = retrying(true);
    let breaker = BreakerLayer::new(BreakerConfig {
        consecutive_failures: 1,
        quiet: Duration::ZERO,
        ..Default::default()
    });
    let mut service =
        ServiceBuilder::new().layer(layer).layer(breaker.unwrap()).layer(InnerLayer).service(stub.clone());
    stub.afterwards(Reply::BROKEN);
    let error = call(&mut service).await.unwrap_err();
    assert!(error.is_rejected(), "the first failure opened the circuit, the second attempt met it: {error}");
    assert_eq!((stub.calls(), record.names()), (1, vec!["retry"]));
}

/// Envoy#30205: a budget that does not see retries in their backoff lets any number gather there.
#[tokio::test(start_paused = true)]
async fn envoy_30205_retries_are_paid_for_before_they_wait() {
    let stub = Stub::always(Reply::BROKEN);
    let (layer, _) = retrying(true);
    let service = layer.layer(InnerLayer.layer(stub.clone()));
    let calls = (0..1_000).map(|_| {
        let mut service = service.clone();
        tokio::spawn(async move { call(&mut service).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), Err(Error::Inner(Broken)));
    }
    // The burst of 10, and what the floor of 1 per second may add within a few backoffs.
    assert!((1_010..=1_011).contains(&stub.calls()), "{}", stub.calls());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_that_cannot_end_in_time() {
    let stub = Stub::always(Reply::OK.after_ms(100));
    let (layer, record) = retrying(true);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::total(Duration::from_millis(350)).unwrap())
        .layer(layer)
        .layer(InnerLayer)
        .service(stub.clone());
    for _ in 0..30 {
        call(&mut service).await.unwrap();
    }
    // Attempts usually take 100 ms; after 300 ms, less than that is left.
    stub.afterwards(Reply::BROKEN.after_ms(300));
    let began = Instant::now();
    assert_eq!(call(&mut service).await, Err(Error::Inner(Broken)));
    assert!(began.elapsed() < Duration::from_millis(310), "the failure itself, not a late timeout");
    assert_eq!((stub.calls(), record.names()), (31, vec!["no_retry"]));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for_or_passed_on() {
    for (asks_ms, calls, least_ms) in [(0, 2, 0), (3_000, 2, 3_000), (10_000, 2, 10_000), (10_001, 1, 0)] {
        let stub = Stub::new(&[Reply::BROKEN]);
        let classifier = move |answer: Result<&u32, &Broken>| match answer {
            Ok(_) => Verdict::Success,
            Err(_) => Verdict::Failure(Failure {
                retry_after: Some(Duration::from_millis(asks_ms)),
                ..Failure::TRANSIENT
            }),
        };
        let layer = RetryLayer::new(RetryConfig::default(), Idempotent).unwrap().classify(classifier);
        let mut service = layer.layer(InnerLayer.layer(stub.clone()));
        let began = Instant::now();
        let _ = call(&mut service).await;
        assert_eq!(stub.calls(), calls, "{asks_ms}");
        assert!(began.elapsed() >= Duration::from_millis(least_ms), "{asks_ms}");
        assert!(began.elapsed() < Duration::from_millis(least_ms + 30), "{asks_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn successes_fill_the_budget_once_per_request() {
    let budget =
        SharedBudget::new(BudgetConfig { burst: 0, floor_per_second: 0.0, ..BudgetConfig::default() })
            .unwrap();
    let retry = RetryLayer::new(RetryConfig::default(), Idempotent).unwrap().budget(budget.clone());
    let hedge = HedgeLayer::new(HedgeConfig::default(), Idempotent).unwrap().budget(budget.clone());
    let mut service =
        ServiceBuilder::new().layer(retry).layer(hedge).layer(InnerLayer).service(Stub::always(Reply::OK));
    for _ in 0..100 {
        call(&mut service).await.unwrap();
    }
    assert!((budget.balance() - 10.0).abs() < 1e-6, "100 successes at 10 %, not {}", budget.balance());
}

#[test]
fn validation_names_the_field() {
    let with = |max_attempts| RetryConfig { max_attempts, ..RetryConfig::default() };
    for (max_attempts, valid) in [(0, false), (1, true), (ATTEMPTS_MAX, true), (ATTEMPTS_MAX + 1, false)] {
        let error = with(max_attempts).validate().err().map(|error| error.field);
        assert_eq!(error, (!valid).then_some("max_attempts"));
    }
}
