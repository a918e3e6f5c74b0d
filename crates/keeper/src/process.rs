//! Processes: telling them apart, reaping them, and leaving none behind.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpgrp, getpid, kill_process, kill_process_group, wait};

/// Between two looks for children that were killed and are not gone yet.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// The start time of a process in clock ticks since boot (field 22 of `/proc/PID/stat`), or `None` when there
/// is no such process. Together with the process id it names one process of one boot.
pub fn process_start_time(pid: u32) -> Option<u64> {
    Some(read_stat(pid)?.start_time)
}

/// The id in the form that system calls take; `None` for numbers that name no process.
pub(crate) fn pid_of(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// What a sweep achieved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sweep {
    /// Processes that are gone.
    pub ended: usize,
    /// Whether something withstood SIGKILL until the limit, as a process in uninterruptible sleep does.
    pub is_incomplete: bool,
}

/// Kills every descendant of this process. As the subreaper it is the parent of all orphans, so killing its
/// children brings their children to it, until there are none. Takes at most `limit`. Reaps every child of the process it runs in.
pub fn sweep(limit: Duration) -> Sweep {
    let deadline = Instant::now() + limit;
    let mut ended = 0;
    while let Ok(child) = wait(WaitOptions::NOHANG) {
        if child.is_some() {
            ended += 1;
        } else if Instant::now() < deadline {
            kill_children();
            thread::sleep(SWEEP_PAUSE);
        } else {
            return Sweep { ended, is_incomplete: true };
        }
    }
    Sweep { ended, is_incomplete: false }
}

/// Kills each child and its process group, unless that is this process's own. Only a sweep reaps meanwhile,
/// so neither id can have passed to anybody else.
fn kill_children() {
    let Ok(folders) = fs::read_dir("/proc") else { return };
    for id in folders.flatten().filter_map(|folder| folder.file_name().to_str()?.parse().ok()) {
        let Some(stat) = read_stat(id).filter(|stat| stat.parent == Some(getpid())) else { continue };
        // The group of init must not be named: to the kernel it means every process there is.
        if let Some(group) = stat.group.filter(|group| *group != getpgrp() && !group.is_init()) {
            let _gone_already = kill_process_group(group, Signal::KILL);
        }
        let _gone_already = pid_of(id).map(|pid| kill_process(pid, Signal::KILL));
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: Option<Pid>,
    group: Option<Pid>,
    start_time: u64,
}

fn read_stat(pid: u32) -> Option<Stat> {
    // The name of a process is free text and need not be UTF-8.
    let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&bytes))
}

/// The second field is the name in parentheses, which may itself contain spaces and parentheses: count from
/// the last.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        parent: pid_of(fields.get(1)?.parse().ok()?),
        group: pid_of(fields.get(2)?.parse().ok()?),
        start_time: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_name() {
        let after = "S 77 88 88 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 9";
        let expected = Some(Stat { parent: pid_of(77), group: pid_of(88), start_time: 123_456 });
        for name in ["sh", "a b", "a) S 1 1", "((", ")"] {
            assert_eq!(parse_stat(&format!("42 ({name}) {after}")), expected, "{name}");
        }
        for broken in ["", "42", "42 (sh)", "42 (sh) S 77", "42 (sh) S x 88 88"] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn start_time_exists_only_for_processes() {
        assert!(process_start_time(std::process::id()).is_some_and(|time| time > 0));
        assert_eq!(process_start_time(std::process::id()), process_start_time(std::process::id()));
        assert_eq!(process_start_time(0), None);
        assert_eq!(process_start_time(u32::MAX), None);
    }
}
