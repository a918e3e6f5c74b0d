//! Disks that fail: the store says so, for good, and keeps what it has acknowledged.

use std::time::Duration;

use crate::child;
use crate::ledger::{Ledger, Verdict};
use crate::load::EXIT_BROKEN;

/// Long enough that the fault comes before the end.
const LASTS: Duration = Duration::from_mins(1);

fn after(fault: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = child::recorded(folder.path(), LASTS, ("RECORDER_FAULT", fault));
    let status = child.wait().unwrap();
    assert_eq!(
        status.code(),
        Some(EXIT_BROKEN),
        "{fault}: everybody is told, and nothing is acknowledged after"
    );
    let ledger = Ledger::read(&std::fs::read_to_string(folder.path().join("acks")).unwrap());
    println!("{fault}: {} acknowledgements before", ledger.acknowledgements);
    assert_eq!(ledger.check(&folder.path().join("store")), Verdict::default(), "{fault}");
}

#[test]
fn a_failed_sync_breaks_the_store_although_the_next_one_would_succeed() {
    // The first ones meet the making of the files, later ones commits and checkpoints.
    for number in [1, 2, 3, 5, 9, 40, 301, 702, 1_103] {
        after(&format!("sync {number}"));
    }
}

#[test]
fn a_failed_write_breaks_the_store() {
    for number in [25, 600, 3_001, 9_002] {
        after(&format!("write {number}"));
    }
}

#[test]
fn a_full_disk_breaks_the_store() {
    for number in [30, 2_000, 7_001] {
        after(&format!("full {number}"));
    }
}
