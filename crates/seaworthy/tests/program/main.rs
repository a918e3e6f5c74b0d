//! The real program, from the outside: on paper, running, drilling, and being killed.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a step that fails is a test that fails, and a random one says how to repeat it"
)]

mod keys;
mod kills;
mod paper;
mod stage;
mod stores;
mod verdicts;
mod voyage;
