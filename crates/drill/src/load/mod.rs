//! The open-loop load: requests leave when the schedule says, whatever became of the ones before.
//!
//! A closed loop (send, wait, send again) stops sending while the system hangs, and so hides the very outage it
//! should measure. Here the schedule never waits, latency counts from the intended moment, and what the cap on
//! requests in flight refuses is counted as failed. The client is raw: it sends once and never again, so that
//! what it sees is what the system did.
//!
//! Each load has a thread of its own with a current-thread runtime: judging, reading back and reporting cannot
//! disturb the sending, and one load in trouble cannot delay another.

mod connection;
mod schedule;
mod sender;
mod template;

pub use schedule::Schedule;
pub use sender::{IN_FLIGHT_MAX, LoadError, Loads, LoadsConfig};
