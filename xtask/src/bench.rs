//! `cargo xtask bench NAME`: comparisons with peers, in one run on one machine.

mod gateway;
mod idle;
mod instructions;
mod machine;
mod policy;
mod policy_defects;
mod policy_report;
mod process;
mod proxy;
mod report;
mod statistics;
mod store;
mod wrk;

use anyhow::{Result, bail};

pub(crate) use instructions::check as check_instructions;

pub(crate) fn run(name: &str, arguments: &[&str]) -> Result<()> {
    match name {
        "gateway" => gateway::run(&gateway::Options::parse(arguments)?),
        "policy" => policy::run(&policy::Options::parse(arguments)?),
        "store" => store::run(arguments),
        "instructions" => instructions::run(arguments),
        _ => bail!("there is no bench `{name}`"),
    }
}
