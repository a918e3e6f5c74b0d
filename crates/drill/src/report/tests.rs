use std::time::Duration;

use seaworthy_spec::plan::{Limit, Place, Promise, Word};

use super::*;
use crate::measure::{Effects, LoadMeasure, Restarted, Rto, Sample, Stretch, Writes};
use crate::record::{Class, Record};
use crate::verdict::{judge_failure, judge_promises};

const MS: u64 = 1_000_000;

fn promise(name: &str, word: Word, limit: Limit, line: u32) -> Promise {
    let load = word.is_about_load().then_some(0);
    Promise { name: name.to_owned(), word, load, during: false, limit, place: Place { line, column: 5 } }
}

fn at_most(millis: u64) -> Limit {
    Limit::AtMost(Duration::from_millis(millis))
}

/// 600 answers; the last `failed` of them failed, the others took 1 ms, 2 ms, ...
fn sample(failed: u64) -> Sample {
    let records: Vec<Record> = (1..=600)
        .map(|number| {
            let class = if number > 600 - failed { Class::Failed } else { Class::Good };
            Record { intended: 1, sent: 1, done: 1 + number * MS, class, ..Record::default() }
        })
        .collect();
    Sample::of(&records)
}

fn measured(failed: u64, lost: Option<u64>) -> Measurements {
    let effects = lost.map(|lost| Effects { lost, duplicated: 0, lost_between: None });
    let writes = Writes { acknowledged: 800, refused: 1, unknown: 2, effects };
    Measurements {
        loads: vec![
            LoadMeasure { whole: sample(failed), writes: Some(writes), ..LoadMeasure::default() },
            LoadMeasure::default(),
        ],
        detect: Some(3_456_789),
        rto: Rto::Recovered { from: 5 * MS, to: Stretch { start: 1_205 * MS, end: 2_205 * MS } },
        recover: Some(0),
        restarted: Restarted::After(812 * MS),
        rpo: lost.map(|lost| lost * 40 * MS),
        duplicates: lost.map(|_| 0),
        resolution: Some(6_100_000),
        sender_lag: Some(1_100_000),
    }
}

fn failure(id: &str, measured: Option<Measurements>, promises: &[Promise]) -> FailureReport {
    let judged = measured.as_ref().map(|measured| judge_promises(promises, measured)).unwrap_or_default();
    let exercise = if measured.is_some() { Exercise::Effective } else { Exercise::NotRun };
    let verdict = match exercise {
        Exercise::NotRun => Verdict::NotExercised,
        _ => judge_failure(exercise, Execution::Ok, &judged),
    };
    let moment = |after, what: &str| Moment { after, what: what.to_owned() };
    let story = match verdict {
        Verdict::NotExercised => Vec::new(),
        _ => vec![
            moment(0, "fault requested"),
            moment(2 * MS, "fault in effect on api/a-1: process 77 is gone"),
            moment(1_204 * MS, "first failed request of buyers: status 503 after 12 ms"),
        ],
    };
    FailureReport {
        id: id.to_owned(),
        required: "Nobody notices <anything> & \"all\" is well.".to_owned(),
        acceptable: None,
        verdict,
        exercise,
        execution: Execution::Ok,
        cleanup: Cleanup::Clean,
        recovered_by: measured.is_some().then_some(RecoveredBy::Itself),
        reason: judged.iter().find(|promise| promise.kept == Some(false)).map(broken_sentence),
        measured,
        promises: judged,
        story,
    }
}

fn report() -> DrillReport {
    let promises = [
        promise("buyers.success", Word::Success, Limit::AtLeastShare(1.0), 87),
        promise("buyers.p99", Word::P99, at_most(250), 87),
        promise("buyers.p999", Word::P999, at_most(700), 87),
        promise("rto", Word::Rto, at_most(2_000), 88),
        promise("restarted_within", Word::RestartedWithin, at_most(5_000), 89),
        promise("rpo", Word::Rpo, at_most(0), 90),
        promise("duplicates", Word::Duplicates, Limit::AtMostCount(0), 91),
    ];
    let mut accepted = failure("meteor", None, &[]);
    accepted.reason = Some("accepted: nobody answers this failure, so it is not drilled".to_owned());
    let kept = failure("replica-crash", Some(measured(0, Some(0))), &promises[3..6]);
    let broken = failure("payments-down", Some(measured(3, Some(2))), &promises);
    let mut unread = failure("disk-gone", Some(measured(0, None)), &promises[5..]);
    unread.reason = Some("rpo: the read-back could not be done".to_owned());
    DrillReport {
        name: "iticket".to_owned(),
        file: "seaworthy.yaml".to_owned(),
        sha256: "ab".repeat(32),
        binary: Some("seaworthy 0.1.0".to_owned()),
        seed: 7,
        ablated: Vec::new(),
        loads: vec!["buyers".to_owned(), "readers".to_owned()],
        failures: vec![kept, broken, unread, accepted],
        cleanup: Cleanup::Clean,
        cleanup_reason: None,
        interrupted: false,
        error: None,
    }
}

#[test]
fn the_report_for_programs() {
    insta::assert_snapshot!(json(&report()));
}

#[test]
fn the_report_for_people() {
    insta::assert_snapshot!(human(&report(), "seaworthy drill --seed 7"));
}

#[test]
fn the_report_for_build_servers() {
    insta::assert_snapshot!(junit(&report()));
}

#[test]
fn a_drill_that_could_not_start_or_clean_up_says_so() {
    let mut report = report();
    report.failures.clear();
    report.error = Some("the node cannot be reached: refused".to_owned());
    assert_eq!(report.exit_code(false), 2);
    let text = human(&report, "seaworthy drill");
    assert!(
        text.starts_with("VERDICT: INCONCLUSIVE; could not start: the node cannot be reached: refused\n"),
        "{text}"
    );
    assert!(text.ends_with("\n0 failures: 0 kept, 0 broken, 0 inconclusive, 0 not exercised\n"), "{text}");
    report.cleanup = Cleanup::Dirty;
    report.cleanup_reason = Some("process 77 is still there".to_owned());
    report.ablated = vec!["retry".to_owned()];
    assert_eq!(report.exit_code(false), 3);
    let text = human(&report, "seaworthy drill");
    assert!(text.contains("; without retry; clean-up was NOT clean\n"), "{text}");
    assert!(text.contains("Clean-up: process 77 is still there"), "{text}");
    assert!(junit(&report).contains("<error message=\"the node cannot be reached: refused\"/>"));
}

#[test]
fn the_exit_code_follows_the_failures() {
    let mut report = report();
    assert_eq!((report.verdict(), report.exit_code(false)), (Verdict::Broken, 1));
    report.failures.remove(1);
    assert_eq!((report.verdict(), report.exit_code(false)), (Verdict::Inconclusive, 2));
    report.failures.remove(1);
    assert_eq!((report.verdict(), report.exit_code(false), report.exit_code(true)), (Verdict::Kept, 0, 2));
    report.failures[0].cleanup = Cleanup::Dirty;
    assert_eq!(report.exit_code(false), 3);
}
