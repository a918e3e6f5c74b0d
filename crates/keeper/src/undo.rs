//! Undoing a fault, surely the right one, any number of times.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, kill_process_group, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};

use crate::process::{pid_of, process_start_time};
use crate::{Entry, Fault, Journal};

/// What came of undoing one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// The process was still there and has been continued.
    Undone,
    /// Nothing to do: the process has ended, or belongs to an earlier boot, or its id names another process
    /// now.
    AlreadyGone,
}

/// What [`heal`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealReport {
    /// Faults put back.
    pub undone: usize,
    /// Faults whose target no longer exists.
    pub already_gone: usize,
    /// Faults that could not be put back; they stay open.
    pub failed: usize,
}

impl Fault {
    /// A pause of the process `pid`, to be undone by the keeper after `limit` if nobody does before.
    ///
    /// # Errors
    /// `NotFound` when there is no such process.
    pub fn pause(pid: u32, limit: Duration, label: &str) -> io::Result<Self> {
        let start_time = process_start_time(pid).ok_or(io::ErrorKind::NotFound)?;
        let deadline = boottime_nanos().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        let label = label.to_owned();
        Ok(Self { pid, start_time, boot_id: boot_id()?, deadline, label })
    }
}

/// Undoes `fault` if its target still is the process it was applied to.
pub fn undo(fault: &Fault) -> io::Result<Undo> {
    let of_this_boot = fault.boot_id == boot_id()?;
    match pid_of(fault.pid).filter(|_| of_this_boot).map(|pid| continue_target(pid, fault)) {
        Some(Ok(())) => Ok(Undo::Undone),
        None | Some(Err(Errno::SRCH)) => Ok(Undo::AlreadyGone),
        Some(Err(error)) => Err(error.into()),
    }
}

/// Continues the process and, since a pause stops a whole service, the group that it leads.
fn continue_target(pid: Pid, fault: &Fault) -> Result<(), Errno> {
    // The handle first, the check second: after that the id cannot pass to another process unnoticed.
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    if process_start_time(fault.pid) != Some(fault.start_time) {
        return Err(Errno::SRCH);
    }
    if getpgid(Some(pid)) == Ok(pid) {
        let _members_may_be_gone = kill_process_group(pid, Signal::CONT);
    }
    pidfd_send_signal(&process, Signal::CONT)
}

/// Undoes every fault that the journal in `state_dir` holds open, whatever its deadline. For use when the
/// process that applied them is gone. Doing it again changes nothing.
pub fn heal(state_dir: &Path) -> io::Result<HealReport> {
    let journal = Journal::open(state_dir)?;
    undo_all(&journal, journal.open_entries()?, |_| true)
}

/// Undoes the faults whose deadline has passed, so that a hung node cannot hold one for ever; returns the
/// time until the next deadline. An overdue fault that is only intended is undone at each call and stays
/// open, because its writer may hang just before applying it.
pub(crate) fn enforce_deadlines(journal: &Journal) -> io::Result<Option<Duration>> {
    let now = boottime_nanos();
    let (overdue, pending): (Vec<_>, Vec<_>) =
        journal.open_entries()?.into_iter().partition(|entry| entry.fault.deadline <= now);
    undo_all(journal, overdue, |entry| entry.is_applied)?;
    Ok(pending.iter().map(|entry| Duration::from_nanos(entry.fault.deadline - now)).min())
}

/// Undoes each of `entries`. Those whose target is gone are closed, and those that stay undone; one that could
/// not be undone stays open.
fn undo_all(
    journal: &Journal,
    entries: Vec<Entry>,
    stays_undone: impl Fn(&Entry) -> bool,
) -> io::Result<HealReport> {
    let mut report = HealReport::default();
    for entry in entries {
        let (count, closes) = match undo(&entry.fault) {
            Ok(Undo::Undone) => (&mut report.undone, stays_undone(&entry)),
            Ok(Undo::AlreadyGone) => (&mut report.already_gone, true),
            Err(_) => (&mut report.failed, false),
        };
        *count += 1;
        if closes {
            journal.reverted(&entry.id)?;
        }
    }
    Ok(report)
}

/// Nanoseconds since boot, time asleep included: a clock that all processes of a host share.
pub fn boottime_nanos() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// The name of this boot. Pauses do not survive a reboot, and process ids mean nothing after it.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
