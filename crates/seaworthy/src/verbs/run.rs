//! `run`: becomes the keeper, which starts the node. And the keeper's own entry, for the driver of a drill.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use seaworthy_keeper::{KeeperConfig, Owner};

use crate::cli::{Format, KeeperArgs, NodeArgs, RunArgs};
use crate::exit::Exit;
use crate::spec_file::{self, Selection};
use crate::state_dir;

/// What a stop may take beyond the gateway's drain: services have their own grace.
const STOP_MARGIN: Duration = Duration::from_secs(30);

pub(crate) fn run(arguments: &RunArgs) -> Result<Exit> {
    let plan = spec_file::plan(&arguments.spec, &Selection::default())?;
    let format = arguments.format.unwrap_or(if std::io::stdout().is_terminal() {
        Format::Human
    } else {
        Format::Json
    });
    let node = NodeArgs {
        spec: arguments.spec.clone(),
        state_dir: state_dir::of_spec(&arguments.spec, arguments.state_dir.as_deref()),
        only: Vec::new(),
        ablate: Vec::new(),
        log: Some(format),
    };
    keeper(&node, Owner::None, plan.drain + STOP_MARGIN)
}

pub(crate) fn keep(arguments: &KeeperArgs) -> Result<Exit> {
    keeper(&arguments.node, Owner::Stdin, STOP_MARGIN)
}

fn keeper(node: &NodeArgs, owner: Owner, drain_limit: Duration) -> Result<Exit> {
    let state_dir = state_dir::create(&node.state_dir)?;
    let config =
        KeeperConfig { node: role_command("node", node, &state_dir)?, state_dir, owner, drain_limit };
    Ok(match seaworthy_keeper::run(config) {
        0 => Exit::Good,
        1 => Exit::Bad,
        3 => Exit::NotClean,
        130 => Exit::Interrupted,
        _ => Exit::CouldNotJudge,
    })
}

/// This very program in one of its inner roles.
pub(crate) fn role_command(role: &str, node: &NodeArgs, state_dir: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.arg(role).arg("--spec").arg(&node.spec).arg("--state-dir").arg(state_dir);
    for failure in &node.only {
        command.args(["--only", failure]);
    }
    for mechanism in &node.ablate {
        command.args(["--ablate", mechanism]);
    }
    if let Some(format) = node.log {
        command.args(["--log", if format == Format::Human { "human" } else { "json" }]);
    }
    Ok(command)
}
