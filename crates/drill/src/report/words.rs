//! Numbers and promises in words.

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
    let bound = if promise.at_least { "at least" } else { "at most" };
    format!("{bound} {}", value(promise.limit, promise.unit))
}

/// How far a broken promise is off: `by 181 ms`; `None` without a measured value.
pub(super) fn off_by(promise: &JudgedPromise) -> Option<String> {
    let measured = promise.measured?;
    let distance = if promise.at_least { promise.limit - measured } else { measured - promise.limit };
    let points = if promise.unit == Unit::Share { " points" } else { "" };
    Some(format!("by {}{points}", value(distance, promise.unit)))
}

/// A broken promise in one sentence.
pub(crate) fn broken_sentence(promise: &JudgedPromise) -> String {
    let found = match (promise.measured, &promise.note) {
        (Some(measured), _) => format!("was {}", value(measured, promise.unit)),
        (None, Some(note)) => note.clone(),
        (None, None) => "was not observed".to_owned(),
    };
    let separator = if promise.measured.is_some() { " " } else { ": " };
    format!("{}{separator}{found}; promised: {}", promise.name, limit(promise))
}
