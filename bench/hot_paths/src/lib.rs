//! What the benches have in common: the machine as a shell holds it, a circuit that is open, and calls that are answered at
//! once.

use std::hint::black_box;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seaworthy_policy::breaker::Outcome;
use seaworthy_policy::{Breaker, BreakerConfig, Rng, Time};
use tower_service::Service;

/// Longer than any bench runs.
pub const FOR_EVER: Duration = Duration::from_hours(1_000);

/// A machine and its randomness, as a shell holds them.
pub struct Held<M> {
    /// The machine.
    pub machine: M,
    /// What it draws from.
    pub rng: Rng,
}

impl<M> Held<M> {
    /// With a fixed seed, so that every run is the same.
    pub fn new(machine: M) -> Self {
        Held { machine, rng: Rng::seeded(1) }
    }
}

/// Locks, decides, unlocks; makes its call, which takes `elapsed`; locks, reports, unlocks.
pub fn call(shared: &Mutex<Held<Breaker>>, now: (Time, Time), elapsed: Duration) {
    let (begin, end) = now;
    let permit = {
        let held = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
        held.machine.admit(begin, &mut held.rng).expect("the circuit is closed")
    };
    let permit = black_box(permit);
    let held = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
    held.machine.complete(end, &mut held.rng, permit, Outcome::Success { elapsed });
}

/// Opens on the first failure, and does not close again.
pub fn opens_for_ever() -> BreakerConfig {
    BreakerConfig {
        consecutive_failures: 1,
        quiet: Duration::ZERO,
        wait_duration_in_open_state: FOR_EVER,
        max_wait: FOR_EVER,
        ..BreakerConfig::default()
    }
}

/// Turns away so many calls, each a nanosecond after the one before.
pub fn reject() -> impl FnMut(u64) {
    let mut now = Time::ZERO;
    let mut held = Held::new(Breaker::new(opens_for_ever(), now));
    let permit = held.machine.admit(now, &mut held.rng).expect("the circuit is closed");
    let elapsed = Duration::from_micros(10);
    held.machine.complete(now, &mut held.rng, permit, Outcome::Failure { elapsed });
    let shared = Mutex::new(held);
    move |calls| {
        for _ in 0..calls {
            now = now + Duration::from_nanos(1);
            let held = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(black_box(held.machine.admit(black_box(now), &mut held.rng)).is_err());
        }
    }
}

/// Makes so many calls of a service that answers at once, each of them as `expected`.
pub fn call_at_once<S>(
    mut service: S,
    expected: fn(&Result<S::Response, S::Error>) -> bool,
) -> impl FnMut(u64)
where
    S: Service<u64>,
{
    move |calls| {
        let context = &mut Context::from_waker(Waker::noop());
        for number in 0..calls {
            assert!(service.poll_ready(context).is_ready());
            let Poll::Ready(answer) = pin!(service.call(black_box(number))).poll(context) else {
                panic!("must answer at once")
            };
            assert!(expected(&black_box(answer)), "not the answer that is measured");
        }
    }
}
