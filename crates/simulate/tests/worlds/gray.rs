//! Gray failures: one backend of ten is slow, loses requests, or answers errors at once, and its probes pass all the time.
//! How long until it is isolated, what do clients notice, and who is ejected wrongly when all are slow?

use std::ops::Range;
use std::time::Duration;

use seaworthy_simulate::report::{millis, percent, seconds};
use seaworthy_simulate::{BackendConfig, Change, Condition, Distribution, Report, Table, World, WorldConfig};

use crate::common::{at, ms, world};

const BACKENDS: usize = 10;
const RATE: f64 = 500.0;
const BEGINS: u64 = 10;
const ENDS: u64 = 40;
const SEEDS: Range<u64> = 1..21;
/// For those who ask for more: none of these was looked at while the policies were made.
const MORE_SEEDS: Range<u64> = 1_000..1_060;

/// A backend that is ten times as slow or worse, answers nothing but errors, or leaves 40 % unanswered, is isolated within this time.
const ISOLATION_TARGET: Duration = Duration::from_secs(2);
/// What that is: who is milder may stay.
const ISOLATED: [&str; 4] = ["x10", "x100", "lost 0.4", "fast 500s 1"];
/// How long it is watched.
const ISOLATION_WATCH: u64 = 4;
/// How long those that are all bad are watched; other seeds until the end.
const ALL_BAD_WATCH: u64 = 10;
/// With one bad backend, this share of requests is good.
const GOOD: f64 = 0.999;
/// With one bad backend; 63 ms when all are well.
const P99_MAX: Duration = Duration::from_millis(160);
fn gray(hit: usize, condition: Condition, rate: f64, backends: usize) -> WorldConfig {
    let service = Distribution::LogNormal { median: ms(20), sigma: 0.5 };
    let backend = BackendConfig { workers: 10, service, ..BackendConfig::default() };
    WorldConfig {
        network: Duration::from_micros(200),
        changes: vec![Change { at: at(BEGINS), backends: 0..hit, condition }],
        rates: vec![(at(1), rate)],
        ..world(backends, &backend, rate, ENDS)
    }
}

fn conditions() -> Vec<(String, Condition)> {
    let well = Condition::default();
    let mut all = vec![("well".to_owned(), well)];
    all.extend(
        [1.5, 2.0, 5.0, 10.0, 100.0].map(|slowness| (format!("x{slowness}"), Condition { slowness, ..well })),
    );
    all.extend(
        [0.01, 0.1, 0.4].map(|unanswered| (format!("lost {unanswered}"), Condition { unanswered, ..well })),
    );
    let fast = Some(ms(1));
    all.extend(
        [0.05, 1.0]
            .map(|errors| (format!("fast 500s {errors}"), Condition { errors, error_after: fast, ..well })),
    );
    all
}

/// One row of the tables: who was isolated when, and what clients noticed while the condition lasted.
fn row(name: &str, report: &Report, backends: usize, hit: usize) -> Vec<String> {
    let window = BEGINS as usize..ENDS as usize;
    let latencies = report.latencies(window.clone());
    vec![
        name.to_owned(),
        seconds(report.isolation(0, at(BEGINS))),
        seconds(report.ejection(0, at(BEGINS))),
        format!("{:.3}", report.share(0, window.clone())),
        percent(report.total(window.clone()).goodput()),
        millis(latencies.quantile(0.5)),
        millis(latencies.quantile(0.99)),
        format!("{:.3}", report.amplification(window)),
        wrong_ejections(report, backends, hit).to_string(),
    ]
}

fn headings(first: &str) -> Table {
    let rest = ["isolated", "ejected", "share", "good", "p50", "p99", "amplification", "wrong ejections"];
    Table::new(&[&[first], rest.as_slice()].concat())
}

/// Where all are equally bad, every ejection is wrong: it only burdens the others.
fn wrong_ejections(report: &Report, backends: usize, hit: usize) -> usize {
    report.ejections.iter().filter(|record| hit == backends || record.backend >= hit).count()
}

#[test]
fn one_bad_backend_is_hardly_noticed() {
    for (backends, rate) in [(BACKENDS, RATE), (3, 150.0)] {
        let mut table = headings(&format!("one of {backends}"));
        for (name, condition) in conditions() {
            let report = World::run(gray(1, condition, rate, backends));
            table.row(&row(&name, &report, backends, 1));
            let window = BEGINS as usize..ENDS as usize;
            let good = report.total(window.clone()).goodput();
            assert!(good >= GOOD, "{name}: {good} good");
            let p99 = report.latencies(window).quantile(0.99);
            assert!(p99 <= P99_MAX, "{name}: p99 {p99:?}");
            assert_eq!(wrong_ejections(&report, backends, 1), 0, "{name}: {:?}", report.ejections);
        }
        println!("{table}");
    }
}

