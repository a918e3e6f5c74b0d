//! What a keeper is told when it starts.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Everything a keeper needs to know.
#[derive(Debug)]
pub struct KeeperConfig {
    /// The node to start. It runs in its own process group; its stdin is a pipe that ends when the keeper
    /// dies.
    pub node: Command,
    /// Where the lock, the journal and the node's ready file live; created when it does not exist.
    pub state_dir: PathBuf,
    /// Who may end the keeper, and how.
    pub owner: Owner,
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
