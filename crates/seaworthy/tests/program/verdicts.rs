//! Whole drills with the real program: what is kept is called kept, what is broken is called broken.

use std::time::Duration;

use crate::stage::Stage;
use serde_json::Value;

/// Drills one failure and returns exit code and report.
fn drill(stage: &Stage, options: &[&str]) -> (Option<i32>, Value) {
    let mut arguments = vec!["drill", "seaworthy.yaml", "--state-dir", "drill", "--format", "json"];
    arguments.extend(options);
    let mut drill = stage.spawn(&arguments);
    let status = drill.wait(Duration::from_mins(2));
    let report = serde_json::from_str(&stage.stdout());
    let report = report.unwrap_or_else(|error| panic!("{error}: {}\n{}", stage.stdout(), stage.stderr()));
    stage.assert_empty_within(Duration::from_secs(2), &[]);
    (status.code(), report)
}

fn hold(spec: &str, seconds: u32) -> String {
    let (head, failures) = spec.split_once("failures:\n").unwrap();
    // Only those whose own times allow it.
    let shorter = |failure: &str| {
        let fixed = failure.contains("rto:") || failure.contains("for_at_most");
        if fixed {
            failure.to_owned()
        } else {
            failure.replace("    promise:\n", &format!("    hold: {seconds}s\n    promise:\n"))
        }
    };
    let failures: Vec<String> = failures.split("\n\n").map(shorter).collect();
    format!("{head}failures:\n{}", failures.join("\n\n"))
}

#[test]
fn a_crash_is_kept_and_without_restart_it_is_broken() {
    let stage = Stage::new(|spec| hold(&spec, 5));
    let (code, report) = drill(&stage, &["--only", "replica-crash", "--seed", "7"]);
    let failure = &report["failures"][0];
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["schema"], "seaworthy.drill/1");
    assert_eq!(
        [&failure["verdict"], &failure["exercise"], &failure["execution"], &failure["cleanup"]],
        ["kept", "effective", "ok", "clean"]
    );
    assert_eq!(failure["measured"]["loads"]["buyers"]["lost"], 0);
    assert_eq!(failure["measured"]["loads"]["buyers"]["duplicated"], 0);

    let (code, report) = drill(&stage, &["--only", "replica-crash", "--ablate", "restart"]);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(report["failures"][0]["verdict"], "broken");
}

#[test]
fn an_impossible_promise_is_broken_and_says_where() {
    let stage = Stage::new(|spec| {
        hold(&spec, 4)
            .replace("readers: { success: 100%, p99: 250ms }", "readers: { success: 100%, p99: 1ms }")
    });
    let (code, report) = drill(&stage, &["--only", "replica-errors"]);
    assert_eq!(code, Some(1), "{report:#}");
    let promises = report["failures"][0]["promises"].as_array().unwrap();
    let broken: Vec<&Value> = promises.iter().filter(|promise| promise["kept"] == false).collect();
    assert_eq!(broken.len(), 1, "{promises:#?}");
    assert_eq!(broken[0]["name"], "readers.p99");
    let line = std::fs::read_to_string(&stage.spec).unwrap();
    let at = broken[0]["at"].as_str().unwrap().rsplit(':').next().unwrap().parse::<usize>().unwrap();
    assert!(line.lines().nth(at - 1).unwrap().contains("p99: 1ms"), "the place is the line of the promise");
}

#[test]
fn a_hang_of_the_only_replica_is_broken_honestly() {
    let stage =
        Stage::new(|spec| hold(&spec, 4).replacen("replicas: { a: 2, b: 1 }", "replicas: { a: 1 }", 1));
    let (code, report) = drill(&stage, &["--only", "replica-hangs"]);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(report["failures"][0]["verdict"], "broken");
    assert_eq!(report["failures"][0]["cleanup"], "clean");
}

#[test]
fn an_accepted_failure_is_not_exercised() {
    let stage = Stage::new(|spec| {
        let (head, tail) = spec.split_once("  replica-crash:").unwrap();
        head.to_owned() + "  replica-crash:" + &tail.replacen("response: automatic", "response: accept", 1)
    });
    let (code, report) = drill(&stage, &["--only", "replica-crash"]);
    assert_eq!(code, Some(2), "nothing exercised at all: {report:#}");
    assert_eq!(report["failures"][0]["verdict"], "not_exercised");
}

/// Seconds of the day of an RFC 3339 time.
fn seconds(ts: &Value) -> f64 {
    let clock: Vec<f64> = ts.as_str().unwrap()[11..23].split(':').map(|part| part.parse().unwrap()).collect();
    clock[0] * 3600.0 + clock[1] * 60.0 + clock[2]
}

#[test]
fn a_hung_replica_gets_no_attempt_after_a_second() {
    let stage = Stage::new(|spec| hold(&spec, 4));
    let (code, report) = drill(&stage, &["--only", "replica-hangs"]);
    assert_eq!(code, Some(0), "{report:#}");
    let log = std::fs::read_to_string(stage.state("drill").join("log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let paused = lines.iter().find(|line| line["event"] == "fault_applied").unwrap();
    let ended = lines.iter().find(|line| line["event"] == "fault_ended").unwrap();
    let (from, until) = (seconds(&paused["ts"]), seconds(&ended["ts"]));
    let hung = paused["what"].as_str().unwrap().rsplit('/').next().unwrap();
    let (mut early, mut late) = (0, Vec::new());
    let requests = lines.iter().filter(|line| line["message"] == "request");
    for line in requests.filter(|line| line["edge"] == "ingress:api") {
        let begun = seconds(&line["ts"]) - line["duration_ms"].as_f64().unwrap() / 1000.0;
        for attempt in
            line["attempts"].as_array().into_iter().flatten().filter(|attempt| attempt["endpoint"] == hung)
        {
            let sent = begun + attempt["start_ms"].as_f64().unwrap() / 1000.0;
            early += usize::from(sent < from);
            if sent > from + 1.0 && sent < until {
                late.push(attempt);
            }
        }
    }
    assert!(early > 0, "it was in use before");
    assert!(late.is_empty(), "sent to {hung} more than a second after it was frozen: {late:?}");
}
