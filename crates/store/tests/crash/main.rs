//! What was acknowledged survives: processes killed under load, power cut at random points, disks that fail.
//!
//! A child process loads a store and writes down every acknowledgement it was given; afterwards the store is opened
//! again and has to show all of them. `kill -9` leaves the page cache alone and so cannot reveal a missing sync;
//! therefore power cuts are replayed from a record of every write and sync, with a control that ignores syncs and
//! must be caught.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a step that fails is a test that fails, and a random one says how to repeat it"
)]

mod child;
mod cuts;
mod faults;
mod kills;
mod ledger;
mod load;
mod trace;
