//! The report for build servers: JUnit XML. A failure of the spec is a test case; broken is a failure, inconclusive
//! an error, not exercised a skip.

use std::fmt::Write as _;

use super::words::{broken_sentence, value};
use super::{DrillReport, FailureReport};
use crate::verdict::{Cleanup, Verdict};

/// The report as JUnit XML.
pub fn junit(report: &DrillReport) -> String {
    let dirty = report.total_cleanup() == Cleanup::Dirty;
    let own_error = report.error.as_deref().or(if dirty { Some("clean-up was not clean") } else { None });
    let errors = report.count(Verdict::Inconclusive) + usize::from(own_error.is_some());
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{errors}\" skipped=\"{}\">",
        escape(&report.name),
        report.failures.len() + usize::from(own_error.is_some()),
        report.count(Verdict::Broken),
        report.count(Verdict::NotExercised),
    );
    let _ = writeln!(
        xml,
        "    <properties>\n      <property name=\"seed\" value=\"{}\"/>\n      <property name=\"sha256\" value=\"{}\"/>\n    </properties>",
        report.seed,
        escape(&report.sha256)
    );
    for failure in &report.failures {
        case(&mut xml, report, failure);
    }
    if let Some(error) = own_error {
        let _ = writeln!(
            xml,
            "    <testcase classname=\"{}\" name=\"the drill itself\">\n      <error message=\"{}\"/>\n    </testcase>",
            escape(&report.name),
            escape(error)
        );
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn case(xml: &mut String, report: &DrillReport, failure: &FailureReport) {
    let _ = writeln!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\">",
        escape(&report.name),
        escape(&failure.id)
    );
    let reason = escape(failure.reason.as_deref().unwrap_or_default());
    match failure.verdict {
        Verdict::Kept => {}
        Verdict::Broken => {
            let _ = writeln!(
                xml,
                "      <failure message=\"{reason}\">{}</failure>",
                escape(&broken(report, failure))
            );
        }
        Verdict::Inconclusive => {
            let _ = writeln!(xml, "      <error message=\"{reason}\"/>");
        }
        Verdict::NotExercised => {
            let _ = writeln!(xml, "      <skipped message=\"{reason}\"/>");
        }
    }
    let mut promises = String::new();
    for promise in &failure.promises {
        let measured = promise.measured.map_or_else(|| "-".to_owned(), |m| value(m, promise.unit));
        let _ = writeln!(promises, "{}: {measured} ({})", promise.name, kept_word(promise.kept));
    }
    if !promises.is_empty() {
        let _ = writeln!(xml, "      <system-out>{}</system-out>", escape(&promises));
    }
    xml.push_str("    </testcase>\n");
}

fn broken(report: &DrillReport, failure: &FailureReport) -> String {
    let mut lines = String::new();
    for promise in failure.promises.iter().filter(|promise| promise.kept == Some(false)) {
        let _ = writeln!(lines, "{}:{}: {}", report.file, promise.line, broken_sentence(promise));
    }
    lines
}

/// The word for a judged promise.
pub(super) fn kept_word(kept: Option<bool>) -> &'static str {
    match kept {
        Some(true) => "kept",
        Some(false) => "BROKEN",
        None => "not judged",
    }
}

/// Escapes text for XML, in elements and attributes alike. What XML 1.0 cannot hold becomes a question mark.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\t' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            _ => escaped.push(character),
        }
    }
    escaped
}
