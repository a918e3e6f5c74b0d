//! opossum (Node.js).

use seaworthy_tower::*;

use crate::stories::*;

#[tokio::test(start_paused = true)]
async fn timeout() {
    assert!(ends_in_time(millis(10_000), millis(9_990)).await);
    assert!(!ends_in_time(millis(10_000), millis(10_010)).await);
}

#[tokio::test(start_paused = true)]
async fn error_threshold_percentage() {
    let config = BreakerConfig { failure_rate_threshold: 0.5, minimum_number_of_calls: 1, ..by_rate_alone() };
    assert_eq!(opens_after(config, "...xx.xx").await, Some(8), "at four of eight");
}

#[tokio::test(start_paused = true)]
async fn volume_threshold() {
    // opossum's default of 0 opens on the first error; so does a minimum of one call.
    let config = |minimum_number_of_calls| BreakerConfig { minimum_number_of_calls, ..by_rate_alone() };
    assert_eq!(opens_after(config(1), "x").await, Some(1));
    assert_eq!(opens_after(config(10), "xxxxxxxxx").await, None);
    assert_eq!(opens_after(config(10), "xxxxxxxxxx").await, Some(10));
}

#[tokio::test(start_paused = true)]
async fn rolling_count_timeout() {
    let config =
        BreakerConfig { sliding_window: millis(10_000), minimum_number_of_calls: 4, ..by_rate_alone() };
    assert_eq!(opens_after(config, "xx________xx").await, Some(12), "eight seconds later they still count");
    assert_eq!(opens_after(config, "xx___________xx").await, None, "eleven seconds later they do not");
}

#[tokio::test(start_paused = true)]
async fn reset_timeout() {
    let config = BreakerConfig {
        wait_duration_in_open_state: millis(30_000),
        max_wait: millis(30_000),
        permitted_number_of_calls_in_half_open_state: 1,
        ..by_rate_alone()
    };
    let layer = open(config).await;
    tokio::time::advance(millis(29_999)).await;
    assert_eq!(passes(&layer, 64, Ok(())).await, 0);
    tokio::time::advance(millis(1)).await;
    assert_eq!(passes(&layer, 64, Ok(())).await, 1, "one probe, as in opossum");
    assert_eq!(passes(&layer, 64, Ok(())).await, 64, "and its success closes the circuit");
}

#[tokio::test(start_paused = true)]
async fn capacity() {
    let limit = ConcurrencyConfig { max_concurrent_calls: 10, ..ConcurrencyConfig::default() };
    assert_eq!(succeed(limit, 64).await, 10);
}

#[tokio::test(start_paused = true)]
async fn error_filter() {
    let filter =
        |answer: Result<&(), &Broken>| if answer.is_ok() { Verdict::Success } else { Verdict::Ignored };
    let config = BreakerConfig { minimum_number_of_calls: 1, ..by_rate_alone() };
    let policy = Policy::builder("story").classify(filter).circuit_breaker(config).build().unwrap();
    for _ in 0..100 {
        assert_eq!(policy.call(|_| async { Err::<(), _>(Broken) }).await, Err(Error::Inner(Broken)));
    }
}

#[tokio::test(start_paused = true)]
async fn fallback() {
    let policy =
        Policy::builder("story").fallback(|_: Result<&u32, &Error<Broken>>| Some(0)).build().unwrap();
    assert_eq!(policy.call(|_| async { Err::<u32, _>(Broken) }).await, Ok(0));
}
