//! Why a supervisor could not be started.

use std::io;
use std::path::PathBuf;

/// What keeps the services of a plan from being started. What goes wrong later is an event and is tried again.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The spec's folder cannot be entered.
    #[error("cannot use the folder {} of the spec: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder for the state of a service cannot be made.
    #[error("cannot make the state folder {}: {source}", path.display())]
    StateFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A build command ended badly.
    #[error(
        "the build of service `{service}` failed: `{command}` ended with {how}; its output is in the log"
    )]
    Build {
        /// The service.
        service: String,
        /// The command.
        command: String,
        /// `code 1`, `signal 9`.
        how: String,
    },
    /// A command cannot be started at all.
    #[error("service `{service}`: cannot start {}: {reason}", program.display())]
    Program {
        /// The service.
        service: String,
        /// The program, as an absolute path if it contains a slash.
        program: PathBuf,
        /// Why, in words.
        reason: String,
    },
    /// A service needs another one whose egress listener nobody opened.
    #[error("service `{service}` needs `{needs}`, which has no egress listener")]
    Egress {
        /// The service.
        service: String,
        /// The one it needs.
        needs: String,
    },
}
