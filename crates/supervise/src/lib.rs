//! Processes, probes and restarts: keeps what the plan says running, and says who is fit for traffic.
//!
//! [`Supervisor::start`] builds what has to be built, starts every replica, and attends to each in a task of its own:
//! an exit is noticed by notification and never by polling, is told to whoever routes traffic before anything else,
//! and is followed by what `seaworthy_policy::restart` decides. Probes ask, `seaworthy_policy::health` judges. What
//! runs elsewhere is probed in the same way and never started.
//!
//! Everything here runs as tasks on the runtime of the caller, which must not be one that serves requests.
//!
//! Absent on purpose: routing, ejection by live traffic (that is the gateway's), faults, and survival of the node
//! itself (that is the keeper's). Services start all at once and not in the order of their needs: a service that
//! cannot bear the absence of another one for a moment could not bear its failure either.

mod attend;
mod builds;
mod environment;
mod error;
mod external;
mod launch;
mod order;
mod output;
mod port_rotation;
mod probe;
mod prober;
mod process;
mod registry;
mod replica;
mod supervisor;
mod words;

pub use error::SuperviseError;
pub use supervisor::{Supervisor, SupervisorPorts};
