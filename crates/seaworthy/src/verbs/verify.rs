//! `verify store`: is what must not be lost whole?

use seaworthy_store::{Checked, FileReport, StoreError};
use serde_json::{Value, json};

use crate::cli::{Format, StatusArgs, VerifyVerb};
use crate::exit::Exit;
use crate::spec_file::count;
use crate::state_dir;

/// Where a backend keeps its store, below its state folder.
const STORE_FOLDER: &str = "store";

pub(crate) fn run(verb: &VerifyVerb) -> Exit {
    let VerifyVerb::Store(arguments) = verb;
    store(arguments)
}

fn store(arguments: &StatusArgs) -> Exit {
    let state = state_dir::of_spec(&arguments.node.spec, arguments.node.state_dir.as_deref());
    let folder = state.join(STORE_FOLDER);
    let checked = match seaworthy_store::verify(&folder) {
        Ok(checked) => checked,
        Err(error) => {
            eprintln!("error: {error}");
            if matches!(error, StoreError::Busy { .. }) {
                eprintln!(
                    "hint: stop the backend first; what it writes meanwhile could not be told from damage"
                );
            }
            return Exit::CouldNotJudge;
        }
    };
    match arguments.format {
        Format::Json => println!("{:#}", document(&checked)),
        Format::Human => {
            for file in &checked.files {
                println!("{}", line(file));
                for problem in &file.problems {
                    println!("    {problem}");
                }
            }
        }
    }
    if checked.is_whole() { Exit::Good } else { Exit::Bad }
}

fn line(file: &FileReport) -> String {
    let rows: Vec<String> = file.rows.iter().map(|(what, rows)| format!("{rows} {what}")).collect();
    let verdict = match file.problems.len() {
        0 => "whole".to_owned(),
        problems => count(problems, "problem"),
    };
    let rows = if rows.is_empty() { String::new() } else { format!(": {}", rows.join(", ")) };
    format!("{}: {verdict}{rows}", file.path.display())
}

fn document(checked: &Checked) -> Value {
    let file = |file: &FileReport| {
        let rows: serde_json::Map<String, Value> =
            file.rows.iter().map(|(what, rows)| (what.replace(' ', "_"), json!(rows))).collect();
        json!({ "path": file.path, "rows": rows, "problems": file.problems })
    };
    json!({
        "schema": "seaworthy.verify_store/1",
        "verdict": if checked.is_whole() { "whole" } else { "damaged" },
        "files": checked.files.iter().map(file).collect::<Vec<_>>(),
    })
}
