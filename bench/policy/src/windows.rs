//! A breaker that has been up for long: what a call costs with many calls in its window, and how many failures open the
//! circuit after a million successes.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use failsafe::CircuitBreaker as _;
use recloser::Recloser;
use seaworthy_policy::breaker::{Outcome, State, WindowType};
use seaworthy_policy::{Breaker, BreakerConfig, Rng, Time};
use serde_json::{Value, json};
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, CircuitState, SlidingWindowType};

use crate::case::{Case, FAILSAFE, OURS, RECLOSER, RESILIENCE};
use crate::layers::{AtOnce, Fault};
use crate::measure::block_on;

const SPAN: Duration = Duration::from_secs(10);
const ELAPSED: Duration = Duration::from_micros(10);
/// Calls that a window holds.
const HELD: [u64; 3] = [1_000, 10_000, 100_000];
/// Successes before the first failure.
const BEFORE: [u64; 3] = [100, 10_000, 1_000_000];
/// Failures after which nobody waits for a circuit to open any more.
const FAILURES_MAX: u64 = 2_000_000;

pub(crate) fn cases() -> Vec<Case> {
    HELD.iter().flat_map(|held| [ours(*held), resilience(*held)]).collect()
}

fn told(held: u64) -> String {
    format!("{held} calls in a window by time")
}

/// Calls so far apart that the window holds `held` of them.
fn ours(held: u64) -> Case {
    let config = BreakerConfig { sliding_window: SPAN, ..BreakerConfig::default() };
    let (mut breaker, mut rng) = (Breaker::new(config, Time::ZERO), Rng::seeded(1));
    let (step, mut now) = (SPAN / held as u32, Time::ZERO);
    let mut run = move |calls: u64| {
        for _ in 0..calls {
            now = now + step;
            let permit = breaker.admit(now, &mut rng).expect("the circuit is closed");
            breaker.complete(now, &mut rng, black_box(permit), Outcome::Success { elapsed: ELAPSED });
        }
    };
    run(2 * held);
    Case::new("window", told(held), OURS, run)
}

/// It reads the clock itself, so its window is one that nothing leaves; it is filled anew before it has grown by a tenth.
fn resilience(held: u64) -> Case {
    let layer = CircuitBreakerLayer::builder()
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(Duration::from_hours(1))
        .build()
        .expect("valid");
    let batch = held / 50;
    let filled = Rc::new(RefCell::new((layer.layer(AtOnce), u64::MAX)));
    let prepared = Rc::clone(&filled);
    let before = move || {
        let (service, calls) = &mut *prepared.borrow_mut();
        if *calls > held + held / 10 - batch {
            (*service, *calls) = (layer.layer(AtOnce), 0);
            make_calls(service, held);
            *calls = held;
        }
    };
    let run = move |calls: u64| {
        let (service, held) = &mut *filled.borrow_mut();
        make_calls(service, calls);
        *held += calls;
    };
    Case::new("window", told(held), RESILIENCE, run).in_batches_of(batch, before)
}

fn make_calls<S: Service<u64>>(service: &mut S, calls: u64) {
    for number in 0..calls {
        assert!(block_on(Waker::noop(), black_box(service.call(number))).is_ok());
    }
}

/// Failures until the circuit is open, after so many successes; windows of 100 calls and a threshold of one half.
pub(crate) fn calls_to_open() -> Vec<Value> {
    type Measure = fn(u64) -> Option<u64>;
    let measures: [(&str, &str, Measure); 5] = [
        (OURS, "window of 100 calls", our_count),
        (OURS, "window of 10 s, calls 1 ms apart", our_time),
        (RESILIENCE, "window of 100 calls", their_count),
        (RECLOSER, "ring of 100 calls", recloser_ring),
        (FAILSAFE, "5 in a row", failsafe_run),
    ];
    let row = |(who, what, measure): &(&str, &str, Measure)| {
        let failures: Vec<Option<u64>> = BEFORE.iter().map(|before| measure(*before)).collect();
        json!({ "who": who, "what": what, "successes_before": BEFORE, "failures_to_open": failures })
    };
    measures.iter().map(row).collect()
}

/// The same for those with a window of 100 calls or a run of failures, after so many successes.
pub(crate) fn failures_to_open(before: u64) -> [(&'static str, Option<u64>); 4] {
    [
        (OURS, our_count(before)),
        (RESILIENCE, their_count(before)),
        (RECLOSER, recloser_ring(before)),
        (FAILSAFE, failsafe_run(before)),
    ]
}

/// `fail` makes one failing call and says whether the circuit is open after it.
fn count(mut fail: impl FnMut() -> bool) -> Option<u64> {
    (1..=FAILURES_MAX).find(|_| fail())
}

fn ours_after(before: u64, kind: WindowType) -> Option<u64> {
    // Only the rate: the run of failures would open it much sooner.
    let config = BreakerConfig {
        consecutive_failures: u32::MAX,
        sliding_window_type: kind,
        sliding_window: SPAN,
        sliding_window_size: 100,
        ..BreakerConfig::default()
    };
    let (mut breaker, mut rng, mut now) = (Breaker::new(config, Time::ZERO), Rng::seeded(1), Time::ZERO);
    let mut call = |outcome| {
        now = now + Duration::from_millis(1);
        if let Ok(permit) = breaker.admit(now, &mut rng) {
            breaker.complete(now, &mut rng, permit, outcome);
        }
        matches!(breaker.state(now), State::Open { .. })
    };
    for _ in 0..before {
        call(Outcome::Success { elapsed: ELAPSED });
    }
    count(|| call(Outcome::Failure { elapsed: ELAPSED }))
}

fn our_count(before: u64) -> Option<u64> {
    ours_after(before, WindowType::CountBased)
}

fn our_time(before: u64) -> Option<u64> {
    ours_after(before, WindowType::TimeBased)
}

fn their_count(before: u64) -> Option<u64> {
    let (layer, handle) = CircuitBreakerLayer::builder()
        .sliding_window_type(SlidingWindowType::CountBased)
        .sliding_window_size(100)
        .failure_rate_threshold(0.5)
        .build_with_handle()
        .expect("valid");
    let answer = |request: u64| async move { if request == 0 { Err(Fault) } else { Ok(request) } };
    let mut service = layer.layer(tower::service_fn(answer));
    for _ in 0..before {
        assert!(block_on(Waker::noop(), service.call(1)).is_ok());
    }
    count(|| {
        let _ = block_on(Waker::noop(), service.call(0));
        handle.state() == CircuitState::Open
    })
}

fn recloser_ring(before: u64) -> Option<u64> {
    let breaker = Recloser::custom().error_rate(0.5).closed_len(100).open_wait(SPAN).build();
    for _ in 0..before {
        assert!(breaker.call(|| Ok::<(), ()>(())).is_ok());
    }
    count(|| {
        let _ = breaker.call(|| Err::<(), ()>(()));
        // It cannot be asked; a call that is turned away tells, and counts nothing.
        matches!(breaker.call(|| Err::<(), ()>(())), Err(recloser::Error::Rejected))
    })
    .map(|pairs| 2 * pairs - 1)
}

fn failsafe_run(before: u64) -> Option<u64> {
    let policy = failsafe::failure_policy::consecutive_failures(5, failsafe::backoff::constant(SPAN));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    for _ in 0..before {
        assert!(breaker.call(|| Ok::<(), ()>(())).is_ok());
    }
    count(|| {
        let _ = breaker.call(|| Err::<(), ()>(()));
        !breaker.is_call_permitted()
    })
}
