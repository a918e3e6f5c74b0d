//! The text format of Prometheus, and the names it takes.

use std::fmt::Write;

use super::family::{Shape, Values};
use super::{Family, MetricError, SERIES_MAX, Samples, Source};

/// What a metric of each kind must end in, as far as the linter knows.
const HISTOGRAM_UNITS: [&str; 3] = ["_seconds", "_bytes", "_ratio"];
/// Endings that say a unit in a way the linter refuses.
const BAD_ENDINGS: [&str; 7] = ["_ms", "_milliseconds", "_s", "_minutes", "_percent", "_kb", "_mb"];

/// Refuses what Prometheus would not take and what its linter would complain about.
pub(super) fn check_names(name: &str, kind: &str, labels: &[&str]) -> Result<(), MetricError> {
    let refuse = |why| Err(MetricError::Name(name.to_owned(), why));
    if !is_name(name) {
        return refuse("a name is lower-case letters, digits and underscores, and begins with a letter");
    }
    let base = name.strip_suffix("_total").unwrap_or(name);
    if BAD_ENDINGS.iter().any(|ending| base.ends_with(ending)) {
        return refuse("use base units: seconds, bytes, ratio");
    }
    match kind {
        "counter" if !name.ends_with("_total") => return refuse("a counter ends in `_total`"),
        "gauge" | "histogram" if name.ends_with("_total") => {
            return refuse("only a counter ends in `_total`");
        }
        "histogram" if !HISTOGRAM_UNITS.iter().any(|unit| name.ends_with(unit)) => {
            return refuse("a histogram ends in its unit");
        }
        "gauge" if ["_count", "_sum", "_bucket"].iter().any(|ending| name.ends_with(ending)) => {
            return refuse("this ending belongs to histograms");
        }
        _ => {}
    }
    if labels.iter().any(|label| !is_name(label) || *label == "le") {
        return refuse("a label is lower-case letters, digits and underscores, and not `le`");
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Writes one family; nothing at all when it has no series.
pub(super) fn family(out: &mut String, family: &Family) {
    let samples = match &family.source {
        Source::Cells { series, values } => {
            if let Shape::Histogram(bounds) = values.shape {
                head(out, family, series.len());
                for (index, labels) in series.iter().enumerate() {
                    histogram(out, family, &Series { labels, values, index, bounds });
                }
                return;
            }
            cells(family.kind, series, values)
        }
        Source::Asked(ask) => {
            let mut samples = ask();
            samples.retain(|(labels, _)| labels.len() == family.labels.len());
            samples.truncate(SERIES_MAX);
            samples
        }
    };
    head(out, family, samples.len());
    for (labels, value) in &samples {
        line(out, &family.name, &pairs(family, labels), *value);
    }
}

fn cells(kind: &str, series: &[Vec<String>], values: &Values) -> Samples {
    let number = |index| {
        let sum = values.sum(index, 0);
        if kind == "gauge" { sum.cast_signed() as f64 } else { sum as f64 }
    };
    series.iter().enumerate().map(|(index, labels)| (labels.clone(), number(index))).collect()
}

fn head(out: &mut String, family: &Family, series: usize) {
    if series == 0 {
        return;
    }
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    push(out, format_args!("# HELP {} {help}\n# TYPE {} {}\n", family.name, family.name, family.kind));
}

struct Series<'a> {
    labels: &'a [String],
    values: &'a Values,
    index: usize,
    bounds: &'a [f64],
}

fn histogram(out: &mut String, family: &Family, series: &Series<'_>) {
    let labels = pairs(family, series.labels);
    let bucket_name = format!("{}_bucket", family.name);
    let mut below = 0;
    for bucket in 0..=series.bounds.len() {
        below += series.values.sum(series.index, bucket);
        let bound = series.bounds.get(bucket).map_or_else(|| "+Inf".to_owned(), f64::to_string);
        let comma = if labels.is_empty() { "" } else { "," };
        line(out, &bucket_name, &format!("{labels}{comma}le=\"{bound}\""), below as f64);
    }
    let nanos = series.values.sum(series.index, series.bounds.len() + 1);
    line(out, &format!("{}_sum", family.name), &labels, nanos as f64 / 1e9);
    // The count is the last bucket, read once, so that the two agree while others count on.
    line(out, &format!("{}_count", family.name), &labels, below as f64);
}

fn pairs(family: &Family, values: &[String]) -> String {
    let mut text = String::new();
    for (name, value) in family.labels.iter().zip(values) {
        if !text.is_empty() {
            text.push(',');
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        push(&mut text, format_args!("{name}=\"{value}\""));
    }
    text
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    if labels.is_empty() {
        push(out, format_args!("{name} {value}\n"));
    } else {
        push(out, format_args!("{name}{{{labels}}} {value}\n"));
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
}
