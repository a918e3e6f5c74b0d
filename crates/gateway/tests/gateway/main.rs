//! The gateway from outside: raw bytes in, raw bytes out, and upstreams that do what they are told.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ablated;
mod differential;
mod drain;
mod egress;
mod entrance;
mod forced;
mod keys;
mod memory;
mod policy;
mod requests;
mod responses;
mod spec_keys;
mod stored;
mod streaming;
mod stub;
mod support;
mod traffic;
