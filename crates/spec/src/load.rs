//! The way in: a file or a text becomes a plan, or a list of what is wrong with it.

use std::path::Path;

use crate::codes::Code;
use crate::decode::decode;
use crate::diagnostic::{Diagnostic, quoted};
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

/// Reads a spec from a file.
pub fn load(path: &Path) -> LoadOutcome {
    let name = path.display().to_string();
    match read_bounded(path) {
        Ok(bytes) => parse(&name, &bytes),
        Err(error) => {
            let problem = Diagnostic::new(
                Code::Unreadable,
                Span::default(),
                format!("cannot read {}: {error}", quoted(&name)),
            )
            .without_snippet()
            .help("check the path; `seaworthy init` writes a spec to start from");
            LoadOutcome { source: None, plan: None, diagnostics: vec![problem] }
        }
    }
}

/// Reads a spec from bytes; `name` is what messages call it, and its folder is where relative paths start.
pub fn parse(name: &str, bytes: impl AsRef<[u8]>) -> LoadOutcome {
    let (source, root, mut diagnostics) = yaml::read(name, bytes.as_ref());
    let mut plan = None;
    if let Some(root) = root {
        let (object, problems) = decode(&root);
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

/// One byte more than is accepted is enough to know that a file is too large.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(yaml::SIZE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_has_no_source() {
        for path in ["no/such/file.yaml", "."] {
            let outcome = load(Path::new(path));
            assert!(outcome.source.is_none() && outcome.plan.is_none(), "{path}");
            assert_eq!(outcome.diagnostics[0].code, Code::Unreadable);
        }
    }
}
