//! One file per verb.

pub(crate) mod breaker;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod drill;
pub(crate) mod explain;
pub(crate) mod fault;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod verify;

use std::future::Future;

use anyhow::{Context, Result};

use crate::exit::Exit;

/// Runs a verb that talks to a node.
fn block_on(verb: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
    runtime.block_on(verb)
}
