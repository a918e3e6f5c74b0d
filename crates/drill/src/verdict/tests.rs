use std::time::Duration;

use seaworthy_spec::plan::{Limit, Place, Promise, Word};

use super::promise::judge_promise;
use super::*;
use crate::measure::{LoadMeasure, Measurements, Restarted, Rto, Sample, Stretch};
use crate::record::{AGE_UNKNOWN, Class, Record};

const MS: u64 = 1_000_000;

fn promise(load: Option<usize>, word: Word, limit: Limit) -> Promise {
    let place = Place { line: 88, column: 7 };
    Promise { name: word.as_str().to_owned(), word, load, during: false, limit, place }
}

fn at_most(millis: u64) -> Limit {
    Limit::AtMost(Duration::from_millis(millis))
}

/// `count` good answers after `millis` each.
fn good(count: usize, millis: u64) -> Vec<Record> {
    vec![
        Record { intended: 5, sent: 5, done: 5 + millis * MS, class: Class::Good, ..Record::default() };
        count
    ]
}

fn measurements(records: &[Record]) -> Measurements {
    Measurements {
        loads: vec![LoadMeasure { whole: Sample::of(records), ..LoadMeasure::default() }],
        detect: None,
        rto: Rto::Masked,
        recover: None,
        restarted: Restarted::NothingExited,
        rpo: None,
        duplicates: None,
        resolution: Some(MS),
        sender_lag: Some(0),
    }
}

fn check(promise: &Promise, measured: &Measurements, expected: (Option<f64>, Option<bool>)) {
    let judged = judge_promise(promise, std::slice::from_ref(promise), measured);
    assert_eq!((judged.measured, judged.kept), expected, "{promise:?}: {:?}", judged.note);
}

#[test]
fn shares_are_compared_without_rounding_in_anyones_favour() {
    let mut records = good(999, 1);
    records.push(Record { class: Class::Failed, ..records[0] });
    let measured = measurements(&records);
    for (share, kept) in [(1.0, false), (0.9991, false), (99.9 / 100.0, true), (0.5, true)] {
        check(
            &promise(Some(0), Word::Success, Limit::AtLeastShare(share)),
            &measured,
            (Some(0.999), Some(kept)),
        );
    }
    records[0].class = Class::Degraded;
    let measured = measurements(&records);
    check(
        &promise(Some(0), Word::Success, Limit::AtLeastShare(0.999)),
        &measured,
        (Some(0.998), Some(false)),
    );
    check(&promise(Some(0), Word::Served, Limit::AtLeastShare(0.999)), &measured, (Some(0.999), Some(true)));
    check(&promise(Some(0), Word::Served, Limit::AtLeastShare(0.5)), &measurements(&[]), (None, None));
}

#[test]
fn a_quantile_needs_enough_answers() {
    for (word, need) in [(Word::P50, 6), (Word::P95, 60), (Word::P99, 300), (Word::P999, 3000)] {
        let judge = |count, limit, expected| {
            check(&promise(Some(0), word, at_most(limit)), &measurements(&good(count, 20)), expected);
        };
        judge(need, 20, (Some(20.0), Some(true)));
        judge(need, 19, (Some(20.0), Some(false)));
        judge(need - 1, 20, (Some(20.0), None));
        judge(need - 1, 19, (Some(20.0), None));
        judge(0, 20, (None, None));
    }
}

#[test]
fn a_limit_in_time_needs_resolution() {
    let mut measured = measurements(&good(300, 20));
    for (resolution, kept) in [(Some(10 * MS), Some(true)), (Some(10 * MS + 1), None), (None, Some(true))] {
        measured.resolution = resolution;
        check(&promise(Some(0), Word::P99, at_most(50)), &measured, (Some(20.0), kept));
    }
    measured.rpo = Some(0);
    measured.resolution = Some(10 * MS);
    check(&promise(None, Word::Rpo, at_most(0)), &measured, (Some(0.0), Some(true)));
    check(&promise(None, Word::Rpo, at_most(49)), &measured, (Some(0.0), None));
    check(&promise(None, Word::Rto, at_most(49)), &measured, (None, None));
}

