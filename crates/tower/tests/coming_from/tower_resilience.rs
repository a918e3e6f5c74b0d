//! tower-resilience 0.13.

use seaworthy_tower::machines::breaker::WindowType;
use seaworthy_tower::*;

use crate::stories::*;

#[tokio::test(start_paused = true)]
async fn sliding_window_size_and_failure_rate_threshold() {
    // There the count window never slides: after 1 000 successes it takes 1 000 failures. Here it takes 50.
    let config = BreakerConfig {
        sliding_window_type: WindowType::CountBased,
        sliding_window_size: 100,
        minimum_number_of_calls: 100,
        ..by_rate_alone()
    };
    assert_eq!(opens_after(config, &(".".repeat(1_000) + &"x".repeat(100))).await, Some(1_050));
}

#[tokio::test(start_paused = true)]
async fn minimum_number_of_calls() {
    // mcp-proxy#221: ignored there until the window is full.
    let config = BreakerConfig {
        sliding_window_type: WindowType::CountBased,
        sliding_window_size: 100,
        minimum_number_of_calls: 10,
        ..by_rate_alone()
    };
    assert_eq!(opens_after(config, &"x".repeat(100)).await, Some(10));
}

#[tokio::test(start_paused = true)]
async fn consecutive_failures() {
    // There 200 hung calls under a timeout outside the breaker leave it closed.
    let config =
        BreakerConfig { consecutive_failures: 3, quiet: std::time::Duration::ZERO, ..Default::default() };
    let policy =
        Policy::builder("story").total_timeout(millis(1_000)).circuit_breaker(config).build().unwrap();
    for _ in 0..3 {
        let hung = policy.call(|_| std::future::pending::<Result<(), Broken>>());
        assert!(matches!(hung.await, Err(Error::Timeout(_))));
    }
    let rejected = policy.call(|_| async { Ok::<_, Broken>(()) }).await.unwrap_err();
    assert!(rejected.is_rejected());
}

#[tokio::test(start_paused = true)]
async fn wait_duration_in_open_and_permitted_calls_in_half_open() {
    let config = BreakerConfig {
        wait_duration_in_open_state: millis(30_000),
        max_wait: millis(30_000),
        permitted_number_of_calls_in_half_open_state: 3,
        ..by_rate_alone()
    };
    let layer = open(config).await;
    tokio::time::advance(millis(30_000)).await;
    assert_eq!(passes(&layer, 64, Ok(())).await, 3);
}

#[tokio::test(start_paused = true)]
async fn max_attempts() {
    let (made, _) = attempts(RetryConfig { max_attempts: 5, ..RetryConfig::default() }).await;
    assert_eq!(made, 5);
}

#[tokio::test(start_paused = true)]
async fn retry_budget() {
    // There each success pays a whole retry; the ratio that does that is 1.
    assert_eq!(retries(1.0, 1, 10).await, 1);
}

#[tokio::test(start_paused = true)]
async fn bulkhead() {
    let limit = ConcurrencyConfig { max_concurrent_calls: 7, ..ConcurrencyConfig::default() };
    assert_eq!(succeed(limit, 64).await, 7);
}

#[tokio::test(start_paused = true)]
async fn time_limiter() {
    assert!(!ends_in_time(millis(250), millis(260)).await);
}
