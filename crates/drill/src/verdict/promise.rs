//! Judging promises, one by one.

use seaworthy_spec::plan::{Limit, Promise, Word};

use super::words::Unit;
use crate::clock::{NANOS_PER_SECOND, millis, nanos};
use crate::measure::{LoadMeasure, Measurements, Restarted, Rto, Sample};

/// A limit in time must be at least so many times the resolution, or it is not judged.
pub const RESOLUTIONS_PER_LIMIT: u64 = 5;
/// Tolerance of shares, far below what any number of requests can tell.
const SHARE_ROUNDING: f64 = 1e-9;

/// A judged promise.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedPromise {
    /// As in the plan: `buyers.p99`.
    pub name: String,
    /// What is measured.
    pub word: Word,
    /// The measured value must be at least the limit (shares) or at most (all else).
    pub at_least: bool,
    /// The limit, in the unit.
    pub limit: f64,
    /// What was measured, in the unit; `None` = not observed.
    pub measured: Option<f64>,
    /// The unit of both.
    pub unit: Unit,
    /// The verdict; `None` = could not be judged.
    pub kept: Option<bool>,
    /// Line of the promise in the spec.
    pub line: u32,
    /// What the numbers do not say.
    pub note: Option<String>,
}

/// What one promise comes to.
struct Reading {
    measured: Option<f64>,
    kept: Option<bool>,
    note: Option<String>,
}

impl Reading {
    fn judged(measured: f64, kept: bool) -> Self {
        Self { measured: Some(measured), kept: Some(kept), note: None }
    }

    fn without_value(kept: Option<bool>, note: impl Into<String>) -> Self {
        Self { measured: None, kept, note: Some(note.into()) }
    }
}

/// Judges all promises of a failure.
pub fn judge_promises(promises: &[Promise], measured: &Measurements) -> Vec<JudgedPromise> {
    promises.iter().map(|promise| judge_promise(promise, promises, measured)).collect()
}

pub(super) fn judge_promise(promise: &Promise, all: &[Promise], measured: &Measurements) -> JudgedPromise {
    let reading = read(promise, all, measured);
    let (at_least, limit, unit) = match promise.limit {
        Limit::AtLeastShare(share) => (true, share, Unit::Share),
        Limit::AtMost(limit) => (false, millis(nanos(limit)), Unit::Milliseconds),
        Limit::AtMostCount(limit) => (false, limit as f64, Unit::Count),
    };
    let (kept, note) = match too_coarse(promise.limit, measured.resolution) {
        Some(note) if !broken_beyond_doubt(promise, &reading, measured) => (None, Some(note)),
        _ => (reading.kept, reading.note),
    };
    JudgedPromise {
        name: promise.name.clone(),
        word: promise.word,
        at_least,
        limit,
        measured: reading.measured,
        unit,
        kept,
        line: promise.place.line,
        note,
    }
}

/// Says that a limit in time cannot be told apart from the drill's own resolution. Zero is not a time but "none".
fn too_coarse(limit: Limit, resolution: Option<u64>) -> Option<String> {
    let (Limit::AtMost(limit), Some(resolution)) = (limit, resolution) else { return None };
    let least = resolution.saturating_mul(RESOLUTIONS_PER_LIMIT);
    if limit.is_zero() || nanos(limit) >= least {
        return None;
    }
    Some(format!(
        "the limit is below {RESOLUTIONS_PER_LIMIT} times the resolution of {} ms; raise the rate of the loads",
        millis(resolution)
    ))
}

/// A limit too fine to be kept can still be broken: by more than the measure may be off. Latencies are off by what the
/// sender was late at most, all other times by the whole resolution.
fn broken_beyond_doubt(promise: &Promise, reading: &Reading, measured: &Measurements) -> bool {
    let doubt = if promise.word.is_about_load() { measured.sender_lag } else { measured.resolution };
    let (Limit::AtMost(limit), Some(value), Some(doubt)) = (promise.limit, reading.measured, doubt) else {
        return false;
    };
    reading.kept == Some(false) && value - millis(doubt) > millis(nanos(limit))
}

