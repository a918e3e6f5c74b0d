//! The words of a verdict.

use std::fmt;

/// The verdict on a failure, or on a whole drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// All promises were kept.
    Kept,
    /// At least one was not.
    Broken,
    /// It could not be judged.
    Inconclusive,
    /// It was not tried.
    NotExercised,
}

/// Whether the fault took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exercise {
    /// It did.
    Effective,
    /// It was applied and nothing met it.
    Vacuous,
    /// It was never applied.
    NotRun,
}

/// Whether the drill itself worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// It did.
    Ok,
    /// It did not.
    Error,
}

/// Whether everything was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Proven.
    Clean,
    /// Not proven.
    Dirty,
}

/// Why users were well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveredBy {
    /// The system coped while the fault lasted.
    Itself,
    /// The fault was taken away.
    Revert,
}

impl Verdict {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "broken",
            Self::Inconclusive => "inconclusive",
            Self::NotExercised => "not_exercised",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::NotExercised => "not exercised",
            other => other.as_str(),
        })
    }
}

impl Exercise {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Effective => "effective",
            Self::Vacuous => "vacuous",
            Self::NotRun => "not_run",
        }
    }
}

impl Execution {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl Cleanup {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Dirty => "dirty",
        }
    }
}

impl RecoveredBy {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Itself => "self",
            Self::Revert => "revert",
        }
    }
}

/// What a promise is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A share, 0 to 1.
    Share,
    /// Milliseconds.
    Milliseconds,
    /// A number of things.
    Count,
}

impl Unit {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Milliseconds => "ms",
            Self::Count => "count",
        }
    }
}
