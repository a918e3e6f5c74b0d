//! The driver's hold on the stack it judges: starts keeper and node, and leaves nothing behind.
//!
//! The keeper watches the pipe to its stdin, so that our death, however sudden, ends everything it started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::cli::NodeArgs;
use crate::http::{AdminRequest, admin};
use crate::state_dir::{self, NodeFile};
use crate::verbs::run::role_command;

/// Builds may take this long.
const START_LIMIT: Duration = Duration::from_mins(30);
/// Every replica must be ready this long after the node is up.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// Between two looks at a file or a page that will soon be there.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// A stop that takes longer is a kill.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// Killing what is left takes at most this long.
const SWEEP_LIMIT: Duration = Duration::from_secs(2);

/// A running stack.
pub(crate) struct Stack {
    keeper: Child,
    /// Its end is the keeper's signal to kill everything; kept apart, because waiting for a child closes its stdin.
    lifeline: Option<ChildStdin>,
    folder: PathBuf,
}

/// How a stack was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// No process of it is left.
    None,
    /// This many processes had to be killed by us, or the keeper could not clean up.
    Some,
}

/// Takes a state folder for this drill alone and empties it; what a killed drill left broken is put back first.
pub(crate) fn fresh_folder(folder: &Path) -> Result<PathBuf> {
    let folder = state_dir::create(folder)?;
    let entries = fs::read_dir(&folder).context("looking into the state folder")?.count();
    if entries > 0 && !folder.join("lock").exists() {
        bail!(
            "{} is not empty and was not made by a drill; it would be emptied, so choose another --state-dir",
            folder.display()
        );
    }
    let lock = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("lock"))
        .context("opening the lock")?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("{} is in use by another drill; wait for it or choose --state-dir", folder.display());
    }
    seaworthy_keeper::heal(&folder).context("putting back what an earlier drill left broken")?;
    for entry in fs::read_dir(&folder).context("emptying the state folder")? {
        let path = entry.context("emptying the state folder")?.path();
        let kept = path.file_name().is_some_and(|name| name == "lock");
        let removed = match (kept, path.is_dir()) {
            (true, _) => Ok(()),
            (false, true) => fs::remove_dir_all(&path),
            (false, false) => fs::remove_file(&path),
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(folder)
}

impl Stack {
    /// Starts the keeper, which starts the node.
    pub(crate) fn spawn(arguments: &NodeArgs, folder: &Path) -> Result<Self> {
        // Should the keeper be killed, its orphans come to us.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context("becoming a subreaper")?;
        let mut keeper = Command::from(role_command("keeper", arguments, folder)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("starting the keeper")?;
        let lifeline = keeper.stdin.take();
        Ok(Self { keeper, lifeline, folder: folder.to_path_buf() })
    }

    /// Waits until every replica is ready. A node that was started again meanwhile is an error: something killed it.
    pub(crate) async fn ready(&mut self) -> Result<NodeFile> {
        let node = self.node_file().await?;
        let begin = Instant::now();
        loop {
            let request = AdminRequest { method: Method::GET, path: "/readyz", token: None, body: None };
            let Err(error) = admin(node.admin, request).await else { return Ok(node) };
            let now = state_dir::read_node(&self.folder).ok();
            let keeper_ended = self.keeper.try_wait().context("watching the keeper")?.is_some();
            if keeper_ended || now.is_none_or(|now| now.pid != node.pid) {
                bail!("the node died while the backend was starting; see {}", self.log());
            }
            if begin.elapsed() > READY_LIMIT {
                let late = format!("the backend was not ready within {READY_LIMIT:?}; see {}", self.log());
                return Err(error.context(late));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn node_file(&mut self) -> Result<NodeFile> {
        let begin = Instant::now();
        loop {
            if let Ok(node) = state_dir::read_node(&self.folder) {
                return Ok(node);
            }
            if let Some(status) = self.keeper.try_wait().context("watching the keeper")? {
                bail!("the backend could not be started ({status}); what it said stands above");
            }
            if begin.elapsed() > START_LIMIT {
                bail!("the backend did not start within {START_LIMIT:?}");
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn log(&self) -> String {
        self.folder.join("log.jsonl").display().to_string()
    }

    /// Says from now on whether the keeper is gone, and with it whatever it kept. Only looks: the keeper stays to be waited for.
    pub(crate) fn abandonment(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let keeper = self.keeper.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        move || keeper.is_none_or(|keeper| !matches!(waitid(WaitId::Pid(keeper), look), Ok(None)))
    }

    /// Drains and stops everything; what does not stop is killed, and only what survives even that is left.
    pub(crate) async fn stop(mut self) -> Leftovers {
        let asked = self.ask_to_stop().await.is_ok();
        let gone = asked && timeout(STOP_LIMIT, self.keeper.wait()).await.is_ok();
        // The end of its stdin makes the keeper kill everything.
        drop(self.lifeline.take());
        let ended = gone || timeout(STOP_LIMIT, self.keeper.wait()).await.is_ok();
        let swept = seaworthy_keeper::sweep(SWEEP_LIMIT);
        if ended && !swept.is_incomplete { Leftovers::None } else { Leftovers::Some }
    }

    async fn ask_to_stop(&self) -> Result<()> {
        let node = state_dir::read_node(&self.folder)?;
        let token = state_dir::token(&self.folder)?;
        let request = AdminRequest { method: Method::POST, path: "/stop", token: Some(&token), body: None };
        admin(node.admin, request).await.map(|_| ())
    }
}
