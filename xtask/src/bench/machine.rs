//! What else the machine is doing, and what it is.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::run::root;

/// A round waits this long for compilers to end, then runs anyway and says that it was not quiet.
const QUIET_WAIT_MAX: Duration = Duration::from_mins(1);
/// How often is looked.
const QUIET_POLL: Duration = Duration::from_secs(1);
/// A round counts as quiet while others took at most this share of the proxy's core ...
const FOREIGN_SHARE_MAX: f64 = 0.03;
/// ... and the hypervisor this share of it.
const STOLEN_SHARE_MAX: f64 = 0.02;
/// `/proc` counts CPU time in ticks of 10 ms on every Linux that we run on.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Waits until no compiler runs; false when one still does.
pub(crate) fn wait_for_quiet() -> bool {
    let started = Instant::now();
    while is_compiling() {
        if started.elapsed() >= QUIET_WAIT_MAX {
            return false;
        }
        sleep(QUIET_POLL);
    }
    true
}

/// True while a Rust compiler runs anywhere on this machine.
pub(crate) fn is_compiling() -> bool {
    Command::new("pgrep").args(["-x", "rustc"]).output().is_ok_and(|output| output.status.success())
}

/// CPU time of one core since boot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Core {
    busy: Duration,
    stolen: Duration,
    at: Instant,
}

impl Core {
    /// Reads the counters of core `index`.
    pub(crate) fn read(index: usize) -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let name = format!("cpu{index}");
        let line = text.lines().find(|line| line.split(' ').next() == Some(&name));
        let line = line.with_context(|| format!("/proc/stat has no {name}"))?;
        let ticks: Vec<u32> = line.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let busy = [0, 1, 2, 5, 6].iter().filter_map(|index| ticks.get(*index)).sum::<u32>();
        let stolen = ticks.get(7).copied().unwrap_or(0);
        Ok(Self { busy: TICK * busy, stolen: TICK * stolen, at: Instant::now() })
    }

    /// What others did on this core since `earlier`, given what was ours.
    pub(crate) fn noise_since(&self, earlier: &Self, ours: Duration) -> Noise {
        let elapsed = self.at.duration_since(earlier.at).as_secs_f64();
        let busy = self.busy.saturating_sub(earlier.busy);
        Noise {
            foreign_share: busy.saturating_sub(ours).as_secs_f64() / elapsed,
            stolen_share: self.stolen.saturating_sub(earlier.stolen).as_secs_f64() / elapsed,
        }
    }
}

/// How much of the proxy's core was not ours during a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noise {
    foreign_share: f64,
    stolen_share: f64,
}

impl Noise {
    pub(crate) fn is_quiet(&self) -> bool {
        self.foreign_share <= FOREIGN_SHARE_MAX && self.stolen_share <= STOLEN_SHARE_MAX
    }
}

/// First line of what a program says about itself, on whichever stream it says it.
pub(crate) fn version(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return "unknown".to_owned() };
    let all = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&all).lines().next().unwrap_or("unknown").trim().to_owned()
}

/// What the numbers belong to: when, which commit, which machine.
pub(crate) fn provenance() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "date": output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": output("git", &["rev-parse", "HEAD"]),
        "changed_since_commit": !output("git", &["status", "--porcelain", "--", "crates", "Cargo.toml", "Cargo.lock"]).is_empty(),
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": output("uname", &["-sr"]),
    })
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
