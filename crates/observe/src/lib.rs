//! What happened, and how people and programs get to see it.
//!
//! There is one vocabulary of events ([`event`]). Whoever does something worth knowing emits an event on the
//! [`bus`]; from there it goes into a bounded ring that clients can read and wait on, into the [`state`] that people
//! see (a pure fold, so that a replay shows the same), and into the [`log`]. [`metrics`] count what is too frequent
//! to be an event. [`ports`] and [`dial`] are the small doors by which the shells reach each other without knowing
//! each other.
//!
//! Absent on purpose: decisions. Nothing here ejects, restarts or retries anything.

pub mod bus;
pub mod clock;
pub mod dial;
pub mod event;
pub mod health;
pub mod keys;
pub mod lines;
pub mod log;
pub mod metrics;
pub mod ports;
pub mod state;
mod words;

pub use bus::EventBus;
pub use clock::Clock;
pub use dial::{Detour, DetourScope, DialTable, Via};
pub use event::{Event, EventKind, Level};
pub use keys::{KeyBegin, KeyBegun, KeyKeeper, KeyName, KeyOutcome, KeyToken, KeysError, KeysReply};
pub use log::{Destination, LogSink, Rendering};
pub use ports::{EndpointChange, EndpointId, EndpointSink, ProcessView, Processes, SuspicionSink};
pub use state::State;