#[test]
fn a_limit_too_fine_to_be_kept_can_still_be_broken() {
    let mut measured = measurements(&good(300, 20));
    measured.resolution = Some(10 * MS);
    for (lag, kept) in [(0, Some(false)), (18, Some(false)), (19, None), (30, None)] {
        measured.sender_lag = Some(lag * MS);
        check(&promise(Some(0), Word::P99, at_most(1)), &measured, (Some(20.0), kept));
    }
    measured.recover = Some(30 * MS);
    for (resolution, kept) in [(10, Some(false)), (29, None)] {
        measured.resolution = Some(resolution * MS);
        check(&promise(None, Word::RecoverWithin, at_most(1)), &measured, (Some(30.0), kept));
    }
}

#[test]
fn slowest_and_stalest() {
    let mut records = good(10, 20);
    records[3].done += 80 * MS;
    check(&promise(Some(0), Word::Max, at_most(100)), &measurements(&records), (Some(100.0), Some(true)));
    check(&promise(Some(0), Word::Max, at_most(99)), &measurements(&records), (Some(100.0), Some(false)));
    check(&promise(Some(0), Word::Max, at_most(99)), &measurements(&[]), (None, None));
    let stale = promise(Some(0), Word::StaleAtMost, at_most(10_000));
    check(&stale, &measurements(&records), (None, Some(true)));
    records[1].stale_age = Some(10);
    check(&stale, &measurements(&records), (Some(10_000.0), Some(true)));
    records[2].stale_age = Some(11);
    check(&stale, &measurements(&records), (Some(11_000.0), Some(false)));
    records[2].stale_age = Some(AGE_UNKNOWN);
    check(&stale, &measurements(&records), (None, None));
}

#[test]
fn words_about_the_failure() {
    let empty = measurements(&[]);
    let recovered = Rto::Recovered { from: 5, to: Stretch { start: 5 + 400 * MS, end: 2_000 * MS } };
    let rto = |rto| Measurements { rto, ..empty.clone() };
    let word = |word, limit| promise(None, word, at_most(limit));
    check(&word(Word::Rto, 400), &rto(recovered), (Some(400.0), Some(true)));
    check(&word(Word::Rto, 399), &rto(recovered), (Some(400.0), Some(false)));
    check(&word(Word::Rto, 399), &rto(Rto::Masked), (None, Some(true)));
    check(&word(Word::Rto, 399), &rto(Rto::NotRecovered { from: 5 }), (None, Some(false)));
    let recover = |recover| Measurements { recover, ..empty.clone() };
    check(&word(Word::RecoverWithin, 400), &recover(Some(400 * MS)), (Some(400.0), Some(true)));
    check(&word(Word::RecoverWithin, 400), &recover(Some(401 * MS)), (Some(401.0), Some(false)));
    check(&word(Word::RecoverWithin, 400), &recover(None), (None, Some(false)));
    let restarted = |restarted| Measurements { restarted, ..empty.clone() };
    check(&word(Word::RestartedWithin, 400), &restarted(Restarted::After(MS)), (Some(1.0), Some(true)));
    check(
        &word(Word::RestartedWithin, 400),
        &restarted(Restarted::After(500 * MS)),
        (Some(500.0), Some(false)),
    );
    check(
        &word(Word::RestartedWithin, 400),
        &restarted(Restarted::Missing { since: 1 }),
        (None, Some(false)),
    );
    check(&word(Word::RestartedWithin, 400), &restarted(Restarted::NothingExited), (None, None));
    let rpo = |rpo| Measurements { rpo, ..empty.clone() };
    check(&word(Word::Rpo, 0), &rpo(Some(0)), (Some(0.0), Some(true)));
    check(&word(Word::Rpo, 0), &rpo(Some(1_000)), (Some(0.001), Some(false)));
    check(&word(Word::Rpo, 400), &rpo(Some(300 * MS)), (Some(300.0), Some(true)));
    check(&word(Word::Rpo, 0), &rpo(None), (None, None));
    let twice = |duplicates| Measurements { duplicates, ..empty.clone() };
    let duplicates = promise(None, Word::Duplicates, Limit::AtMostCount(1));
    check(&duplicates, &twice(Some(1)), (Some(1.0), Some(true)));
    check(&duplicates, &twice(Some(2)), (Some(2.0), Some(false)));
    check(&duplicates, &twice(None), (None, None));
}

