//! Builds, before anything is started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use seaworthy_observe::{EventBus, EventKind, LogSink};
use seaworthy_policy::restart::Exit;
use seaworthy_spec::plan::{Plan, ServiceKind};

use crate::error::SuperviseError;
use crate::launch::Launch;
use crate::output::OutputTag;
use crate::process::Process;
use crate::words;

/// The `replica` of lines that builds write.
const BUILD_REPLICA: &str = "build";

/// Runs every build command once, one after the other, in the order of the spec; the first failure ends it.
pub(crate) async fn run(
    plan: &Plan,
    folder: &Path,
    bus: &EventBus,
    logs: &LogSink,
) -> Result<(), SuperviseError> {
    let mut built: BTreeSet<&[String]> = BTreeSet::new();
    for service in &plan.services {
        let ServiceKind::Supervised(process) = &service.kind else { continue };
        let Some(words) = &process.build else { continue };
        if !built.insert(words) {
            continue;
        }
        bus.emit(EventKind::BuildStarted { service: service.name.clone() });
        let tag = OutputTag {
            logs: logs.clone(),
            service: service.name.as_str().into(),
            replica: BUILD_REPLICA.into(),
        };
        let result = build(&service.name, words, folder, tag).await;
        bus.emit(EventKind::BuildEnded { service: service.name.clone(), ok: result.is_ok() });
        result?;
    }
    Ok(())
}

async fn build(service: &str, words: &[String], folder: &Path, tag: OutputTag) -> Result<(), SuperviseError> {
    let launch = Launch::new(service, words, folder, BTreeMap::new())?;
    let started = Process::start(launch.command(None), &tag);
    let mut process = started.map_err(|error| SuperviseError::Program {
        service: service.to_owned(),
        program: words[0].clone().into(),
        reason: error.to_string(),
    })?;
    let exit = process.exited().await;
    process.take_readers().finish().await;
    if exit == Exit::Code(0) {
        return Ok(());
    }
    Err(SuperviseError::Build {
        service: service.to_owned(),
        command: words.join(" "),
        how: words::exit(exit),
    })
}
