//! Worlds in which the policies must prove themselves, beside controls, queueing theory and published results.
//!
//! Tests that print a table show it with `--nocapture` (nextest: `--no-capture`). Those that are ignored are the same worlds
//! at their full size, for optimized builds: `cargo test --release -p seaworthy-simulate -- --ignored --nocapture`.

mod common;
mod golden;
mod gray;
mod hedging;
mod metastable;
mod provider;
mod queueing;
mod rates;
mod recovery;
mod storm;
