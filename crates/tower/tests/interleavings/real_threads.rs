//! Both limits under real threads and tokio's own wakers: calls that wait, and some that are given up while they do.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use seaworthy_tower::machines::Rng;
use seaworthy_tower::*;
use tower::{Layer, Service, ServiceExt, service_fn};

const THREADS: u64 = 4;

fn rounds() -> u64 {
    if crate::preemptions() > crate::PREEMPTIONS { 200_000 } else { 5_000 }
}

/// One place for all threads. Each round either waits to the end or gives up after a few polls; a lost place or a lost
/// wake-up would let the next one wait until it is rejected.
fn hurry<S>(service: &S)
where
    S: Service<u32, Response = u32, Error = Error<Infallible>> + Clone + Send + 'static,
    S::Future: Send,
{
    std::thread::scope(|scope| {
        for seed in 0..THREADS {
            let service = service.clone();
            scope.spawn(move || keep_calling(service, seed));
        }
    });
}

fn keep_calling<S>(mut service: S, seed: u64)
where
    S: Service<u32, Response = u32, Error = Error<Infallible>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut rng = Rng::seeded(seed);
    for round in 0..rounds() {
        let patience = if rng.chance(0.3) { rng.below(3) } else { u64::MAX };
        let answer = runtime.block_on(give_up_after(&mut service, patience));
        assert!(answer.is_none_or(|answer| answer == Ok(1)), "thread {seed}, round {round}");
    }
}

/// The answer, or nothing when it needed more polls than there was patience.
async fn give_up_after<S: Service<u32>>(
    service: &mut S,
    mut patience: u64,
) -> Option<Result<S::Response, S::Error>> {
    let service = service.ready().await.ok()?;
    let mut call = pin!(service.call(1));
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if patience == 0 => Poll::Ready(None),
        Poll::Pending => {
            patience -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Waits once, so that places are held while others come.
async fn answer(request: u32) -> Result<u32, Infallible> {
    tokio::task::yield_now().await;
    Ok(request)
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn the_concurrency_limit_loses_nobody() {
    let config = ConcurrencyConfig {
        max_concurrent_calls: 1,
        max_queue: 100,
        max_wait_duration: LONG,
        ..ConcurrencyConfig::default()
    };
    let layer = ConcurrencyLimitLayer::new(config).unwrap();
    hurry(&layer.layer(InnerLayer.layer(service_fn(answer))));
    assert_eq!((layer.in_flight(), layer.queued()), (0, 0));
}

#[test]
fn the_admission_queue_loses_nobody() {
    let config = AdmissionConfig {
        limit: LimitConfig::fixed(1),
        max_wait_duration: LONG,
        rejector: machines::admission::RejectorKind::None,
        ..AdmissionConfig::default()
    };
    let layer = AdmissionLayer::new(config).unwrap();
    hurry(&layer.layer(InnerLayer.layer(service_fn(answer))));
    let handle = layer.handle();
    assert_eq!((handle.in_flight(), handle.queued()), (0, 0));
}
