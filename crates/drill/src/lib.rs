//! Load, history, measurement, verdict and reports of a drill.
pub mod classify;
pub mod clock;
mod http_client;
mod id;
mod interrupt;
pub mod load;
pub mod node;
mod progress;
pub mod readback;
pub mod record;
mod subject;

pub use id::RunIds;
pub use interrupt::{Interrupt, Interrupter, interrupt_pair};
pub use progress::{Lines, Phase, Progress, Silent, Update};
pub use subject::{ReplicaSubject, ServiceSubject, Subject, Victim};
pub mod measure;
