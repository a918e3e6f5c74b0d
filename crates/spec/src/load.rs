//! The way in: a text becomes a plan, or a list of what is wrong with it.

use crate::codes::Code;
use crate::decode::decode;
use crate::diagnostic::{Diagnostic, quoted};
use crate::keys::{SPEC, Table};
use crate::plan::Plan;
use crate::resolve::resolve;
use crate::source::{Source, Span};
use crate::yaml;

/// What came of reading a spec.
#[derive(Debug, Clone)]
pub struct LoadOutcome {
    /// The text, for rendering diagnostics; `None` when the file could not be read at all.
    pub source: Option<Source>,
    /// What it means; `None` when there is any error.
    pub plan: Option<Plan>,
    /// Everything that is wrong with it, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl LoadOutcome {
    /// True when a diagnostic is an error; then there is no plan.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// What to say when a file could not be read at all; `reason` is the operating system's.
pub fn unreadable(name: &str, reason: &str) -> LoadOutcome {
    let message = format!("cannot read {}: {reason}", quoted(name));
    let problem = Diagnostic::new(Code::Unreadable, Span::default(), message)
        .without_snippet()
        .help("check the path; `seaworthy init` writes a spec to start from");
    LoadOutcome { source: None, plan: None, diagnostics: vec![problem] }
}

/// Reads a spec from bytes; `name` is what messages call it, and its folder is where relative paths start.
pub fn parse(name: &str, bytes: impl AsRef<[u8]>) -> LoadOutcome {
    parse_as(&SPEC, name, bytes.as_ref())
}

/// Reads a spec in a language with these keys.
pub(crate) fn parse_as(table: &'static Table, name: &str, bytes: &[u8]) -> LoadOutcome {
    let (source, root, mut diagnostics) = yaml::read(name, bytes);
    let mut plan = None;
    if let Some(root) = root {
        let (object, problems) = decode(table, &root);
        diagnostics.extend(problems);
        if let Some(object) = object {
            let (resolved, problems) = resolve(&source, &object);
            diagnostics.extend(problems);
            plan = Some(resolved);
        }
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.location.span(&source).map(|span| span.start));
    let plan = plan.filter(|_| !diagnostics.iter().any(Diagnostic::is_error));
    LoadOutcome { source: Some(source), plan, diagnostics }
}
