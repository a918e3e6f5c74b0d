//! The layers around a service that does what a script says, in paused time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admission;
mod breaker;
mod concurrency;
mod contract;
mod drops;
mod events;
mod fallback;
mod fallback_service;
mod hedge;
mod keyed;
mod policy;
mod rate_limit;
mod retry;
mod settle;
mod stub;
mod throttle;
mod timeout;