#[test]
fn the_first_moments_have_their_own_words() {
    let all = [
        promise(Some(0), Word::P50, at_most(10)),
        Promise { during: true, ..promise(Some(0), Word::P50, at_most(1_000)) },
        promise(Some(0), Word::Max, at_most(100)),
    ];
    let (early, late) = (good(12, 500), good(10, 5));
    let mut whole = early.clone();
    whole.extend(&late);
    let mut measured = measurements(&whole);
    measured.loads[0].early = Some(Sample::of(&early));
    measured.loads[0].late = Some(Sample::of(&late));
    let judged = judge_promises(&all, &measured);
    let found: Vec<_> = judged.iter().map(|judged| (judged.measured, judged.kept)).collect();
    // `max` has no relaxed counterpart: it holds throughout.
    assert_eq!(found, [(Some(5.0), Some(true)), (Some(500.0), Some(true)), (Some(500.0), Some(false))]);
}

#[test]
fn verdicts_of_failures() {
    let judged = |kept: &[Option<bool>]| -> Vec<JudgedPromise> {
        let one = judge_promises(&[promise(None, Word::Rto, at_most(400))], &measurements(&[])).remove(0);
        kept.iter().map(|kept| JudgedPromise { kept: *kept, ..one.clone() }).collect()
    };
    let (yes, no) = (Some(true), Some(false));
    for (exercise, execution, kept, expected) in [
        (Exercise::Effective, Execution::Ok, vec![yes, yes], Verdict::Kept),
        (Exercise::Effective, Execution::Ok, vec![yes, no, None], Verdict::Broken),
        (Exercise::Effective, Execution::Ok, vec![yes, None], Verdict::Inconclusive),
        (Exercise::Effective, Execution::Ok, vec![], Verdict::Inconclusive),
        (Exercise::Vacuous, Execution::Ok, vec![yes], Verdict::Inconclusive),
        (Exercise::Vacuous, Execution::Ok, vec![no], Verdict::Inconclusive),
        (Exercise::NotRun, Execution::Ok, vec![yes], Verdict::Inconclusive),
        (Exercise::Effective, Execution::Error, vec![yes], Verdict::Inconclusive),
        (Exercise::Effective, Execution::Error, vec![no], Verdict::Inconclusive),
    ] {
        assert_eq!(judge_failure(exercise, execution, &judged(&kept)), expected, "{exercise:?} {kept:?}");
    }
}

#[test]
fn every_row_of_the_exit_code_rule() {
    use Verdict::{Broken, Inconclusive, Kept, NotExercised};
    let good = Outcome {
        cleanup: Cleanup::Clean,
        interrupted: false,
        started: true,
        failures: &[Kept, Kept],
        require_all: false,
    };
    let dirty = Cleanup::Dirty;
    for (outcome, expected) in [
        (good, 0),
        (Outcome { failures: &[Kept, NotExercised], ..good }, 0),
        (Outcome { failures: &[Kept, NotExercised], require_all: true, ..good }, 2),
        (Outcome { failures: &[Kept], require_all: true, ..good }, 0),
        (Outcome { failures: &[Kept, Broken], ..good }, 1),
        (Outcome { failures: &[Inconclusive, Broken], ..good }, 1),
        (Outcome { failures: &[NotExercised, Broken], require_all: true, ..good }, 1),
        (Outcome { failures: &[Kept, Inconclusive], ..good }, 2),
        (Outcome { failures: &[NotExercised], ..good }, 2),
        (Outcome { failures: &[], ..good }, 2),
        (Outcome { started: false, failures: &[], ..good }, 2),
        (Outcome { started: false, failures: &[Broken], ..good }, 2),
        (Outcome { interrupted: true, failures: &[Broken], ..good }, 130),
        (Outcome { interrupted: true, ..good }, 130),
        (Outcome { interrupted: true, started: false, ..good }, 130),
        (Outcome { cleanup: dirty, ..good }, 3),
        (Outcome { cleanup: dirty, interrupted: true, ..good }, 3),
        (Outcome { cleanup: dirty, started: false, ..good }, 3),
        (Outcome { cleanup: dirty, failures: &[Broken], ..good }, 3),
    ] {
        assert_eq!(exit_code(outcome), expected, "{outcome:?}");
    }
}
