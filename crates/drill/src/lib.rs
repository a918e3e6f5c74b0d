//! Carrying failures out against a running system, and judging each promise from the client's side.
//!
//! An open-loop load ([`load`]) runs from the first failure to the last. Every request is in the history
//! ([`record`]) before it is sent, and gets its outcome by fixed rules ([`classify`]). For each failure the drill
//! ([`drill`]) waits for steady state, asks the node ([`node`]) to break something, holds it, puts it right, waits
//! for steady state again, and reads back what was acknowledged ([`readback`]). What was measured ([`measure`]) and
//! what it is worth ([`verdict`]) are pure functions over records, events and marks in time; the reports
//! ([`report`]) only tell it.
//!
//! Absent on purpose: starting or stopping the node, breaking things itself, knowing how calls are protected.

pub mod classify;
pub mod clock;
mod http_client;
mod id;
mod interrupt;
pub mod load;
pub mod measure;
pub mod node;
mod progress;
pub mod readback;
pub mod record;
pub mod report;
mod run;
mod subject;
pub mod verdict;

pub use id::RunIds;
pub use interrupt::{Interrupt, Interrupter, interrupt_pair};
pub use node::{HttpNode, Node};
pub use progress::{Lines, Phase, Progress, Silent, Update};
pub use report::{DrillReport, FailureReport};
pub use run::{
    DrillOptions, FAULT_MAX, NODE_SILENT_MAX, RECOVER_WITHIN_DEFAULT, STEADY_BEFORE_MAX, drill,
    drill_subject, not_started,
};
pub use subject::{ReplicaSubject, ServiceSubject, Subject, Victim};
