//! Breaks things on purpose, and puts them back.
//!
//! A [`FaultRequest`] names one or more faults that are applied together, under one id, all or none. Each is *proven*
//! before it counts as applied: a killed process is gone, a paused one is stopped, a refused connection was refused to
//! us first. Each has a deadline of its own, and is undone when that passes, when it is cleared, when the
//! [`FaultEngine`] is dropped, and when the process dies.
//!
//! | fault | does | is undone by |
//! |---|---|---|
//! | `kill` | SIGKILL to the process and its group | nothing: recovery is the test |
//! | `pause` | SIGSTOP to the process group | SIGCONT; written to a [`Journal`] first, because a stopped process outlives us |
//! | `refuse` | dials go to a port that we hold and on which nobody listens | closing our socket |
//! | `blackhole` | dials go to a full queue: connections hang; or a share of requests is swallowed | closing our socket |
//! | `latency` | a share of requests waits before it is forwarded | closing our proxy |
//! | `errors` | a share of requests is answered with a status, and not forwarded | closing our proxy |
//!
//! What to do is decided in pure code (`resolve`, `mix`); the rest carries it out on a thread of its own, so that a
//! busy or silent control plane neither delays a fault's end nor is delayed by its traffic.
//!
//! Deliberately absent: when to break what, and whether the system survived it. That is the drill's business.

mod engine;
mod error;
mod journal;
mod mix;
mod network;
mod process;
mod registry;
mod request;
mod resolve;
mod victims;

pub use engine::{FaultEngine, FaultPorts};
pub use error::FaultError;
pub use journal::{Journal, PauseIntent};
pub use registry::{Applied, Ended, FaultView};
pub use request::{
    DEADLINE_MAX, FAULTS_PER_REQUEST_MAX, FaultKind, FaultRequest, FaultSpec, Target, ZoneName,
};
