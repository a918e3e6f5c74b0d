use std::time::Duration;

use seaworthy_tower::*;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::stub::{Broken, Reply, Stub, call};

fn brake() -> ThrottleConfig {
    ThrottleConfig { window: Duration::from_secs(10), minimum_rps: 1.0, ..ThrottleConfig::default() }
}

/// What each ending of a call is to the brake: (counted as a request, counted as accepted).
#[tokio::test(start_paused = true)]
async fn only_refusals_and_silence_brake() {
    async fn check(verdict: Verdict, reply: Reply, expected: (u64, u64)) {
        let classifier = move |_: Result<&u32, &Broken>| verdict;
        let layer = ThrottleLayer::new(brake()).unwrap().classify(classifier);
        let handle = layer.handle();
        let mut service = ServiceBuilder::new()
            .layer(layer)
            .layer(TimeoutLayer::attempt(Duration::from_secs(1)).unwrap())
            .layer(InnerLayer)
            .service(Stub::always(reply));
        for _ in 0..4 {
            let _ = call(&mut service).await;
        }
        let counts = handle.counts();
        assert_eq!((counts.requests, counts.accepted), expected, "{verdict:?}");
    }
    check(Verdict::Success, Reply::OK, (4, 4)).await;
    check(Verdict::Ignored, Reply::OK, (4, 4)).await;
    check(Verdict::TRANSIENT, Reply::BROKEN, (4, 4)).await;
    check(Verdict::PERMANENT, Reply::BROKEN, (4, 4)).await;
    check(Verdict::OVERLOADED, Reply::OK, (4, 0)).await;
    check(Verdict::throttled(None), Reply::OK, (4, 0)).await;
    check(Verdict::UNEXECUTED, Reply::BROKEN, (4, 0)).await;
    check(Verdict::Success, Reply::NEVER, (4, 0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_refuses_is_asked_less_and_rejections_are_ours() {
    let policy = Policy::builder("search")
        .classify(|_: Result<&u32, &Broken>| Verdict::OVERLOADED)
        .total_timeout(Duration::from_secs(1))
        .throttle(brake())
        .build()
        .unwrap();
    let stub = Stub::always(Reply::OK);
    let mut service = policy.layer(stub.clone());
    let mut rejected = 0;
    for _ in 0..2_000 {
        tokio::time::advance(Duration::from_millis(10)).await;
        match call(&mut service).await {
            Ok(_) => {}
            Err(Error::Rejected(rejection)) => {
                assert_eq!(rejection.by, By::Throttle);
                assert!(!rejection.retry_after.is_zero());
                rejected += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(stub.calls() + rejected, 2_000);
    // Nine in ten are held back once the brake is on; nothing is while there are fewer than ten.
    assert!((1_700..=1_850).contains(&rejected), "{rejected} rejected");
    assert!(policy.throttle().unwrap().probability().get() > 0.89);
}

/// The least important first: nearly all that must be held back is taken from what can be shed.
#[tokio::test(start_paused = true)]
async fn what_matters_least_is_held_back_first() {
    // Takes on 40 requests per second, of 100.
    let free_at = std::sync::Mutex::new(tokio::time::Instant::now());
    let classifier = move |_: Result<&u32, &Broken>| {
        let (mut free_at, now) = (free_at.lock().unwrap(), tokio::time::Instant::now());
        if *free_at > now + Duration::from_millis(100) {
            return Verdict::OVERLOADED;
        }
        *free_at = now.max(*free_at) + Duration::from_millis(25);
        Verdict::Success
    };
    let policy = Policy::builder("search")
        .classify(std::sync::Arc::new(classifier) as std::sync::Arc<dyn Classify<u32, Broken> + Send + Sync>)
        .total_timeout(Duration::from_secs(1))
        .throttle_by(brake(), |request: &u32| match request % 2 {
            0 => Priority::CriticalPlus,
            _ => Priority::Sheddable,
        })
        .build()
        .unwrap();
    let mut service = policy.layer(Stub::always(Reply::OK));
    let mut rejected = [0, 0];
    for request in 0..4_000 {
        tokio::time::advance(Duration::from_millis(10)).await;
        let answer = service.ready().await.unwrap().call(request).await;
        rejected[(request % 2) as usize] += u32::from(answer.is_err());
    }
    let [important, sheddable] = rejected;
    assert!(important < 20 && sheddable > 500, "{important} important, {sheddable} sheddable");
    let brake = policy.throttle().unwrap();
    assert!(brake.probability_of(Priority::Sheddable) > brake.probability_of(Priority::CriticalPlus));
    let of = |priority| brake.counts_of(priority).requests;
    let all = of(Priority::CriticalPlus) + of(Priority::Sheddable);
    assert_eq!((brake.counts().requests, of(Priority::Critical)), (all, 0));
}

/// Impatient callers must not turn the brake, and neither must our own policies further in.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_or_not_sent_is_not_counted() {
    let layer = ThrottleLayer::new(brake()).unwrap();
    let mut impatient = layer.layer(InnerLayer.layer(Stub::always(Reply::NEVER)));
    for _ in 0..20 {
        let call = call(&mut impatient);
        assert!(tokio::time::timeout(Duration::from_millis(10), call).await.is_err());
    }
    let quota = RateLimitConfig { limit_for_period: 1, burst: Some(1), ..RateLimitConfig::default() };
    let mut limited = ServiceBuilder::new()
        .layer(layer.clone())
        .layer(RateLimitLayer::new(quota).unwrap())
        .layer(InnerLayer)
        .service(Stub::always(Reply::OK));
    for _ in 0..20 {
        let _ = call(&mut limited).await;
    }
    let counts = layer.handle().counts();
    assert_eq!((counts.requests, counts.accepted), (1, 1));
    let invalid = ThrottleLayer::new(ThrottleConfig { k: 1.0, ..brake() });
    assert_eq!(invalid.unwrap_err().field, "k");
}
