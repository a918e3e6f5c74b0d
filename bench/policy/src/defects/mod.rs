//! What policies are known to get wrong, tried on each: measured, not read.
//!
//! Real time, because most of the peers read the clock themselves; so waits are short, and what is tried does not depend
//! on how short.

mod breakers;
mod others;
mod rival;

use serde_json::{Value, json};

/// One thing that can be wrong.
struct Defect {
    name: &'static str,
    /// What is done, and what would be right.
    question: &'static str,
    seen: Vec<Seen>,
}

/// What became of it.
struct Seen {
    who: &'static str,
    what: String,
    right: bool,
}

impl Defect {
    fn new(name: &'static str, question: &'static str) -> Self {
        eprintln!("{name}");
        Defect { name, question, seen: Vec::new() }
    }

    fn see(&mut self, who: &'static str, right: bool, what: impl Into<String>) {
        self.seen.push(Seen { who, what: what.into(), right });
    }

    fn json(&self) -> Value {
        let seen = self.seen.iter();
        let seen = seen.map(|seen| json!({ "who": seen.who, "what": seen.what, "right": seen.right }));
        json!({ "name": self.name, "question": self.question, "seen": seen.collect::<Vec<_>>() })
    }
}

pub(crate) fn all() -> Vec<Value> {
    // This one makes so many calls without a pause that an executor would stop it, and outside of one it is not stopped.
    let mut all = vec![breakers::never_slides()];
    let runtime = crate::measure::runtime();
    all.extend(runtime.block_on(breakers::all()));
    all.extend(runtime.block_on(others::all()));
    all.iter().map(Defect::json).collect()
}
