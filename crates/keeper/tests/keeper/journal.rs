//! The journal with real processes and real files: what is undone, what is left alone, what is refused.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::support::{Target, pause, poll, state};
use seaworthy_keeper::{Fault, HealReport, JOURNAL_BYTES_MAX, Journal, Undo, boottime_nanos, heal, undo};
use tempfile::tempdir;

const LONG: Duration = Duration::from_mins(10);

#[test]
fn heal_undoes_once_and_is_idempotent() {
    let dir = tempdir().unwrap();
    let target = Target::new();
    let journal = Journal::open(dir.path()).unwrap();
    let id = journal.intend(&Fault::pause(target.pid(), LONG, "a b ;\n").unwrap()).unwrap();
    pause(target.pid());
    journal.applied(&id).unwrap();
    assert!(journal.open_entries().unwrap()[0].is_applied);

    assert_eq!(heal(dir.path()).unwrap(), HealReport { undone: 1, ..HealReport::default() });
    poll("continued", || (state(target.pid()) != Some('T')).then_some(()));
    pause(target.pid());
    assert_eq!(heal(dir.path()).unwrap(), HealReport::default());
    assert_eq!(state(target.pid()), Some('T'), "a closed fault is not undone again");
}

#[test]
fn another_process_boot_or_time_is_left_alone() {
    let target = Target::new();
    let real = Fault::pause(target.pid(), LONG, "target").unwrap();
    pause(target.pid());
    let rows = [
        ("the pid was used again", Fault { start_time: real.start_time - 1, ..real.clone() }),
        (
            "another boot",
            Fault { boot_id: "00000000-0000-0000-0000-000000000000".to_owned(), ..real.clone() },
        ),
        ("no such process", Fault { pid: 0, ..real.clone() }),
        ("no pid at all", Fault { pid: u32::MAX, ..real.clone() }),
    ];
    for (name, fault) in rows {
        assert_eq!(undo(&fault).unwrap(), Undo::AlreadyGone, "{name}");
        assert_eq!(state(target.pid()), Some('T'), "{name}");
        let dir = tempdir().unwrap();
        Journal::open(dir.path()).unwrap().intend(&fault).unwrap();
        assert_eq!(
            heal(dir.path()).unwrap(),
            HealReport { already_gone: 1, ..HealReport::default() },
            "{name}"
        );
        assert_eq!(heal(dir.path()).unwrap(), HealReport::default(), "{name}");
    }
    assert_eq!(undo(&real).unwrap(), Undo::Undone);
    poll("continued", || (state(target.pid()) != Some('T')).then_some(()));

    let gone = Fault::pause(target.pid(), LONG, "target").unwrap();
    drop(target);
    assert_eq!(undo(&gone).unwrap(), Undo::AlreadyGone);
}

#[test]
fn a_torn_end_neither_counts_nor_spoils_what_follows() {
    let dir = tempdir().unwrap();
    let target = Target::new();
    let journal = Journal::open(dir.path()).unwrap();
    let fault = Fault::pause(target.pid(), LONG, "first").unwrap();
    journal.intend(&fault).unwrap();
    let mut file = OpenOptions::new().append(true).open(dir.path().join("journal")).unwrap();
    file.write_all(b"\nintend 99-1 pause 1 2 3").unwrap();
    assert_eq!(journal.open_entries().unwrap().len(), 1);

    let second = journal.intend(&Fault { label: "second".to_owned(), ..fault }).unwrap();
    let labels: Vec<String> =
        journal.open_entries().unwrap().into_iter().map(|entry| entry.fault.label).collect();
    assert_eq!(labels, ["first", "second"]);
    journal.reverted(&second).unwrap();
    assert_eq!(journal.open_entries().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_written_down_must_not_be_applied() {
    let target = Target::new();
    let fault = Fault::pause(target.pid(), LONG, "target").unwrap();
    let full_disk = tempdir().unwrap();
    symlink("/dev/full", full_disk.path().join("journal")).unwrap();
    let error = Journal::open(full_disk.path()).unwrap().intend(&fault).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);

    let dir = tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let id = journal.intend(&fault).unwrap();
    let size = fs::metadata(dir.path().join("journal")).unwrap().len();
    let padding = "\n".repeat((JOURNAL_BYTES_MAX - size) as usize);
    let mut file = OpenOptions::new().append(true).open(dir.path().join("journal")).unwrap();
    file.write_all(padding.as_bytes()).unwrap();
    assert!(journal.intend(&fault).is_err(), "full");
    journal.reverted(&id).unwrap();
    assert_eq!(journal.open_entries().unwrap(), [], "closing is always possible");
}

/// Opens a handle of its own, writes down and applies `faults` faults, and leaves each fifth one open.
fn write_many(dir: &Path, fault: &Fault, faults: usize) {
    let journal = Journal::open(dir).expect("the folder exists");
    for number in 0..faults {
        let id = journal.intend(fault).expect("there is room");
        journal.applied(&id).expect("there is room");
        if number % 5 > 0 {
            journal.reverted(&id).expect("there is room");
        }
    }
}

#[test]
fn many_writers_do_not_disturb_each_other() {
    const WRITERS: usize = 4;
    const FAULTS: usize = 25;
    let dir = tempdir().unwrap();
    let target = Target::new();
    let fault = Fault::pause(target.pid(), LONG, "x").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| write_many(dir.path(), &fault, FAULTS));
        }
    });
    let open = Journal::open(dir.path()).unwrap().open_entries().unwrap();
    assert_eq!(open.len(), WRITERS * FAULTS / 5);
    assert!(open.iter().all(|entry| entry.is_applied && entry.fault == fault));
}

#[test]
fn a_pause_names_a_living_process_and_a_deadline_on_the_boot_clock() {
    assert_eq!(Fault::pause(u32::MAX, LONG, "").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let before = boottime_nanos();
    let fault = Fault::pause(std::process::id(), Duration::from_nanos(5), "").unwrap();
    assert!((before + 5..=boottime_nanos() + 5).contains(&fault.deadline));
    let forever = Fault::pause(std::process::id(), Duration::MAX, "").unwrap();
    assert_eq!(forever.deadline, u64::MAX);
}
