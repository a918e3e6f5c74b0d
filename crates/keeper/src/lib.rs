//! The keeper: the small process that outlives the others.
//!
//! A node can be killed at any instant, and so can the driver that judges it. Neither can clean up after its
//! own death, so a third process does: it starts the node, reaps every orphan below it, starts the node again
//! when it dies, and puts back what was broken on purpose. Faults that do not end by themselves are written
//! to a [`Journal`] before they are applied; whoever finds the journal later can undo them.
//!
//! What the keeper promises:
//! - the owner dies (end of file on the keeper's stdin): every fault is undone and every process below is
//!   gone, well within two seconds;
//! - the node dies: its descendants are gone, faults are undone, and it is started again, after a pause that
//!   grows;
//! - the keeper dies: the node sees the end of its stdin, and the next keeper heals what the journal still
//!   holds open;
//! - a fault whose deadline has passed is undone even when the node hangs.
//!
//! Deliberately absent: an async runtime, sockets, user input, knowledge of services, and any judgement of
//! whether a node that is alive is also healthy. Needs Linux 5.3 (pidfd) and a mounted `/proc`.

mod config;
mod decide;
mod journal;
mod news;
mod process;
mod record;
mod run;
mod undo;

pub use config::{KeeperConfig, Owner};
pub use journal::{JOURNAL_BYTES_MAX, Journal};
pub use process::{Sweep, process_start_time, sweep};
pub use record::{Entry, Fault, Id, LABEL_BYTES_MAX};
pub use run::{EXIT_COULD_NOT_START, EXIT_NOT_CLEAN, READY_FILE, run};
pub use undo::{HealReport, Undo, boot_id, boottime_nanos, heal, undo};
