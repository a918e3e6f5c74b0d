//! Whole drills with the real program: what is kept is called kept, what is broken is called broken.

use std::time::Duration;

use crate::stage::{SEAWORTHY, Stage, eventually, kill};
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

/// The example with pages that may be old, and two failures that differ in how old.
fn with_stale_pages(spec: &str) -> String {
    let route = "show-event: { match: GET /events/**, to: api }";
    let stale =
        "show-event: { match: GET /events/**, to: api, cache: { ttl: 1s }, degrade: [ { stale: 10m } ],
    policy: { attempt_timeout: 300ms, total_timeout: 600ms } }";
    let failure = |name: &str, age: &str| {
        format!(
            "
  {name}:
    required: Pages are there, if need be old ones.
    fault: {{ pause: {{ service: api }} }}
    hold: 5s
    likelihood: monthly
    impact: medium
    response: automatic
    relies_on: [degrade]
    promise:
      readers: {{ served: 90%, stale_at_most: {age} }}
"
        )
    };
    assert!(spec.contains(route));
    spec.replace(route, stale) + &failure("pages-old", "1m") + &failure("pages-too-old", "1s")
}

#[test]
fn stale_answers_are_measured_by_their_age() {
    let stage = Stage::new(|spec| with_stale_pages(&spec));
    let (code, report) = drill(&stage, &["--only", "pages-old", "--only", "pages-too-old"]);
    assert_eq!(code, Some(1), "{report:#}");
    let promise = |failure: usize| {
        let promises = report["failures"][failure]["promises"].as_array().unwrap();
        promises.iter().find(|promise| promise["name"] == "readers.stale_at_most").unwrap().clone()
    };
    let (kept, broken) = (promise(0), promise(1));
    assert_eq!((&kept["kept"], &broken["kept"]), (&Value::Bool(true), &Value::Bool(false)), "{report:#}");
    for (index, promise) in [kept, broken].iter().enumerate() {
        let readers = &report["failures"][index]["measured"]["loads"]["readers"];
        assert_eq!(promise["measured"], readers["stale_max_ms"], "{report:#}");
        let oldest = readers["stale_max_ms"].as_f64().unwrap();
        assert!((2_000.0..60_000.0).contains(&oldest), "the window is open for five seconds: {report:#}");
        assert!(readers["degraded"].as_u64().unwrap() > 100, "{report:#}");
    }
    // Without the ladder there is nothing to be old, and nothing at all.
    let (code, report) = drill(&stage, &["--only", "pages-old", "--ablate", "degrade"]);
    assert_eq!(code, Some(1), "{report:#}");
    let readers = &report["failures"][0]["measured"]["loads"]["readers"];
    assert_eq!(
        (&readers["degraded"], &readers["stale_max_ms"]),
        (&Value::from(0), &Value::Null),
        "{report:#}"
    );
}

#[test]
fn what_is_not_as_it_was_before_is_a_dirty_clean_up() {
    let stage = Stage::new(|spec| {
        let iticket = std::path::Path::new(SEAWORTHY).with_file_name("iticket");
        let spec = hold(&spec, 4).replace(&format!("{} chat", iticket.display()), "./chatd chat");
        assert!(spec.contains("./chatd chat"));
        // What is measured is of no interest.
        spec.replace("rate: 200/s", "rate: 20/s").replace("rate: 400/s", "rate: 40/s")
    });
    let program = stage.state("chatd");
    std::os::unix::fs::symlink(std::path::Path::new(SEAWORTHY).with_file_name("iticket"), &program).unwrap();
    let arguments =
        ["drill", "seaworthy.yaml", "--state-dir", "drill", "--format", "json", "--only", "chat-frozen"];
    let mut drill = stage.spawn(&arguments);
    let log = stage.state("drill").join("log.jsonl");
    eventually(Duration::from_mins(1), "fault", || {
        std::fs::read_to_string(&log).ok().filter(|log| log.contains("\"fault_applied\""))
    });
    // The frozen process dies, and nobody can start it again.
    std::fs::remove_file(&program).unwrap();
    let processes = stage.processes(&[]);
    let chat = processes.iter().find(|(_, text)| text.contains("chatd chat ")).expect("a chat");
    kill(chat.0, "KILL");
    let status = drill.wait(Duration::from_mins(2));
    let report: Value = serde_json::from_str(&stage.stdout()).unwrap();
    assert_eq!(report["failures"][0]["cleanup"], "dirty", "{report:#}");
    assert_eq!(status.code(), Some(3), "whatever the verdict: {report:#}");
    stage.assert_empty_within(Duration::from_secs(2), &[]);
}
