//! The report for people, in a fixed order: the verdict; each failure with its promises; totals; what failed first;
//! how to repeat it; and a last line that counts.

use std::fmt::Write as _;

use super::junit::kept_word;
use super::words::{limit, number, off_by, optional_millis, seconds_after, value};
use super::{DrillReport, FailureReport};
use crate::clock::millis;
use crate::measure::{Measurements, Restarted, Rto};
use crate::verdict::{Cleanup, JudgedPromise, RecoveredBy, Verdict};

/// The report as text without colour. `command` repeats the drill, such as
/// `seaworthy drill --spec seaworthy.yaml --seed 7`.
pub fn human(report: &DrillReport, command: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "VERDICT: {}", headline(report));
    for failure in &report.failures {
        text.push('\n');
        failure_text(&mut text, report, failure);
    }
    totals(&mut text, report);
    first_failures(&mut text, report);
    let _ = writeln!(text, "\nRepeat: {command}");
    let _ = writeln!(text, "{}", count_line(report));
    text
}

fn headline(report: &DrillReport) -> String {
    let mut parts = vec![report.verdict().as_str().to_uppercase()];
    if let Some(error) = &report.error {
        parts.push(format!("could not start: {error}"));
    }
    if !report.ablated.is_empty() {
        parts.push(format!("without {}", report.ablated.join(", ")));
    }
    if report.interrupted {
        parts.push("interrupted".to_owned());
    }
    if report.total_cleanup() == Cleanup::Dirty {
        parts.push("clean-up was NOT clean".to_owned());
    }
    parts.join("; ")
}

fn failure_text(text: &mut String, report: &DrillReport, failure: &FailureReport) {
    let _ = writeln!(text, "{}: {}", failure.id, failure.verdict.to_string().to_uppercase());
    let _ = writeln!(text, "  required: {}", failure.required);
    if let Some(acceptable) = &failure.acceptable {
        let _ = writeln!(text, "  acceptable: {acceptable}");
    }
    if let Some(reason) = &failure.reason {
        let _ = writeln!(text, "  reason: {reason}");
    }
    if failure.cleanup == Cleanup::Dirty {
        let _ = writeln!(text, "  CLEAN-UP: not proven that everything of this fault is gone");
    }
    let Some(measured) = &failure.measured else { return };
    promise_table(text, report, &failure.promises);
    measured_line(text, failure, measured);
}

fn promise_table(text: &mut String, report: &DrillReport, promises: &[JudgedPromise]) {
    let rows: Vec<[String; 4]> = promises
        .iter()
        .map(|promise| {
            let measured = match (promise.measured, &promise.note) {
                (Some(measured), _) => value(measured, promise.unit),
                (None, _)
                    if promise.word == seaworthy_spec::plan::Word::Rto && promise.kept == Some(true) =>
                {
                    "masked".to_owned()
                }
                (None, _) => "-".to_owned(),
            };
            [promise.name.clone(), measured, limit(promise), verdict_words(report, promise)]
        })
        .collect();
    let width = |column: usize, title: &str| {
        let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        widest.max(title.len())
    };
    let (names, measured, limits) = (width(0, "promise"), width(1, "measured"), width(2, "limit"));
    let _ = writeln!(text, "  {:names$}  {:>measured$}  {:limits$}  verdict", "promise", "measured", "limit");
    for [name, value, limit, verdict] in &rows {
        let _ = writeln!(text, "  {name:names$}  {value:>measured$}  {limit:limits$}  {verdict}");
    }
}

fn verdict_words(report: &DrillReport, promise: &JudgedPromise) -> String {
    let mut words = kept_word(promise.kept).to_owned();
    if promise.kept == Some(false) {
        if let Some(off) = off_by(promise) {
            let _ = write!(words, " {off}");
        }
        let _ = write!(words, " ({}:{})", report.file, promise.line);
    }
    if let Some(note) = &promise.note {
        let _ = write!(words, ": {note}");
    }
    words
}

