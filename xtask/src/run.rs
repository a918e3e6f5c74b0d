//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask is a folder of the workspace").to_path_buf()
}

/// Runs a command line in the workspace's folder, shows it, and fails when it fails.
pub(crate) fn run(line: &str) -> Result<()> {
    println!("\n$ {line}");
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command line")?;
    let status = Command::new(program)
        .args(words)
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot start `{program}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// True when a program can be started.
pub(crate) fn has(program: &str, argument: &str) -> bool {
    let quiet =
        Command::new(program).args(argument.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Installs a Debian package when its program is missing, if this machine lets us; says exactly how otherwise.
pub(crate) fn ensure(program: &str, argument: &str, package: &str) -> Result<()> {
    if has(program, argument) {
        return Ok(());
    }
    let hint = format!("`{program}` is missing; install it with: apt-get install -y {package}");
    if !has("apt-get", "--version") {
        bail!("{hint}");
    }
    run("apt-get update").context(hint.clone())?;
    run(&format!("apt-get install -y --no-install-recommends {package}")).context(hint)
}
