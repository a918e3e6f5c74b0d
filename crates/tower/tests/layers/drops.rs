//! A call may be given up at any moment. For every number of polls, in stories drawn at random: what it held is free again.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use seaworthy_tower::machines::Rng;
use seaworthy_tower::machines::breaker::State;
use seaworthy_tower::*;
use tower::{Layer, Service};

use crate::stub::{Broken, Reply, Stub, call};

const STORIES: u64 = 60;
/// More polls than any of the stories needs.
const POLLS_MAX: u32 = 400;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn script(seed: u64) -> Vec<Reply> {
    let mut rng = Rng::seeded(seed);
    let reply = |rng: &mut Rng| Reply {
        yields: rng.below(3) as u32,
        after: millis(rng.below(4) * 17),
        result: if rng.chance(0.5) { Ok(7) } else { Err(Broken) },
    };
    (0..8).map(|_| reply(&mut rng)).collect()
}

/// Every policy at once, with the circuit in half-open, so that each call is a probe whose place must come back.
macro_rules! probing {
    ($backup:expr) => {{
        let policy = Policy::builder("drops")
            .budget(BudgetConfig { hedge_ratio: 1.0, ..BudgetConfig::default() })
            .fallback(|_: Result<&u32, &Error<Broken>>| None)
            .fallback_to(FallbackConfig::default(), $backup, |answer| answer)
            .total_timeout(millis(400))
            .retry(RetryConfig::default())
            .hedge(HedgeConfig { delay: HedgeDelay::Fixed(millis(15)) })
            .circuit_breaker(BreakerConfig {
                consecutive_failures: 1,
                quiet: Duration::ZERO,
                permitted_number_of_calls_in_half_open_state: 50,
                wait_jitter: 0.0,
                ..BreakerConfig::default()
            })
            .concurrency_limit(ConcurrencyConfig {
                max_concurrent_calls: 1,
                max_queue: 2,
                max_wait_duration: millis(30),
                ..ConcurrencyConfig::default()
            })
            .admission(AdmissionConfig {
                limit: LimitConfig::fixed(1),
                max_wait_duration: millis(30),
                ..AdmissionConfig::default()
            })
            .throttle(ThrottleConfig::default())
            .attempt_timeout(millis(40))
            .build()
            .unwrap();
        let mut failing = policy.layer(Stub::new(&[Reply::BROKEN]));
        let _ = call(&mut failing).await;
        tokio::time::advance(millis(1_000)).await;
        policy.budget().unwrap().reset();
        policy
    }};
}

