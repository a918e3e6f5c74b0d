//! `cargo xtask bench NAME`: comparisons with peers, in one run on one machine.

use anyhow::{Result, bail};

pub(crate) fn run(name: &str, _arguments: &[&str]) -> Result<()> {
    bail!("there is no bench `{name}`")
}
