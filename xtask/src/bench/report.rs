//! What was measured, for people and for machines.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench::gateway::Workload;
use crate::bench::idle;
use crate::bench::machine;
use crate::bench::proxy::{Body, Proxy};
use crate::bench::statistics::{Samples, two_decimals};
use crate::bench::wrk::{self, Seen};

/// CPU time per request that we allow ourselves, as a multiple of HAProxy's, at 1 KiB over kept connections.
const CPU_RATIO_MAX: f64 = 1.25;
/// Memory of an idle connection that we allow ourselves.
const IDLE_KIB_MAX: f64 = 24.0;

/// One round of one proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) cpu_us: f64,
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
    pub(crate) seen: Seen,
    pub(crate) pss_kib: u64,
    /// A log that drops lines is cheaper than one that writes them.
    pub(crate) dropped_log_lines: u64,
    /// Nothing else of weight ran meanwhile.
    pub(crate) quiet: bool,
}

/// All rounds of one proxy under one workload.
pub(crate) struct Row {
    pub(crate) proxy: Proxy,
    pub(crate) workload: Workload,
    pub(crate) rounds: Vec<Measured>,
}

impl Row {
    pub(crate) fn new(proxy: Proxy, workload: Workload) -> Self {
        Self { proxy, workload, rounds: Vec::new() }
    }

    fn of(&self, measure: impl Fn(&Measured) -> f64) -> Samples {
        self.rounds.iter().map(measure).collect()
    }

    fn cpu_us(&self) -> Samples {
        self.of(|round| round.cpu_us)
    }

    fn quiet_rounds(&self) -> usize {
        self.rounds.iter().filter(|round| round.quiet).count()
    }

    fn errors(&self) -> u64 {
        self.rounds.iter().map(|round| round.seen.errors).sum()
    }

    fn dropped_log_lines(&self) -> u64 {
        self.rounds.iter().map(|round| round.dropped_log_lines).sum()
    }

    fn json(&self, ratio: f64) -> Value {
        json!({
            "proxy": self.proxy.name(),
            "body_bytes": self.workload.body.bytes(),
            "connections": connections(self.workload),
            "cpu_us_per_request": self.cpu_us().json(),
            "user_us_per_request": self.of(|round| round.user_us).json(),
            "system_us_per_request": self.of(|round| round.system_us).json(),
            "cpu_ratio_to_haproxy": two_decimals(ratio),
            "requests_per_second": self.of(|round| round.seen.rate).json(),
            "p99_us": self.of(|round| round.seen.p99_us).json(),
            "pss_kib": self.of(|round| round.pss_kib as f64).json(),
            "errors": self.errors(),
            "dropped_log_lines": self.dropped_log_lines(),
            "quiet_rounds": self.quiet_rounds(),
            "rounds": self.rounds.len(),
        })
    }
}

/// Idle connections of one proxy.
pub(crate) struct IdleRow {
    pub(crate) proxy: Proxy,
    pub(crate) kib: Samples,
}

impl IdleRow {
    pub(crate) fn new(proxy: Proxy) -> Self {
        Self { proxy, kib: Samples::default() }
    }
}

/// A whole run.
pub(crate) struct Report {
    rounds: usize,
    warm_up: Duration,
    measure: Duration,
    binary: PathBuf,
    /// Taken before the first round: others may commit meanwhile.
    of: Value,
    pub(crate) rows: Vec<Row>,
    pub(crate) idle: Vec<IdleRow>,
}

/// A target, and whether it was met.
struct Verdict {
    target: &'static str,
    measured: f64,
    limit: f64,
    /// `None` when the measurement does not decide.
    met: Option<bool>,
}

