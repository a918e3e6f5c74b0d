//! Who may be under way, who waits, and who is refused.

mod config;
mod machine;
mod pace;
mod queue;
mod rejector;
mod vocabulary;

pub use config::{AdmissionConfig, Discipline, MAX_QUEUE_MAX, RejectorKind};
pub use machine::Admission;
pub use pace::{RETRY_AFTER_MAX, RETRY_AFTER_MIN};
pub use queue::FAIRNESS_BUCKETS;
pub use vocabulary::{Arrival, Decided, Priority, Reason, Rejected, Ticket, Verdict};

pub use crate::limit::{Outcome, Permit};
