//! `cargo xtask soak NAME`: long suites in full. Each writes its result to `soak/NAME.txt`, with the commit it belongs to.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{root, run as command};

const EXAMPLE: &str = "examples/iticket/seaworthy.yaml";
const PROGRAM: &str = "target/release/seaworthy";

pub(crate) fn run(name: &str) -> Result<()> {
    let begin = Instant::now();
    // Before the first run: others may commit meanwhile.
    let head = output("git", &["rev-parse", "--short", "HEAD"])?;
    let is_changed = !output("git", &["status", "--porcelain"])?.trim().is_empty();
    let changed = if is_changed { " with local changes" } else { "" };
    let (text, good) = match name {
        "kills" => kills()?,
        "ablations" => ablations()?,
        "repeat" => repeat()?,
        "loom" => loom()?,
        "store-kills" => store_kills()?,
        _ => bail!(
            "there is no soak suite `{name}`; there are kills, ablations, repeat, loom, store-kills, mutants"
        ),
    };
    let report = format!(
        "{name} at commit {}{changed}, {:.0} s\n\n{text}",
        head.trim(),
        begin.elapsed().as_secs_f64()
    );
    let folder = root().join("soak");
    fs::create_dir_all(&folder).context("creating the folder of results")?;
    fs::write(folder.join(format!("{name}.txt")), &report).context("writing the result")?;
    println!("\n{report}");
    if !good {
        bail!("soak {name} is not good");
    }
    Ok(())
}

/// Fifty SIGKILLs of driver and of node at random moments, and some of the keeper.
fn kills() -> Result<(String, bool)> {
    command("cargo build --workspace --bins --quiet")?;
    let status = Command::new("cargo")
        .args([
            "nextest",
            "run",
            "--profile",
            "soak",
            "-p",
            "seaworthy",
            "-E",
            "test(kills::)",
            "--no-fail-fast",
            "--success-output",
            "final",
        ])
        .env("SEAWORTHY_KILLS", "50")
        .current_dir(root())
        .status()
        .context("running the kill tests")?;
    Ok((format!("50 kills of the driver, 50 of the node, 17 of the keeper: {status}\n"), status.success()))
}

/// The store: 200 SIGKILLs under load, 200 power cuts replayed, failing disks, and the control without syncs.
fn store_kills() -> Result<(String, bool)> {
    let tested = Command::new("cargo")
        .args(["nextest", "run", "--profile", "soak", "-p", "seaworthy-store", "-E", "binary(crash)"])
        .args([
            "--no-fail-fast",
            "--success-output",
            "final",
            "--failure-output",
            "final",
            "--color",
            "never",
        ])
        .env("SEAWORTHY_CRASH_SOAK", "1")
        .current_dir(root())
        .output()
        .context("running the crash suite of the store")?;
    let said =
        String::from_utf8_lossy(&tested.stderr).into_owned() + &String::from_utf8_lossy(&tested.stdout);
    let telling = [
        "SEAWORTHY_SEED",
        "kills,",
        "cuts in",
        "cut at",
        "without syncs",
        "acknowledgements",
        "PASS",
        "FAIL",
    ];
    let lines = said.lines().filter(|line| telling.iter().any(|word| line.contains(word)));
    let mut lines: Vec<&str> = lines.map(str::trim).collect();
    // The runner repeats the verdict of a test above what the test has said.
    lines.dedup();
    Ok((lines.join("\n") + "\n", tested.status.success()))
}

/// Every failure without each mechanism that it relies on must come out broken.
fn ablations() -> Result<(String, bool)> {
    command("cargo build --release --quiet")?;
    let (mut text, mut good) = (String::new(), true);
    for (failure, mechanism) in claims()? {
        let report = drill(&["--only", &failure, "--ablate", &mechanism])?;
        let verdict = report["verdict"].as_str().unwrap_or("none").to_owned();
        good &= verdict == "broken";
        let _ = writeln!(text, "{failure} without {mechanism}: {verdict}: {}", reason(&report));
    }
    Ok((text, good))
}

/// The whole example five times: the same verdicts each time.
fn repeat() -> Result<(String, bool)> {
    command("cargo build --release --quiet")?;
    let (mut text, mut good) = (String::new(), true);
    for round in 1..=5 {
        let report = drill(&[])?;
        let failures = report["failures"].as_array().cloned().unwrap_or_default();
        let kept = failures.iter().filter(|failure| failure["verdict"] == "kept").count();
        good &= kept == failures.len() && !failures.is_empty();
        let _ = writeln!(
            text,
            "round {round}: {kept} of {} kept (seed {}) {}",
            failures.len(),
            report["seed"],
            reason(&report)
        );
    }
    Ok((text, good))
}

/// The interleavings of the shells that wake waiters, with more preemptions than the tests allow, and many more rounds
/// of real threads.
fn loom() -> Result<(String, bool)> {
    let tested = Command::new("cargo")
        .args(["test", "--quiet", "-p", "seaworthy-tower", "--test", "interleavings"])
        .args(["--", "--test-threads", "1"])
        .env("SEAWORTHY_LOOM_PREEMPTIONS", "4")
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("running the interleavings")?;
    let text = String::from_utf8_lossy(&tested.stdout).into_owned();
    Ok((format!("up to 4 preemptions per thread\n{text}"), tested.status.success()))
}

/// What each failure of the example relies on.
fn claims() -> Result<Vec<(String, String)>> {
    let plan = output(PROGRAM, &["plan", EXAMPLE, "--format", "json"])?;
    let plan: Value = serde_json::from_str(&plan).context("reading the plan")?;
    let settings = plan["settings"].as_array().cloned().unwrap_or_default();
    let mut claims = Vec::new();
    for setting in &settings {
        let path = setting["path"].as_str().unwrap_or_default();
        let Some(failure) = path.strip_prefix("failures.").and_then(|rest| rest.strip_suffix(".relies_on"))
        else {
            continue;
        };
        let value = setting["value"].as_str().unwrap_or_default().trim_matches(['[', ']']);
        claims.extend(value.split(", ").map(|mechanism| (failure.to_owned(), mechanism.to_owned())));
    }
    if claims.is_empty() {
        bail!("the plan of {EXAMPLE} names nothing that a failure relies on");
    }
    Ok(claims)
}

fn drill(options: &[&str]) -> Result<Value> {
    println!("$ {PROGRAM} drill {EXAMPLE} {}", options.join(" "));
    let drilled = Command::new(root().join(PROGRAM))
        .args(["drill", EXAMPLE, "--format", "json"])
        .args(options)
        .current_dir(root())
        .stderr(Stdio::null())
        .output()
        .context("running a drill")?;
    serde_json::from_slice(&drilled.stdout)
        .with_context(|| format!("reading the report of a drill that ended with {}", drilled.status))
}

fn reason(report: &Value) -> String {
    let failures = report["failures"].as_array().into_iter().flatten();
    let reasons: Vec<&str> = failures.filter_map(|failure| failure["reason"].as_str()).collect();
    reasons.join("; ")
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let program = if program.contains('/') { root().join(program) } else { program.into() };
    let done = Command::new(&program).args(arguments).current_dir(root()).output();
    let done = done.with_context(|| format!("running {}", program.display()))?;
    if !done.status.success() {
        bail!(
            "{} {} failed: {}",
            program.display(),
            arguments.join(" "),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
