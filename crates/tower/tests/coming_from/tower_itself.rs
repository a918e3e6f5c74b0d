//! The layers of Tower itself, 0.5.

use std::time::Duration;

use seaworthy_tower::*;

use crate::stories::*;

#[tokio::test(start_paused = true)]
async fn timeout_layer() {
    assert!(!ends_in_time(millis(500), millis(510)).await);
}

#[tokio::test(start_paused = true)]
async fn concurrency_limit_layer_waits() {
    // Tower's waits in `poll_ready`, as long as it takes; ours waits in the call, as long as you say.
    let limit = ConcurrencyConfig {
        max_concurrent_calls: 4,
        max_queue: 1_000,
        max_wait_duration: Duration::from_secs(30),
        ..ConcurrencyConfig::default()
    };
    assert_eq!(succeed(limit, 64).await, 64);
}

#[tokio::test(start_paused = true)]
async fn load_shed_around_a_concurrency_limit() {
    let limit = ConcurrencyConfig { max_concurrent_calls: 4, ..ConcurrencyConfig::default() };
    assert_eq!(succeed(limit, 64).await, 4, "shedding is what happens without a wait");
}

#[tokio::test(start_paused = true)]
async fn retry_policy_that_counts_down() {
    let (made, _) = attempts(RetryConfig { max_attempts: 4, ..RetryConfig::default() }).await;
    assert_eq!(made, 4, "Tower's policy with 3 retries left");
}

#[tokio::test(start_paused = true)]
async fn tps_budget() {
    // TpsBudget::new(ttl 10 s, min_per_sec 0, retry_percent 0.6): there the ratio comes out as 1.00, here as 0.6.
    assert_eq!(retries(0.6, 100, 100).await, 60);
}

#[tokio::test(start_paused = true)]
async fn hedge_with_a_latency_percentile() {
    let delay = HedgeDelay::Percentile { share: 0.9, min: millis(10) };
    let policy = Policy::builder("story").hedge(HedgeConfig { delay }).build().unwrap();
    for _ in 0..60 {
        let usual = policy.call(|_| async {
            tokio::time::sleep(millis(20)).await;
            Ok::<_, Broken>(())
        });
        usual.await.unwrap();
    }
    let answer = policy.call(|attempt| async move {
        tokio::time::sleep(if attempt.is_hedge { millis(20) } else { millis(5_000) }).await;
        Ok::<_, Broken>(attempt.is_hedge)
    });
    assert_eq!(answer.await, Ok(true));
}
