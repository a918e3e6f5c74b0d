//! Hystrix (JVM).

use seaworthy_tower::machines::breaker::{Mode, State};
use seaworthy_tower::*;

use crate::stories::*;

#[tokio::test(start_paused = true)]
async fn execution_isolation_thread_timeout_in_milliseconds() {
    assert!(ends_in_time(millis(1_000), millis(990)).await);
    assert!(!ends_in_time(millis(1_000), millis(1_010)).await);
}

#[tokio::test(start_paused = true)]
async fn circuit_breaker_request_volume_threshold() {
    let config =
        BreakerConfig { minimum_number_of_calls: 20, sliding_window: millis(10_000), ..by_rate_alone() };
    assert_eq!(opens_after(config, &"x".repeat(19)).await, None);
    assert_eq!(opens_after(config, &"x".repeat(20)).await, Some(20));
}

#[tokio::test(start_paused = true)]
async fn circuit_breaker_error_threshold_percentage() {
    let config = BreakerConfig { failure_rate_threshold: 0.5, ..by_rate_alone() };
    assert_eq!(opens_after(config, &("x".repeat(9) + &".".repeat(10) + "x")).await, Some(20));
    assert_eq!(opens_after(config, &("x".repeat(8) + &".".repeat(11) + "x")).await, None);
}

#[tokio::test(start_paused = true)]
async fn circuit_breaker_sleep_window_in_milliseconds() {
    let config = BreakerConfig {
        wait_duration_in_open_state: millis(5_000),
        max_wait: millis(5_000),
        permitted_number_of_calls_in_half_open_state: 1,
        ..by_rate_alone()
    };
    let layer = open(config).await;
    for _ in 0..3 {
        tokio::time::advance(millis(5_000)).await;
        assert_eq!(passes(&layer, 8, Err(Broken)).await, 1, "one trial per sleep window, of constant length");
        assert_eq!(passes(&layer, 8, Err(Broken)).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn execution_isolation_semaphore_max_concurrent_requests() {
    let limit = ConcurrencyConfig { max_concurrent_calls: 10, ..ConcurrencyConfig::default() };
    assert_eq!(succeed(limit, 11).await, 10);
}

#[tokio::test(start_paused = true)]
async fn circuit_breaker_force_open_and_force_closed() {
    let forced = |mode| {
        BreakerLayer::new(BreakerConfig { mode, minimum_number_of_calls: 1, ..by_rate_alone() }).unwrap()
    };
    assert_eq!(passes(&forced(Mode::ForceOpen), 8, Ok(())).await, 0);
    let closed = forced(Mode::ForceClosed);
    assert_eq!(passes(&closed, 8, Err(Broken)).await, 8);
    assert_eq!(closed.handle().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn hystrix_bad_request_exception() {
    let classifier =
        |answer: Result<&(), &Broken>| if answer.is_ok() { Verdict::Success } else { Verdict::Ignored };
    let policy = Policy::builder("story")
        .classify(classifier)
        .fallback(|_: Result<&(), &Error<Broken>>| Some(()))
        .circuit_breaker(BreakerConfig { minimum_number_of_calls: 1, ..by_rate_alone() })
        .build()
        .unwrap();
    for _ in 0..50 {
        let answer = policy.call(|_| async { Err::<(), _>(Broken) }).await;
        assert_eq!(answer, Err(Error::Inner(Broken)), "neither counted nor answered by the fallback");
    }
}

#[tokio::test(start_paused = true)]
async fn hystrix_command_key() {
    assert_eq!(named(by_rate_alone(), &["getUser", "getOrders"]).await, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn get_fallback_that_runs_another_command() {
    // fallback.isolation.semaphore.maxConcurrentRequests: 1. There a second one fails with the first failure, too.
    let backup = tower::service_fn(|(): ()| async {
        tokio::time::sleep(millis(10)).await;
        Ok::<_, Broken>("second best")
    });
    let one = FallbackConfig { max_concurrent_calls: 1, ..FallbackConfig::default() };
    let policy = Policy::builder("story").fallback_to(one, backup, |answer| answer).build().unwrap();
    let call = || policy.call(|_| async { Err::<&str, _>(Broken) });
    let (first, second) = tokio::join!(call(), call());
    assert_eq!((first, second), (Ok("second best"), Err(Error::Inner(Broken))));
}
