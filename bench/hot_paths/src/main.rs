//! The paths that every call takes, each as a loop: `hot-paths NAME COUNT` goes one path so many times, `hot-paths`
//! names them all.
//!
//! Counted under callgrind by `cargo xtask bench instructions`, at two counts: what they differ by is the path alone,
//! whatever starting up and setting up cost. Time is an argument or, in the layers, read where nothing depends on how
//! much of it passed; so a count says the same on every machine with the same compiler.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool that talks to its caller")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hot_paths::Held;
use seaworthy_policy::call::{Call, CallConfig, Class, Event, Pushback, Safety, Step};
use seaworthy_policy::pool::{Pool, PoolConfig};
use seaworthy_policy::rate_limit::{Decision, Request};
use seaworthy_policy::{Breaker, BreakerConfig, RateLimitConfig, RateLimiter, Rng, Time};
use seaworthy_tower::{ConcurrencyConfig, Policy, RetryConfig};
use tower_layer::Layer;
use tower_service::Service;

/// How long a call takes, and how far two of them lie apart.
const LATENCY: Duration = Duration::from_micros(100);
/// The keys of a rate limit that is in use.
const KEYS: u64 = 1_000;

/// A path by its name.
type Path = (&'static str, fn(u64));

const PATHS: [Path; 7] = [
    ("breaker: admit and complete", breaker),
    ("breaker: reject", |count| hot_paths::reject()(count)),
    ("rate limit: acquire, of 1,000 keys", rate_limit),
    ("call: start, head and end, 1 endpoint", |count| calls(count, 1)),
    ("call: start, head and end, 3 endpoints", |count| calls(count, 3)),
    ("call: start, head and end, 30 endpoints", |count| calls(count, 30)),
    ("tower: five policies", five_policies),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => PATHS.iter().for_each(|(name, _)| println!("{name}")),
        [name, count] => {
            let path = PATHS.iter().find(|(known, _)| known == name);
            let (Some((_, go)), Ok(count)) = (path, count.parse()) else {
                eprintln!("there is no path `{name}`, or `{count}` is not a number");
                return ExitCode::from(2);
            };
            go(count);
        }
        _ => {
            eprintln!("usage: hot-paths [NAME COUNT]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn breaker(count: u64) {
    let shared = Mutex::new(Held::new(Breaker::new(BreakerConfig::default(), Time::ZERO)));
    let mut now = Time::ZERO;
    for _ in 0..count {
        now = now + LATENCY;
        hot_paths::call(&shared, (now, now), LATENCY);
    }
}

fn rate_limit(count: u64) {
    let mut limiter = RateLimiter::new(RateLimitConfig::default(), &mut Rng::seeded(1));
    let mut now = Time::ZERO;
    for key in 0..KEYS {
        let _ = limiter.acquire(now, &key, Request::default());
    }
    for number in 0..count {
        now = now + LATENCY;
        let decision = limiter.acquire(now, black_box(&(number % KEYS)), Request::default());
        assert_eq!(black_box(decision), Decision::Admitted);
    }
}

/// Calls that each get one good answer; four are always under way, so that endpoints differ in load.
fn calls(count: u64, endpoints: u16) {
    let mut now = Time::ZERO;
    let mut rng = Rng::seeded(1);
    let mut pool = Pool::new(PoolConfig::default());
    for zone in 0..endpoints {
        let key = pool.on_added(now, zone);
        pool.on_health(now, key, true, "");
    }
    let config = Arc::new(CallConfig::default());
    let mut under_way = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..count {
        now = now + LATENCY;
        let deadline = now.after(config.total_timeout);
        let mut call = Call::new(Arc::clone(&config), 0, Safety::Safe, true, deadline);
        call.on(now, &mut rng, &mut pool, Event::Start, &mut steps);
        let Some(Step::Attempt { attempt, .. }) = steps.pop() else { panic!("an attempt was expected") };
        under_way.push((call, attempt));
        if under_way.len() < 4 {
            continue;
        }
        let (mut call, attempt) = under_way.swap_remove(0);
        let class = Class::Answered;
        let head = Event::Head { attempt, class, retry_after: None, pushback: Pushback::None };
        call.on(now, &mut rng, &mut pool, head, &mut steps);
        call.on(now, &mut rng, &mut pool, Event::BodyEnded, &mut steps);
        assert!(matches!(steps.pop(), Some(Step::Commit { .. })));
        black_box(call);
    }
}

/// Answers at once.
#[derive(Clone, Copy)]
struct AtOnce;

impl Service<u64> for AtOnce {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request + 1))
    }
}

fn five_policies(count: u64) {
    let policy = Policy::builder("five")
        .concurrency_limit(ConcurrencyConfig::default())
        .total_timeout(Duration::from_secs(15))
        .retry(RetryConfig::default())
        .circuit_breaker(BreakerConfig::default())
        .attempt_timeout(Duration::from_secs(5))
        .build()
        .expect("a valid stack");
    hot_paths::call_at_once(policy.layer(AtOnce), Result::is_ok)(count);
}
