//! The builder, and calls of plain functions.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seaworthy_tower::machines::breaker::State;
use seaworthy_tower::*;

use crate::stub::{Broken, Stub, call};
use tower::Layer;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn a_function_is_called_once_per_attempt() {
    let policy = Policy::builder("ledger")
        .total_timeout(millis(2_000))
        .retry(RetryConfig::default())
        .circuit_breaker(BreakerConfig::default())
        .attempt_timeout(millis(500))
        .build()
        .unwrap();
    assert_eq!(policy.findings(), []);
    let calls = AtomicU32::new(0);
    let answer = policy
        .call(|attempt| {
            calls.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(attempt.remaining().is_some_and(|left| left <= millis(500)));
                if attempt.number < 3 { Err(Broken) } else { Ok(attempt.number) }
            }
        })
        .await;
    assert_eq!((answer, calls.into_inner()), (Ok(3), 3));
    assert_eq!(policy.breaker().unwrap().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn functions_and_services_share_one_state() {
    let policy = Policy::builder("ledger")
        .circuit_breaker(BreakerConfig {
            consecutive_failures: 1,
            quiet: Duration::ZERO,
            ..Default::default()
        })
        .build()
        .unwrap();
    assert_eq!(policy.call(|_| async { Err::<u32, _>(Broken) }).await, Err(Error::Inner(Broken)));
    let stub = Stub::default();
    assert!(call(&mut policy.layer(stub.clone())).await.unwrap_err().is_rejected());
    assert!(policy.clone().call(|_| async { Ok::<u32, Broken>(1) }).await.unwrap_err().is_rejected());
    assert_eq!(stub.calls(), 0);
}

#[test]
fn what_cannot_work_is_refused_with_everything_that_is_wrong() {
    let refused = Policy::builder("ledger")
        .total_timeout(Duration::ZERO)
        .retry(RetryConfig { max_attempts: 9, ..RetryConfig::default() })
        .circuit_breaker(BreakerConfig { minimum_number_of_calls: 0, ..BreakerConfig::default() })
        .build()
        .unwrap_err();
    assert_eq!(refused.findings.len(), 3);
    assert_eq!(
        refused.to_string(),
        "this stack cannot work; total_timeout: `total_timeout` must be longer than 0 (TW01); \
         retry: `max_attempts` must be from 1 to 5 (TW01); \
         circuit_breaker: `minimum_number_of_calls` must be at least 1 (TW01)"
    );
}

#[test]
fn what_is_unwise_is_said() {
    let policy = Policy::builder("ledger")
        .total_timeout(millis(2_000))
        .circuit_breaker(BreakerConfig::default())
        .retry(RetryConfig::default())
        .build()
        .unwrap();
    let codes: Vec<_> = policy.findings().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["SP05"]);
}

#[tokio::test(start_paused = true)]
async fn any_machine_can_be_a_gate() {
    use seaworthy_tower::machines::{Rng, Time};

    /// Lets every second call in, and counts how they ended.
    #[derive(Default)]
    struct EverySecond {
        arrivals: u32,
        successes: u32,
    }

    impl Gate for EverySecond {
        type About = ();
        type Permit = ();

        fn admit(&mut self, _: Time, _: &mut Rng, (): ()) -> Result<(), Rejection> {
            self.arrivals += 1;
            let rejection =
                Rejection { by: By::Other("every_second"), reason: "odd", retry_after: millis(1) };
            if self.arrivals.is_multiple_of(2) { Ok(()) } else { Err(rejection) }
        }

        fn complete(&mut self, _: Time, _: &mut Rng, (): (), ended: Ended) {
            self.successes += u32::from(ended.outcome == Outcome::Success);
        }
    }

    let gate = GateLayer::around(EverySecond::default(), Clock::starting_now(), 1);
    let handle = gate.handle();
    let policy = Policy::builder("ledger").layer(gate).build().unwrap();
    let mut service = policy.layer(Stub::default());
    let mut good = 0;
    for _ in 0..10 {
        good += u32::from(call(&mut service).await.is_ok());
    }
    assert_eq!((good, handle.with(|gate, _| gate.successes)), (5, 5));
}
