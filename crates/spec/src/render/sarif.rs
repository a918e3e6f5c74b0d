//! Diagnostics as SARIF 2.1.0, which code review tools show beside the line.

use serde_json::{Value, json};

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{Source, Span};

/// One run of one tool; `file` becomes the artifact, relative to wherever the tool was started.
pub fn sarif(file: &str, source: Option<&Source>, diagnostics: &[Diagnostic]) -> Value {
    let mut codes: Vec<Code> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let results: Vec<Value> = diagnostics.iter().map(|found| result(file, source, found, &codes)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "seaworthy",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: Code) -> Value {
    let explanation = code.explanation();
    json!({
        "id": code.to_string(),
        "shortDescription": { "text": explanation.title },
        "fullDescription": { "text": explanation.cause },
        "help": { "text": explanation.remedy },
        "defaultConfiguration": { "level": explanation.severity.as_str() },
    })
}

fn result(file: &str, source: Option<&Source>, diagnostic: &Diagnostic, codes: &[Code]) -> Value {
    let text = match &diagnostic.help {
        Some(help) => format!("{}; {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let span = source.and_then(|source| diagnostic.location.span(source).map(|span| (source, span)));
    let mut result = json!({
        "ruleId": diagnostic.code.to_string(),
        "ruleIndex": codes.iter().position(|code| *code == diagnostic.code),
        "level": level(diagnostic.severity),
        "message": { "text": text },
        "locations": [location(file, span)],
        // The same finding after lines were added above it is still the same finding.
        "partialFingerprints": { "seaworthy/v1": fingerprint(diagnostic) },
    });
    let related: Vec<Value> = diagnostic
        .secondary
        .iter()
        .filter_map(|(place, label)| {
            let source = source?;
            let mut related = location(file, Some((source, place.span(source)?)));
            related["message"] = json!({ "text": label });
            Some(related)
        })
        .collect();
    if !related.is_empty() {
        result["relatedLocations"] = related.into();
    }
    result
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn location(file: &str, span: Option<(&Source, Span)>) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(file) } });
    if let Some((source, span)) = span {
        let (start, end) = (source.place(span.start), source.place(span.end));
        physical["region"] = json!({
            "startLine": start.line, "startColumn": start.column, "endLine": end.line, "endColumn": end.column,
        });
    }
    json!({ "physicalLocation": physical })
}

/// A path as the reference part of a URI.
fn uri(file: &str) -> String {
    use std::fmt::Write as _;
    file.bytes().fold(String::new(), |mut uri, byte| {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").expect("writing to a string cannot fail");
        }
        uri
    })
}

fn fingerprint(diagnostic: &Diagnostic) -> String {
    format!("{}:{}:{}", diagnostic.code, diagnostic.path.as_deref().unwrap_or_default(), diagnostic.message)
}
