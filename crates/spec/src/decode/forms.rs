//! Texts of numbers with units, in both directions.

use std::time::Duration;

/// No duration of a spec is longer.
const DURATION_MAX: Duration = Duration::from_hours(366 * 24);
/// No rate of a spec is higher, per second.
const RATE_MAX: f64 = 1_000_000.0;

/// The units of durations, longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not such a number, in words for a label, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) problem: Problem,
    pub(crate) help: Option<String>,
}

/// What is wrong with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It has no unit, or one that does not exist.
    Unit,
    /// It cannot be read at all.
    Form,
    /// It is too small or too large.
    Range,
}

fn unreadable<T>(problem: Problem, help: impl Into<Option<String>>) -> Result<T, Unreadable> {
    Err(Unreadable { problem, help: help.into() })
}

/// A duration such as `250ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, Unreadable> {
    let split =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    if number.is_empty() || number.parse::<f64>().is_err() {
        return unreadable(Problem::Form, None);
    }
    if unit.is_empty() {
        let help = match in_milliseconds(number, 1_000) {
            Some(exact) if number.contains('.') => format!("write `{exact}` if these are seconds"),
            _ => format!("write `{number}s` for seconds or `{number}ms` for milliseconds"),
        };
        return unreadable(Problem::Unit, help);
    }
    let Some(&(name, milliseconds)) = UNITS.iter().find(|(name, _)| *name == our_unit(unit)) else {
        return unreadable(Problem::Unit, "the units are `ms`, `s`, `m`, `h` and `d`".to_owned());
    };
    let Ok(whole) = number.parse::<u64>() else {
        let exact = in_milliseconds(number, milliseconds);
        return unreadable(Problem::Form, exact.map(|exact| format!("write `{exact}`: whole numbers only")));
    };
    if unit != name || text[split..].starts_with(' ') {
        return unreadable(Problem::Unit, format!("write `{whole}{name}`"));
    }
    let total = Duration::from_millis(whole.saturating_mul(milliseconds));
    if total > DURATION_MAX {
        return unreadable(Problem::Range, "no duration may exceed 366d".to_owned());
    }
    Ok(total)
}

/// Our spelling of a unit as people write it elsewhere; the unit itself when there is none.
fn our_unit(unit: &str) -> &str {
    match unit {
        "sec" | "secs" | "second" | "seconds" | "S" => "s",
        "msec" | "millis" | "millisecond" | "milliseconds" | "MS" | "Ms" => "ms",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" | "H" => "h",
        "day" | "days" | "D" => "d",
        other => other,
    }
}

/// `1.5` seconds are `1500ms`.
fn in_milliseconds(number: &str, unit: u64) -> Option<String> {
    let exact = number.parse::<f64>().ok()? * unit as f64;
    let is_whole = exact.fract() == 0.0 && exact < DURATION_MAX.as_millis() as f64;
    is_whole.then(|| show_duration(Duration::from_millis(exact as u64)))
}

/// A duration as a spec would write it: `250ms`, `90s`, `5m`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let total = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let exact = |unit: u64| total > 0 && total.is_multiple_of(unit);
    match UNITS.iter().find(|(_, unit)| exact(*unit)) {
        Some((name, unit)) => format!("{}{name}", total / unit),
        None => "0s".to_owned(),
    }
}

/// A share such as `99.9%`, as 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, Unreadable> {
    let number = text.strip_suffix('%');
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let digits = number.unwrap_or(text).trim_end();
    let Some(value) =
        Some(digits).filter(|digits| plain(digits)).and_then(|digits| digits.parse::<f64>().ok())
    else {
        let negative =
            digits.strip_prefix('-').is_some_and(|digits| plain(digits) && digits.parse::<f64>().is_ok());
        let problem = if negative { Problem::Range } else { Problem::Form };
        return unreadable(problem, None);
    };
    if number.is_none() {
        let percent =
            if value <= 1.0 && text.contains('.') { show_share(value) } else { format!("{digits}%") };
        return unreadable(Problem::Unit, format!("write `{percent}`"));
    }
    if value > 100.0 {
        return unreadable(Problem::Range, "a share is at most `100%`".to_owned());
    }
    Ok(value / 100.0)
}

/// A share as a spec would write it.
pub(crate) fn show_share(share: f64) -> String {
    format!("{}%", (share * 1e8).round() / 1e6)
}