/// What many seeds come to, with one bad backend and with none but bad ones.
#[derive(Debug, Default)]
struct Summary {
    /// The longest it took.
    isolated: Duration,
    never_isolated: usize,
    wrong: usize,
}

fn summary(condition: Condition, backends: usize, hit: usize, seeds: Range<u64>, ends: u64) -> Summary {
    let mut summary = Summary::default();
    for seed in seeds {
        let gray = gray(hit, condition, 50.0 * backends as f64, backends);
        let report = World::run(WorldConfig { seed, ends: at(ends), ..gray });
        match report.isolation(0, at(BEGINS)) {
            Some(took) => summary.isolated = summary.isolated.max(took),
            None => summary.never_isolated += 1,
        }
        summary.wrong += wrong_ejections(&report, backends, hit);
    }
    summary
}

#[test]
fn one_bad_backend_of_ten_is_isolated_within_two_seconds() {
    let mut table =
        Table::new(&["one of 10, 20 seeds", "isolated within", "not isolated", "wrong ejections"]);
    let ends = BEGINS + ISOLATION_WATCH;
    let conditions: Vec<_> = conditions()
        .into_iter()
        .filter(|(name, _)| name == "well" || ISOLATED.contains(&name.as_str()))
        .collect();
    let summaries = conditions.iter().map(|(name, condition)| {
        let summary = summary(*condition, BACKENDS, 1, SEEDS, ends);
        let within = seconds(Some(summary.isolated));
        table.row(&[name.clone(), within, summary.never_isolated.to_string(), summary.wrong.to_string()]);
        (name, summary)
    });
    let summaries: Vec<_> = summaries.collect();
    println!("{table}");
    for (name, summary) in summaries {
        let never = if name == "well" { SEEDS.count() } else { 0 };
        assert_eq!(summary.never_isolated, never, "{name}\n{table}");
        assert!(summary.isolated <= ISOLATION_TARGET, "{name}\n{table}");
        assert_eq!(summary.wrong, 0, "{name}\n{table}");
    }
}

/// What all suffer alike is nobody's fault, and an ejection would only burden the others: how many there were.
fn all_bad(backends: usize, among: impl Fn(&str) -> bool) -> (Table, usize) {
    let mut table = Table::new(&[&format!("all of {backends}, 20 seeds"), "wrong ejections"]);
    let mut wrong = 0;
    for (name, condition) in conditions().into_iter().filter(|(name, _)| among(name)) {
        let summary = summary(condition, backends, backends, SEEDS, BEGINS + ALL_BAD_WATCH);
        wrong += summary.wrong;
        table.row(&[name, summary.wrong.to_string()]);
    }
    (table, wrong)
}

#[test]
fn when_all_of_ten_are_slow_nobody_is_ejected() {
    let (table, wrong) = all_bad(BACKENDS, |name| name.starts_with('x'));
    println!("{table}");
    assert_eq!(wrong, 0, "{table}");
}

#[test]
fn when_all_of_ten_lose_requests_nobody_is_ejected() {
    let (table, wrong) = all_bad(BACKENDS, |name| name.starts_with("lost"));
    println!("{table}");
    assert_eq!(wrong, 0, "{table}");
}

#[test]
fn when_all_of_ten_fail_nobody_is_ejected() {
    let (table, wrong) = all_bad(BACKENDS, |name| name.starts_with("fast") || name == "well");
    println!("{table}");
    assert_eq!(wrong, 0, "{table}");
}

#[test]
fn when_all_of_three_are_bad_nobody_is_ejected() {
    let (table, wrong) = all_bad(3, |_| true);
    println!("{table}");
    assert_eq!(wrong, 0, "{table}");
}

/// Other seeds, and all conditions.
#[test]
#[ignore = "many seeds; for optimized builds"]
fn many_seeds() {
    let mut table = Table::new(&[
        "of",
        "condition",
        "isolated within",
        "not isolated",
        "wrong, one bad",
        "wrong, all bad",
    ]);
    let mut good = true;
    for backends in [3, BACKENDS] {
        for (name, condition) in conditions() {
            let one = summary(condition, backends, 1, MORE_SEEDS, ENDS);
            let all = summary(condition, backends, backends, MORE_SEEDS, ENDS);
            good &= one.wrong + all.wrong == 0;
            let isolated = one.never_isolated == 0 && one.isolated <= ISOLATION_TARGET;
            good &= isolated || !ISOLATED.contains(&name.as_str());
            table.row(&[
                backends.to_string(),
                name,
                seconds(Some(one.isolated)),
                one.never_isolated.to_string(),
                one.wrong.to_string(),
                all.wrong.to_string(),
            ]);
        }
    }
    println!("{table}");
    assert!(good, "{table}");
}
