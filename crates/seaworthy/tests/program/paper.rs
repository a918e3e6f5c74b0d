//! The verbs that work on paper: what they print where, and how they exit.

use std::fs;
use std::process::{Command, Output};

const SEAWORTHY: &str = env!("CARGO_BIN_EXE_seaworthy");

fn run(folder: &tempfile::TempDir, arguments: &[&str]) -> Output {
    Command::new(SEAWORTHY).args(arguments).current_dir(folder.path()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_first_spec_is_written_once_and_passes_check() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&folder, &["init"]).status.code(), Some(0));
    let again = run(&folder, &["init"]);
    assert_eq!(again.status.code(), Some(2), "an existing file is left as it is");
    assert!(again.stdout.is_empty() && String::from_utf8_lossy(&again.stderr).contains("exists already"));
    let check = run(&folder, &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", stdout(&check));
    let plan = run(&folder, &["plan", "--format", "json"]);
    assert!(serde_json::from_slice::<serde_json::Value>(&plan.stdout).is_ok());
}

#[test]
fn check_exits_by_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let example = include_str!("../../../../examples/iticket/seaworthy.yaml");
    let cases: [(&str, &[u8], &[&str], i32); 7] = [
        ("good with warnings", example.as_bytes(), &[], 0),
        ("warnings denied", example.as_bytes(), &["--deny", "warnings"], 1),
        ("a typo", &example.replace("replicas:", "replcias:").into_bytes(), &[], 1),
        ("empty", b"", &[], 1),
        ("noise", b"\x00\xff\x13\x37: [", &[], 1),
        ("json of a bad one", b"a: 1", &["--format", "json"], 1),
        ("sarif of a bad one", b"a: 1", &["--format", "sarif"], 1),
    ];
    for (name, text, options, code) in cases {
        fs::write(folder.path().join("s.yaml"), text).unwrap();
        let output = run(&folder, &[&["check", "s.yaml"], options].concat());
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stdout(&output));
        if options.contains(&"--format") {
            assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(), "{name}");
        }
    }
    assert_eq!(run(&folder, &["check", "missing.yaml"]).status.code(), Some(2));
}

#[test]
fn run_plan_and_drill_refuse_a_spec_with_errors() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), "seaworthy: v1\nnme: x\n").unwrap();
    for verb in ["run", "plan", "drill"] {
        let output = run(&folder, &[verb, "s.yaml"]);
        assert_eq!(output.status.code(), Some(2), "{verb}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean"), "{verb}");
    }
}

#[test]
fn unknown_names_are_refused_with_those_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), include_str!("../../../../examples/iticket/seaworthy.yaml"))
        .unwrap();
    for (arguments, expected) in [
        (["drill", "s.yaml", "--only", "replica-crush"], "replica-crash"),
        (["drill", "s.yaml", "--ablate", "retries"], "retry"),
    ] {
        let output = run(&folder, &arguments);
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(expected), "{errors}");
    }
}

#[test]
fn a_folder_that_is_not_ours_is_never_emptied() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), include_str!("../../../../examples/iticket/seaworthy.yaml"))
        .unwrap();
    let precious = folder.path().join("home");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("thesis.txt"), "years").unwrap();
    let output = run(&folder, &["drill", "s.yaml", "--state-dir", "home"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
    assert!(precious.join("thesis.txt").exists());
}

#[test]
fn a_verb_without_a_running_backend_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        [&["status"][..], &["fault", "list"], &["fault", "clear"], &["breaker", "release", "egress:x"]]
    {
        let output = run(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("seaworthy run"), "{arguments:?}");
    }
}

#[test]
fn explain_schema_and_completions_print_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    assert!(stdout(&run(&folder, &["explain", "SW302"])).contains("What to do"));
    assert_eq!(run(&folder, &["explain", "SW999"]).status.code(), Some(2));
    assert!(serde_json::from_slice::<serde_json::Value>(&run(&folder, &["schema"]).stdout).is_ok());
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&run(&folder, &["completions", shell])).contains("seaworthy"), "{shell}");
    }
}