/// Polls so many times, 7 ms apart; whether it ended by then.
async fn poll_times<F: Future>(mut future: Pin<&mut F>, polls: u32) -> bool {
    for _ in 0..polls {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        tokio::time::advance(millis(7)).await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_after_any_number_of_polls_holds_nothing() {
    let mut ended = [0_u32; 2];
    for seed in 0..STORIES {
        for polls in 0..POLLS_MAX {
            let backup = Stub::always(Reply { yields: 2, ..Reply::OK.after_ms(17) });
            let policy = probing!(backup.clone());
            let stub = Stub::new(&script(seed));
            let mut service = policy.layer(stub.clone());
            // The only place is taken at first, so the call begins in the queue.
            let limit = policy.concurrency_limit().unwrap();
            let mut other = limit.layer(InnerLayer.layer(Stub::new(&[Reply::OK.after_ms(10)])));
            let mut occupant = Box::pin(async move { call(&mut other).await });
            assert!(!poll_times(occupant.as_mut(), 1).await);
            poll_fn(|context| service.poll_ready(context)).await.unwrap();
            let mut future = Box::pin(service.call(1));
            let done = poll_times(future.as_mut(), polls).await;
            drop((future, occupant));
            let at = format!("seed {seed}, {polls} polls");
            assert_eq!((stub.in_flight(), backup.in_flight()), (0, 0), "{at}");
            assert_eq!((limit.in_flight(), limit.queued()), (0, 0), "{at}");
            let admission = policy.admission().unwrap();
            assert_eq!((admission.in_flight(), admission.queued()), (0, 0), "{at}");
            assert_eq!(policy.budget().unwrap().concurrent(), 0, "{at}");
            policy.breaker().unwrap().with(|breaker, now| {
                breaker.check_invariants();
                assert_eq!(breaker.state(now), State::HalfOpen, "{at}");
                assert_eq!(breaker.next_deadline(), None, "{at}: a probe's place is still taken");
            });
            ended[usize::from(done)] += 1;
            if done {
                break;
            }
        }
    }
    assert_eq!(ended[1], STORIES as u32, "every story ends");
    assert!(ended[0] > 5 * ended[1], "and has many moments at which to give up: {ended:?}");
}

/// The same for the admission queue alone: the call waits first, is let in when the occupant's place becomes free, and
/// may be given up before, at, or after that moment.
#[tokio::test(start_paused = true)]
async fn a_waiting_call_dropped_after_any_number_of_polls_gives_its_place_to_the_next() {
    for polls in 0..12 {
        let layer = AdmissionLayer::new(AdmissionConfig {
            limit: LimitConfig::fixed(1),
            ..AdmissionConfig::default()
        });
        let layer = layer.unwrap();
        let handle = layer.handle();
        let make = |reply| layer.layer(InnerLayer.layer(Stub::always(reply)));
        let (mut holds, mut gives_up, mut next) =
            (make(Reply::OK.after_ms(30)), make(Reply::NEVER), make(Reply::OK));
        let mut occupant = Box::pin(async { call(&mut holds).await });
        assert!(!poll_times(occupant.as_mut(), 1).await);
        let mut given_up = Box::pin(async { call(&mut gives_up).await });
        assert!(!poll_times(given_up.as_mut(), 1).await);
        let mut behind = Box::pin(async { call(&mut next).await });
        assert!(!poll_times(behind.as_mut(), 1).await);
        assert_eq!((handle.in_flight(), handle.queued()), (1, 2));
        for _ in 0..polls {
            let context = &mut Context::from_waker(Waker::noop());
            let done = handle.in_flight() == 1 && handle.queued() < 2;
            let _ = done || occupant.as_mut().poll(context).is_ready();
            assert!(given_up.as_mut().poll(context).is_pending());
            tokio::time::advance(millis(7)).await;
        }
        drop(given_up);
        let first = if handle.queued() == 1 { occupant.await } else { Ok(7) };
        assert_eq!((first, behind.await), (Ok(7), Ok(7)), "{polls} polls");
        assert_eq!((handle.in_flight(), handle.queued()), (0, 0), "{polls} polls");
    }
}

const CALLS_PER_THREAD: u64 = 3_000;

/// Makes calls that wait, fail and are given up at random.
fn give_up_at_random<S: Service<u32>>(mut service: S, stub: &Stub, seed: u64) {
    let mut rng = Rng::seeded(seed);
    let context = &mut Context::from_waker(Waker::noop());
    for _ in 0..CALLS_PER_THREAD {
        let result = if rng.chance(0.1) { Err(Broken) } else { Ok(7) };
        stub.afterwards(Reply { yields: rng.below(4) as u32, after: Duration::ZERO, result });
        assert!(service.poll_ready(context).is_ready());
        let mut future = Box::pin(service.call(1));
        for _ in 0..rng.below(6) {
            if future.as_mut().poll(context).is_ready() {
                break;
            }
        }
    }
}

#[test]
fn threads_that_share_a_stack_leave_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let policy = Policy::builder("threads")
        .budget(BudgetConfig { burst: 1_000, ..BudgetConfig::default() })
        .total_timeout(Duration::from_mins(1))
        .retry(RetryConfig::default())
        .circuit_breaker(BreakerConfig::default())
        .concurrency_limit(ConcurrencyConfig { max_concurrent_calls: 3, ..ConcurrencyConfig::default() })
        .admission(AdmissionConfig { limit: LimitConfig::fixed(2), ..AdmissionConfig::default() })
        .build()
        .unwrap();
    let stub = Stub::default();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (service, stub, handle) = (policy.layer(stub.clone()), &stub, runtime.handle());
            scope.spawn(move || {
                let _entered = handle.enter();
                give_up_at_random(service, stub, seed);
            });
        }
    });
    assert!(stub.calls() as u64 > CALLS_PER_THREAD, "most calls got through");
    assert!(stub.in_flight_max() <= 2);
    assert_eq!((stub.in_flight(), policy.concurrency_limit().unwrap().in_flight()), (0, 0));
    let admission = policy.admission().unwrap();
    assert_eq!((admission.in_flight(), admission.queued()), (0, 0));
    assert_eq!(policy.budget().unwrap().concurrent(), 0);
    policy.breaker().unwrap().with(|breaker, _| breaker.check_invariants());
}
