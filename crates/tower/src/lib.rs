#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod admission;
mod ambient;
mod breaker;
mod budget;
mod classify;
mod clock;
mod concurrency;
mod describe;
mod error;
mod fallback;
mod fallback_service;
mod gate;
mod hedge;
mod inner;
mod keyed;
mod observe;
mod outcome;
mod plain;
mod policy;
mod rate_limit;
mod replay;
mod resend;
mod retry;
mod settle;
mod stack;
mod throttle;
mod timeout;

#[cfg(feature = "metrics")]
mod to_metrics;
#[cfg(feature = "tracing")]
mod to_tracing;

pub use admission::{AdmissionFuture, AdmissionHandle, AdmissionLayer, Admitting, Alike, Prioritize};
pub use ambient::{Attempt, current};
pub use breaker::{BreakerLayer, BreakerService};
pub use budget::{Charge, SharedBudget};
pub use classify::{Classify, FailOnError, Failure, Verdict};
pub use clock::Clock;
pub use concurrency::{ConcurrencyConfig, ConcurrencyFuture, ConcurrencyLimit, ConcurrencyLimitLayer};
pub use describe::Describe;
pub use error::{By, Error, Rejection, Timeout, Which};
pub use fallback::{Fallback, FallbackFuture, FallbackLayer};
pub use fallback_service::{FallbackService, FallbackServiceFuture, FallbackServiceLayer};
pub use gate::{Changed, Gate, GateFuture, GateHandle, GateLayer, Gated};
pub use hedge::{Hedge, HedgeConfig, HedgeDelay, HedgeFuture, HedgeLayer};
pub use inner::{Inner, InnerFuture, InnerLayer};
pub use keyed::{
    CHANGES_MAX, CircuitKey, KeyedBreakerLayer, KeyedBreakerService, KeyedBreakers, KeyedPermit,
};
pub use observe::{Decision, Event, NoRetry, Observer};
pub use outcome::{Ended, Outcome};
pub use plain::FnService;
pub use policy::{Policy, PolicyBuilder};
pub use rate_limit::{OneQuota, RateLimitLayer};
pub use replay::{Idempotent, NotIdempotent, Replay};
pub use retry::{ATTEMPTS_MAX, Retry, RetryConfig, RetryFuture, RetryLayer};
pub use settle::{Legs, Partial, Settled, Settling};
pub use stack::{Finding, InvalidStack};
pub use throttle::ThrottleLayer;
pub use timeout::{TimeoutFuture, TimeoutLayer, TimeoutService};
#[cfg(feature = "metrics")]
pub use to_metrics::ToMetrics;
#[cfg(feature = "tracing")]
pub use to_tracing::ToTracing;

pub use seaworthy_policy as machines;
pub use seaworthy_policy::admission::Priority;
pub use seaworthy_policy::call::Safety;
pub use seaworthy_policy::fallback::FallbackConfig;
pub use seaworthy_policy::keyed::KeyedConfig;
pub use seaworthy_policy::stack::Severity;
pub use seaworthy_policy::{
    AdmissionConfig, BackoffConfig, Breaker, BreakerConfig, BudgetConfig, ConfigError, Jitter, LimitConfig,
    RateLimitConfig, ThrottleConfig,
};
