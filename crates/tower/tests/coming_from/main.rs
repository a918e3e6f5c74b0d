//! The rows of the README's tables "coming from", each replayed: what the other library's option does, ours does.

mod hystrix;
mod opossum;
mod polly;
mod resilience4j;
mod stories;
mod tower_itself;
mod tower_resilience;
