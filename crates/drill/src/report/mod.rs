//! What a drill found, and how it is told: to programs, to people, and to build servers.

mod human;
mod json;
mod junit;
mod words;

pub use human::human;
pub use json::json;
pub use junit::junit;

pub(crate) use words::broken_sentence;

use crate::measure::Measurements;
use crate::verdict::{
    Cleanup, Execution, Exercise, JudgedPromise, Outcome, RecoveredBy, Verdict, exit_code, judge_drill,
};

/// Everything that a drill found.
#[derive(Debug, Clone, PartialEq)]
pub struct DrillReport {
    /// The `name` of the spec.
    pub name: String,
    /// The spec's file as the user named it.
    pub file: String,
    /// SHA-256 of the file's bytes, in hex.
    pub sha256: String,
    /// Which binary was drilled; the caller knows.
    pub binary: Option<String>,
    /// Decides every random choice of the drill.
    pub seed: u64,
    /// What was switched off.
    pub ablated: Vec<String>,
    /// Names of the loads, in the order of the measurements.
    pub loads: Vec<String>,
    /// The failures, in the order of the spec.
    pub failures: Vec<FailureReport>,
    /// Whether what the caller started is gone again; the caller knows.
    pub cleanup: Cleanup,
    /// What of the clean-up was not clean, as far as it is not about one failure.
    pub cleanup_reason: Option<String>,
    /// The caller interrupted it.
    pub interrupted: bool,
    /// Why it could not start.
    pub error: Option<String>,
}

/// What a drill found about one failure.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureReport {
    /// Its name.
    pub id: String,
    /// What must hold, in prose.
    pub required: String,
    /// What is acceptable meanwhile, in prose.
    pub acceptable: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the fault took effect.
    pub exercise: Exercise,
    /// Whether the drill worked.
    pub execution: Execution,
    /// Whether the fault was put back.
    pub cleanup: Cleanup,
    /// Why users were well again; `None` = they never were unwell, or never well again.
    pub recovered_by: Option<RecoveredBy>,
    /// Why the verdict is not `kept`.
    pub reason: Option<String>,
    /// What was measured; `None` when nothing was.
    pub measured: Option<Measurements>,
    /// The promises, in the order of the spec.
    pub promises: Vec<JudgedPromise>,
    /// What happened, in order.
    pub story: Vec<Moment>,
}

/// Something that happened during a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds after the fault was requested.
    pub after: u64,
    /// What.
    pub what: String,
}

impl DrillReport {
    /// The verdict on the whole drill.
    pub fn verdict(&self) -> Verdict {
        if self.error.is_some() {
            return Verdict::Inconclusive;
        }
        judge_drill(&self.verdicts())
    }

    /// The exit code of the process; the first rule that matches wins: 3 clean-up not clean, 130 interrupted, 2 not
    /// started, 1 a failure broken, 2 a failure inconclusive or none exercised (with `require_all`: or any not), 0.
    pub fn exit_code(&self, require_all: bool) -> u8 {
        exit_code(Outcome {
            cleanup: self.total_cleanup(),
            interrupted: self.interrupted,
            started: self.error.is_none(),
            failures: &self.verdicts(),
            require_all,
        })
    }

    /// Clean when everything is: each failure, and what the caller started.
    pub fn total_cleanup(&self) -> Cleanup {
        let dirty = self.cleanup == Cleanup::Dirty
            || self.failures.iter().any(|failure| failure.cleanup == Cleanup::Dirty);
        if dirty { Cleanup::Dirty } else { Cleanup::Clean }
    }

    /// How many failures have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.failures.iter().filter(|failure| failure.verdict == verdict).count()
    }

    fn verdicts(&self) -> Vec<Verdict> {
        self.failures.iter().map(|failure| failure.verdict).collect()
    }
}

#[cfg(test)]
mod tests;
