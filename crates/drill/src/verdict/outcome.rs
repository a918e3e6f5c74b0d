//! Verdicts on failures and drills, and the exit code that follows from them.

use super::promise::JudgedPromise;
use super::words::{Cleanup, Execution, Exercise, Verdict};

/// The verdict on one failure.
pub fn judge_failure(exercise: Exercise, execution: Execution, promises: &[JudgedPromise]) -> Verdict {
    if execution == Execution::Error || exercise != Exercise::Effective || promises.is_empty() {
        return Verdict::Inconclusive;
    }
    if promises.iter().any(|promise| promise.kept == Some(false)) {
        return Verdict::Broken;
    }
    if promises.iter().any(|promise| promise.kept.is_none()) {
        return Verdict::Inconclusive;
    }
    Verdict::Kept
}

/// The verdict on a whole drill: broken when anything is, inconclusive when anything is or nothing was tried.
pub fn judge_drill(failures: &[Verdict]) -> Verdict {
    let has = |verdict| failures.contains(&verdict);
    if has(Verdict::Broken) {
        Verdict::Broken
    } else if has(Verdict::Inconclusive) || !has(Verdict::Kept) {
        Verdict::Inconclusive
    } else {
        Verdict::Kept
    }
}

/// What decides the exit code of a drill.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// Clean-up of all failures and of the processes together.
    pub cleanup: Cleanup,
    /// It was interrupted.
    pub interrupted: bool,
    /// It could start.
    pub started: bool,
    /// The verdicts.
    pub failures: &'a [Verdict],
    /// A failure that was not exercised is not good enough.
    pub require_all: bool,
}

/// The exit code of a drill; the first rule that matches wins.
pub fn exit_code(outcome: Outcome<'_>) -> u8 {
    let has = |verdict| outcome.failures.contains(&verdict);
    if outcome.cleanup == Cleanup::Dirty {
        3
    } else if outcome.interrupted {
        130
    } else if !outcome.started {
        2
    } else {
        match judge_drill(outcome.failures) {
            Verdict::Broken => 1,
            Verdict::Kept if outcome.require_all && has(Verdict::NotExercised) => 2,
            Verdict::Kept => 0,
            Verdict::Inconclusive | Verdict::NotExercised => 2,
        }
    }
}