fn read(promise: &Promise, all: &[Promise], measured: &Measurements) -> Reading {
    let limit = match promise.limit {
        Limit::AtMost(limit) => nanos(limit),
        Limit::AtMostCount(limit) => limit,
        Limit::AtLeastShare(_) => 0,
    };
    if let Some(load) = promise.load {
        let sample = sample_of(promise, all, &measured.loads[load]);
        return read_load(promise, sample, limit);
    }
    let time = |nanos: u64| Reading::judged(millis(nanos), nanos <= limit);
    match promise.word {
        Word::Rto => match measured.rto {
            Rto::Masked => Reading::without_value(Some(true), "masked: nobody noticed"),
            Rto::NotRecovered { .. } => {
                Reading::without_value(Some(false), "not recovered within the window")
            }
            recovered @ Rto::Recovered { .. } => time(recovered.nanos().unwrap_or(u64::MAX)),
        },
        Word::RecoverWithin => match measured.recover {
            Some(nanos) => time(nanos),
            None => Reading::without_value(Some(false), "no steady state after the fault"),
        },
        Word::RestartedWithin => match measured.restarted {
            Restarted::After(nanos) => time(nanos),
            Restarted::Missing { .. } => Reading::without_value(Some(false), "not ready again"),
            Restarted::NothingExited => Reading::without_value(None, "no process of the target ended"),
        },
        Word::Rpo => match measured.rpo {
            Some(nanos) => Reading { note: lost_note(measured), ..time(nanos) },
            None => Reading::without_value(None, "the read-back could not be done"),
        },
        Word::Duplicates => match measured.duplicates {
            Some(count) => Reading::judged(count as f64, count <= limit),
            None => Reading::without_value(None, "the read-back could not be done"),
        },
        _ => Reading::without_value(None, "a word about a load that names no load"),
    }
}

/// How many writes were lost, in words; nothing when none was.
fn lost_note(measured: &Measurements) -> Option<String> {
    let effects = measured.loads.iter().filter_map(|load| load.writes.as_ref()?.effects.as_ref());
    match effects.map(|effects| effects.lost).sum() {
        0_u64 => None,
        1 => Some("1 acknowledged write is lost".to_owned()),
        lost => Some(format!("{lost} acknowledged writes are lost")),
    }
}

/// The part of a load's window that a promise is about: words of the first moments are about those; outer words
/// that have a counterpart there are about the rest; all others hold throughout.
fn sample_of<'a>(promise: &Promise, all: &[Promise], load: &'a LoadMeasure) -> &'a Sample {
    let is_relaxed =
        || all.iter().any(|other| other.during && other.load == promise.load && other.word == promise.word);
    let part = match promise.during {
        true => load.early.as_ref(),
        false if is_relaxed() => load.late.as_ref(),
        false => None,
    };
    part.unwrap_or(&load.whole)
}

fn read_load(promise: &Promise, sample: &Sample, limit: u64) -> Reading {
    let share = |measured: Option<f64>| match (measured, promise.limit) {
        (Some(measured), Limit::AtLeastShare(least)) => {
            Reading::judged(measured, measured + SHARE_ROUNDING >= least)
        }
        _ => Reading::without_value(None, "no request fell into the window"),
    };
    match promise.word {
        Word::Success => share(sample.success()),
        Word::Served => share(sample.served()),
        Word::Max => match sample.max() {
            Some(slowest) => Reading::judged(millis(slowest), slowest <= limit),
            None => Reading::without_value(None, "no answer was served"),
        },
        Word::StaleAtMost => stale(sample, limit),
        word => quantile(word, sample, limit),
    }
}

fn quantile(word: Word, sample: &Sample, limit: u64) -> Reading {
    let Some((quantile, nanos)) = word.quantile().and_then(|q| Some((q, sample.quantile(q)?))) else {
        return Reading::without_value(None, "no answer was served");
    };
    let (have, need) = (sample.served_count(), answers_needed(quantile));
    if have < need {
        return Reading {
            measured: Some(millis(nanos)),
            kept: None,
            note: Some(format!("{have} answers are too few for {}, which needs {need}", word.as_str())),
        };
    }
    Reading::judged(millis(nanos), nanos <= limit)
}

/// How many answers a quantile must be taken from: 3 / (1 − q), the number in which an event of that rarity shows
/// with 95 % certainty.
fn answers_needed(quantile: f64) -> u64 {
    (3.0 / (1.0 - quantile)).round() as u64
}

fn stale(sample: &Sample, limit: u64) -> Reading {
    match sample.stale_age_max {
        None => Reading::without_value(Some(true), "no answer was stale"),
        Some(_) if sample.has_unknown_age() => {
            Reading::without_value(None, "a stale answer did not say its age")
        }
        Some(age) => {
            let nanos = u64::from(age).saturating_mul(NANOS_PER_SECOND);
            Reading::judged(millis(nanos), nanos <= limit)
        }
    }
}