fn measured_line(text: &mut String, failure: &FailureReport, measured: &Measurements) {
    let rto = match measured.rto {
        Rto::Masked => "masked".to_owned(),
        Rto::NotRecovered { .. } => "not within the window".to_owned(),
        recovered @ Rto::Recovered { .. } => optional_millis(recovered.nanos()),
    };
    let restarted = match measured.restarted {
        Restarted::After(nanos) => format!(", restarted in {} ms", number(millis(nanos))),
        Restarted::Missing { .. } => ", NOT restarted".to_owned(),
        Restarted::NothingExited => String::new(),
    };
    let by = match failure.recovered_by {
        Some(RecoveredBy::Itself) => " (recovered by itself)",
        Some(RecoveredBy::Revert) => " (recovered only because the fault was taken away)",
        None => "",
    };
    let _ = writeln!(
        text,
        "  detected in {}, rto {rto}{by}{restarted}; steady {} after the fault ended; resolution ± {}",
        optional_millis(measured.detect),
        optional_millis(measured.recover),
        optional_millis(measured.resolution)
    );
}

fn totals(text: &mut String, report: &DrillReport) {
    let mut lines = String::new();
    for (index, name) in report.loads.iter().enumerate() {
        let loads = report.failures.iter().filter_map(|failure| failure.measured.as_ref()?.loads.get(index));
        let (mut requests, mut good, mut degraded, mut failed) = (0, 0, 0, 0);
        let mut writes = (0, 0, 0, 0);
        let (mut has_writes, mut is_unread) = (false, false);
        for load in loads {
            requests += load.whole.requests;
            good += load.whole.good;
            degraded += load.whole.degraded;
            failed += load.whole.failed;
            if let Some(found) = &load.writes {
                has_writes = true;
                is_unread |= found.effects.is_none();
                let effects = found.effects.clone().unwrap_or_default();
                writes.0 += found.acknowledged;
                writes.1 += found.unknown;
                writes.2 += effects.lost;
                writes.3 += effects.duplicated;
            }
        }
        if requests == 0 && !has_writes {
            continue;
        }
        let _ =
            write!(lines, "  {name}: {requests} requests, {good} good, {degraded} degraded, {failed} failed");
        if has_writes {
            let (acknowledged, unknown, lost, duplicated) = writes;
            let effects = if is_unread {
                "lost and duplicated not known everywhere".to_owned()
            } else {
                format!("{lost} lost, {duplicated} duplicated")
            };
            let _ = write!(lines, "; {acknowledged} writes acknowledged, {unknown} unknown, {effects}");
        }
        lines.push('\n');
    }
    if !lines.is_empty() {
        let _ = write!(
            text,
            "\nTotals (requests of all windows; writes from steady state to steady state)\n{lines}"
        );
    }
}

fn first_failures(text: &mut String, report: &DrillReport) {
    let untold = |failure: &&FailureReport| {
        matches!(failure.verdict, Verdict::Broken | Verdict::Inconclusive) && !failure.story.is_empty()
    };
    for failure in report.failures.iter().filter(untold) {
        let _ =
            writeln!(text, "\nWhat failed first in {} (seconds after the fault was requested)", failure.id);
        for moment in &failure.story {
            let _ = writeln!(text, "  {:>10}  {}", seconds_after(moment.after), moment.what);
        }
    }
    if let (Cleanup::Dirty, Some(reason)) = (report.cleanup, &report.cleanup_reason) {
        let _ = writeln!(text, "\nClean-up: {reason}");
    }
}

fn count_line(report: &DrillReport) -> String {
    let count = report.failures.len();
    format!(
        "{count} {}: {} kept, {} broken, {} inconclusive, {} not exercised",
        if count == 1 { "failure" } else { "failures" },
        report.count(Verdict::Kept),
        report.count(Verdict::Broken),
        report.count(Verdict::Inconclusive),
        report.count(Verdict::NotExercised)
    )
}
