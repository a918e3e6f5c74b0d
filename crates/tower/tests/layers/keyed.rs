//! A circuit per key. The key of a request is its hundreds; requests that end in 13 fail.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use seaworthy_tower::machines::breaker::State;
use seaworthy_tower::*;
use tower::{Layer, Service, ServiceExt};

use crate::stub::Broken;

type Answered = Result<u32, Error<Broken>>;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "a function of the request, whatever that is")]
fn key(request: &u32) -> u32 {
    request / 100
}

/// Opens on the first failure, for a second; one probe at a time.
fn hasty() -> BreakerConfig {
    BreakerConfig {
        consecutive_failures: 1,
        quiet: Duration::ZERO,
        wait_jitter: 0.0,
        recovery_ramp: Duration::ZERO,
        permitted_number_of_calls_in_half_open_state: 1,
        ..BreakerConfig::default()
    }
}

fn few(max_keys: u32) -> KeyedConfig {
    KeyedConfig { max_keys, ..KeyedConfig::default() }
}

fn layer(keys: KeyedConfig) -> KeyedBreakerLayer<u32, fn(&u32) -> u32> {
    KeyedBreakerLayer::new(hasty(), keys, key as fn(&u32) -> u32).unwrap()
}

/// The backend: takes 2 s for requests that end in 50, and fails those that end in 13 or 50.
async fn answer(request: u32) -> Answered {
    if request % 100 == 50 {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    if [13, 50].contains(&(request % 100)) { Err(Error::Inner(Broken)) } else { Ok(request) }
}

async fn send<S: Service<u32, Response = u32, Error = Error<Broken>>>(
    service: &mut S,
    request: u32,
) -> Answered {
    service.ready().await?.call(request).await
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_circuit_of_its_own() {
    let layer = layer(KeyedConfig::default());
    let mut service = layer.layer(tower::service_fn(answer));
    assert_eq!(send(&mut service, 213).await, Err(Error::Inner(Broken)));
    let Err(Error::Rejected(rejection)) = send(&mut service, 201).await else { panic!("2 must be open") };
    assert_eq!((rejection.by, rejection.reason), (By::CircuitBreaker, "open"));
    assert_eq!(send(&mut service, 101).await, Ok(101), "1 has nothing to do with 2");
    let handle = layer.handle();
    assert!(matches!(handle.state(&2), State::Open { .. }));
    assert_eq!((handle.state(&1), handle.state(&9), handle.keys()), (State::Closed, State::Closed, 2));
    handle.reset(&2);
    assert_eq!(send(&mut service.clone(), 201).await, Ok(201));
}

/// governor#171, Polly#1495: a state for every name that anybody sends. Those who find no room share one circuit.
#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_strangers_share() {
    let layer = layer(few(4));
    let handle = layer.handle();
    let mut service = layer.layer(tower::service_fn(answer));
    for key in 1..=4 {
        assert!(send(&mut service, key * 100 + 13).await.is_err());
    }
    assert_eq!(send(&mut service, 501).await, Ok(501));
    assert_eq!(send(&mut service, 613).await, Err(Error::Inner(Broken)), "the shared circuit opens");
    for key in 7..1_000 {
        assert!(send(&mut service, key * 100).await.unwrap_err().is_rejected());
    }
    assert_eq!(handle.keys(), 4);
    assert_eq!(handle.with(|circuits, _| circuits.overflowed()), 995);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(send(&mut service, 101).await, Ok(101), "whoever has a circuit keeps it");
    handle.with(|circuits, _| circuits.check_invariants());
}

/// A call outlives its circuit: the key was idle for so long that it began anew.
#[tokio::test(start_paused = true)]
async fn a_result_for_a_circuit_that_was_forgotten_is_not_heard() {
    for (idle_ttl, opens) in [(Duration::from_secs(1), false), (Duration::from_secs(10), true)] {
        let layer = layer(KeyedConfig { idle_ttl, ..KeyedConfig::default() });
        let service = layer.layer(tower::service_fn(answer));
        let mut late = service.clone();
        let late = tokio::spawn(async move { send(&mut late, 150).await });
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(send(&mut service.clone(), 101).await, Ok(101));
        assert_eq!(late.await.unwrap(), Err(Error::Inner(Broken)));
        let state = layer.handle().state(&1);
        assert_eq!(matches!(state, State::Open { .. }), opens, "{idle_ttl:?}: {state:?}");
    }
}

/// Polls so many times, 100 ms apart.
async fn wait_in_vain<F: Future>(mut future: Pin<&mut F>, polls: u32) {
    for _ in 0..polls {
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "it takes longer");
        tokio::time::advance(Duration::from_millis(100)).await;
    }
}

