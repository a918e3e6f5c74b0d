//! Polly v8 (.NET).

use std::time::Duration;

use seaworthy_tower::*;
use tokio::time::Instant;

use crate::stories::*;

#[tokio::test(start_paused = true)]
async fn failure_ratio_and_minimum_throughput() {
    let config = BreakerConfig {
        failure_rate_threshold: 0.1,
        minimum_number_of_calls: 100,
        sliding_window: millis(30_000),
        ..by_rate_alone()
    };
    assert_eq!(opens_after(config, &"x".repeat(99)).await, None, "below the minimum nothing opens");
    assert_eq!(opens_after(config, &("x".repeat(9) + &".".repeat(90) + "x")).await, Some(100));
    assert_eq!(
        opens_after(config, &("x".repeat(20) + &".".repeat(90))).await,
        None,
        "a good call opens nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn sampling_duration() {
    let config =
        BreakerConfig { sliding_window: millis(30_000), minimum_number_of_calls: 4, ..by_rate_alone() };
    assert_eq!(opens_after(config, &format!("xx{}xx", "_".repeat(26))).await, Some(30));
    assert_eq!(opens_after(config, &format!("xx{}xx", "_".repeat(31))).await, None);
}

#[tokio::test(start_paused = true)]
async fn break_duration() {
    let config = BreakerConfig {
        wait_duration_in_open_state: millis(5_000),
        max_wait: millis(5_000),
        permitted_number_of_calls_in_half_open_state: 1,
        ..by_rate_alone()
    };
    let layer = open(config).await;
    tokio::time::advance(millis(5_000)).await;
    assert_eq!(passes(&layer, 16, Ok(())).await, 1, "one probe, as in Polly");
}

#[tokio::test(start_paused = true)]
async fn max_retry_attempts_and_delay() {
    // Polly counts retries, we count attempts: 3 there are 4 here.
    let backoff = BackoffConfig {
        initial: millis(2_000),
        multiplier: 2.0,
        max: millis(60_000),
        jitter: Jitter::None,
        ..BackoffConfig::default()
    };
    let (made, took) = attempts(RetryConfig { max_attempts: 4, backoff, ..RetryConfig::default() }).await;
    assert_eq!(made, 4);
    assert!((millis(14_000)..millis(14_010)).contains(&took), "2 + 4 + 8 s, not {took:?}");
}

#[tokio::test(start_paused = true)]
async fn should_handle() {
    // What is not handled there is ignored here: no retry.
    let classifier =
        |answer: Result<&(), &Broken>| if answer.is_ok() { Verdict::Success } else { Verdict::Ignored };
    let policy = Policy::builder("story").classify(classifier).retry(RetryConfig::default()).build().unwrap();
    let made = std::cell::Cell::new(0);
    let answer = policy.call(|attempt| {
        made.set(attempt.number);
        async { Err::<(), _>(Broken) }
    });
    assert_eq!(answer.await, Err(Error::Inner(Broken)));
    assert_eq!(made.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn hedging_delay() {
    let policy = Policy::builder("story")
        .total_timeout(millis(60_000))
        .hedge(HedgeConfig { delay: HedgeDelay::Fixed(millis(2_000)) })
        .build()
        .unwrap();
    // A quarter of a hundred requests would be too many; hedges are a share of what was sent before.
    for _ in 0..60 {
        policy.call(|_| async { Ok::<_, Broken>(()) }).await.unwrap();
    }
    let began = Instant::now();
    let answer = policy.call(|attempt| async move {
        if !attempt.is_hedge {
            tokio::time::sleep(millis(30_000)).await;
        }
        Ok::<_, Broken>(attempt.is_hedge)
    });
    assert_eq!(answer.await, Ok(true));
    assert!(began.elapsed() < millis(2_010));
}

#[tokio::test(start_paused = true)]
async fn concurrency_limiter_permit_limit_and_queue_limit() {
    let limit = ConcurrencyConfig {
        max_concurrent_calls: 10,
        max_queue: 5,
        max_wait_duration: Duration::from_secs(30),
        ..ConcurrencyConfig::default()
    };
    assert_eq!(succeed(limit, 64).await, 15);
}

#[tokio::test(start_paused = true)]
async fn timeout() {
    assert!(!ends_in_time(millis(10_000), millis(10_010)).await);
}
