//! The store next to the disk it is on, and to other people's queues.

use std::fmt::{self, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::bench::machine;
use crate::bench::statistics::{Samples, two_decimals};
use crate::run::{root, run as command};

/// The package is a workspace of its own, like that of the policies.
const MANIFEST: &str = "bench/store/Cargo.toml";
const BINARY: &str = "bench/store/target/release/bench-store";
/// Durable enqueues per second, in syncs per second of the disk: clients and how many times.
const ENQUEUE_TARGETS: [(u64, f64); 3] = [(1, 0.6), (16, 6.0), (256, 45.0)];
const FIRST_CLAIM_MS_MAX: f64 = 50.0;
const COMPLETE_MS_MAX: f64 = 1_000.0;
const BYTES_PER_JOB_MAX: f64 = 100.0;
const KEYS_PER_SECOND_MIN: f64 = 40_000.0;
const TIMES_POSTGRES_MIN: f64 = 3.5;

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let is_quick = match arguments {
        [] => false,
        ["--quick"] => true,
        [other, ..] => bail!("unknown option `{other}`; try: [--quick]"),
    };
    command(&format!("cargo build --release --locked --quiet --manifest-path {MANIFEST}"))?;
    let of = machine::provenance();
    let quiet = !machine::is_compiling();
    let scratch = root().join("target/bench");
    std::fs::create_dir_all(&scratch).context("creating a folder to measure in")?;
    let mut report = measure(&scratch.display().to_string(), is_quick)?;
    report["schema"] = json!("seaworthy.bench.store/1");
    report["of"] = of;
    report["quiet"] = json!(quiet && !machine::is_compiling());
    report["targets"] = Value::Array(targets(&report));
    let text = text(&report).context("writing to a string")?;
    println!("\n{text}");
    let folder = if is_quick { scratch } else { root().join("bench/results") };
    for (extension, content) in [("json", format!("{report:#}\n")), ("txt", text)] {
        let path = folder.join(format!("store.{extension}"));
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn measure(scratch: &str, is_quick: bool) -> Result<Value> {
    let mut program = Command::new(root().join(BINARY));
    program.args(["measure", scratch]).args(is_quick.then_some("--quick")).stderr(Stdio::inherit());
    let output = program.output().with_context(|| format!("cannot start {BINARY}"))?;
    if !output.status.success() {
        bail!("`{BINARY}` failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("reading what it measured")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn samples<'v>(values: impl Iterator<Item = &'v Value>, name: &str) -> Samples {
    values.filter_map(|value| value[name].as_f64()).collect()
}

fn disk(report: &Value) -> f64 {
    list(&report["disk_syncs_per_second"]).filter_map(Value::as_f64).collect::<Samples>().median()
}

fn rate(report: &Value, what: &str, clients: u64) -> f64 {
    let rows = list(&report["rows"]).filter(|row| row["what"] == what && row["clients"] == clients);
    samples(rows, "per_second").median()
}

fn peer(report: &Value, clients: u64) -> f64 {
    let rows = list(&report["peers"]["postgres"]["rows"]).filter(|row| row["clients"] == clients);
    samples(rows, "per_second").median()
}

/// What was aimed at, and whether it was reached.
fn targets(report: &Value) -> Vec<Value> {
    let disk = disk(report);
    let mut found = Vec::new();
    let mut judge = |what: String, measured: f64, limit: f64, is_met: bool| {
        let met = measured.is_finite().then_some(is_met);
        found.push(json!({ "what": what, "measured": two_decimals(measured), "limit": limit, "met": met }));
    };
    let mut at_least =
        |what: String, measured: f64, limit: f64| judge(what, measured, limit, measured >= limit);
    for (clients, times) in ENQUEUE_TARGETS {
        let measured = rate(report, "enqueue", clients) / disk;
        at_least(format!("enqueue, {clients} producers: times the disk's syncs"), measured, times);
    }
    let keys = rate(report, "begin + finish", 256);
    at_least("new idempotency keys/s, 256 clients".to_owned(), keys, KEYS_PER_SECOND_MIN);
    let times = rate(report, "enqueue", 256) / peer(report, 256);
    at_least("enqueue: times PostgreSQL's row inserts, 256 clients".to_owned(), times, TIMES_POSTGRES_MIN);
    let restart = |name: &str| samples(list(&report["restart"]), name).median();
    let mut at_most = |what: &str, measured: f64, limit: f64| {
        judge(what.to_owned(), measured, limit, measured <= limit);
    };
    at_most("restart: first claim, ms", restart("first_claim_ms"), FIRST_CLAIM_MS_MAX);
    at_most("restart: whole index, ms", restart("complete_ms"), COMPLETE_MS_MAX);
    at_most("restart: growth of memory per pending job, bytes", restart("rss_per_job"), BYTES_PER_JOB_MAX);
    found
}

fn text(report: &Value) -> Result<String, fmt::Error> {
    let (mut text, of) = (String::new(), &report["of"]);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let changed = if of["changed_since_commit"] == true { " (with changes)" } else { "" };
    writeln!(text, "{}, commit {}{changed}", word(&of["date"]), word(&of["commit"]))?;
    writeln!(text, "{}, {} cores, {}", word(&of["cpu"]), of["cores"], word(&of["kernel"]))?;
    let noise = if report["quiet"] == true { "no compiler ran" } else { "NOISY: compilers ran meanwhile" };
    let effort = &report["effort"];
    writeln!(text, "median (min..max) of {} rounds of {} ms; {noise}", effort["rounds"], effort["row_ms"])?;
    let disk = disk(report);
    writeln!(text, "\nF, 4 KiB + fdatasync into a zero-filled file: {disk:.0}/s\n")?;
    writeln!(
        text,
        "{:<34} {:>7} {:>28} {:>7} {:>9} {:>9}",
        "in process", "clients", "per second", "x F", "p50 us", "p99 us"
    )?;
    write_rows(&mut text, report, disk)?;
    let restart = |name: &str| samples(list(&report["restart"]), name).median();
    writeln!(
        text,
        "\nrestart after SIGKILL with {} pending: open {:.1} ms, first claim {:.1} ms, whole index {:.0} ms, {:.0} bytes per job",
        effort["pending"],
        restart("open_ms"),
        restart("first_claim_ms"),
        restart("complete_ms"),
        restart("rss_per_job")
    )?;
    write_peers(&mut text, report)?;
    writeln!(text)?;
    for target in list(&report["targets"]) {
        let verdict = match target["met"].as_bool() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        writeln!(
            text,
            "{verdict}: {}: {} (limit {})",
            word(&target["what"]),
            target["measured"],
            target["limit"]
        )?;
    }
    Ok(text)
}

fn write_rows(text: &mut String, report: &Value, disk: f64) -> fmt::Result {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut seen = Vec::new();
    for row in list(&report["rows"]) {
        let key = (word(&row["what"]), row["clients"].as_u64().unwrap_or(0));
        if seen.contains(&key) {
            continue;
        }
        let same = || {
            list(&report["rows"])
                .filter(|other| other["what"] == row["what"] && other["clients"] == row["clients"])
        };
        let rates = samples(same(), "per_second");
        let spread = format!("{:.0} ({:.0}..{:.0})", rates.median(), rates.least(), rates.most());
        let (p50, p99) = (samples(same(), "p50_us").median(), samples(same(), "p99_us").median());
        writeln!(
            text,
            "{:<34} {:>7} {spread:>28} {:>7.2} {p50:>9.0} {p99:>9.0}",
            key.0,
            key.1,
            rates.median() / disk
        )?;
        seen.push(key);
    }
    Ok(())
}

fn write_peers(text: &mut String, report: &Value) -> fmt::Result {
    for (name, peer) in report["peers"].as_object().into_iter().flatten() {
        if let Some(reason) = peer["absent"].as_str() {
            writeln!(text, "{name}: absent: {reason}")?;
        }
        for row in list(&peer["rows"]) {
            let rate = row["per_second"].as_f64().unwrap_or(f64::NAN);
            writeln!(
                text,
                "{}, one row per commit, {} clients: {rate:.0}/s",
                peer["version"].as_str().unwrap_or_default(),
                row["clients"]
            )?;
        }
    }
    Ok(())
}
