//! `check`: examines a spec on paper.

use seaworthy_spec::render;

use crate::cli::{CheckArgs, CheckFormat, Deny};
use crate::exit::Exit;
use crate::spec_file::{self, count};

pub(crate) fn run(arguments: &CheckArgs) -> Exit {
    let outcome = spec_file::examine(&arguments.spec);
    let file = arguments.spec.display().to_string();
    let (source, findings) = (outcome.source.as_ref(), &outcome.diagnostics);
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let warnings = findings.len() - errors;
    match arguments.format {
        CheckFormat::Json => println!("{:#}", render::json(&file, source, findings)),
        CheckFormat::Sarif => println!("{:#}", render::sarif(&file, source, findings)),
        CheckFormat::Human => {
            print!("{}", render::human(source, findings, spec_file::style(&std::io::stdout())));
            if !findings.is_empty() {
                println!();
            }
            println!("{file}: {}, {}", count(errors, "error"), count(warnings, "warning"));
        }
    }
    if source.is_none() {
        return Exit::CouldNotJudge;
    }
    let denied = arguments.deny == Some(Deny::Warnings) && warnings > 0;
    if errors > 0 || denied { Exit::Bad } else { Exit::Good }
}
