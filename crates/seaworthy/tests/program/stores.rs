//! `verify store`: whole, damaged, busy, not there.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use seaworthy_store::{Embedded, Jobs, NewJob, Options};

fn verify(folder: &Path, format: &str) -> Output {
    let arguments = ["verify", "store", "--state-dir", ".", "--format", format];
    Command::new(env!("CARGO_BIN_EXE_seaworthy")).args(arguments).current_dir(folder).output().unwrap()
}

#[test]
fn a_store_is_whole_or_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = verify(folder.path(), "human");
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(2), 0), "there is no store");

    let store = Embedded::open(&folder.path().join("store"), &Options::default()).unwrap();
    let job = NewJob { queue: "mails".to_owned(), ..NewJob::default() };
    store.enqueue(job).wait().unwrap();
    let busy = verify(folder.path(), "human");
    assert_eq!(busy.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&busy.stderr).contains("hint: stop the backend first"));

    drop(store);
    let whole = verify(folder.path(), "human");
    assert_eq!(whole.status.code(), Some(0));
    let said = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(said.contains("store/jobs.db: whole: 1 jobs, 0 dead letters"), "{said}");

    // A byte in the middle of the log: its checksum tells, and the job is gone. In the file itself, a page is torn.
    fs::remove_file(folder.path().join("store/jobs.db-wal")).unwrap();
    let path = folder.path().join("store/jobs.db");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let damaged = verify(folder.path(), "json");
    assert_eq!(damaged.status.code(), Some(1));
    let document: serde_json::Value = serde_json::from_slice(&damaged.stdout).unwrap();
    assert_eq!(document["verdict"], "damaged");
    assert!(!document["files"][0]["problems"].as_array().unwrap().is_empty(), "{document}");
}
