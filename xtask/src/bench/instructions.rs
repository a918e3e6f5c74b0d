//! How many instructions the paths that every call takes are made of: a measure that is the same on a busy machine, so
//! that a test can hold it.
//!
//! Each path of `bench/hot_paths` is gone at two counts under callgrind; the difference between the two, per call, is the
//! path alone. The counts that hold are in `bench/instructions.txt`.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::run::{ensure as ensure_program, root, run as command};

/// How far a path may grow before it is a finding, in percent.
const GROWTH_PERCENT_MAX: u64 = 10;
const BASELINE: &str = "bench/instructions.txt";
const BINARY: &str = "target/release/hot-paths";
/// The two counts; the first warms up what grows with use.
const COUNTS: [u64; 2] = [2_000, 12_000];

/// `cargo xtask bench instructions [--update]`.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => check(),
        ["--update"] => update(),
        other => bail!("unknown option {other:?}; try: --update"),
    }
}

/// One path and the instructions of one call along it.
#[derive(Debug, PartialEq)]
struct Counted {
    path: String,
    instructions: u64,
}

/// Compares with the baseline. Says so, and passes, where there is no valgrind and none can be installed.
pub(crate) fn check() -> Result<()> {
    if let Err(error) = ensure_program("valgrind", "--version", "valgrind") {
        println!("instructions: not exercised: {error:#}");
        return Ok(());
    }
    let text = fs::read_to_string(root().join(BASELINE)).with_context(|| format!("reading {BASELINE}"))?;
    let baseline = parse(&text)?;
    let counted = count()?;
    let findings = findings(&baseline, &counted);
    for finding in &findings {
        eprintln!("instructions: {finding}");
    }
    ensure!(
        findings.is_empty(),
        "{} findings; where the growth is worth it: cargo xtask bench instructions --update",
        findings.len()
    );
    Ok(())
}

fn update() -> Result<()> {
    ensure_program("valgrind", "--version", "valgrind")?;
    let text = render(&count()?);
    print!("{text}");
    fs::write(root().join(BASELINE), text).with_context(|| format!("writing {BASELINE}"))
}

fn count() -> Result<Vec<Counted>> {
    command("cargo build --release --quiet --package hot-paths")?;
    let listed = Command::new(root().join(BINARY)).output().with_context(|| format!("starting {BINARY}"))?;
    let listed = String::from_utf8(listed.stdout).context("reading the names of the paths")?;
    let mut all = Vec::new();
    for path in listed.lines() {
        let [few, many] = COUNTS;
        let difference = total(path, many)?.saturating_sub(total(path, few)?);
        let counted = Counted { path: path.to_owned(), instructions: difference / (many - few) };
        println!("{:>6}  {path}", counted.instructions);
        all.push(counted);
    }
    Ok(all)
}

/// Instructions of the whole process that goes a path so many times.
fn total(path: &str, count: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(root().join(BINARY))
        .args([path, &count.to_string()])
        .output()
        .context("starting valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed on `{path}`:\n{said}");
    let line = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = line.with_context(|| format!("valgrind did not say what it counted:\n{said}"))?;
    number.trim().parse().context("reading valgrind's count")
}

fn render(counted: &[Counted]) -> String {
    let mut text =
        "# Instructions per call; `cargo xtask bench instructions --update` rewrites this.\n".to_owned();
    for Counted { path, instructions } in counted {
        let _ = writeln!(text, "{instructions:>6}  {path}");
    }
    text
}

fn parse(text: &str) -> Result<Vec<Counted>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let counted = lines.map(|line| {
        let (instructions, path) = line.trim().split_once("  ").context("a line without a path")?;
        let instructions = instructions.parse().with_context(|| format!("reading `{line}`"))?;
        Ok(Counted { path: path.to_owned(), instructions })
    });
    counted.collect()
}

/// What has grown too much, or is on one side only.
fn findings(baseline: &[Counted], counted: &[Counted]) -> Vec<String> {
    let mut findings = Vec::new();
    for Counted { path, instructions } in counted {
        let Some(before) = baseline.iter().find(|before| before.path == *path) else {
            findings.push(format!("`{path}` has no count in {BASELINE}"));
            continue;
        };
        let before = before.instructions;
        if instructions * 100 > before * (100 + GROWTH_PERCENT_MAX) {
            let percent = instructions * 100 / before.max(1);
            findings
                .push(format!("`{path}`: {instructions} instructions, {percent} % of the {before} before"));
        }
    }
    let gone = baseline.iter().filter(|before| counted.iter().all(|now| now.path != before.path));
    findings.extend(gone.map(|before| format!("`{}` is in {BASELINE} and no longer counted", before.path)));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(path: &str, instructions: u64) -> Counted {
        Counted { path: path.to_owned(), instructions }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let all = vec![counted("breaker: admit", 245), counted("tower: five, with  spaces", 1_234_567)];
        assert_eq!(parse(&render(&all)).unwrap(), all);
        assert!(parse("twelve  a\n").is_err());
        assert!(parse("12\n").is_err());
    }

    #[test]
    fn growth_is_found_and_noise_is_not() {
        let rows: [(u64, u64, usize); 5] =
            [(100, 100, 0), (100, 110, 0), (100, 111, 1), (100, 50, 0), (9, 10, 1)];
        for (before, now, expected) in rows {
            let found = findings(&[counted("a", before)], &[counted("a", now)]);
            assert_eq!(found.len(), expected, "{before} {now}: {found:?}");
        }
        assert_eq!(findings(&[], &[counted("a", 1)]).len(), 1, "a path without a baseline");
        assert_eq!(findings(&[counted("a", 1)], &[]).len(), 1, "a baseline without its path");
    }
}
