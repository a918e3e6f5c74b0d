//! One circuit breaker, shared by some threads: what letting a call in and hearing of its success costs, and what
//! turning it away costs.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use failsafe::CircuitBreaker as _;
use recloser::Recloser;
use seaworthy_policy::breaker::Outcome;
use seaworthy_policy::{Breaker, BreakerConfig, Rng, Time};
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, SlidingWindowType};

use crate::case::{Case, FAILSAFE, OURS, RECLOSER, RESILIENCE};
use crate::layers::AtOnce;
use crate::measure::{block_on, parking_waker, share_out};

const THREADS: [usize; 4] = [1, 2, 4, 8];
/// Between two calls, where time is an argument.
const STEP: Duration = Duration::from_micros(1);
/// How long a call is said to take.
const ELAPSED: Duration = Duration::from_micros(10);
const FOR_EVER: Duration = Duration::from_hours(1_000);

/// The machine as a shell holds it.
pub(crate) struct Held {
    breaker: Breaker,
    rng: Rng,
}

impl Held {
    fn new(config: BreakerConfig) -> Self {
        Held { breaker: Breaker::new(config, Time::ZERO), rng: Rng::seeded(1) }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![alone()];
    for threads in THREADS {
        cases.extend([ours(threads), ours_with_clock(threads), resilience(threads)]);
        cases.extend([failsafe(threads), recloser(threads)]);
    }
    cases.extend(rejections());
    cases
}

fn alone() -> Case {
    let (mut held, mut now) = (Held::new(BreakerConfig::default()), Time::ZERO);
    Case::new("breaker", "admit and complete", format!("{OURS}, no lock"), move |calls| {
        for _ in 0..calls {
            now = now + STEP;
            let permit = held.breaker.admit(now, &mut held.rng).expect("the circuit is closed");
            held.breaker.complete(
                now,
                &mut held.rng,
                black_box(permit),
                Outcome::Success { elapsed: ELAPSED },
            );
        }
    })
}

/// Locks, decides, unlocks; makes its call; locks, reports, unlocks.
fn call(shared: &Mutex<Held>, begin: Time, end: Time) {
    let permit = {
        let held = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
        held.breaker.admit(begin, &mut held.rng).expect("the circuit is closed")
    };
    let permit = black_box(permit);
    let held = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
    held.breaker.complete(end, &mut held.rng, permit, Outcome::Success { elapsed: ELAPSED });
}

fn ours(threads: usize) -> Case {
    let shared = Arc::new(Mutex::new(Held::new(BreakerConfig::default())));
    let clock = AtomicU64::new(0);
    let run = move |calls: u64| {
        let began = clock.load(Ordering::Relaxed);
        share_out_or_run(threads, calls, |_, calls| {
            let mut now = Time::from_nanos(began);
            for _ in 0..calls {
                now = now + STEP;
                call(&shared, now, now);
            }
            clock.fetch_max(now.as_nanos(), Ordering::Relaxed);
        });
    };
    Case::new("breaker", "admit and complete", OURS, run).on(threads)
}

fn ours_with_clock(threads: usize) -> Case {
    let shared = Arc::new(Mutex::new(Held::new(BreakerConfig::default())));
    let origin = Instant::now();
    let run = move |calls: u64| {
        let now = || Time::from_nanos(origin.elapsed().as_nanos() as u64);
        share_out_or_run(threads, calls, |_, calls| {
            for _ in 0..calls {
                let began = now();
                call(&shared, began, now());
            }
        });
    };
    Case::new("breaker", "admit and complete", format!("{OURS}, reads the clock twice"), run).on(threads)
}

fn resilience(threads: usize) -> Case {
    let layer = CircuitBreakerLayer::builder()
        .sliding_window_type(SlidingWindowType::CountBased)
        .sliding_window_size(100)
        .build()
        .expect("a valid configuration");
    let service = layer.layer(AtOnce);
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
    Case::new("breaker", "admit and complete", RESILIENCE, run).on(threads)
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
    let config = BreakerConfig {
        consecutive_failures: 1,
        quiet: Duration::ZERO,
        wait_duration_in_open_state: FOR_EVER,
        max_wait: FOR_EVER,
        ..BreakerConfig::default()
    };
    let mut held = Held::new(config);
    let permit = held.breaker.admit(Time::ZERO, &mut held.rng).expect("the circuit is closed");
    held.breaker.complete(Time::ZERO, &mut held.rng, permit, Outcome::Failure { elapsed: ELAPSED });
    let (shared, mut now) = (Mutex::new(held), Time::ZERO);
    let ours = Case::new("rejection", what, OURS, move |calls| {
        for _ in 0..calls {
            now = now + Duration::from_nanos(1);
            let held = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
            let rejected = held.breaker.admit(black_box(now), &mut held.rng);
            assert!(black_box(rejected).is_err());
        }
    });

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
