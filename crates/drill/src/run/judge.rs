//! From what a failure's course left behind to its report. No clock, no node: records, events and marks only.

use std::time::Duration;

use seaworthy_observe::event::Event;
use seaworthy_spec::plan::{FailurePlan, LoadPlan, Promise, Word};

use super::course::{Course, is_point, promised_loads};
use super::session::Stop;
use super::story::story;
use crate::clock::{NANOS_PER_SECOND, nanos};
use crate::measure::{
    Effects, LoadMeasure, Measurements, Restarted, Rto, STRETCH_MIN, Sample, Seen, Split, Window, WriteSpan,
    Writes, detect, first_bad, lag_p99, restarted, rpo, rto, split,
};
use crate::record::{Class, History, Record};
use crate::report::{FailureReport, broken_sentence};
use crate::subject::Subject;
use crate::verdict::{
    Cleanup, Execution, Exercise, JudgedPromise, RecoveredBy, Verdict, judge_failure, judge_promises,
};

/// What was found about one failure.
pub(super) struct Found<'a> {
    pub(super) subject: &'a Subject,
    pub(super) failure: &'a FailurePlan,
    pub(super) history: &'a History,
    pub(super) events: &'a [Event],
    pub(super) course: &'a Course,
    pub(super) stop: Option<&'a Stop>,
    pub(super) cleanup: Cleanup,
}

/// The report of a failure that the drill does not try.
pub(super) fn not_exercised(failure: &FailurePlan, reason: &str) -> FailureReport {
    let promises = unjudged(&failure.promises);
    FailureReport {
        id: failure.id.clone(),
        required: failure.required.clone(),
        acceptable: failure.acceptable.clone(),
        verdict: Verdict::NotExercised,
        exercise: Exercise::NotRun,
        execution: Execution::Ok,
        cleanup: Cleanup::Clean,
        recovered_by: None,
        reason: Some(reason.to_owned()),
        measured: None,
        promises,
        story: Vec::new(),
    }
}

/// The report of a failure in a drill that could not start.
pub(super) fn not_run(failure: &FailurePlan, reason: &str) -> FailureReport {
    FailureReport {
        verdict: Verdict::Inconclusive,
        execution: Execution::Error,
        ..not_exercised(failure, reason)
    }
}

/// The promises with nothing measured.
fn unjudged(promises: &[Promise]) -> Vec<JudgedPromise> {
    let loads = promises.iter().filter_map(|promise| promise.load).max().map_or(0, |last| last + 1);
    let nothing = Measurements {
        loads: vec![LoadMeasure::default(); loads],
        detect: None,
        rto: Rto::Masked,
        recover: None,
        restarted: Restarted::NothingExited,
        rpo: None,
        duplicates: None,
        resolution: None,
        sender_lag: None,
    };
    let judged = judge_promises(promises, &nothing);
    judged
        .into_iter()
        .map(|promise| JudgedPromise { kept: None, measured: None, note: None, ..promise })
        .collect()
}

/// Judges a failure.
pub(super) fn judge(found: &Found<'_>) -> FailureReport {
    let (failure, course) = (found.failure, found.course);
    let base = not_exercised(failure, "");
    if let Some(Stop::Capability(detail)) = found.stop {
        let reason = Some(format!("this host cannot apply the fault: {detail}"));
        return FailureReport { cleanup: found.cleanup, reason, ..base };
    }
    let (exercise, vacuous) = course.exercise(failure, || left_traces(found));
    let execution = if found.stop.is_some() { Execution::Error } else { Execution::Ok };
    let whole = if found.stop.is_none() { course.opened } else { None };
    let Some(opened) = whole else {
        let reason = match found.stop {
            Some(Stop::Error(reason)) => reason.clone(),
            _ => "interrupted before it could be judged".to_owned(),
        };
        let verdict = Verdict::Inconclusive;
        let story = story(found, None);
        let reason = Some(reason);
        return FailureReport { exercise, execution, verdict, reason, cleanup: found.cleanup, story, ..base };
    };
    let measured = measure(found, opened);
    let promises = judge_promises(&failure.promises, &measured);
    let verdict = judge_failure(exercise, execution, &promises);
    FailureReport {
        verdict,
        exercise,
        execution,
        cleanup: found.cleanup,
        recovered_by: recovered_by(failure, course, &measured),
        reason: vacuous.or_else(|| reason(verdict, &promises, course)),
        story: story(found, Some(&measured)),
        measured: Some(measured),
        promises,
        ..base
    }
}

