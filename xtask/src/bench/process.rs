//! Programs that run beside us: started on one core, watched through `/proc`, and stopped in every case.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::machine::TICK;

/// A program that was asked to end is killed after this long.
const STOP_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often is looked whether it ended.
const STOP_POLL: Duration = Duration::from_millis(10);

/// A program with all its descendants. Dropping it stops them; the kernel stops it when we die without dropping.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    stop_wait_max: Duration,
}

/// CPU time of a process tree.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuTime {
    /// Run time as the scheduler counts it, in nanoseconds of resolution.
    pub(crate) total: Duration,
    /// Of this in user mode, in ticks.
    pub(crate) user: Duration,
    /// Of this in the kernel, in ticks.
    pub(crate) system: Duration,
}

impl CpuTime {
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// A command that runs on one core only, and is told to end when we die.
pub(crate) fn pinned(core: usize, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &core.to_string()]);
    command.arg(program.as_ref());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

impl Running {
    /// Starts a command; what it complains about goes to a file.
    pub(crate) fn start(name: &'static str, mut command: Command, complaints: &Path) -> Result<Self> {
        let file = File::create(complaints).with_context(|| format!("creating {}", complaints.display()))?;
        let child = command.stderr(file).spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child, stop_wait_max: STOP_WAIT_MAX })
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("{} ended: {status}", self.name))
    }

    /// CPU time of the whole tree so far.
    pub(crate) fn cpu_time(&self) -> CpuTime {
        let mut sum = CpuTime::default();
        for process in self.tree() {
            sum.total += scheduled(process);
            if let Some(stat) = Stat::read(process) {
                sum.user += stat.user;
                sum.system += stat.system;
            }
        }
        sum
    }

    /// Memory of the whole tree in KiB, shared pages divided among those who share them.
    pub(crate) fn pss_kib(&self) -> u64 {
        self.tree().into_iter().filter_map(pss_kib).sum()
    }

    /// The process and its descendants.
    fn tree(&self) -> Vec<u32> {
        let all: Vec<(u32, u32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|process| Some((process, Stat::read(process)?.parent)))
            .collect();
        let mut tree = vec![self.child.id()];
        let mut next = 0;
        while let Some(parent) = tree.get(next).copied() {
            tree.extend(all.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
            next += 1;
        }
        tree
    }

    fn wait(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < self.stop_wait_max {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            sleep(STOP_POLL);
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let tree = self.tree();
        signal("-TERM", &tree[..1]);
        if !self.wait() {
            // It is still there, so none of its descendants' ids can have been given to anybody else.
            signal("-KILL", &self.tree());
            let _ = self.child.wait();
        }
    }
}

fn signal(which: &str, processes: &[u32]) {
    let ids = processes.iter().map(u32::to_string);
    let _ = Command::new("kill").arg(which).args(ids).stderr(Stdio::null()).status();
}

/// The scheduler's count of the run time of all threads.
fn scheduled(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanos = texts.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

fn pss_kib(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
}

/// What we want of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    user: Duration,
    system: Duration,
}

impl Stat {
    fn read(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The program's name stands in parentheses and may contain anything, parentheses and spaces too.
        let words: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| Some(TICK * words.get(index)?.parse::<u32>().ok()?);
        Some(Self { parent: words.get(1)?.parse().ok()?, user: ticks(11)?, system: ticks(12)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_do_not_shift_the_fields() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 250 100 0 0 20 0 1 0 5 6 7";
        let expected = Stat { parent: 3, user: Duration::from_millis(2500), system: Duration::from_secs(1) };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 3"), None);
    }

    #[test]
    fn a_dropped_program_and_its_children_are_gone() {
        let mut command = Command::new("sh");
        // The shell ignores the polite request; its child is a process of its own.
        command.args(["-c", "trap '' TERM; sleep 1000 & wait; wait"]).stdin(Stdio::null());
        let complaints = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        let mut running = Running::start("sh", command, &complaints).unwrap();
        running.stop_wait_max = Duration::from_millis(200);
        let started = Instant::now();
        while running.tree().len() < 2 {
            assert!(started.elapsed() < STOP_WAIT_MAX, "the child never came");
            sleep(STOP_POLL);
        }
        let tree = running.tree();
        drop(running);
        let _ = fs::remove_file(complaints);
        // An orphan stays in the table until its new parent has waited for it.
        let is_alive = |process: &u32| {
            let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            !matches!(
                text.rsplit_once(')').map(|(_, rest)| rest.trim_start().starts_with('Z')),
                None | Some(true)
            )
        };
        let started = Instant::now();
        while tree.iter().any(is_alive) {
            assert!(started.elapsed() < STOP_WAIT_MAX, "one of {tree:?} is still there");
            sleep(STOP_POLL);
        }
    }
}
