//! The exit codes of the program, as a type.

use std::process::ExitCode;

/// How a verb ended. Ordered by how much it matters that the caller hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All is well.
    Good = 0,
    /// It was judged, and the verdict is bad.
    Bad = 1,
    /// It could not be judged: usage, bad spec, environment.
    CouldNotJudge = 2,
    /// It was judged, but clean-up was not clean.
    NotClean = 3,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