/// True when an event names a victim while the fault lasted, or an answer of the window was not good: what the
/// kernel refuses or drops for us is not counted by anybody, and shows only in what it does to others.
fn left_traces(found: &Found<'_>) -> bool {
    let Found { subject, history, events, course, .. } = *found;
    let Some(opened) = course.opened else { return false };
    let window = Window { opened, closed: course.closed };
    let detected = detect(events, &course.victims, opened);
    detected.is_some_and(|after| opened.saturating_add(after) < window.closed)
        || (0..subject.loads.len()).any(|load| {
            let (_, records) = trace(subject, history, course, load);
            split(&records, window, Duration::ZERO).all().any(|record| record.class != Class::Good)
        })
}

fn reason(verdict: Verdict, promises: &[JudgedPromise], course: &Course) -> Option<String> {
    match verdict {
        Verdict::Broken => {
            let broken: Vec<String> =
                promises.iter().filter(|promise| promise.kept == Some(false)).map(broken_sentence).collect();
            Some(broken.join(". "))
        }
        Verdict::Inconclusive => {
            let Some(open) = promises.iter().find(|promise| promise.kept.is_none()) else {
                return Some("nothing is promised".to_owned());
            };
            let unread = match &course.seen {
                Some(Err(error)) if needs_read_back(open) => format!(": {error}"),
                _ => String::new(),
            };
            let note = open.note.as_deref().unwrap_or("not observed");
            Some(format!("{}: {note}{unread}", open.name))
        }
        Verdict::Kept | Verdict::NotExercised => None,
    }
}

/// A promise that a read-back decides.
fn needs_read_back(promise: &JudgedPromise) -> bool {
    matches!(promise.word, Word::Rpo | Word::Duplicates)
}

fn recovered_by(failure: &FailurePlan, course: &Course, measured: &Measurements) -> Option<RecoveredBy> {
    match measured.rto {
        Rto::Masked => None,
        Rto::Recovered { .. } => Some(RecoveredBy::Itself),
        Rto::NotRecovered { .. } => course.steady_after.map(|_| {
            // Nothing is taken away when a point fault is over.
            if is_point(&failure.faults) { RecoveredBy::Itself } else { RecoveredBy::Revert }
        }),
    }
}

/// The records of a load that can matter to a failure, and the number of the first of them.
fn trace(subject: &Subject, history: &History, course: &Course, load: usize) -> (usize, Vec<Record>) {
    let start = course.steady_before.map(|stretch| stretch.start).or(course.opened).unwrap_or(0);
    // A request that hangs when the window opens was intended up to its timeout before.
    history.since(load, start.saturating_sub(nanos(subject.loads[load].timeout)))
}

/// What became of the writes of each load; `None` for loads that do not write.
pub(super) fn count_writes(
    subject: &Subject,
    history: &History,
    course: &Course,
    seen: Option<&[Vec<Seen>]>,
) -> Vec<Option<Writes>> {
    let start = course.steady_before.map_or(0, |stretch| stretch.start);
    let span = WriteSpan { start, end: course.writes_until };
    let count = |load: usize| {
        let (first, records) = trace(subject, history, course, load);
        Writes::count(&records, first, span, seen.map(|seen| seen[load].as_slice()))
    };
    let writes = |(load, plan): (usize, &LoadPlan)| (!plan.read_back.is_empty()).then(|| count(load));
    subject.loads.iter().enumerate().map(writes).collect()
}

