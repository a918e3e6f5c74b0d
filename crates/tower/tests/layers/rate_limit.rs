use std::time::Duration;

use seaworthy_tower::*;
use tower::Layer;

use crate::stub::{Reply, Stub, call};

#[tokio::test(start_paused = true)]
async fn a_burst_passes_and_then_the_rate() {
    let config = RateLimitConfig { limit_for_period: 10, burst: Some(3), ..RateLimitConfig::default() };
    let layer = RateLimitLayer::new(config).unwrap();
    let stub = Stub::always(Reply::OK);
    let (mut first, mut second) =
        (layer.layer(InnerLayer.layer(stub.clone())), layer.layer(InnerLayer.layer(stub.clone())));
    for _ in 0..3 {
        assert_eq!(call(&mut first).await, Ok(7));
    }
    let Err(Error::Rejected(rejection)) = call(&mut second).await else { panic!("one quota for both") };
    assert_eq!((rejection.by, rejection.retry_after), (By::RateLimit, Duration::from_millis(100)));
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(50)).await;
        let _ = call(&mut second).await;
    }
    assert_eq!(stub.calls(), 3 + 10, "ten in a second, however often one asks");
}

#[test]
fn a_wait_that_it_would_not_keep_is_refused() {
    let config = RateLimitConfig { timeout_duration: Duration::from_secs(1), ..RateLimitConfig::default() };
    assert_eq!(RateLimitLayer::new(config).unwrap_err().field, "timeout_duration");
    let config = RateLimitConfig { limit_for_period: 0, ..RateLimitConfig::default() };
    assert_eq!(RateLimitLayer::new(config).unwrap_err().field, "limit_for_period");
}
