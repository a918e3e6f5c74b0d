//! Short words for the stories of the rows.

use std::time::Duration;

use seaworthy_tower::machines::breaker::State;
use seaworthy_tower::*;
use tokio::time::Instant;

/// The backend's own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The rate alone decides, and every wait is as long as it says: what most other breakers do.
pub(crate) fn by_rate_alone() -> BreakerConfig {
    BreakerConfig {
        consecutive_failures: u32::MAX,
        wait_jitter: 0.0,
        recovery_ramp: Duration::ZERO,
        ..BreakerConfig::default()
    }
}

/// Sends calls through a breaker, one per letter, 1 ms apart: `.` succeeds, `x` fails, `s` succeeds after 100 ms, and
/// `_` is no call but a pause of a second. After how many letters the circuit opened; `None` when it did not.
pub(crate) async fn opens_after(config: BreakerConfig, story: &str) -> Option<usize> {
    let policy = Policy::builder("story").circuit_breaker(config).build().unwrap();
    for (index, letter) in story.chars().enumerate() {
        tokio::time::advance(millis(if letter == '_' { 1_000 } else { 1 })).await;
        if letter == '_' {
            continue;
        }
        let answer = policy.call(|_| async move {
            if letter == 's' {
                tokio::time::sleep(millis(100)).await;
            }
            if letter == 'x' { Err(Broken) } else { Ok(()) }
        });
        let answer = answer.await;
        assert!(!matches!(answer, Err(Error::Rejected(_))), "open before it was noticed");
        if matches!(policy.breaker().unwrap().state(), State::Open { .. }) {
            return Some(index + 1);
        }
    }
    None
}

/// The answers of a circuit per name to one call each, after a failure of the first name.
pub(crate) async fn named(config: BreakerConfig, names: &[&'static str]) -> Vec<bool> {
    let config = BreakerConfig { minimum_number_of_calls: 1, ..config };
    let keyed =
        Policy::builder("story")
            .circuit_breaker_by(config, KeyedConfig::default(), |name: &&'static str| *name);
    let policy = keyed.build().unwrap();
    assert!(policy.call_about(names[0], |_| async { Err::<(), _>(Broken) }).await.is_err());
    let mut passed = Vec::new();
    for name in names {
        passed.push(policy.call_about(*name, |_| async { Ok::<_, Broken>(()) }).await.is_ok());
    }
    passed
}

/// A breaker that failures have just opened.
pub(crate) async fn open(config: BreakerConfig) -> BreakerLayer {
    let layer = BreakerLayer::new(config).unwrap();
    let mut service =
        tower::Layer::layer(&layer, tower::service_fn(|(): ()| async { Err::<(), _>(Error::Inner(Broken)) }));
    for _ in 0..1_000 {
        let _ = tower::Service::call(&mut service, ()).await;
        if matches!(layer.handle().state(), State::Open { .. }) {
            return layer;
        }
    }
    panic!("a thousand failures do not open it");
}

/// How many of so many simultaneous calls pass.
pub(crate) async fn passes(layer: &BreakerLayer, calls: usize, answer: Result<(), Broken>) -> usize {
    let service = tower::service_fn(move |(): ()| async move {
        tokio::time::sleep(millis(1)).await;
        answer.map_err(Error::Inner)
    });
    let service = tower::Layer::layer(layer, service);
    let calls: Vec<_> = (0..calls)
        .map(|_| {
            let mut service = service.clone();
            tokio::spawn(async move { tower::Service::call(&mut service, ()).await })
        })
        .collect();
    let mut passed = 0;
    for call in calls {
        passed += usize::from(!matches!(call.await.unwrap(), Err(Error::Rejected(_))));
    }
    passed
}

/// How many attempts a call makes that never succeeds, and how long it takes.
pub(crate) async fn attempts(config: RetryConfig) -> (u32, Duration) {
    let policy = Policy::builder("story").total_timeout(millis(60_000)).retry(config).build().unwrap();
    let made = std::cell::Cell::new(0);
    let began = Instant::now();
    let answer = policy
        .call(|attempt| {
            made.set(attempt.number);
            async { Err::<(), _>(Broken) }
        })
        .await;
    assert_eq!(answer, Err(Error::Inner(Broken)));
    (made.get(), began.elapsed())
}

/// How many retries a budget of this ratio, and of nothing else, pays for when so many calls fail after so many that
/// succeeded.
pub(crate) async fn retries(ratio: f64, succeeded: u32, failing: u32) -> u32 {
    let budget =
        BudgetConfig { retry_ratio: ratio, floor_per_second: 0.0, burst: 0, ..BudgetConfig::default() };
    let policy = Policy::builder("story")
        .budget(budget)
        .total_timeout(millis(60_000))
        .retry(RetryConfig { max_attempts: 2, ..RetryConfig::default() })
        .build()
        .unwrap();
    for _ in 0..succeeded {
        policy.call(|_| async { Ok::<_, Broken>(()) }).await.unwrap();
    }
    let sent = std::cell::Cell::new(0);
    for _ in 0..failing {
        let answer = policy.call(|_| {
            sent.set(sent.get() + 1);
            async { Err::<(), _>(Broken) }
        });
        assert!(answer.await.is_err());
    }
    sent.get() - failing
}

/// How many of so many simultaneous calls of 100 ms succeed.
pub(crate) async fn succeed(limit: ConcurrencyConfig, calls: usize) -> usize {
    let policy =
        Policy::builder("story").total_timeout(millis(60_000)).concurrency_limit(limit).build().unwrap();
    let calls: Vec<_> = (0..calls)
        .map(|_| {
            let policy = policy.clone();
            tokio::spawn(async move {
                policy
                    .call(|_| async {
                        tokio::time::sleep(millis(100)).await;
                        Ok::<_, Broken>(())
                    })
                    .await
            })
        })
        .collect();
    let mut good = 0;
    for call in calls {
        good += usize::from(call.await.unwrap().is_ok());
    }
    good
}

/// Whether an attempt of this length ends within this limit.
pub(crate) async fn ends_in_time(attempt_timeout: Duration, takes: Duration) -> bool {
    let policy = Policy::builder("story").attempt_timeout(attempt_timeout).build().unwrap();
    let answer = policy
        .call(|_| async move {
            tokio::time::sleep(takes).await;
            Ok::<_, Broken>(())
        })
        .await;
    answer.is_ok()
}
