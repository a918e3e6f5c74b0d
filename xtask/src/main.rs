//! Build, test and bench chores: `cargo xtask test | tidy | soak NAME | bench NAME`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line chore talks to its caller")]

mod bench;
mod mutants;
mod run;
mod soak;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test         formatting, lints, rules of the house, all tests: what CI runs
  tidy         only the rules of the house
  soak NAME    a long suite in full: kills | ablations | repeat | loom | store-kills |
               mutants [--shard K/N] [--file PATH] [--minutes M] [--survivors]
  bench NAME   a comparison with peers: gateway | policy | store; or what a call costs us: instructions
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["test"] => test::run(),
        ["tidy"] => tidy::run(),
        ["soak", "mutants", ..] => mutants::run(&words[2..]),
        ["soak", name] => soak::run(name),
        ["bench", name, ..] => bench::run(name, &words[2..]),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
