//! The rows of the README's tables "coming from", each replayed: what the other library's option does, ours does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hystrix;
mod opossum;
mod polly;
mod resilience4j;
mod stories;
mod tower_itself;
mod tower_resilience;
