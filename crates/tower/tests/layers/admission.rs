//! The admission queue around a service that does what a script says, in paused time.

use std::future::poll_fn;
use std::time::Duration;

use seaworthy_tower::machines::admission::{Discipline, RejectorKind};
use seaworthy_tower::*;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder};

use crate::stub::{Broken, Reply, Stub, call};

type Outcomes = Result<u32, Error<Broken>>;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A fixed limit and a plain queue.
fn plain(places: u32, max_queue: u32, wait_ms: u64) -> AdmissionConfig {
    AdmissionConfig {
        limit: LimitConfig::fixed(places),
        max_queue,
        max_wait_duration: millis(wait_ms),
        queue_discipline: Discipline::Fifo,
        rejector: RejectorKind::None,
        ..AdmissionConfig::default()
    }
}

fn layer(config: AdmissionConfig) -> AdmissionLayer {
    AdmissionLayer::new(config).unwrap()
}

/// A call in a task of its own, which has arrived when this returns.
async fn send<S>(mut service: S, request: u32) -> JoinHandle<Outcomes>
where
    S: Service<u32, Response = u32, Error = Error<Broken>, Future: Send> + Send + 'static,
{
    let task = tokio::spawn(async move {
        poll_fn(|context| service.poll_ready(context)).await?;
        service.call(request).await
    });
    tokio::task::yield_now().await;
    task
}