fn measure(found: &Found<'_>, opened: u64) -> Measurements {
    let Found { subject, failure, history, events, course, .. } = *found;
    let window = Window { opened, closed: course.closed };
    let seen = course.seen.as_ref().and_then(|seen| seen.as_deref().ok());
    let writes = count_writes(subject, history, course, seen);
    let traces: Vec<Vec<Record>> =
        (0..subject.loads.len()).map(|load| trace(subject, history, course, load).1).collect();
    let splits: Vec<Split> = traces
        .iter()
        .enumerate()
        .map(|(load, records)| {
            let during = failure.during.iter().find(|during| during.load == load);
            split(records, window, during.map(|during| during.for_at_most).unwrap_or_default())
        })
        .collect();
    let sender_lag = sender_lag(subject, failure, &splits);
    let resolution = resolution(subject, failure, sender_lag);
    let effects: Vec<&Effects> =
        writes.iter().flatten().filter_map(|writes| writes.effects.as_ref()).collect();
    let was_read = seen.is_some() && !effects.is_empty();
    Measurements {
        detect: detect(events, &course.victims, opened),
        rto: measure_rto(found, window, &traces, &splits),
        recover: match (course.ended, course.steady_after) {
            (Some(ended), Some(stretch)) => Some(stretch.start.saturating_sub(ended)),
            _ => None,
        },
        restarted: restarted(events, &course.victims, opened),
        rpo: was_read.then(|| rpo(effects.iter().copied(), opened, resolution.unwrap_or(0))),
        duplicates: was_read.then(|| effects.iter().map(|effects| effects.duplicated).sum()),
        resolution,
        sender_lag,
        loads: loads(failure, &splits, writes),
    }
}

fn loads(failure: &FailurePlan, splits: &[Split], writes: Vec<Option<Writes>>) -> Vec<LoadMeasure> {
    let measure = |((load, split), writes): ((usize, &Split), Option<Writes>)| {
        let has_during = failure.during.iter().any(|during| during.load == load);
        LoadMeasure {
            whole: Sample::of(split.all()),
            early: has_during.then(|| Sample::of(&split.early)),
            late: has_during.then(|| Sample::of(&split.late)),
            writes,
        }
    };
    splits.iter().enumerate().zip(writes).map(measure).collect()
}

fn promises_of(failure: &FailurePlan, load: usize) -> impl Iterator<Item = &Promise> {
    failure.promises.iter().filter(move |promise| promise.load == Some(load))
}

fn measure_rto(found: &Found<'_>, window: Window, traces: &[Vec<Record>], splits: &[Split]) -> Rto {
    let failure = found.failure;
    let promised = promised_loads(found.subject, failure);
    let first =
        promised.iter().filter_map(|load| first_bad(splits[*load].all(), promises_of(failure, *load))).min();
    let loads: Vec<(&[Record], Vec<&Promise>)> = promised
        .iter()
        .map(|load| (traces[*load].as_slice(), promises_of(failure, *load).collect()))
        .collect();
    // What begins less than a stretch before a held fault ends may owe its luck to the end of the fault.
    let margin = if is_point(&failure.faults) { 0 } else { nanos(STRETCH_MIN) };
    let latest = window.closed.saturating_sub(margin);
    rto(first, &loads, latest)
}

/// The time between two requests of the slowest promised load, and how late the senders were on top of it.
fn resolution(subject: &Subject, failure: &FailurePlan, lag: Option<u64>) -> Option<u64> {
    let promised = promised_loads(subject, failure);
    let slowest = promised.iter().map(|load| subject.loads[*load].rate).reduce(f64::min)?;
    Some((NANOS_PER_SECOND as f64 / slowest) as u64 + lag.unwrap_or(0))
}

/// How late the senders of the promised loads were, at the 99th percentile.
fn sender_lag(subject: &Subject, failure: &FailurePlan, splits: &[Split]) -> Option<u64> {
    lag_p99(promised_loads(subject, failure).iter().flat_map(|load| splits[*load].all()))
}
