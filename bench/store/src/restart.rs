//! A process is killed with many jobs pending; how long until the next one hands out the first, and knows all?

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use seaworthy_store::{Claim, Embedded, Holder, Jobs, Options};
use serde_json::{Value, json};

use crate::Effort;
use crate::ours::{self, QUEUE};

pub(crate) fn measure(folder: &Path, effort: Effort) -> Value {
    let myself = std::env::current_exe().expect("a program has a path");
    let (folder, jobs) = (folder.to_str().expect("a plain path"), effort.pending.to_string());
    let mut filler = Command::new(&myself)
        .args(["fill", folder, &jobs])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut said = String::new();
    let output = filler.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut said).expect("it says when it is done");
    filler.kill().expect("it is there");
    filler.wait().expect("it is gone");
    let runs = (0..effort.rounds).map(|_| {
        let reopened =
            Command::new(&myself).args(["reopen", folder, &jobs]).output().expect("it can be started");
        serde_json::from_slice(&reopened.stdout).expect("it prints what it measured")
    });
    Value::Array(runs.collect())
}

/// Fills a store and waits to be killed.
pub(crate) fn fill(folder: &Path, jobs: u64) {
    let store = Embedded::open(folder, &Options::default()).expect("a new store can be opened");
    ours::fill(&store, jobs);
    println!("full");
    std::io::stdout().flush().expect("somebody listens");
    std::thread::sleep(Duration::from_mins(5));
}

pub(crate) fn reopen(folder: &Path, jobs: u64) -> Value {
    let before = resident_bytes();
    let begin = Instant::now();
    let store = Embedded::open(folder, &Options::default()).expect("it can be opened");
    let opened = begin.elapsed();
    let first = loop {
        let lease = Duration::from_secs(1);
        let claim = Claim { queue: QUEUE.to_owned(), max: 1, lease, holder: Holder::Inside };
        if !store.claim(claim).wait().expect("it can be read").is_empty() {
            break begin.elapsed();
        }
    };
    let counts = loop {
        let counts = store.counts(QUEUE).wait().expect("it can be read");
        if counts.complete {
            break counts;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let complete = begin.elapsed();
    let grown = resident_bytes().saturating_sub(before);
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    json!({
        "open_ms": ms(opened), "first_claim_ms": ms(first), "complete_ms": ms(complete),
        "rss_grown_bytes": grown, "rss_per_job": grown as f64 / jobs as f64,
        "jobs": counts.ready + counts.leased + counts.delayed,
    })
}

/// What of this process is in memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1_024
}
