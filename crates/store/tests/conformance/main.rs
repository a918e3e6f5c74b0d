//! What every engine has to do, compared operation by operation with naive models that know nothing of files.
//!
//! Each suite takes a [`Stage`](stage::Stage), which opens a store, moves its clock, and closes and opens it again.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a step that fails is a test that fails, and a random one says how to repeat it"
)]

mod history;
mod jobs;
mod jobs_model;
mod keys;
mod loading;
mod stage;
mod topics;
mod words;
