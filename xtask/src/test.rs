//! `cargo xtask test`: everything that has to hold before a change lands.

use anyhow::Result;

use crate::bench::check_instructions;
use crate::run::{ensure, has, run as command};
use crate::tidy;

pub(crate) fn run() -> Result<()> {
    command("cargo fmt --all --check")?;
    tidy::run()?;
    command("cargo clippy --workspace --all-targets --all-features --quiet -- -D warnings")?;
    ensure("promtool", "--version", "prometheus")?;
    command("cargo build --workspace --bins --examples --quiet")?;
    check_instructions()?;
    command("cargo test --workspace --doc --quiet")?;
    // Nextest runs each test in a process of its own, which is what tests with real processes want.
    if has("cargo", "nextest --version") {
        command(
            "cargo nextest run --workspace --all-features --no-fail-fast --status-level slow --final-status-level fail",
        )
    } else {
        command(
            "cargo test --workspace --all-features --no-fail-fast --lib --bins --tests -- --test-threads 2",
        )
    }
}
