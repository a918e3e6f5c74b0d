//! What our gateway costs next to HAProxy and nginx: CPU time per request, memory, latency.
//!
//! All proxies get one thread on the core of the upstream, so that they always have queued work, and the load
//! generator has the other core to itself. Rounds are interleaved, so that whatever drifts on the machine hits all
//! alike. CPU time per request is what to trust; requests per second contain the upstream's share of the core, and
//! latency is that of a closed loop at full load.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::bench::machine::{self, Core};
use crate::bench::proxy::{Body, Proxy, Stage};
use crate::bench::report::{self, IdleRow, Measured, Report, Row};
use crate::bench::wrk::Load;
use crate::bench::{idle, process::CpuTime};
use crate::run::{ensure, root, run as command};

/// The core of proxy and upstream.
const PROXY_CORE: usize = 1;
/// The core of the load.
const LOAD_CORE: usize = 0;
/// Before each measurement.
const WARM_UP: Duration = Duration::from_secs(2);
/// After each: until what was begun is written, logs for example, so that it counts.
const SETTLE: Duration = Duration::from_millis(300);
/// The idle connections of the bench and the proxies need descriptors.
const DESCRIPTORS: usize = 16_384;

const USAGE: &str = "\
usage: cargo xtask bench gateway [OPTIONS]
  --quick           one round of 2 s each; the results are not kept
  --rounds N        rounds per row (3)
  --only 1k         the 1 KiB keep-alive rows only; the results are not kept
  --binary PATH     measure this seaworthy instead of building one; the results are not kept";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    rounds: usize,
    measure: Duration,
    only_small: bool,
    binary: Option<PathBuf>,
    /// Results belong into the repository.
    keep: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options =
            Self { rounds: 3, measure: Duration::from_secs(8), only_small: false, binary: None, keep: true };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match *word {
                "--quick" => {
                    (options.rounds, options.measure, options.keep) = (1, Duration::from_secs(2), false);
                }
                "--rounds" => {
                    let number = words.next().and_then(|number| number.parse().ok());
                    options.rounds = number.filter(|rounds| (1..=100).contains(rounds)).context(USAGE)?;
                }
                "--only" if words.next() == Some(&"1k") => (options.only_small, options.keep) = (true, false),
                "--binary" => {
                    options.binary = Some(PathBuf::from(words.next().context(USAGE)?));
                    options.keep = false;
                }
                _ => bail!("{USAGE}"),
            }
        }
        Ok(options)
    }
}

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) body: Body,
    pub(crate) new_connections: bool,
}

const WORKLOADS: [Workload; 4] = [
    Workload { body: Body::Small, new_connections: false },
    Workload { body: Body::Large, new_connections: false },
    Workload { body: Body::Small, new_connections: true },
    Workload { body: Body::Large, new_connections: true },
];

pub(crate) fn run(options: &Options) -> Result<()> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        bail!("this bench needs two cores: one for the proxies, one for the load");
    }
    ensure("haproxy", "-v", "haproxy")?;
    ensure("nginx", "-v", "nginx-light")?;
    // It fails when asked for its version, so it always looks as if it was missing.
    if !machine::version("wrk", "--version").starts_with("wrk") {
        ensure("wrk", "--version", "wrk")?;
    }
    raise_descriptor_limit()?;
    let binary = binary(options)?;
    let stage = Stage::set(PROXY_CORE, binary.clone())?;
    let workloads = if options.only_small { &WORKLOADS[..1] } else { &WORKLOADS[..] };
    let mut report = Report::new(options.rounds, WARM_UP, options.measure, &binary);
    for workload in workloads {
        report.rows.extend(compare(&stage, *workload, options)?);
    }
    if !options.only_small {
        report.idle = idle_rows(&stage, options.rounds)?;
    }
    drop(stage);
    let folder = root().join(if options.keep { "bench/results" } else { "target/bench" });
    report::write(&report, &folder)
}

