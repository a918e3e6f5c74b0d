//! Lanes against real sockets, from a source in memory and from the store.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod backend;
mod memory;
mod stored;
mod support;
mod whole;
