//! The policies next to the crates that people use today: what they cost, and what they get wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::bench::{machine, policy_defects, policy_report};
use crate::run::{root, run as command};

/// The package is a workspace of its own, so that its peers are not in the product's lock file.
const MANIFEST: &str = "bench/policy/Cargo.toml";
const BINARY: &str = "bench/policy/target/release/bench-policy";

pub(crate) struct Options {
    quick: bool,
    defects: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self { quick: false, defects: false };
        for argument in arguments {
            match *argument {
                "--quick" => options.quick = true,
                "--defects" => options.defects = true,
                other => bail!("unknown option `{other}`; try: [--quick] | --defects"),
            }
        }
        if options.quick && options.defects {
            bail!("`--quick` shortens the measurements; `--defects` has none");
        }
        Ok(options)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    command(&format!("cargo build --release --locked --quiet --manifest-path {MANIFEST}"))?;
    let of = machine::provenance();
    if options.defects {
        let report = with_provenance(binary(&["defects"])?, &of, "seaworthy.bench.policy_defects/1");
        let text = policy_defects::text(&report).context("writing to a string")?;
        return write(&report, &text, "policy_defects", &results());
    }
    let quiet = !machine::is_compiling();
    let words: &[&str] = if options.quick { &["cost", "--quick"] } else { &["cost"] };
    let mut report = with_provenance(binary(words)?, &of, "seaworthy.bench.policy/1");
    report["quiet"] = json!(quiet && !machine::is_compiling());
    report["verdicts"] = policy_report::verdicts(&report);
    let text = policy_report::text(&report).context("writing to a string")?;
    let folder = if options.quick { root().join("target/bench") } else { results() };
    write(&report, &text, "policy", &folder)
}

fn results() -> PathBuf {
    root().join("bench/results")
}

/// What the package prints; its progress goes where ours goes.
fn binary(words: &[&str]) -> Result<Value> {
    println!("\n$ {BINARY} {}", words.join(" "));
    let output = Command::new(root().join(BINARY))
        .args(words)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {BINARY}"))?;
    if !output.status.success() {
        bail!("`{BINARY}` failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("reading what it measured")
}

fn with_provenance(mut report: Value, of: &Value, schema: &str) -> Value {
    report["schema"] = json!(schema);
    report["of"] = of.clone();
    report["versions"] = versions();
    report
}

/// Which releases were compared, from the package's lock file.
fn versions() -> Value {
    let lock = std::fs::read_to_string(root().join("bench/policy/Cargo.lock")).unwrap_or_default();
    let mut found = serde_json::Map::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let start = format!("{name} = \"");
            package.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix('"'))
        };
        let Some((name, version)) = field("name").zip(field("version")) else { continue };
        let is_peer =
            ["failsafe", "recloser", "tower"].contains(&name) || name.starts_with("tower-resilience");
        if is_peer {
            found.insert(name.to_owned(), json!(version));
        }
    }
    Value::Object(found)
}

fn write(report: &Value, text: &str, name: &str, folder: &Path) -> Result<()> {
    println!("\n{text}");
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (extension, content) in [("json", format!("{report:#}\n")), ("txt", text.to_owned())] {
        let path = folder.join(format!("{name}.{extension}"));
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The lines that every results file begins with.
pub(crate) fn heading(report: &Value) -> String {
    let of = &report["of"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let changed = if of["changed_since_commit"] == true { " (with changes)" } else { "" };
    let versions = report["versions"].as_object().cloned().unwrap_or_default();
    let versions: Vec<String> =
        versions.iter().map(|(name, version)| format!("{name} {}", word(version))).collect();
    format!(
        "{}, commit {}{changed}\n{}, {} cores, {}\n{}\n",
        word(&of["date"]),
        word(&of["commit"]),
        word(&of["cpu"]),
        of["cores"],
        word(&of["kernel"]),
        versions.join(", "),
    )
}
