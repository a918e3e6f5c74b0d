//! `completions`: a script for the user's shell.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::Exit;

pub(crate) fn run(arguments: &CompletionsArgs) -> Exit {
    clap_complete::generate(arguments.shell, &mut Cli::command(), "seaworthy", &mut std::io::stdout());
    Exit::Good
}