fn rejection(outcome: Outcomes) -> (By, &'static str) {
    match outcome {
        Err(Error::Rejected(rejection)) => {
            assert!(!rejection.retry_after.is_zero(), "{rejection}");
            (rejection.by, rejection.reason)
        }
        other => panic!("not rejected: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn places_and_queue_are_bounded() {
    // Calls of 100 ms: in 250 ms of waiting, a place is given on twice.
    for (places, queue, wait_ms, calls, good) in
        [(5, 0, 0, 20, 5), (5, 8, 250, 20, 13), (5, 15, 250, 40, 15), (1, 2, 250, 9, 3), (1, 2, 150, 9, 2)]
    {
        let stub = Stub::always(Reply::OK.after_ms(100));
        let layer = layer(plain(places, queue, wait_ms));
        let mut tasks = Vec::new();
        for _ in 0..calls {
            tasks.push(send(layer.layer(InnerLayer.layer(stub.clone())), 1).await);
        }
        let mut answered = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => answered += 1,
                other => assert_ne!(rejection(other).0, By::Deadline),
            }
        }
        assert_eq!(answered, good, "{places} {queue} {wait_ms} {calls}");
        assert_eq!(stub.in_flight_max(), places);
        let handle = layer.handle();
        assert_eq!((handle.in_flight(), handle.queued(), stub.in_flight()), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn every_rejection_says_by_whom_why_and_until_when() {
    let occupied = async |config| {
        let layer = layer(config);
        let held = send(layer.layer(InnerLayer.layer(Stub::always(Reply::NEVER))), 1).await;
        (layer, held)
    };
    let stub = Stub::always(Reply::OK);
    let (limit, _held) = occupied(plain(1, 0, 0)).await;
    let outcome = call(&mut limit.layer(InnerLayer.layer(stub.clone()))).await;
    assert_eq!(rejection(outcome), (By::ConcurrencyLimit, "all places taken"));

    let (limit, _held) = occupied(plain(1, 1, 500)).await;
    let began = Instant::now();
    let waits = send(limit.layer(InnerLayer.layer(stub.clone())), 1).await;
    let outcome = call(&mut limit.layer(InnerLayer.layer(stub.clone()))).await;
    assert_eq!(rejection(outcome), (By::AdmissionQueue, "queue full"));
    assert_eq!(rejection(waits.await.unwrap()), (By::AdmissionQueue, "no place in time"));
    assert!((millis(500)..millis(503)).contains(&began.elapsed()));

    // Nothing was sent, and that is what it says, although the total timeout ends at the same moment.
    let total = TimeoutLayer::total(millis(200)).unwrap();
    let service = ServiceBuilder::new().layer(total).layer(limit).layer(InnerLayer).service(stub.clone());
    let began = Instant::now();
    let waits = send(service, 1).await;
    assert_eq!(rejection(waits.await.unwrap()), (By::Deadline, "no time left"));
    assert!((millis(200)..millis(203)).contains(&began.elapsed()));
    assert_eq!(stub.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_matter_go_first_and_take_the_places_of_others() {
    let priority = |request: &u32| if *request == 1 { Priority::Critical } else { Priority::Sheddable };
    let layer = layer(plain(1, 2, 5_000)).prioritize(priority);
    let stub = Stub::always(Reply::OK.after_ms(100));
    let service = || layer.layer(InnerLayer.layer(stub.clone()));
    let held = send(service(), 1).await;
    let first = send(service(), 0).await;
    let second = send(service(), 0).await;
    let critical = send(service(), 1).await;
    assert_eq!(layer.handle().queued_of(Priority::Critical), 1);
    assert_eq!(rejection(second.await.unwrap()), (By::AdmissionQueue, "gave way to one that matters more"));
    assert_eq!((held.await.unwrap(), critical.await.unwrap()), (Ok(7), Ok(7)));
    assert!(!first.is_finished(), "the sheddable one came first, and goes last");
    assert_eq!(first.await.unwrap(), Ok(7));
}

/// Each of those who wait has a timer of its own: nobody else's fate is needed for CoDel to act.
#[tokio::test(start_paused = true)]
async fn pointless_waiting_ends_without_anything_else_happening() {
    let config = AdmissionConfig { rejector: RejectorKind::Codel, ..plain(1, 10, 5_000) };
    let layer = layer(config).prioritize(|_: &u32| Priority::Sheddable);
    let stub = Stub::always(Reply::NEVER);
    let _held = send(layer.layer(InnerLayer.layer(stub.clone())), 1).await;
    let began = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(send(layer.layer(InnerLayer.layer(stub.clone())), 1).await);
    }
    let last = waiting.pop().unwrap();
    for task in waiting {
        assert_eq!(rejection(task.await.unwrap()), (By::AdmissionQueue, "overloaded"));
    }
    assert!((millis(100)..millis(103)).contains(&began.elapsed()), "{:?}", began.elapsed());
    // The last one is spared, so that a place that becomes free finds somebody; it waits as long as anybody may.
    assert_eq!(rejection(last.await.unwrap()), (By::AdmissionQueue, "no place in time"));
    assert!((millis(5_000)..millis(5_003)).contains(&began.elapsed()));
}

/// What a classifier calls overload lowers an adaptive limit; an error answer does not.
#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_hears_how_calls_ended() {
    async fn limit_after(verdict: Verdict) -> u32 {
        let policy = Policy::builder("search")
            .classify(move |_: Result<&u32, &Broken>| verdict)
            .total_timeout(Duration::from_secs(9))
            .admission(AdmissionConfig::default())
            .build()
            .unwrap();
        let stub = Stub::always(Reply::OK.after_ms(20));
        let handle = policy.admission().unwrap().clone();
        assert_eq!(handle.limit(), 20);
        for _ in 0..200 {
            let tasks =
                [send(policy.layer(stub.clone()), 1).await, send(policy.layer(stub.clone()), 1).await];
            for task in tasks {
                let _ = task.await;
            }
        }
        assert_eq!((handle.in_flight(), handle.queued()), (0, 0));
        handle.limit()
    }
    assert!(limit_after(Verdict::OVERLOADED).await < 15);
    assert!(limit_after(Verdict::throttled(None)).await < 15);
    assert!(limit_after(Verdict::TRANSIENT).await >= 20);
    assert!(limit_after(Verdict::Success).await >= 20);
}

#[tokio::test(start_paused = true)]
async fn in_a_stack_it_is_examined_and_its_numbers_are_too() {
    let impossible = AdmissionConfig { limit: LimitConfig::fixed(0), ..AdmissionConfig::default() };
    let invalid = Policy::builder("ledger").admission(impossible).build().unwrap_err();
    assert_eq!(invalid.findings[0].code, "TW01");
    let endless = Policy::builder("ledger").admission(AdmissionConfig::default()).build().unwrap();
    assert_eq!(endless.findings()[0].code, "SP09");
    let matters = |request: &u32| if *request > 9 { Priority::Sheddable } else { Priority::Critical };
    let policy = Policy::builder("ledger")
        .total_timeout(Duration::from_secs(9))
        .admission_by(AdmissionConfig::default(), matters)
        .build()
        .unwrap();
    assert!(policy.findings().is_empty());
    assert_eq!(call(&mut policy.layer(Stub::always(Reply::OK))).await, Ok(7));
}
