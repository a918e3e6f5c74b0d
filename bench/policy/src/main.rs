//! The policies next to the crates that people use today.
//!
//! `cost [--quick]` measures, `defects` runs the mistakes that policies are known for. Both print one JSON object; what
//! renders, judges and writes it down is `cargo xtask bench policy`.

mod breakers;
mod case;
mod defects;
mod layers;
mod measure;
mod memory;
mod windows;

use std::process::ExitCode;

use serde_json::json;

use crate::case::Case;
use crate::measure::{Effort, FULL, QUICK};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["cost"] => cost(FULL),
        ["cost", "--quick"] => cost(QUICK),
        ["defects"] => json!({ "defects": defects::all() }),
        _ => {
            eprintln!("usage: bench-policy cost [--quick] | defects");
            return ExitCode::from(2);
        }
    };
    println!("{result}");
    ExitCode::SUCCESS
}

fn cost(effort: Effort) -> serde_json::Value {
    let runtime = measure::runtime();
    let _inside = runtime.enter();
    let memory = memory::all();
    let opening = windows::calls_to_open();
    let mut cases: Vec<Case> = breakers::cases();
    cases.extend(layers::cases());
    cases.extend(windows::cases());
    let rows = measure::measure(cases, effort);
    json!({ "effort": effort.json(), "rows": rows, "memory": memory, "calls_to_open": opening })
}
