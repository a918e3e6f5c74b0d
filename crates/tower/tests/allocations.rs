//! A call that simply succeeds allocates nothing, in the whole stack.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::{Ready, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use seaworthy_tower::{
    AdmissionConfig, BreakerConfig, ConcurrencyConfig, Error, HedgeConfig, HedgeDelay, InnerLayer,
    KeyedBreakerLayer, KeyedBreakers, KeyedConfig, Policy, Priority, RetryConfig, ThrottleConfig,
    machines::breaker::State,
};
use tower::{Layer, Service};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that this thread has allocated and not freed.
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = LIVE.try_with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|bytes| bytes.set(bytes.get().wrapping_sub(layout.size())));
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers at once.
#[derive(Clone, Copy)]
struct AtOnce;

impl Service<u64> for AtOnce {
    type Response = u64;
    type Error = std::io::Error;
    type Future = Ready<Result<u64, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request + 1))
    }
}

/// Calls so often; how many allocations, and how many nanoseconds per call.
fn measure<S>(service: &mut S, calls: u64) -> (u64, f64)
where
    S: Service<u64, Response = u64>,
    S::Error: std::fmt::Debug,
{
    let context = &mut Context::from_waker(Waker::noop());
    let (before, began) = (ALLOCATIONS.get(), Instant::now());
    for number in 0..calls {
        assert!(service.poll_ready(context).is_ready());
        let Poll::Ready(answer) = pin!(service.call(number)).poll(context) else {
            panic!("must answer at once")
        };
        assert_eq!(answer.expect("it succeeds"), number + 1);
    }
    let per_call = began.elapsed().as_nanos() as f64 / calls as f64;
    (ALLOCATIONS.get() - before, per_call)
}

#[tokio::test]
async fn five_policies_allocate_nothing_when_a_call_succeeds() {
    let policy = Policy::builder("five")
        .concurrency_limit(ConcurrencyConfig::default())
        .total_timeout(Duration::from_secs(15))
        .retry(RetryConfig::default())
        .circuit_breaker(BreakerConfig::default())
        .attempt_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let mut service = policy.layer(AtOnce);
    let (allocations, per_call) = measure(&mut service, 100_000);
    let (_, bare) = measure(&mut AtOnce, 100_000);
    println!("five policies: {per_call:.0} ns per call, the bare service {bare:.0} ns");
    assert_eq!(allocations, 0);
}

#[tokio::test]
async fn all_nine_allocate_nothing_when_a_call_succeeds() {
    let policy = Policy::builder("nine")
        .fallback(|_: Result<&u64, &Error<std::io::Error>>| None)
        .total_timeout(Duration::from_secs(15))
        .retry(RetryConfig::default())
        .hedge(HedgeConfig::default())
        .circuit_breaker(BreakerConfig::default())
        .concurrency_limit(ConcurrencyConfig::default())
        .admission(AdmissionConfig::default())
        .throttle(ThrottleConfig::default())
        .attempt_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let (allocations, _) = measure(&mut policy.layer(AtOnce), 10_000);
    assert_eq!(allocations, 0);
}

#[tokio::test]
async fn a_circuit_per_key_allocates_nothing_once_the_key_is_known() {
    let policy = Policy::builder("keyed")
        .circuit_breaker_by(BreakerConfig::default(), KeyedConfig::default(), |number: &u64| number % 100)
        .throttle_by(ThrottleConfig::default(), |number: &u64| Priority::ALL[(number % 4) as usize])
        .build()
        .unwrap();
    let mut service = policy.layer(AtOnce);
    let (first, _) = measure(&mut service, 100);
    let (allocations, per_call) = measure(&mut service, 10_000);
    println!("a circuit per key and ranks: {per_call:.0} ns per call");
    assert_eq!((first > 0, allocations), (true, 0));
}

#[tokio::test]
async fn a_circuit_per_key_takes_no_more_than_it_says() {
    const KEYS: u64 = 10_000;
    let layer =
        KeyedBreakerLayer::new(BreakerConfig::default(), KeyedConfig::default(), |number: &u64| *number);
    let layer = layer.unwrap();
    let before = LIVE.get();
    measure(&mut layer.layer(InnerLayer.layer(AtOnce)), KEYS);
    assert_eq!(layer.handle().keys() as u64, KEYS);
    let each = LIVE.get().wrapping_sub(before) / KEYS as usize;
    println!("{each} bytes per key, of at most {}", KeyedBreakers::<u64>::BYTES_PER_KEY);
    assert!((200..=KeyedBreakers::<u64>::BYTES_PER_KEY).contains(&each), "{each} bytes");
}

/// Answers at the second poll, so that every timer of the stack is made and registered.
#[derive(Clone, Copy)]
struct Later;

impl Service<u64> for Later {
    type Response = u64;
    type Error = std::io::Error;
    type Future = Second;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Second {
        Second { answer: request + 1, polled: false }
    }
}

struct Second {
    answer: u64,
    polled: bool,
}

impl Future for Second {
    type Output = Result<u64, std::io::Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.polled, true) { Poll::Ready(Ok(self.answer)) } else { Poll::Pending }
    }
}

#[tokio::test]
async fn waiting_for_an_answer_allocates_nothing() {
    let policy = Policy::builder("later")
        .total_timeout(Duration::from_secs(15))
        .retry(RetryConfig::default())
        .hedge(HedgeConfig { delay: HedgeDelay::Fixed(Duration::from_secs(1)) })
        .circuit_breaker(BreakerConfig::default())
        .concurrency_limit(ConcurrencyConfig::default())
        .attempt_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let mut service = policy.layer(Later);
    let context = &mut Context::from_waker(Waker::noop());
    let before = ALLOCATIONS.get();
    for number in 0..1_000 {
        assert!(service.poll_ready(context).is_ready());
        let mut call = pin!(service.call(number));
        assert!(call.as_mut().poll(context).is_pending());
        assert!(call.as_mut().poll(context).is_ready());
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

#[tokio::test]
async fn rejecting_allocates_nothing() {
    let policy = Policy::builder("open")
        .circuit_breaker(BreakerConfig {
            consecutive_failures: 1,
            quiet: Duration::ZERO,
            ..Default::default()
        })
        .build()
        .unwrap();
    let failed = policy.call(|_| ready(Err::<(), ()>(()))).await;
    assert_eq!(failed, Err(Error::Inner(())));
    assert!(matches!(policy.breaker().unwrap().state(), State::Open { .. }));
    let mut service = policy.layer(AtOnce);
    let context = &mut Context::from_waker(Waker::noop());
    let (before, began) = (ALLOCATIONS.get(), Instant::now());
    for _ in 0..10_000 {
        assert!(service.poll_ready(context).is_ready());
        let answer = pin!(service.call(1)).poll(context);
        assert!(matches!(answer, Poll::Ready(Err(Error::Rejected(_)))));
    }
    println!("a rejection: {:.0} ns", began.elapsed().as_nanos() as f64 / 10_000.0);
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
