//! What happened to one failure so far: marks in time, and what the node and the read-backs said.

use seaworthy_spec::plan::{FailurePlan, FaultKind, FaultPlan, Limit, Mechanism, Word};

use crate::measure::{STRETCH_MIN, STRETCH_REQUESTS_MIN, Seen, Stretch};
use crate::node::Applied;
use crate::subject::{Subject, Victim};
use crate::verdict::Exercise;

/// The course of one failure. Times are monotonic nanoseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    /// Steady state before the fault.
    pub(super) steady_before: Option<Stretch>,
    /// How fast steady state has to be.
    pub(super) pace: Pace,
    /// The fault was requested: the window opened.
    pub(super) opened: Option<u64>,
    /// The window closes.
    pub(super) closed: u64,
    /// Whom the fault is about.
    pub(super) victims: Vec<Victim>,
    /// The fault took effect.
    pub(super) applied: Option<Applied>,
    /// The fault was over.
    pub(super) ended: Option<u64>,
    /// How many requests met it, as far as the node counts.
    pub(super) met: Option<u64>,
    /// Steady state after the fault.
    pub(super) steady_after: Option<Stretch>,
    /// Writes intended before this are judged.
    pub(super) writes_until: u64,
    /// What the read-backs showed, one list for each load; the error when they could not be done.
    pub(super) seen: Option<Result<Vec<Vec<Seen>>, String>>,
}

/// How fast steady state has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// As fast as promised.
    #[default]
    Promised,
    /// As fast as it was before the fault: slower than promised, so that promise will come out broken.
    AsItIs,
}

impl Course {
    /// Whether the fault took effect, and why not. `left_traces` says whether it shows in the node's events or in
    /// what users saw, for faults that nobody can count.
    pub(super) fn exercise(
        &self,
        failure: &FailurePlan,
        left_traces: impl FnOnce() -> bool,
    ) -> (Exercise, Option<String>) {
        let Some(applied) = &self.applied else { return (Exercise::NotRun, None) };
        let vacuous = |reason: &str| (Exercise::Vacuous, Some(format!("vacuous: {reason}")));
        if applied.proof.is_empty() {
            return vacuous("the node has no proof that the fault took effect");
        }
        let must_be_met = failure.faults.iter().any(|fault| must_be_met(fault.kind));
        match self.met {
            _ if !must_be_met || self.ended.is_none() => (Exercise::Effective, None),
            Some(0) => vacuous("the fault was in effect and not one request met it"),
            None if !left_traces() => {
                vacuous("the fault was in effect and nothing shows that anybody met it")
            }
            Some(_) | None => (Exercise::Effective, None),
        }
    }
}

/// Faults that only matter to what passes by; the others act on a process, and their proof is enough.
fn must_be_met(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Kill | FaultKind::Pause => false,
        FaultKind::Refuse
        | FaultKind::BlackHole { .. }
        | FaultKind::Latency { .. }
        | FaultKind::Errors { .. } => true,
    }
}

/// True when every fault is over as soon as it is proven.
pub(super) fn is_point(faults: &[FaultPlan]) -> bool {
    faults.iter().all(|fault| fault.kind.is_point())
}

/// Indices of the loads that something is promised about; all loads when only the failure itself has promises.
pub(super) fn promised_loads(subject: &Subject, failure: &FailurePlan) -> Vec<usize> {
    let mut loads: Vec<usize> = failure.promises.iter().filter_map(|promise| promise.load).collect();
    loads.sort_unstable();
    loads.dedup();
    if loads.is_empty() { (0..subject.loads.len()).collect() } else { loads }
}

/// How long a steady stretch of these loads takes, in nanoseconds.
pub(super) fn stretch_nanos(subject: &Subject, loads: &[usize]) -> u64 {
    let needed = |load: &usize| STRETCH_REQUESTS_MIN as f64 / subject.loads[*load].rate;
    let longest = loads.iter().map(needed).fold(STRETCH_MIN.as_secs_f64(), f64::max);
    (longest * crate::clock::NANOS_PER_SECOND as f64) as u64
}

/// The limit in time of a word about the failure, in nanoseconds.
pub(super) fn limit_of(failure: &FailurePlan, word: Word) -> Option<u64> {
    failure.promises.iter().find_map(|promise| match promise.limit {
        Limit::AtMost(limit) if promise.word == word => Some(crate::clock::nanos(limit)),
        _ => None,
    })
}

/// True when processes that end stay down in this run.
pub(super) fn restarts_are_off(subject: &Subject) -> bool {
    subject.ablated.contains(&Mechanism::Restart)
}