/// All rounds of one workload, interleaved.
fn compare(stage: &Stage, workload: Workload, options: &Options) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Proxy::ALL.into_iter().map(|proxy| Row::new(proxy, workload)).collect();
    for round in 0..options.rounds {
        for turn in 0..rows.len() {
            // Another one begins each round, so that nobody always follows the same neighbour.
            let row = (round + turn) % Proxy::ALL.len();
            let row = &mut rows[row];
            let measured = measure(stage, row.proxy, workload, options.measure)
                .with_context(|| format!("measuring {}", row.proxy.name()))?;
            println!("round {} {}", round + 1, report::round(row.proxy, workload, &measured));
            row.rounds.push(measured);
        }
    }
    Ok(rows)
}

fn measure(stage: &Stage, proxy: Proxy, workload: Workload, duration: Duration) -> Result<Measured> {
    let mut quiet = machine::wait_for_quiet();
    let running = stage.start(proxy)?;
    let url = format!("http://{}{}", stage.listen(), workload.body.path());
    let load = Load { url, new_connections: workload.new_connections, core: LOAD_CORE };
    load.run(WARM_UP)?;
    sleep(SETTLE);
    let (core, cpu, upstream) = (Core::read(stage.core)?, running.cpu_time(), stage.upstream().cpu_time());
    let seen = load.run(duration)?;
    sleep(SETTLE);
    let cpu = running.cpu_time().since(&cpu);
    let upstream = stage.upstream().cpu_time().since(&upstream);
    let noise = Core::read(stage.core)?.noise_since(&core, cpu.total + upstream.total);
    quiet = quiet && noise.is_quiet() && !machine::is_compiling();
    let pss_kib = running.pss_kib();
    drop(running);
    let dropped_log_lines = stage.take_dropped_log_lines()?;
    if seen.requests == 0 {
        bail!("no request was answered");
    }
    let per_request = |time: Duration| time.as_secs_f64() * 1e6 / seen.requests as f64;
    let CpuTime { total, user, system } = cpu;
    Ok(Measured {
        cpu_us: per_request(total),
        user_us: per_request(user),
        system_us: per_request(system),
        seen,
        pss_kib,
        dropped_log_lines,
        quiet,
    })
}

fn idle_rows(stage: &Stage, rounds: usize) -> Result<Vec<IdleRow>> {
    let mut rows: Vec<IdleRow> = Proxy::ALL.into_iter().map(IdleRow::new).collect();
    for _ in 0..rounds {
        for row in &mut rows {
            let kib = idle::kib_per_connection(stage, row.proxy)
                .with_context(|| format!("idle connections of {}", row.proxy.name()))?;
            println!("{:>10}, {} idle connections: {kib:.1} KiB each", row.proxy.name(), idle::CONNECTIONS);
            row.kib.push(kib);
        }
    }
    stage.take_dropped_log_lines()?;
    Ok(rows)
}

fn raise_descriptor_limit() -> Result<()> {
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let ourselves = std::process::id().to_string();
    let status =
        Command::new("prlimit").args(["--pid", &ourselves, &limit]).status().context("running prlimit")?;
    if !status.success() {
        bail!("cannot raise the limit of open files to {DESCRIPTORS}");
    }
    Ok(())
}

/// A release binary that is newer than everything it is made from.
fn binary(options: &Options) -> Result<PathBuf> {
    if let Some(binary) = &options.binary {
        return binary.canonicalize().with_context(|| format!("finding {}", binary.display()));
    }
    let binary = root().join("target/release/seaworthy");
    let built = modified(&binary);
    let sources = ["crates", "Cargo.toml", "Cargo.lock"].map(|name| newest(&root().join(name)));
    if built.is_none() || sources.into_iter().flatten().max() > built {
        command("cargo build --release --package seaworthy")?;
    }
    Ok(binary)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// When the newest file below was changed.
fn newest(path: &Path) -> Option<SystemTime> {
    let Ok(entries) = path.read_dir() else { return modified(path) };
    entries.flatten().filter_map(|entry| newest(&entry.path())).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_runs_are_kept() {
        let parse = |words: &[&str]| Options::parse(words).unwrap();
        assert!(parse(&[]).keep && parse(&["--rounds", "5"]).keep);
        let quick = parse(&["--quick"]);
        assert_eq!((quick.keep, quick.rounds, quick.measure), (false, 1, Duration::from_secs(2)));
        assert!(!parse(&["--only", "1k"]).keep && !parse(&["--binary", "x"]).keep);
        for wrong in [&["--rounds"][..], &["--rounds", "0"], &["--only", "64k"], &["--fast"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