/// A rate such as `200/s`, per second.
pub(super) fn rate(text: &str) -> Result<f64, Unreadable> {
    let (number, unit) = text.split_once('/').unwrap_or((text, ""));
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let Some(count) = Some(number).filter(|_| plain).and_then(|number| number.parse::<f64>().ok()) else {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        let foreign =
            ["rps", "qps", "r/s", "req/s", " rps", " req/s"].iter().any(|unit| text.ends_with(unit));
        if foreign && !digits.is_empty() {
            return unreadable(Problem::Unit, format!("write `{digits}/s`"));
        }
        return unreadable(Problem::Form, None);
    };
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "" => return unreadable(Problem::Unit, format!("write `{count}/s` for requests per second")),
        "sec" | "second" => return unreadable(Problem::Unit, format!("write `{count}/s`")),
        "min" | "minute" => return unreadable(Problem::Unit, format!("write `{count}/m`")),
        "hour" => return unreadable(Problem::Unit, format!("write `{count}/h`")),
        _ => return unreadable(Problem::Unit, "the units are `/s`, `/m` and `/h`".to_owned()),
    };
    let per_second = count / seconds;
    if per_second <= 0.0 || per_second > RATE_MAX {
        return unreadable(Problem::Range, format!("a rate is more than `0/s` and at most `{RATE_MAX}/s`"));
    }
    Ok(per_second)
}

/// A rate as a spec would write it.
pub(crate) fn show_rate(per_second: f64) -> String {
    for (unit, seconds) in [("s", 1.0), ("m", 60.0), ("h", 3_600.0)] {
        let count = (per_second * seconds * 1e6).round() / 1e6;
        if count.fract() == 0.0 && count > 0.0 {
            return format!("{count}/{unit}");
        }
    }
    format!("{per_second}/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, milliseconds, shown) in [
            ("250ms", 250, "250ms"),
            ("2s", 2_000, "2s"),
            ("2000ms", 2_000, "2s"),
            ("90s", 90_000, "90s"),
            ("5m", 300_000, "5m"),
            ("300s", 300_000, "5m"),
            ("1h", 3_600_000, "1h"),
            ("14d", 1_209_600_000, "14d"),
            ("0s", 0, "0s"),
        ] {
            let duration = duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(show_duration(duration), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_what_to_write() {
        for (text, problem, help) in [
            ("30", Problem::Unit, Some("write `30s` for seconds or `30ms` for milliseconds")),
            ("2.5", Problem::Unit, Some("write `2500ms` if these are seconds")),
            ("2sec", Problem::Unit, Some("write `2s`")),
            ("2 s", Problem::Unit, Some("write `2s`")),
            ("2fortnights", Problem::Unit, Some("the units are `ms`, `s`, `m`, `h` and `d`")),
            ("1.5s", Problem::Form, Some("write `1500ms`: whole numbers only")),
            ("1.0005s", Problem::Form, None),
            ("-2s", Problem::Form, None),
            ("soon", Problem::Form, None),
            ("", Problem::Form, None),
            ("1.2.3s", Problem::Form, None),
            ("99999d", Problem::Range, Some("no duration may exceed 366d")),
            ("99999999999999999999s", Problem::Form, None),
        ] {
            let expected = Unreadable { problem, help: help.map(str::to_owned) };
            assert_eq!(duration(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn shares_are_read_and_shown() {
        for (text, expected, shown) in [
            ("100%", 1.0, "100%"),
            ("99.9%", 0.999, "99.9%"),
            ("0%", 0.0, "0%"),
            ("99.999%", 0.99999, "99.999%"),
        ] {
            let value = share(text).unwrap();
            assert!((value - expected).abs() < 1e-12, "{text}");
            assert_eq!(show_share(value), shown);
        }
        for (text, problem, help) in [
            ("0.999", Problem::Unit, Some("write `99.9%`")),
            ("50", Problem::Unit, Some("write `50%`")),
            ("1", Problem::Unit, Some("write `1%`")),
            ("101%", Problem::Range, Some("a share is at most `100%`")),
            ("-1%", Problem::Range, None),
            ("%", Problem::Form, None),
            ("most", Problem::Form, None),
            ("1e1%", Problem::Form, None),
        ] {
            assert_eq!(share(text), Err(Unreadable { problem, help: help.map(str::to_owned) }), "{text}");
        }
    }

    #[test]
    fn rates_are_read_and_shown() {
        for (text, expected, shown) in [
            ("200/s", 200.0, "200/s"),
            ("30/m", 0.5, "30/m"),
            ("0.5/s", 0.5, "30/m"),
            ("1/h", 1.0 / 3_600.0, "1/h"),
        ] {
            let value = rate(text).unwrap();
            assert!((value - expected).abs() < 1e-12, "{text}");
            assert_eq!(show_rate(value), shown);
        }
        for (text, problem, help) in [
            ("200", Problem::Unit, Some("write `200/s` for requests per second")),
            ("200rps", Problem::Unit, Some("write `200/s`")),
            ("200/min", Problem::Unit, Some("write `200/m`")),
            ("200/d", Problem::Unit, Some("the units are `/s`, `/m` and `/h`")),
            ("0/s", Problem::Range, Some("a rate is more than `0/s` and at most `1000000/s`")),
            ("-1/s", Problem::Form, None),
            ("fast", Problem::Form, None),
        ] {
            assert_eq!(rate(text), Err(Unreadable { problem, help: help.map(str::to_owned) }), "{text}");
        }
    }
}
