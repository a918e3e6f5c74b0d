//! resilience4j (JVM).

use std::time::Duration;

use seaworthy_tower::machines::breaker::WindowType;
use seaworthy_tower::*;

use crate::stories::*;

fn count_window(sliding_window_size: u32, minimum_number_of_calls: u32) -> BreakerConfig {
    let sliding_window_type = WindowType::CountBased;
    BreakerConfig { sliding_window_type, sliding_window_size, minimum_number_of_calls, ..by_rate_alone() }
}

#[tokio::test(start_paused = true)]
async fn sliding_window_type_count_based() {
    // Ten calls are remembered, however old: 5 failures among the last 10 open it.
    assert_eq!(opens_after(count_window(10, 10), "..........xxxxx").await, Some(15));
    assert_eq!(
        opens_after(count_window(10, 10), "xxxx______________.....x").await,
        Some(24),
        "age does not matter"
    );
    assert_eq!(
        opens_after(count_window(10, 10), "xxxx.......x").await,
        None,
        "the eleventh call forgets the first"
    );
}

#[tokio::test(start_paused = true)]
async fn sliding_window_type_time_based() {
    let config =
        BreakerConfig { sliding_window: millis(10_000), minimum_number_of_calls: 5, ..by_rate_alone() };
    assert_eq!(opens_after(config, "xxxx______________x").await, None);
    assert_eq!(opens_after(config, "xxxx_x").await, Some(6));
}

#[tokio::test(start_paused = true)]
async fn minimum_number_of_calls() {
    assert_eq!(opens_after(count_window(100, 5), "xxxx").await, None);
    assert_eq!(opens_after(count_window(100, 5), "xxxxx").await, Some(5), "before the window is full");
}

#[tokio::test(start_paused = true)]
async fn failure_rate_threshold() {
    let config = BreakerConfig { failure_rate_threshold: 0.3, ..count_window(10, 10) };
    assert_eq!(opens_after(config, ".......xxx").await, Some(10));
    assert_eq!(opens_after(config, "........xx").await, None);
}

#[tokio::test(start_paused = true)]
async fn slow_call_rate_threshold_and_slow_call_duration_threshold() {
    let config = BreakerConfig {
        slow_call_duration: Some(millis(100)),
        slow_call_rate_threshold: 0.5,
        ..count_window(10, 10)
    };
    assert_eq!(opens_after(config, ".....sssss").await, Some(10));
    assert_eq!(opens_after(config, "......ssss").await, None);
}

#[tokio::test(start_paused = true)]
async fn wait_duration_in_open_state_and_permitted_number_of_calls_in_half_open_state() {
    let config = BreakerConfig {
        wait_duration_in_open_state: millis(60_000),
        max_wait: millis(60_000),
        permitted_number_of_calls_in_half_open_state: 10,
        ..count_window(10, 10)
    };
    let layer = open(config).await;
    tokio::time::advance(millis(60_000)).await;
    assert_eq!(passes(&layer, 64, Ok(())).await, 10);
}

#[tokio::test(start_paused = true)]
async fn max_wait_duration_in_half_open_state() {
    // 0 there means for ever; ours is never 0, and a probe that does not return is a failed one.
    let config = BreakerConfig {
        probe_timeout: millis(2_000),
        permitted_number_of_calls_in_half_open_state: 1,
        ..count_window(10, 10)
    };
    let layer = open(config).await;
    tokio::time::advance(millis(1_000)).await;
    let hanging = tower::service_fn(|(): ()| std::future::pending::<Result<(), Error<Broken>>>());
    let mut probe = tower::Layer::layer(&layer, hanging);
    let probe = tokio::spawn(tower::Service::call(&mut probe, ()));
    tokio::task::yield_now().await;
    tokio::time::advance(millis(1_999)).await;
    assert_eq!(passes(&layer, 8, Ok(())).await, 0);
    // The probe fails at 2 s, the circuit waits twice as long as before, then it probes again.
    tokio::time::advance(millis(1)).await;
    assert_eq!(passes(&layer, 8, Ok(())).await, 0);
    tokio::time::advance(millis(2_000)).await;
    assert_eq!(passes(&layer, 8, Ok(())).await, 1);
    assert_eq!(passes(&layer, 8, Ok(())).await, 8);
    probe.abort();
}

#[tokio::test(start_paused = true)]
async fn max_attempts_and_wait_duration() {
    let backoff = BackoffConfig {
        initial: millis(500),
        multiplier: 1.0,
        max: millis(500),
        jitter: Jitter::None,
        ..BackoffConfig::default()
    };
    let (made, took) = attempts(RetryConfig { max_attempts: 3, backoff, ..RetryConfig::default() }).await;
    assert_eq!(made, 3, "the first one included");
    assert!((millis(1_000)..millis(1_005)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn bulkhead_max_concurrent_calls_and_max_wait_duration() {
    let limit = ConcurrencyConfig { max_concurrent_calls: 25, ..ConcurrencyConfig::default() };
    assert_eq!(succeed(limit, 64).await, 25, "no wait by default, as there");
    let limit =
        ConcurrencyConfig { max_wait_duration: Duration::from_millis(150), max_queue: 1_000, ..limit };
    assert_eq!(succeed(limit, 64).await, 50, "places are given on once within 150 ms");
}

#[tokio::test(start_paused = true)]
async fn time_limiter_timeout_duration() {
    assert!(!ends_in_time(millis(1_000), millis(1_010)).await);
}

#[tokio::test(start_paused = true)]
async fn circuit_breaker_registry() {
    assert_eq!(named(by_rate_alone(), &["backendA", "backendB"]).await, [false, true]);
}
