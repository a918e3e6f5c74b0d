//! Numbers and promises in words.

use seaworthy_spec::plan::Word;

use crate::clock::{NANOS_PER_SECOND, millis};
use crate::verdict::{JudgedPromise, Unit};

/// A number without needless digits: at most three after the point.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A value with its unit: `183.2 ms`, `99.95%`, `2`.
pub(super) fn value(value: f64, unit: Unit) -> String {
    match unit {
        // One digit more than others: 99.995 % and 100 % are not the same promise.
        Unit::Share => {
            let percent = value * 100.0;
            let text = format!("{percent:.4}");
            format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
        }
        Unit::Milliseconds => format!("{} ms", number(value)),
        Unit::Count => number(value),
    }
}

/// A time in seconds after something: `+1.204 s`.
pub(super) fn seconds_after(nanos: u64) -> String {
    format!("+{:.3} s", nanos as f64 / NANOS_PER_SECOND as f64)
}

/// A time in milliseconds, or a dash.
pub(super) fn optional_millis(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| "-".to_owned(), |nanos| format!("{} ms", number(millis(nanos))))
}

/// What was promised: `at least 99.9%`, `at most 250 ms`.
pub(super) fn limit(promise: &JudgedPromise) -> String {
    match promise.word {
        Word::Rpo if promise.limit == 0.0 => return "none lost".to_owned(),
        Word::Duplicates if promise.limit == 0.0 => return "none".to_owned(),
        _ => {}
    }
    let bound = if promise.at_least { "at least" } else { "at most" };
    format!("{bound} {}", value(promise.limit, promise.unit))
}

/// How far a broken promise is off: `by 181 ms`; `None` without a measured value.
pub(super) fn off_by(promise: &JudgedPromise) -> Option<String> {
    let measured = promise.measured?;
    let distance = if promise.at_least { promise.limit - measured } else { measured - promise.limit };
    let distance = value(distance, promise.unit);
    Some(match promise.unit {
        Unit::Share => format!("by {} points", distance.trim_end_matches('%')),
        Unit::Milliseconds | Unit::Count => format!("by {distance}"),
    })
}

/// A broken promise in one sentence.
pub(crate) fn broken_sentence(promise: &JudgedPromise) -> String {
    let found = match (promise.measured, &promise.note) {
        (Some(measured), Some(note)) => format!(" was {} ({note})", value(measured, promise.unit)),
        (Some(measured), None) => format!(" was {}", value(measured, promise.unit)),
        (None, Some(note)) => format!(": {note}"),
        (None, None) => " was not observed".to_owned(),
    };
    format!("{}{found}; promised: {}", promise.name, limit(promise))
}
