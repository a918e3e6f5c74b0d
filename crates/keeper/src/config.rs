//! What a keeper is told when it starts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a keeper needs to know.
#[derive(Debug, Clone)]
pub struct KeeperConfig {
    /// The node to start: program and arguments. It runs in its own process group; its stdin is a pipe that
    /// ends when the keeper dies.
    pub node_command: Vec<OsString>,
    /// Where the lock, the journal and the node's ready file live; created when it does not exist.
    pub state_dir: PathBuf,
    /// Who may end the keeper, and how.
    pub owner: Owner,
    /// How long to wait before the node is started again.
    pub restart_backoff: RestartBackoff,
    /// After a forwarded SIGTERM: how long the node may take before everything is killed.
    pub drain_limit: Duration,
}

/// Who the keeper works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A process that holds the other end of the keeper's stdin. End of file means that it died: stop
    /// everything at once. SIGINT and SIGTERM are ignored, because Ctrl-C reaches the whole foreground group
    /// and the owner decides.
    Stdin,
    /// Nobody: the keeper runs in the foreground. SIGINT and SIGTERM reach the node as SIGTERM, and the
    /// node's exit code becomes the keeper's.
    None,
}

/// Pauses between restarts of the node: none, then `first`, then doubling up to `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartBackoff {
    /// The pause before the second restart in a row; the first one is immediate.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// A node that was up this long starts the series anew.
    pub reset_after: Duration,
}

impl Default for RestartBackoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(1),
            reset_after: Duration::from_secs(10),
        }
    }
}
