//! The report for programs: one object of the schema `seaworthy.drill/1`. Durations are in milliseconds, shares from
//! 0 to 1, and null means that something was not observed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{DrillReport, FailureReport};
use crate::clock::millis;
use crate::measure::{LoadMeasure, Measurements, Restarted, Sample};
use crate::record::AGE_UNKNOWN;
use crate::verdict::JudgedPromise;

const SCHEMA: &str = "seaworthy.drill/1";

#[derive(Serialize)]
struct Drill<'a> {
    schema: &'static str,
    spec: Spec<'a>,
    binary: Option<&'a str>,
    seed: u64,
    verdict: &'static str,
    failures: Vec<Failure<'a>>,
}

#[derive(Serialize)]
struct Spec<'a> {
    file: &'a str,
    sha256: &'a str,
}

#[derive(Serialize)]
struct Failure<'a> {
    id: &'a str,
    verdict: &'static str,
    exercise: &'static str,
    execution: &'static str,
    cleanup: &'static str,
    recovered_by: Option<&'static str>,
    reason: Option<&'a str>,
    measured: Measured<'a>,
    promises: Vec<Promise<'a>>,
}

#[derive(Default, Serialize)]
struct Measured<'a> {
    detect_ms: Option<f64>,
    rto_ms: Option<f64>,
    recover_ms: Option<f64>,
    restarted_ms: Option<f64>,
    rpo_ms: Option<f64>,
    resolution_ms: Option<f64>,
    loads: BTreeMap<&'a str, Load>,
}

#[derive(Serialize)]
struct Load {
    requests: u64,
    good: u64,
    degraded: u64,
    failed: u64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
    max_ms: Option<f64>,
    stale_max_ms: Option<f64>,
    acknowledged: Option<u64>,
    refused: Option<u64>,
    unknown: Option<u64>,
    lost: Option<u64>,
    duplicated: Option<u64>,
}

#[derive(Serialize)]
struct Promise<'a> {
    name: &'a str,
    op: &'static str,
    limit: f64,
    measured: Option<f64>,
    unit: &'static str,
    kept: Option<bool>,
    at: String,
}

/// The report as a JSON object, with line breaks, the last one at its end.
pub fn json(report: &DrillReport) -> String {
    let drill = Drill {
        schema: SCHEMA,
        spec: Spec { file: &report.file, sha256: &report.sha256 },
        binary: report.binary.as_deref(),
        seed: report.seed,
        verdict: report.verdict().as_str(),
        failures: report.failures.iter().map(|failure| failure_of(report, failure)).collect(),
    };
    let text = serde_json::to_string_pretty(&drill);
    format!("{}\n", text.expect("a report has string keys and finite numbers"))
}

fn failure_of<'a>(report: &'a DrillReport, failure: &'a FailureReport) -> Failure<'a> {
    Failure {
        id: &failure.id,
        verdict: failure.verdict.as_str(),
        exercise: failure.exercise.as_str(),
        execution: failure.execution.as_str(),
        cleanup: failure.cleanup.as_str(),
        recovered_by: failure.recovered_by.map(crate::verdict::RecoveredBy::as_str),
        reason: failure.reason.as_deref(),
        measured: failure.measured.as_ref().map(|m| measured_of(report, m)).unwrap_or_default(),
        promises: failure.promises.iter().map(|promise| promise_of(report, promise)).collect(),
    }
}

fn measured_of<'a>(report: &'a DrillReport, measured: &Measurements) -> Measured<'a> {
    let restarted = match measured.restarted {
        Restarted::After(nanos) => Some(nanos),
        Restarted::NothingExited | Restarted::Missing { .. } => None,
    };
    Measured {
        detect_ms: measured.detect.map(millis),
        rto_ms: measured.rto.nanos().map(millis),
        recover_ms: measured.recover.map(millis),
        restarted_ms: restarted.map(millis),
        rpo_ms: measured.rpo.map(millis),
        resolution_ms: measured.resolution.map(millis),
        loads: report.loads.iter().map(String::as_str).zip(measured.loads.iter().map(load_of)).collect(),
    }
}

fn load_of(load: &LoadMeasure) -> Load {
    let whole = &load.whole;
    let writes = load.writes.as_ref();
    let effects = writes.and_then(|writes| writes.effects.as_ref());
    let quantile = |q| whole.quantile(q).map(millis);
    Load {
        requests: whole.requests,
        good: whole.good,
        degraded: whole.degraded,
        failed: whole.failed,
        p50_ms: quantile(0.50),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        p999_ms: quantile(0.999),
        max_ms: whole.max().map(millis),
        stale_max_ms: stale_max(whole),
        acknowledged: writes.map(|writes| writes.acknowledged),
        refused: writes.map(|writes| writes.refused),
        unknown: writes.map(|writes| writes.unknown),
        lost: effects.map(|effects| effects.lost),
        duplicated: effects.map(|effects| effects.duplicated),
    }
}

fn stale_max(sample: &Sample) -> Option<f64> {
    sample.stale_age_max.filter(|age| *age != AGE_UNKNOWN).map(|seconds| f64::from(seconds) * 1_000.0)
}

fn promise_of<'a>(report: &DrillReport, promise: &'a JudgedPromise) -> Promise<'a> {
    Promise {
        name: &promise.name,
        op: if promise.at_least { ">=" } else { "<=" },
        limit: promise.limit,
        measured: promise.measured,
        unit: promise.unit.as_str(),
        kept: promise.kept,
        at: format!("{}:{}", report.file, promise.line),
    }
}
