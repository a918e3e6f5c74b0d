//! Reading a spec from a file, and refusing one with errors.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use seaworthy_spec::plan::{Mechanism, Plan};
use seaworthy_spec::render::{self, Style};
use seaworthy_spec::{Diagnostic, LoadOutcome, SIZE_MAX};

/// What a drill changes about a plan before it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// Only these failures; all when empty.
    pub(crate) only: Vec<String>,
    /// Without these mechanisms.
    pub(crate) ablate: Vec<String>,
}

/// Reads and examines a spec; findings of `check` come after those of the text. Without a source, the file could not be
/// read.
pub(crate) fn examine(path: &Path) -> LoadOutcome {
    let name = path.display().to_string();
    let mut outcome = match read_bounded(path) {
        Ok(bytes) => seaworthy_spec::parse(&name, bytes),
        Err(error) => seaworthy_spec::unreadable(&name, &error.to_string()),
    };
    if let Some(plan) = &outcome.plan {
        outcome.diagnostics.extend(seaworthy_check::check(plan));
    }
    outcome
}

/// One byte more than is accepted is enough to know that a file is too large.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The plan of a spec without errors; warnings are `check`'s business.
pub(crate) fn plan(path: &Path, selection: &Selection) -> Result<Plan> {
    let outcome = examine(path);
    let errors: Vec<Diagnostic> =
        outcome.diagnostics.iter().filter(|found| found.is_error()).cloned().collect();
    let Some(mut plan) = outcome.plan.filter(|_| errors.is_empty()) else {
        eprint!("{}", render::human(outcome.source.as_ref(), &errors, style(&std::io::stderr())));
        bail!("{} has {}", path.display(), count(errors.len(), "error"));
    };
    if !selection.only.is_empty() {
        plan = plan.only(&selection.only).map_err(|name| unknown_failure(&name, &plan))?;
    }
    for word in &selection.ablate {
        plan = plan.ablate(mechanism(word)?);
    }
    Ok(plan)
}

/// Colours only where somebody can see them, and never as the only carrier of a meaning.
pub(crate) fn style(stream: &impl IsTerminal) -> Style {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && stream.is_terminal() { Style::Colour } else { Style::Plain }
}

/// `1 error`, `2 errors`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn mechanism(word: &str) -> Result<Mechanism> {
    let known = Mechanism::ALL.into_iter().find(|mechanism| mechanism.as_str() == word);
    known.with_context(|| {
        let words: Vec<&str> = Mechanism::ALL.iter().map(|mechanism| mechanism.as_str()).collect();
        format!("`--ablate {word}`: there is no such mechanism; there are {}", words.join(", "))
    })
}

fn unknown_failure(name: &str, plan: &Plan) -> anyhow::Error {
    let names: Vec<&str> = plan.failures.iter().map(|failure| failure.id.as_str()).collect();
    anyhow::anyhow!("`--only {name}`: the spec has no such failure; it has {}", names.join(", "))
}
