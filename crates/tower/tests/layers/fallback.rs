use std::time::Duration;

use seaworthy_tower::*;
use tower::ServiceBuilder;

use crate::stub::{Broken, Reply, Stub, call};

const SECOND_BEST: u32 = 1;

async fn answer(reply: Reply, verdict: Verdict, answers: bool) -> Result<u32, Error<Broken>> {
    let fallback = FallbackLayer::new(move |_: Result<&u32, &Error<Broken>>| answers.then_some(SECOND_BEST));
    let classifier =
        move |answer: Result<&u32, &Broken>| if answer.is_ok() { Verdict::Success } else { verdict };
    let mut service = ServiceBuilder::new()
        .layer(fallback.classify(classifier))
        .layer(TimeoutLayer::total(Duration::from_secs(1)).unwrap())
        .layer(InnerLayer)
        .service(Stub::always(reply));
    call(&mut service).await
}

#[tokio::test(start_paused = true)]
async fn answers_failures_and_nothing_else() {
    assert_eq!(answer(Reply::OK, Verdict::TRANSIENT, true).await, Ok(7));
    assert_eq!(answer(Reply::BROKEN, Verdict::TRANSIENT, true).await, Ok(SECOND_BEST));
    assert_eq!(answer(Reply::BROKEN, Verdict::PERMANENT, true).await, Ok(SECOND_BEST));
    assert_eq!(
        answer(Reply::NEVER, Verdict::TRANSIENT, true).await,
        Ok(SECOND_BEST),
        "a timeout is a failure"
    );
    assert_eq!(
        answer(Reply::BROKEN, Verdict::Ignored, true).await,
        Err(Error::Inner(Broken)),
        "the caller's error"
    );
    assert_eq!(
        answer(Reply::BROKEN, Verdict::TRANSIENT, false).await,
        Err(Error::Inner(Broken)),
        "let through"
    );
}

#[tokio::test(start_paused = true)]
async fn answers_that_the_classifier_calls_failures_are_replaced() {
    let classifier = |answer: Result<&u32, &Broken>| match answer {
        Ok(503) | Err(_) => Verdict::TRANSIENT,
        Ok(_) => Verdict::Success,
    };
    let fallback = FallbackLayer::new(|answer: Result<&u32, &Error<Broken>>| match answer {
        Ok(503) => Some(SECOND_BEST),
        _ => None,
    });
    let stub = Stub::always(Reply { result: Ok(503), ..Reply::OK });
    let mut service =
        ServiceBuilder::new().layer(fallback.classify(classifier)).layer(InnerLayer).service(stub);
    assert_eq!(call(&mut service).await, Ok(SECOND_BEST));
}
