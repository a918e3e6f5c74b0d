//! `cargo xtask bench NAME`: comparisons with peers, in one run on one machine.

mod gateway;
mod idle;
mod machine;
mod process;
mod proxy;
mod report;
mod statistics;
mod wrk;

use anyhow::{Result, bail};

pub(crate) fn run(name: &str, arguments: &[&str]) -> Result<()> {
    match name {
        "gateway" => gateway::run(&gateway::Options::parse(arguments)?),
        _ => bail!("there is no bench `{name}`"),
    }
}
