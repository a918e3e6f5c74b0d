//! `drill`: breaks the backend on purpose and judges every promise from the client's side.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use seaworthy_drill::node::HttpNode;
use seaworthy_drill::report::{self, DrillReport};
use seaworthy_drill::verdict::{Cleanup, Execution};
use seaworthy_drill::{DrillOptions, Interrupt, drill as judge, interrupt_pair, not_started};
use seaworthy_spec::plan::Plan;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{DrillArgs, DrillFormat, NodeArgs};
use crate::driver::{Leftovers, Stack, fresh_folder};
use crate::exit::Exit;
use crate::progress::Screen;
use crate::spec_file::{self, Selection};
use crate::state_dir;

pub(crate) fn run(arguments: &DrillArgs) -> Result<Exit> {
    let selection = Selection { only: arguments.only.clone(), ablate: arguments.ablate.clone() };
    let plan = spec_file::plan(&arguments.spec, &selection)?;
    super::block_on(drill(arguments, &plan))
}

async fn drill(arguments: &DrillArgs, plan: &Plan) -> Result<Exit> {
    let default_folder = || state_dir::of_spec(&arguments.spec, None).join("drill");
    let folder = fresh_folder(&arguments.state_dir.clone().unwrap_or_else(default_folder))?;
    let interrupt = interrupts()?;
    let node = NodeArgs {
        spec: arguments.spec.clone(),
        state_dir: folder.clone(),
        only: arguments.only.clone(),
        ablate: arguments.ablate.clone(),
        log: None,
    };
    let screen = Screen::new();
    screen.line("starting the backend (a first build takes a while)");
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    let mut stack = Stack::spawn(&node, &folder)?;
    let ready = tokio::select! {
        ready = stack.ready() => ready,
        () = interrupt.raised() => Err(anyhow!("interrupted while the backend was starting")),
    };
    let first_pid = ready.as_ref().ok().map(|node| node.pid);
    let mut report = match ready {
        Ok(node) => {
            let gateway =
                node.gateway.context("the spec has no `gateway`, so there is nothing to send load to")?;
            let options = DrillOptions { seed, no_reset: arguments.no_reset, gateway };
            let http_node = http_node(&folder, node.admin)?.abandoned_when(stack.abandonment());
            judge(plan, &http_node, &options, &screen, &interrupt).await
        }
        Err(error) => not_started(plan, seed, format!("{error:#}")),
    };
    screen.line("stopping the backend");
    // Before the stop takes it away: another node, or none, means that the first one was lost.
    let is_lost =
        state_dir::read_node(&folder).ok().map(|node| node.pid) != first_pid || stack.abandonment()();
    match stack.stop().await {
        Leftovers::None if is_lost => forgive_lost_node(&mut report),
        Leftovers::None => {}
        Leftovers::Some => {
            report.cleanup = Cleanup::Dirty;
            report.cleanup_reason =
                Some("some processes survived everything and may still be there".to_owned());
        }
    }
    report.interrupted |= interrupt.is_raised();
    report.binary = Some(format!("seaworthy {}", env!("CARGO_PKG_VERSION")));
    screen.clear();
    print_report(arguments, &report);
    Ok(exit_of(report.exit_code(arguments.require_all)))
}

/// A node that was lost could not be asked whether its fault was over. By now every process is gone, and with them whatever
/// was broken.
fn forgive_lost_node(report: &mut DrillReport) {
    for failure in report.failures.iter_mut().filter(|failure| failure.execution == Execution::Error) {
        failure.cleanup = Cleanup::Clean;
    }
}

/// The node's admin API, wherever it listens after it was started again.
fn http_node(folder: &Path, admin: SocketAddr) -> Result<HttpNode> {
    let state = folder.to_path_buf();
    let locate = move || state_dir::read_node(&state).ok().map(|node| node.admin);
    Ok(HttpNode::new(admin, state_dir::token(folder)?).located_by(locate))
}

fn print_report(arguments: &DrillArgs, report: &DrillReport) {
    let text = match arguments.format {
        DrillFormat::Human => report::human(report, &repeat_command(arguments, report.seed)),
        DrillFormat::Json => report::json(report),
        DrillFormat::Junit => report::junit(report),
    };
    // A reader that has seen enough (`| head`) is not an error.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The command line that makes the same choices again.
fn repeat_command(arguments: &DrillArgs, seed: u64) -> String {
    let mut command = format!("seaworthy drill {} --seed {seed}", arguments.spec.display());
    for name in &arguments.only {
        command.push_str(" --only ");
        command.push_str(name);
    }
    for mechanism in &arguments.ablate {
        command.push_str(" --ablate ");
        command.push_str(mechanism);
    }
    command
}

fn exit_of(code: u8) -> Exit {
    match code {
        0 => Exit::Good,
        1 => Exit::Bad,
        3 => Exit::NotClean,
        130 => Exit::Interrupted,
        _ => Exit::CouldNotJudge,
    }
}

/// Short enough to be typed again.
fn fresh_seed() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since_epoch.subsec_nanos()) ^ (since_epoch.as_secs() & 0xffff)
}

/// Ctrl-C and SIGTERM end the drill in good order.
fn interrupts() -> Result<Interrupt> {
    let (interrupter, interrupt) = interrupt_pair();
    let mut on_interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut on_terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = on_interrupt.recv() => {}
                _ = on_terminate.recv() => {}
            }
            eprintln!("\ninterrupted: ending faults and stopping the backend");
            interrupter.interrupt();
        }
    });
    Ok(interrupt)
}
