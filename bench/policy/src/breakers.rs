//! One circuit breaker, shared by some threads: what letting a call in and hearing of its success costs, and what
//! turning it away costs.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::{Duration, Instant};

use failsafe::CircuitBreaker as _;
use hot_paths::{FOR_EVER, Held};
use recloser::Recloser;
use seaworthy_policy::breaker::Outcome;
use seaworthy_policy::{Breaker, BreakerConfig, Time};
use seaworthy_tower::{BreakerLayer, InnerLayer};
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, SlidingWindowType};

use crate::case::{AS_A_LAYER, Case, FAILSAFE, OURS, RECLOSER, RESILIENCE};
use crate::layers::AtOnce;
use crate::measure::{block_on, parking_waker, share_out};

const THREADS: [usize; 4] = [1, 2, 4, 8];
/// Between two calls, where time is an argument.
const STEP: Duration = Duration::from_micros(1);
/// How long a call is said to take.
const ELAPSED: Duration = Duration::from_micros(10);

fn closed() -> Held<Breaker> {
    Held::new(Breaker::new(BreakerConfig::default(), Time::ZERO))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![alone()];
    for threads in THREADS {
        cases.extend([ours(threads), ours_with_clock(threads)]);
        cases.extend(as_layers(threads));
        cases.extend([failsafe(threads), recloser(threads)]);
    }
    cases.extend(rejections());
    cases
}

fn alone() -> Case {
    let (mut held, mut now) = (closed(), Time::ZERO);
    Case::new("breaker", "admit and complete", format!("{OURS}, no lock"), move |calls| {
        for _ in 0..calls {
            now = now + STEP;
            let permit = held.machine.admit(now, &mut held.rng).expect("the circuit is closed");
            held.machine.complete(
                now,
                &mut held.rng,
                black_box(permit),
                Outcome::Success { elapsed: ELAPSED },
            );
        }
    })
}

fn ours(threads: usize) -> Case {
    let shared = Arc::new(Mutex::new(closed()));
    let clock = AtomicU64::new(0);
    let run = move |calls: u64| {
        let began = clock.load(Ordering::Relaxed);
        share_out_or_run(threads, calls, |_, calls| {
            let mut now = Time::from_nanos(began);
            for _ in 0..calls {
                now = now + STEP;
                hot_paths::call(&shared, (now, now), ELAPSED);
            }
            clock.fetch_max(now.as_nanos(), Ordering::Relaxed);
        });
    };
    Case::new("breaker", "admit and complete", OURS, run).on(threads)
}

fn ours_with_clock(threads: usize) -> Case {
    let shared = Arc::new(Mutex::new(closed()));
    let origin = Instant::now();
    let run = move |calls: u64| {
        let now = || Time::from_nanos(origin.elapsed().as_nanos() as u64);
        share_out_or_run(threads, calls, |_, calls| {
            for _ in 0..calls {
                let began = now();
                hot_paths::call(&shared, (began, now()), ELAPSED);
            }
        });
    };
    Case::new("breaker", "admit and complete", format!("{OURS}, reads the clock twice"), run).on(threads)
}

/// A breaker that exists as a layer only, and ours as one beside it.
fn as_layers(threads: usize) -> [Case; 2] {
    let ours = BreakerLayer::new(BreakerConfig::default()).expect("a valid configuration");
    let theirs = CircuitBreakerLayer::builder()
        .sliding_window_type(SlidingWindowType::CountBased)
        .sliding_window_size(100)
        .build()
        .expect("a valid configuration");
    [
        as_layer(OURS, threads, ours.layer(InnerLayer.layer(AtOnce))),
        as_layer(RESILIENCE, threads, theirs.layer(AtOnce)),
    ]
}

fn as_layer<S>(who: &str, threads: usize, service: S) -> Case
where
    S: Service<u64> + Clone + Sync + 'static,
{
    let run = move |calls: u64| {
        share_out_or_run(threads, calls, |_, calls| {
            let mut service = service.clone();
            let waker = parking_waker();
            let context = &mut Context::from_waker(&waker);
            for number in 0..calls {
                assert!(service.poll_ready(context).is_ready(), "the circuit is closed");
                let answer = block_on(&waker, service.call(black_box(number)));
                assert!(black_box(answer).is_ok());
            }
        });
    };
    Case::new("breaker", "admit and complete", format!("{who}{AS_A_LAYER}"), run).on(threads)
}

fn failsafe_breaker(wait: Duration) -> impl failsafe::CircuitBreaker + Send + Sync + 'static {
    let policy = failsafe::failure_policy::consecutive_failures(5, failsafe::backoff::constant(wait));
    failsafe::Config::new().failure_policy(policy).build()
}

fn failsafe(threads: usize) -> Case {
    let shared = failsafe_breaker(Duration::from_secs(1));
    let run = move |calls: u64| {
        share_out_or_run(threads, calls, |_, calls| {
            for number in 0..calls {
                let answer = shared.call(|| Ok::<u64, ()>(black_box(number)));
                assert!(black_box(answer).is_ok());
            }
        });
    };
    Case::new("breaker", "admit and complete", FAILSAFE, run).on(threads)
}

fn recloser(threads: usize) -> Case {
    let shared = Recloser::custom().closed_len(100).build();
    let run = move |calls: u64| {
        share_out_or_run(threads, calls, |_, calls| {
            for number in 0..calls {
                let answer = shared.call(|| Ok::<u64, ()>(black_box(number)));
                assert!(black_box(answer).is_ok());
            }
        });
    };
    Case::new("breaker", "admit and complete", RECLOSER, run).on(threads)
}

/// One thread is this one: its CPU time is what is measured.
fn share_out_or_run(threads: usize, calls: u64, work: impl Fn(usize, u64) + Sync) {
    if threads == 1 { work(0, calls) } else { share_out(threads, calls, work) }
}

fn rejections() -> Vec<Case> {
    let what = "turned away by an open circuit";
    let ours = Case::new("rejection", what, OURS, hot_paths::reject());

    let shared = failsafe_breaker(FOR_EVER);
    for _ in 0..5 {
        let _ = shared.call(|| Err::<(), ()>(()));
    }
    let failsafe = Case::new("rejection", what, FAILSAFE, move |calls| {
        for _ in 0..calls {
            assert!(black_box(shared.call(|| Ok::<u64, ()>(1))).is_err());
        }
    });

    let shared = Recloser::custom().closed_len(2).open_wait(FOR_EVER).build();
    for _ in 0..5 {
        let _ = shared.call(|| Err::<(), ()>(()));
    }
    let recloser = Case::new("rejection", what, RECLOSER, move |calls| {
        for _ in 0..calls {
            assert!(black_box(shared.call(|| Ok::<u64, ()>(1))).is_err());
        }
    });
    vec![ours, failsafe, recloser]
}
