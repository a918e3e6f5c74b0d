//! `cargo xtask soak NAME`: long suites in full.

use anyhow::{Result, bail};

pub(crate) fn run(name: &str) -> Result<()> {
    bail!("there is no soak suite `{name}`")
}