/// Whenever a probe is given up, the place of its key is free again for the next one.
#[tokio::test(start_paused = true)]
async fn a_probe_dropped_after_any_number_of_polls_gives_its_place_back() {
    for keys in [few(8), few(1)] {
        for polls in 0..8 {
            let layer = layer(keys);
            let mut service = layer.layer(tower::service_fn(answer));
            // With room for one key, 2 is in the shared circuit.
            assert!(send(&mut service, 113).await.is_err() && send(&mut service, 213).await.is_err());
            tokio::time::advance(Duration::from_secs(1)).await;
            {
                service.ready().await.unwrap();
                let mut probe = pin!(service.call(250));
                wait_in_vain(probe.as_mut(), polls).await;
                let busy = send(&mut service.clone(), 201).await.unwrap_err();
                assert!(matches!(busy, Error::Rejected(Rejection { reason: "probes busy", .. })));
            }
            assert_eq!(send(&mut service, 201).await, Ok(201), "{keys:?}, {polls} polls");
            layer.handle().with(|circuits, _| circuits.check_invariants());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_name_the_key() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&seen);
    let policy = Policy::builder("shards")
        .observed_by(Arc::new(move |event: &Event<'_>| {
            writer.lock().unwrap().push((event.decision.name(), event.key.map(str::to_owned)));
        }))
        .total_timeout(Duration::from_secs(5))
        .circuit_breaker_by(hasty(), few(1), |host: &&'static str| *host)
        .build()
        .unwrap();
    assert_eq!(policy.findings(), []);
    let failing = |_| async { Err::<(), _>(Broken) };
    for host in ["one", "two", "one"] {
        assert!(policy.call_about(host, failing).await.is_err());
    }
    let of_one = ("transition", Some("one".to_owned()));
    let expected = [of_one, ("transition", None), ("rejected", None)];
    assert_eq!(*seen.lock().unwrap(), expected, "one shares with nobody, two with every other");
    assert!(matches!(policy.circuits::<&'static str>().unwrap().state(&"one"), State::Open { .. }));
    assert!(policy.circuits::<u64>().is_none(), "its keys are of another kind");
}

/// Resets of keys that nobody calls must not pile up.
#[tokio::test(start_paused = true)]
async fn changes_that_nobody_hears_of_are_bounded() {
    let layer = layer(KeyedConfig::default());
    assert!(send(&mut layer.layer(tower::service_fn(answer)), 113).await.is_err());
    for _ in 0..1_000 {
        layer.handle().reset(&1);
    }
    let kept = layer.handle().with(|circuits, _| std::iter::from_fn(|| circuits.take_transition()).count());
    assert_eq!(kept, CHANGES_MAX);
}

#[test]
fn numbers_are_examined() {
    let wrong = KeyedBreakerLayer::new(hasty(), few(0), key);
    assert_eq!(wrong.err().unwrap().field, "max_keys");
    let wrong = BreakerConfig { minimum_number_of_calls: 0, ..hasty() };
    let refused = Policy::builder("x").circuit_breaker_by(wrong, few(1), key).build().err().unwrap();
    assert_eq!(refused.findings[0].code, "TW01");
}
