//! A second service that answers in place of the first; its answers are marked by adding 1 000.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use seaworthy_tower::*;
use tower::{Layer, Service, ServiceExt};

use crate::stub::{Broken, Record, Reply, Stub, call};

const MARKED: Result<u32, Error<Broken>> = Ok(1_007);

fn mark(answer: u32) -> u32 {
    answer + 1_000
}

fn one_at_a_time() -> FallbackConfig {
    FallbackConfig { max_concurrent_calls: 1, ..FallbackConfig::default() }
}

/// The answer of a stack whose first service answers so, with what its classifier says of errors.
async fn answer(
    replay: impl Replay<u32> + Clone,
    reply: Reply,
    verdict: Verdict,
) -> (Result<u32, Error<Broken>>, usize) {
    let backup = Stub::always(Reply::OK);
    let policy = Policy::builder("tickets")
        .classify(move |answer: Result<&u32, &Broken>| answer.map_or(verdict, |_| Verdict::Success))
        .replay(replay)
        .fallback_to(FallbackConfig::default(), backup.clone(), mark)
        .total_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    (call(&mut policy.layer(Stub::always(reply))).await, backup.calls())
}

#[tokio::test(start_paused = true)]
async fn answers_failures_that_may_be_answered_and_marks_them() {
    let failed = (Err(Error::Inner(Broken)), 0);
    let (ok, broken, never) = (Reply::OK, Reply::BROKEN, Reply::NEVER);
    assert_eq!(answer(Idempotent, ok, Verdict::TRANSIENT).await, (Ok(7), 0));
    assert_eq!(answer(Idempotent, broken, Verdict::TRANSIENT).await, (MARKED, 1));
    assert_eq!(answer(Idempotent, broken, Verdict::PERMANENT).await, (MARKED, 1));
    assert_eq!(answer(Idempotent, never, Verdict::TRANSIENT).await, (MARKED, 1), "a timeout");
    assert_eq!(answer(Idempotent, broken, Verdict::Ignored).await, failed, "the caller's error");
    assert_eq!(answer(NotIdempotent, broken, Verdict::TRANSIENT).await, failed, "it may have been executed");
    assert_eq!(answer(NotIdempotent, broken, Verdict::UNEXECUTED).await, (MARKED, 1), "surely not executed");
    let (unknown, calls) = answer(NotIdempotent, never, Verdict::TRANSIENT).await;
    assert!(unknown.unwrap_err().is_outcome_unknown() && calls == 0);
}

/// A request of which there can be only one.
#[derive(Clone, Copy)]
struct Streamed;

impl Replay<u32> for Streamed {
    fn safety(&self, _: &u32) -> machines::call::Safety {
        Safety::Safe
    }

    fn copy(&self, _: &u32) -> Option<u32> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_copied_is_not_passed_on() {
    let failed = (Err(Error::Inner(Broken)), 0);
    assert_eq!(answer(Streamed, Reply::BROKEN, Verdict::TRANSIENT).await, failed);
}

/// What we rejected ourselves was surely not executed, so that even orders may go to the second service.
#[tokio::test(start_paused = true)]
async fn rejections_of_ours_lead_there() {
    let policy = Policy::builder("orders")
        .replay(NotIdempotent)
        .fallback_to(FallbackConfig::default(), Stub::always(Reply::OK), mark)
        .total_timeout(Duration::from_secs(1))
        .concurrency_limit(ConcurrencyConfig { max_concurrent_calls: 1, ..ConcurrencyConfig::default() })
        .build()
        .unwrap();
    assert_eq!(policy.findings(), []);
    let service = policy.layer(Stub::always(Reply::OK.after_ms(100)));
    let mut first = service.clone();
    let first = tokio::spawn(async move { call(&mut first).await });
    tokio::task::yield_now().await;
    assert_eq!(call(&mut service.clone()).await, MARKED);
    assert_eq!(first.await.unwrap(), Ok(7));
}

#[tokio::test(start_paused = true)]
async fn when_the_second_fails_too_the_first_failure_stands() {
    let says_503 = |answer: Result<&u32, &Broken>| match answer {
        Ok(1_503) | Err(_) => Verdict::TRANSIENT,
        Ok(_) => Verdict::Success,
    };
    for backup in [Reply::BROKEN, Reply { result: Ok(503), ..Reply::OK }, Reply::BROKEN.after_ms(5)] {
        let record = Arc::new(Record::default());
        let layer = FallbackServiceLayer::new(one_at_a_time(), Stub::always(backup), mark, Idempotent);
        let layer = layer.unwrap().classify(says_503).observed_by(Arc::clone(&record) as Arc<dyn Observer>);
        let limit = TimeoutLayer::total(Duration::from_millis(50)).unwrap();
        let mut service = layer.layer(limit.layer(InnerLayer.layer(Stub::always(Reply::NEVER))));
        assert!(matches!(call(&mut service).await, Err(Error::Timeout(_))), "{backup:?}");
        assert_eq!((layer.running(), record.names()), (0, vec!["fallback_failed"]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_is_waited_for_until_it_is_ready() {
    let backup = Stub::always(Reply::OK.after_ms(20));
    let layer =
        FallbackServiceLayer::new(FallbackConfig::default(), backup.clone(), mark, Idempotent).unwrap();
    let mut service = layer.layer(InnerLayer.layer(Stub::always(Reply::BROKEN)));
    backup.busy_for(3);
    assert_eq!(call(&mut service).await, MARKED);
}

/// An outage of the first must not become one of the second. Whenever a call is given up, its place is free again.
#[tokio::test(start_paused = true)]
async fn places_are_bounded_and_a_call_dropped_after_any_number_of_polls_gives_its_own_back() {
    for polls in 0..6 {
        let record = Arc::new(Record::default());
        let backup = Stub::always(Reply { yields: 2, ..Reply::NEVER });
        let layer = FallbackServiceLayer::new(one_at_a_time(), backup.clone(), mark, Idempotent);
        let layer = layer.unwrap().observed_by(Arc::clone(&record) as Arc<dyn Observer>);
        let first = Stub::always(Reply { yields: 1, ..Reply::BROKEN });
        let mut service = layer.layer(InnerLayer.layer(first.clone()));
        backup.busy_for(1);
        {
            let mut held = pin!(service.ready().await.unwrap().call(1));
            for _ in 0..polls {
                assert!(held.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
            let is_there = layer.running() == 1;
            assert_eq!(is_there, polls >= 2, "{polls} polls");
            if is_there {
                assert_eq!(call(&mut service.clone()).await, Err(Error::Inner(Broken)));
                assert_eq!(record.names(), ["fallback_busy"]);
            }
        }
        assert_eq!((layer.running(), backup.in_flight(), first.in_flight()), (0, 0, 0), "{polls} polls");
        backup.afterwards(Reply::OK);
        assert_eq!(call(&mut service).await, MARKED);
    }
}

#[test]
fn numbers_are_examined() {
    let none = FallbackConfig { max_concurrent_calls: 0, ..FallbackConfig::default() };
    let wrong = FallbackServiceLayer::new(none, Stub::default(), mark, Idempotent);
    assert_eq!(wrong.err().unwrap().field, "max_concurrent_calls");
    let refused = Policy::builder("x").fallback_to(none, Stub::default(), mark).build();
    assert_eq!(refused.err().unwrap().findings[0].code, "TW01");
}
