//! Who may be under way, who waits, and who is refused: one queue around the one limit of an edge.
//!
//! **Problem.** Beyond its capacity a backend cannot serve everybody; what remains is to choose. Without a choice the
//! queue chooses: everybody waits until nobody's answer is of use any more, and those who matter wait with the rest.
//!
//! **Model.** An arrival takes a place of the [`Limit`](crate::Limit) if there is one and goes at once. Otherwise it
//! may wait, and gets a ticket; what becomes of it is a decision that its owner takes. Nobody waits while there is
//! room.
//! - **Priority** is strict: a lower one goes only when no higher one waits, and a full queue evicts the lowest.
//! - **Fairness keys** take turns within a priority. When the queue is full, the longest key gives way, so that none
//!   has more than its share while others want theirs (McKenney 1990).
//! - **Discipline**: the oldest first; with *adaptive LIFO* the newest first once the queue has been standing.
//! - **The wait is part of the deadline.** Who could not start in time, as fast as the queue moves, is refused at once;
//!   whose deadline comes is dropped then. What a call needs after its start is the caller's to subtract.
//! - **The rejector** ends pointless waiting. *CoDel* (as in Facebook's "Fail at Scale", 2015): once a priority's queue
//!   has stood for `codel_interval`, those who have waited `codel_target` are dropped, all but the last one, so that a
//!   place that becomes free finds somebody. Critical priorities have fifty times that patience, because their
//!   queue drains by itself as long as critical calls alone are not too many. *PID* (after Uber's Cinnamon, 2023) refuses a
//!   share of arrivals, the lowest first, so that the wait settles at the target.
//!
//! What we refuse is typed as ours and says when to try again, worked out from the pace at which the queue moves.
//! Permits are taken when a call goes, never by asking for readiness, so that idle connections hold none
//! (vector#26457). Memory is bounded by `max_queue`, decisions left lying by twice that; nothing is allocated before the
//! first call waits. A step costs the same however many wait, but for deadlines (a heap) and evictions (64 buckets).
//!
//! **Measured**: as for the limit (800 calls/s, 40 places, Vegas), queue of 100, critical calls half the capacity,
//! sheddable ones the rest. Goodput / critical calls answered / p99 from arrival as a multiple of the unloaded one:
//!
//! | offered | no rejector, FIFO | **CoDel, adaptive LIFO** | PID, FIFO |
//! |---|---|---|---|
//! | 0.5 x | 98 % / 100 % / 1.03 | 98 % / 100 % / 1.03 | 98 % / 100 % / 1.03 |
//! | 1.2 x | 99 % / 100 % / 2.10 | 99 % / 100 % / 1.12 | 98 % / 99.3 % / 1.07 |
//! | 2 x | 100 % / 100 % / 2.03 | 100 % / 100 % / 1.16 | 100 % / 93.7 % / 1.10 |
//! | 4 x | 99 % / 100 % / 2.05 | 100 % / 100 % / 1.04 | 100 % / 80.4 % / 1.08 |
//! | 2 x, critical 0.9 | 100 % / 100 % / 4.41 | 100 % / 100 % / 1.15 | 100 % / 85.0 % / 1.07 |
//! | 2 x, critical 1.5 | 99 % / 66.8 % / 1.56 | 99 % / 66.2 % / 1.56 | 100 % / 60.3 % / 1.11 |
//!
//! At 0.9, CoDel kept every critical call with each of five seeds, under Vegas and under a fixed limit. PID refuses before
//! it knows whether the queue will sort out the priorities by itself, and so spends critical calls; it also measures the
//! wait of those who go, which a starved priority does not raise. CoDel is the default.
//!
//! **Rejected:** a semaphore with a wait list (no priorities, no deadline, no reason); one queue per priority with its
//! own limit (capacity stands idle in one while another sheds); random early drop (refuses while there is room); a map
//! of keys (unbounded, or a second eviction problem).

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
