//! The store next to the disk it is on, and to other people's queues.
//!
//! `measure [--quick]` prints one JSON object; what renders, judges and writes it down is `cargo xtask bench store`.
//! `fill` and `reopen` are processes of their own: one is killed, the other must begin with nothing in memory.

mod disk;
mod ours;
mod peers;
mod restart;
mod timing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

/// How long, and how much.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Of each row, in each round.
    pub(crate) lasts: Duration,
    /// Jobs that are pending at a restart.
    pub(crate) pending: u64,
}

const FULL: Effort = Effort { rounds: 3, lasts: Duration::from_secs(2), pending: 1_000_000 };
const QUICK: Effort = Effort { rounds: 1, lasts: Duration::from_millis(500), pending: 100_000 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["measure", folder] => println!("{}", measure(Path::new(folder), FULL)),
        ["measure", folder, "--quick"] => println!("{}", measure(Path::new(folder), QUICK)),
        ["fill", folder, jobs] => restart::fill(Path::new(folder), jobs.parse().expect("a number")),
        ["reopen", folder, jobs] => {
            println!("{}", restart::reopen(Path::new(folder), jobs.parse().expect("a number")));
        }
        _ => {
            eprintln!("usage: bench-store measure FOLDER [--quick]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn measure(folder: &Path, effort: Effort) -> serde_json::Value {
    let scratch = tempfile::tempdir_in(folder).expect("the folder can be written to");
    let place = |name: &str| -> PathBuf { scratch.path().join(name) };
    let mut rows = Vec::new();
    let mut disk = Vec::new();
    for round in 0..effort.rounds {
        eprintln!("round {} of {}", round + 1, effort.rounds);
        disk.push(disk::syncs_per_second(&place("zeroes"), effort.lasts));
        rows.extend(ours::rows(&place(&format!("ours-{round}")), effort));
    }
    eprintln!("restart with {} pending", effort.pending);
    let restart = restart::measure(&place("restart"), effort);
    eprintln!("peers");
    let peers = peers::all(&place("peers"), effort);
    json!({
        "effort": { "rounds": effort.rounds, "row_ms": effort.lasts.as_millis() as u64, "pending": effort.pending },
        "disk_syncs_per_second": disk, "rows": rows, "restart": restart, "peers": peers,
    })
}
