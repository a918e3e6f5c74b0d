//! The rules of the house, as a check: layering, purity, file sizes, words that must not appear.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::root;

/// Which of our packages each one may depend on. A package that is not listed here may not exist.
const LAYERS: &[(&str, &[&str])] = &[
    ("seaworthy-policy", &[]),
    ("seaworthy-spec", &["policy"]),
    ("seaworthy-check", &["spec", "policy"]),
    ("seaworthy-simulate", &["policy", "spec"]),
    ("seaworthy-observe", &["policy", "spec"]),
    ("seaworthy-gateway", &["observe", "policy", "spec"]),
    ("seaworthy-supervise", &["observe", "policy", "spec"]),
    ("seaworthy-fault", &["observe"]),
    ("seaworthy-queue", &["observe", "policy", "store"]),
    ("seaworthy-keeper", &[]),
    ("seaworthy-drill", &["spec", "observe"]),
    ("seaworthy-tower", &["policy"]),
    ("seaworthy-store", &[]),
    (
        "seaworthy",
        &["policy", "spec", "check", "observe", "gateway", "supervise", "fault", "keeper", "drill", "store"],
    ),
    ("hot-paths", &["policy", "tower"]),
    ("iticket", &[]),
    ("xtask", &[]),
];

/// Packages that only decide.
const PURE: &[&str] = &["policy", "spec", "check", "simulate"];

/// What a package that only decides may not name.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Mutex<",
    "RwLock<",
    "AtomicU",
    "AtomicI",
    "AtomicBool",
    "RandomState",
    "async fn",
    "thread_rng",
    "getrandom",
];

const LINES_MAX: usize = 800;

/// The process that cleans up after all others must be small enough to be read in one go and believed.
const KEEPER_CODE_LINES_MAX: usize = 500;

pub(crate) fn run() -> Result<()> {
    println!("\n$ cargo xtask tidy");
    let mut findings = layering()?;
    let mut keeper_code_lines = 0;
    for file in sources(&root())? {
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        findings.extend(too_long(&name, &text));
        findings.extend(impure(&name, &text));
        findings.extend(bare_allow(&name, &text));
        if name.starts_with("crates/keeper/src/") {
            keeper_code_lines += code_lines(&text);
        }
    }
    findings.extend(keeper_too_large(keeper_code_lines));
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    Ok(())
}

fn layering() -> Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .context("running cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().context("packages")? {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(may) = allowed.get(name) else {
            findings.push(format!("package `{name}` has no layer; add it to LAYERS in xtask/src/tidy.rs"));
            continue;
        };
        findings.extend(forbidden_dependencies(name, package, may));
    }
    Ok(findings)
}

/// Tests may look at other layers; what ships may not.
fn forbidden_dependencies(name: &str, package: &Value, may: &[&str]) -> Vec<String> {
    let dependencies = package["dependencies"].as_array().cloned().unwrap_or_default();
    let ours = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
    let names = ours.filter_map(|dependency| dependency["name"].as_str()?.strip_prefix("seaworthy-"));
    let forbidden = names.filter(|dependency| !may.contains(dependency));
    forbidden.map(|dependency| format!("`{name}` may not depend on `seaworthy-{dependency}`")).collect()
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for top in ["crates", "examples", "xtask", "bench"] {
        collect(&folder.join(top), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn too_long(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LINES_MAX).then(|| format!("{name}: {lines} lines; split it (the limit is {LINES_MAX})"))
}

fn keeper_too_large(code_lines: usize) -> Option<String> {
    (code_lines >= KEEPER_CODE_LINES_MAX).then(|| {
        format!(
            "crates/keeper/src: {code_lines} lines of code; it must stay below {KEEPER_CODE_LINES_MAX}, so \
             make something simpler or do it elsewhere"
        )
    })
}

/// How imports and re-exports begin.
const IMPORTS: [&str; 3] = ["use ", "pub use ", "pub(crate) use "];

/// Lines that ship and do something: neither blank, nor comment, nor import or re-export, nor test.
fn code_lines(text: &str) -> usize {
    let mut in_import = false;
    let code = shipped(text).map(|(_, line)| line.trim()).filter(|line| {
        let imports = in_import || IMPORTS.iter().any(|word| line.starts_with(word));
        in_import = imports && !line.ends_with(';');
        !imports && !line.is_empty() && !line.starts_with("//")
    });
    code.count()
}

/// What stands below the tests' module line is not shipped.
fn shipped(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]")
}

fn impure(name: &str, text: &str) -> Vec<String> {
    let pure = PURE.iter().any(|package| name.starts_with(&format!("crates/{package}/src/")));
    if !pure {
        return Vec::new();
    }
    let code = shipped(text).filter(|(_, line)| !line.trim_start().starts_with("//"));
    let mut findings = Vec::new();
    for (index, line) in code {
        for word in IMPURE.iter().filter(|word| line.contains(**word)) {
            findings.push(format!(
                "{name}:{}: `{word}` does not belong into a package that only decides",
                index + 1
            ));
        }
    }
    findings
}

fn bare_allow(name: &str, text: &str) -> Vec<String> {
    // Split, so that this rule does not find itself.
    let markers = [concat!("#[", "allow("), concat!("#![", "allow(")];
    let lines = text.lines().enumerate();
    let found = lines.filter(|(_, line)| markers.iter().any(|marker| line.trim_start().starts_with(marker)));
    found.map(|(index, _)| format!("{name}:{}: use #[expect(.., reason = ..)]", index + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_offence_and_nothing_else() {
        assert!(too_long("a.rs", &"x\n".repeat(LINES_MAX + 1)).is_some());
        assert!(too_long("a.rs", &"x\n".repeat(LINES_MAX)).is_none());
        assert_eq!(impure("crates/policy/src/a.rs", "use std::fs;\n").len(), 1);
        assert_eq!(impure("crates/policy/src/a.rs", "// use std::fs;\n").len(), 0);
        assert_eq!(impure("crates/gateway/src/a.rs", "use std::fs;\n").len(), 0);
        assert_eq!(bare_allow("a.rs", concat!("    #[", "allow(dead_code)]\n")).len(), 1);
    }

    #[test]
    fn only_lines_that_ship_and_do_something_are_code() {
        let rows = [
            ("", 0),
            ("\n  \n\t\n", 0),
            ("//! Docs.\n/// Docs.\n    // Why.\n", 0),
            ("use std::fs;\npub use a::b;\npub(crate) use a::b;\n", 0),
            ("use a::{\n    b,\n    c,\n};\nfn f() {}\n", 1),
            ("pub const HOW: &str = \"for use \";\nuser();\n", 2),
            ("    use a::b;\n    f(); // why\n", 1),
            ("#[derive(Debug)]\npub struct User {\n    pub user: u32,\n}\n", 4),
            ("fn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n", 1),
        ];
        for (text, expected) in rows {
            assert_eq!(code_lines(text), expected, "{text}");
        }
        assert!(keeper_too_large(KEEPER_CODE_LINES_MAX).is_some());
        assert!(keeper_too_large(KEEPER_CODE_LINES_MAX - 1).is_none());
    }

    #[test]
    fn a_shell_may_not_name_another() {
        let package = serde_json::json!({"dependencies": [
            {"name": "seaworthy-supervise", "kind": null},
            {"name": "seaworthy-keeper", "kind": "dev"},
            {"name": "tokio", "kind": null},
        ]});
        let findings = forbidden_dependencies("seaworthy-gateway", &package, &["observe", "policy", "spec"]);
        assert_eq!(findings, ["`seaworthy-gateway` may not depend on `seaworthy-supervise`"]);
    }
}