impl Report {
    pub(crate) fn new(rounds: usize, warm_up: Duration, measure: Duration, binary: &Path) -> Self {
        Self {
            rounds,
            warm_up,
            measure,
            binary: binary.to_path_buf(),
            of: machine::provenance(),
            rows: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// A row's CPU time per request, as a multiple of HAProxy's under the same load.
    fn ratio(&self, row: &Row) -> f64 {
        let same = |other: &&Row| {
            other.proxy == Proxy::Haproxy
                && other.workload.body == row.workload.body
                && other.workload.new_connections == row.workload.new_connections
        };
        self.rows.iter().find(same).map_or(f64::NAN, |peer| row.cpu_us().median() / peer.cpu_us().median())
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let judged = |row: &&Row| {
            row.proxy == Proxy::Seaworthy && row.workload.body == Body::Small && !row.workload.new_connections
        };
        let cpu = self.rows.iter().find(judged).map(|row| {
            let measured = self.ratio(row);
            // Errors and lost log lines make requests cheaper than they are.
            let honest = row.errors() == 0 && row.dropped_log_lines() == 0;
            let met = honest.then_some(measured <= CPU_RATIO_MAX);
            Verdict {
                target: "CPU time per request / HAProxy's, 1 KiB, keep-alive",
                measured,
                limit: CPU_RATIO_MAX,
                met,
            }
        });
        let idle = self.idle.iter().find(|row| row.proxy == Proxy::Seaworthy).map(|row| {
            let measured = row.kib.median();
            let target = "KiB per idle connection";
            Verdict { target, measured, limit: IDLE_KIB_MAX, met: Some(measured <= IDLE_KIB_MAX) }
        });
        cpu.into_iter().chain(idle).collect()
    }

    fn json(&self) -> Value {
        let features: Vec<Value> =
            Proxy::ALL.iter().map(|proxy| json!({"proxy": proxy.name(), "on": proxy.features()})).collect();
        json!({
            "schema": "seaworthy.bench.gateway/1",
            "of": self.of,
            "versions": {
                "seaworthy": machine::version(&self.binary.to_string_lossy(), "--version"),
                "haproxy": machine::version("haproxy", "-v"),
                "nginx": machine::version("nginx", "-v"),
                "wrk": machine::version("wrk", "--version"),
            },
            "method": {
                "rounds": self.rounds,
                "warm_up_s": self.warm_up.as_secs(),
                "measure_s": self.measure.as_secs(),
                "load_connections": wrk::CONNECTIONS,
                "idle_connections": idle::CONNECTIONS,
                "features": features,
            },
            "rows": self.rows.iter().map(|row| row.json(self.ratio(row))).collect::<Vec<_>>(),
            "idle": self.idle.iter().map(|row| json!({
                "proxy": row.proxy.name(), "kib_per_connection": row.kib.json(),
            })).collect::<Vec<_>>(),
            "verdicts": self.verdicts().iter().map(|verdict| json!({
                "target": verdict.target, "measured": two_decimals(verdict.measured),
                "limit": verdict.limit, "met": verdict.met,
            })).collect::<Vec<_>>(),
        })
    }

    fn text(&self, of: &Value) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let changed = if of["of"]["changed_since_commit"] == true { " (with changes)" } else { "" };
        writeln!(out, "{}, commit {}{changed}", word(&of["of"]["date"]), word(&of["of"]["commit"]))?;
        writeln!(
            out,
            "{}, {} cores, {}",
            word(&of["of"]["cpu"]),
            of["of"]["cores"],
            word(&of["of"]["kernel"])
        )?;
        for program in ["seaworthy", "haproxy", "nginx", "wrk"] {
            writeln!(out, "  {}", word(&of["versions"][program]))?;
        }
        for proxy in Proxy::ALL {
            writeln!(out, "{:>10}: {}", proxy.name(), proxy.features())?;
        }
        let (rounds, seconds) = (self.rounds, self.measure.as_secs());
        writeln!(out, "\nmedian (min..max) of {rounds} rounds of {seconds} s; one proxy thread\n")?;
        let (cpu, rate) = ("CPU us/request", "requests/s");
        writeln!(
            out,
            "body   conns       proxy       {cpu:>20} user+sys     x HAProxy {rate:>10}  p99 us  PSS MiB  quiet"
        )?;
        for row in &self.rows {
            self.row(&mut out, row)?;
        }
        for row in &self.idle {
            let (name, kib) = (row.proxy.name(), &row.kib);
            let (median, least, most) = (kib.median(), kib.least(), kib.most());
            let count = idle::CONNECTIONS;
            writeln!(
                out,
                "{count} idle connections {name:>10}: {median:5.1} ({least:.1}..{most:.1}) KiB each"
            )?;
        }
        for verdict in self.verdicts() {
            let Verdict { target, measured, limit, met } = verdict;
            let met = met
                .map_or("NOT DECIDED (errors or lost log lines)", |met| if met { "MET" } else { "MISSED" });
            writeln!(out, "verdict: {met}: {target}: {measured:.2}, target <= {limit}")?;
        }
        Ok(out)
    }

    fn row(&self, out: &mut String, row: &Row) -> std::fmt::Result {
        let cpu = row.cpu_us();
        let cpu = format!("{:.1} ({:.1}..{:.1})", cpu.median(), cpu.least(), cpu.most());
        let (user, system) = (row.of(|round| round.user_us), row.of(|round| round.system_us));
        let split = format!("{:.1}+{:.1}", user.median(), system.median());
        write!(
            out,
            "{:<6} {:<11} {:<10} {cpu:>21} {split:>10} {:>9.2} {:>10.0} {:>7.0} {:>8.1} {:>4}/{}",
            format!("{} KiB", row.workload.body.bytes() / 1024),
            connections(row.workload),
            row.proxy.name(),
            self.ratio(row),
            row.of(|round| round.seen.rate).median(),
            row.of(|round| round.seen.p99_us).median(),
            row.of(|round| round.pss_kib as f64).median() / 1024.0,
            row.quiet_rounds(),
            row.rounds.len(),
        )?;
        if row.errors() > 0 {
            write!(out, "  {} ERRORS", row.errors())?;
        }
        if row.dropped_log_lines() > 0 {
            write!(out, "  {} LOG LINES LOST", row.dropped_log_lines())?;
        }
        writeln!(out)
    }
}

/// One round, as it comes in.
pub(crate) fn round(proxy: Proxy, workload: Workload, measured: &Measured) -> String {
    let Measured { cpu_us, user_us, system_us, seen, pss_kib, dropped_log_lines, quiet } = measured;
    let noisy = if *quiet { "" } else { ", noisy" };
    let lost =
        if *dropped_log_lines > 0 { format!(", {dropped_log_lines} log lines lost") } else { String::new() };
    format!(
        "{:>10}, {} KiB, {}: {cpu_us:.1} us/request ({user_us:.1}+{system_us:.1}), {:.0}/s, p99 {:.0} us, PSS {pss_kib} KiB, {} errors{lost}{noisy}",
        proxy.name(),
        workload.body.bytes() / 1024,
        connections(workload),
        seen.rate,
        seen.p99_us,
        seen.errors,
    )
}

/// Shows the results and writes them down.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<()> {
    let json = report.json();
    let text = report.text(&json).context("writing to a string")?;
    println!("\n{text}");
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let pretty = format!("{json:#}\n");
    for (name, content) in [("gateway.json", &pretty), ("gateway.txt", &text)] {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn connections(workload: Workload) -> &'static str {
    if workload.new_connections { "new" } else { "keep-alive" }
}
