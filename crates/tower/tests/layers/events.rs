//! Decisions are told, plain successes are not, and a broken observer breaks nothing.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_tower::*;

use crate::stub::{Broken, Record, Reply, Stub, call};
use tower::Layer;

#[tokio::test(start_paused = true)]
async fn a_story_is_told_in_order() {
    let record = Arc::new(Record::default());
    let policy = Policy::builder("payments")
        .observed_by(Arc::clone(&record) as Arc<dyn Observer>)
        .fallback(|_: Result<&u32, &Error<Broken>>| Some(0))
        .total_timeout(Duration::from_secs(5))
        .retry(RetryConfig::default())
        .circuit_breaker(BreakerConfig {
            consecutive_failures: 3,
            quiet: Duration::ZERO,
            ..Default::default()
        })
        .attempt_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let stub = Stub::new(&[Reply::OK, Reply::BROKEN, Reply::NEVER, Reply::BROKEN]);
    let mut service = policy.layer(stub);
    assert_eq!(call(&mut service).await, Ok(7));
    assert_eq!(record.names(), [""; 0], "a plain success says nothing");
    assert_eq!(call(&mut service).await, Ok(0));
    let story = ["retry", "timeout", "retry", "transition", "no_retry", "fallback"];
    assert_eq!(record.names(), story);
    assert_eq!(call(&mut service).await, Ok(0));
    assert_eq!(record.names()[story.len()..], ["rejected", "fallback"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_observer_breaks_nothing() {
    let panics = |_: &Event<'_>| panic!("on purpose");
    let policy = Policy::builder("payments")
        .observed_by(Arc::new(panics))
        .total_timeout(Duration::from_secs(5))
        .retry(RetryConfig::default())
        .build()
        .unwrap();
    let mut service = policy.layer(Stub::new(&[Reply::BROKEN]));
    assert_eq!(call(&mut service).await, Ok(7));
}
