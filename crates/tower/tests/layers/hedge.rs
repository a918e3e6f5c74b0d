use std::sync::Arc;
use std::time::Duration;

use seaworthy_tower::*;
use tokio::time::Instant;
use tower::Layer;

use crate::stub::{Broken, Record, Reply, Stub, call};

fn after_ms(millis: u64) -> HedgeConfig {
    HedgeConfig { delay: HedgeDelay::Fixed(Duration::from_millis(millis)) }
}

/// A budget that has successes to live on: hedges are a share of requests.
fn rich() -> SharedBudget {
    SharedBudget::new(BudgetConfig { hedge_ratio: 1.0, ..BudgetConfig::default() }).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_first_good_answer_wins() {
    let slow = |millis| Reply::OK.after_ms(millis);
    let broken = |millis| Reply::BROKEN.after_ms(millis);
    let table = [
        (slow(40), slow(40), Ok(7), 40, 1),
        (slow(200), slow(30), Ok(7), 80, 2),
        (slow(70), slow(30), Ok(7), 70, 2),
        (broken(40), slow(30), Err(Error::Inner(Broken)), 40, 1),
        (broken(60), slow(30), Ok(7), 80, 2),
        (slow(200), broken(30), Ok(7), 200, 2),
        (broken(200), broken(30), Err(Error::Inner(Broken)), 200, 2),
        (broken(60), broken(30), Err(Error::Inner(Broken)), 80, 2),
    ];
    for (first, second, expected, took_ms, calls) in table {
        let stub = Stub::new(&[first, second]);
        let layer = HedgeLayer::new(after_ms(50), Idempotent).unwrap().budget(rich());
        let mut service = layer.layer(InnerLayer.layer(stub.clone()));
        let began = Instant::now();
        assert_eq!(call(&mut service).await, expected, "{first:?} {second:?}");
        let took = began.elapsed().as_millis();
        assert!((took_ms..took_ms + 4).contains(&took), "{first:?} {second:?}: {took} ms");
        assert_eq!((stub.calls(), stub.in_flight()), (calls, 0), "{first:?} {second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_suppresses_only_the_hedge() {
    let budget = SharedBudget::new(BudgetConfig { hedge_ratio: 0.0, ..BudgetConfig::default() }).unwrap();
    let stub = Stub::always(Reply::OK.after_ms(200));
    let layer = HedgeLayer::new(after_ms(50), Idempotent).unwrap().budget(budget);
    let mut service = layer.layer(InnerLayer.layer(stub.clone()));
    assert_eq!(call(&mut service).await, Ok(7));
    assert_eq!(stub.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn hedges_are_a_share_of_requests() {
    let stub = Stub::always(Reply::OK.after_ms(200));
    let layer = HedgeLayer::new(after_ms(50), Idempotent).unwrap();
    let mut service = layer.layer(InnerLayer.layer(stub.clone()));
    for _ in 0..200 {
        call(&mut service).await.unwrap();
    }
    assert!((203..=204).contains(&stub.calls()), "2 % of 200, not {}", stub.calls() - 200);
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_executed_twice_is_not_hedged() {
    let stub = Stub::always(Reply::OK.after_ms(200));
    let layer = HedgeLayer::new(after_ms(50), NotIdempotent).unwrap().budget(rich());
    let mut service = layer.layer(InnerLayer.layer(stub.clone()));
    assert_eq!(call(&mut service).await, Ok(7));
    assert_eq!(stub.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_percentile_needs_observations_and_follows_them() {
    let record = Arc::new(Record::default());
    let stub = Stub::new(&[Reply::OK.after_ms(500)]);
    stub.afterwards(Reply::OK.after_ms(20));
    let layer = HedgeLayer::new(HedgeConfig::default(), Idempotent).unwrap().budget(rich());
    let layer = layer.observed_by(Arc::clone(&record) as Arc<dyn Observer>);
    let mut service = layer.layer(InnerLayer.layer(stub.clone()));
    for _ in 0..60 {
        call(&mut service).await.unwrap();
    }
    assert_eq!(record.names().iter().filter(|name| **name == "hedge").count(), 0, "nothing was unusual");
    stub.afterwards(Reply::OK.after_ms(300));
    let began = Instant::now();
    call(&mut service).await.unwrap();
    assert_eq!(stub.calls(), 62);
    assert_eq!(record.names(), ["hedge"]);
    assert!(began.elapsed() >= Duration::from_millis(300));
    let hedge = stub.attempts()[61];
    assert!(hedge.is_hedge && !stub.attempts()[60].is_hedge);
}
