//! The supervisor with real processes.
#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod common;
mod contract;
mod lifecycle;
mod probes;
