//! Every order in which threads can meet in the shell that wakes waiters, tried by `loom`: nobody is forgotten, no place is
//! lost with a waiter that goes while it is being woken, none is given twice.
//!
//! The shell's file is compiled once more in here, with `loom`'s lock in the place of the standard library's, so that
//! nothing of this is in the product. `loom` finds a lost wake-up as a deadlock, and says so.
//!
//! How many times a thread may be stopped where it would have run on is bounded: by 2, which keeps each model to a second
//! or so; `cargo xtask soak loom` allows more (`SEAWORTHY_LOOM_PREEMPTIONS`). Without any bound three threads that come
//! and go have not been through in four minutes; most known races need no more than two (Musuvathi and Qadeer 2007).
//!
//! The other limit, `ConcurrencyLimit`, waits on tokio's semaphore, whose own tests do the same, and whose inside `loom`
//! cannot see from here; it is hurried by real threads in `real_threads`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod models;
mod real_threads;

/// What the shell is told to synchronize with.
mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

/// How many times a thread may be stopped where it would have run on.
const PREEMPTIONS: usize = 2;

/// The same, as the environment wants it.
fn preemptions() -> usize {
    let wanted = std::env::var("SEAWORTHY_LOOM_PREEMPTIONS");
    wanted.map_or(PREEMPTIONS, |number| number.parse().expect("SEAWORTHY_LOOM_PREEMPTIONS is a number"))
}

#[path = "../../src/admission/places.rs"]
mod places;
