//! `seaworthy`: keeps a backend afloat through the failures its team has named, and proves it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the program's output is its purpose")]

mod cli;
mod driver;
mod exit;
mod http;
mod node;
mod progress;
mod spec_file;
mod state_dir;
mod verbs;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Verb};
use exit::Exit;

// Requests allocate a lot and briefly, on threads that never share what they allocate: mimalloc's best case.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Cli::parse();
    let outcome = match arguments.verb {
        Verb::Init(arguments) => verbs::init::run(&arguments),
        Verb::Check(arguments) => Ok(verbs::check::run(&arguments)),
        Verb::Plan(arguments) => verbs::plan::run(&arguments),
        Verb::Run(arguments) => verbs::run::run(&arguments),
        Verb::Drill(arguments) => verbs::drill::run(&arguments),
        Verb::Fault(verb) => verbs::fault::run(&verb),
        Verb::Breaker(verb) => verbs::breaker::run(&verb),
        Verb::Status(arguments) => verbs::status::run(&arguments),
        Verb::Verify(verb) => Ok(verbs::verify::run(&verb)),
        Verb::Explain(arguments) => verbs::explain::run(&arguments),
        Verb::Schema => Ok(verbs::schema::run()),
        Verb::Completions(arguments) => Ok(verbs::completions::run(&arguments)),
        Verb::Keeper(arguments) => verbs::run::keep(&arguments),
        Verb::Node(arguments) => node::run(&arguments),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::CouldNotJudge.into()
        }
    }
}
