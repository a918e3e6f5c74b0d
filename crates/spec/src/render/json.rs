//! Diagnostics as one JSON object.

use serde_json::{Value, json as value};

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{Source, Span};

/// One object: the file, the counts, and one object per diagnostic. `file` is what the user named, for when it
/// could not be read. Columns count characters, from 1; ends are exclusive.
pub fn json(file: &str, source: Option<&Source>, diagnostics: &[Diagnostic]) -> Value {
    let count = |severity: Severity| diagnostics.iter().filter(|found| found.severity == severity).count();
    let all: Vec<Value> = diagnostics.iter().map(|diagnostic| one(file, source, diagnostic)).collect();
    value!({
        "schema": "seaworthy.check/1",
        "file": file,
        "errors": count(Severity::Error),
        "warnings": count(Severity::Warning),
        "diagnostics": all,
    })
}

fn one(file: &str, source: Option<&Source>, diagnostic: &Diagnostic) -> Value {
    let mut object = value!({
        "code": diagnostic.code.to_string(),
        "severity": diagnostic.severity.as_str(),
        "message": diagnostic.message,
        "file": file,
        "label": diagnostic.label,
        "path": diagnostic.path,
        "help": diagnostic.help,
        "line": null, "column": null, "end_line": null, "end_column": null,
    });
    if let Some(source) = source {
        if let Some(span) = diagnostic.location.span(source) {
            place(&mut object, source, span);
        }
        let related: Vec<Value> = diagnostic
            .secondary
            .iter()
            .filter_map(|(location, label)| {
                let mut related = value!({ "label": label });
                place(&mut related, source, location.span(source)?);
                Some(related)
            })
            .collect();
        object["related"] = related.into();
    }
    object
}

fn place(object: &mut Value, source: &Source, span: Span) {
    let (start, end) = (source.place(span.start), source.place(span.end));
    object["line"] = start.line.into();
    object["column"] = start.column.into();
    object["end_line"] = end.line.into();
    object["end_column"] = end.column.into();
}
