//! `run` on the example: it serves, says how it stands, and stops in good order.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::stage::{Stage, eventually, get, http, text};
use serde_json::Value;

fn ready(stage: &Stage) -> Value {
    let node = stage.node(".seaworthy");
    let admin = text(&node["admin"]).to_owned();
    eventually(Duration::from_secs(30), "readiness", || {
        get(&admin, "/readyz").ok().filter(|answer| answer.0 == 200)
    });
    node
}

#[test]
fn a_ticket_is_bought_through_the_gateway_and_a_stop_is_clean() {
    let stage = Stage::new(|spec| spec);
    let mut run = stage.spawn(&["run", "seaworthy.yaml"]);
    let node = ready(&stage);
    let gateway = text(&node["gateway"]);

    let body = r#"{"event":1,"buyer":"ada"}"#;
    let buy = |key: &str| {
        let head = format!(
            "POST /tickets HTTP/1.1\nHost: test\nConnection: close\nContent-Type: application/json\nIdempotency-Key: {key}\nContent-Length: {}\n\n",
            body.len()
        );
        http(gateway, &format!("{head}{body}")).unwrap()
    };
    let (status, head, ticket) = buy("voyage-1");
    assert_eq!(status, 201, "{head}\n{ticket}");
    let ticket: Value = serde_json::from_str(&ticket).unwrap();
    assert_eq!(ticket["success"], true);
    let (_, _, again) = buy("voyage-1");
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["ticket"], ticket["ticket"], "the same key is the same ticket");

    let without_key = format!(
        "POST /tickets HTTP/1.1\nHost: test\nConnection: close\nContent-Length: {}\n\n{body}",
        body.len()
    );
    let (status, head, _) = http(gateway, &without_key).unwrap();
    assert_eq!(status, 400);
    assert!(head.to_lowercase().contains("proxy-status: seaworthy"), "{head}");

    let (status, _, page) = get(gateway, "/events/1").unwrap();
    assert_eq!(status, 200);
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["chatAvailable"], true, "{page}");

    let output = stage.command(&["status"]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("api") && shown.contains("a-1") && shown.contains("ready"), "{shown}");

    let services = stage.processes(&[run.pid()]);
    assert!(services.len() >= 10, "nine replicas and a node: {services:?}");
    run.signal("TERM");
    assert_eq!(run.wait(Duration::from_secs(30)).code(), Some(0), "{}", stage.stderr());
    stage.assert_empty_within(Duration::from_secs(2), &crate::stage::ports(&node));
}

#[test]
fn a_fault_is_applied_listed_and_cleared_by_hand() {
    let stage = Stage::new(|spec| spec);
    let mut run = stage.spawn(&["run", "seaworthy.yaml"]);
    let node = ready(&stage);
    let gateway = text(&node["gateway"]);
    let verb = |arguments: &[&str]| {
        let output = stage.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let applied = verb(&["fault", "apply", "refuse", "--egress", "payments", "--for", "30s"]);
    assert!(applied.contains("proof:"), "{applied}");
    assert!(verb(&["fault", "list"]).contains("payments"));
    let body = r#"{"event":1,"buyer":"eve"}"#;
    let buy = |key: &str| {
        let head = format!(
            "POST /tickets HTTP/1.1\nHost: test\nConnection: close\nContent-Type: application/json\nIdempotency-Key: {key}\nContent-Length: {}\n\n",
            body.len()
        );
        http(gateway, &format!("{head}{body}")).unwrap()
    };
    let (status, head, _) = buy("fault-1");
    assert_eq!(status, 503, "{head}");
    assert!(head.to_lowercase().contains("degraded: "), "{head}");
    verb(&["fault", "clear"]);
    assert!(verb(&["fault", "list"]).contains("nothing is broken"));
    eventually(Duration::from_secs(10), "a sale after the fault", || (buy("fault-1").0 == 201).then_some(()));
    run.signal("INT");
    assert_eq!(run.wait(Duration::from_secs(30)).code(), Some(0));
    stage.assert_empty_within(Duration::from_secs(2), &[]);
}

#[test]
fn a_breaker_is_taken_over_and_given_back_by_hand() {
    let stage = Stage::new(|spec| spec);
    let mut run = stage.spawn(&["run", "seaworthy.yaml"]);
    let node = ready(&stage);
    let verb = |arguments: &[&str], code: i32| {
        let output = stage.command(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &errors
    };
    let payments = text(&node["egress"]["payments"]).to_owned();
    let pay = || {
        let answer = get(&payments, "/ledger").unwrap();
        (answer.0, answer.1.to_lowercase().contains("breaker"))
    };
    assert_eq!(pay().0, 200);
    let said = verb(&["breaker", "force", "egress:payments", "force_open"], 0);
    assert!(said.contains("egress:payments: force_open") && said.contains("breaker release"), "{said}");
    assert_eq!(pay().0, 503);
    let status = verb(&["status"], 0);
    assert!(
        status.contains("egress:payments: circuit breaker in the hands of a person: force_open"),
        "{status}"
    );
    let events = get(text(&node["admin"]), "/events").unwrap().2;
    assert!(events.contains("breaker_mode_changed"), "{events}");
    assert!(verb(&["breaker", "release", "egress:payments"], 0).contains("automatic"));
    assert_eq!(pay().0, 200);
    assert!(!verb(&["status"], 0).contains("in the hands of"));
    assert!(verb(&["breaker", "release", "egress:nobody"], 2).contains("egress:payments"));
    assert!(verb(&["breaker", "force", "ingress:api", "force_open"], 2).contains("ejection"));
    let bare = "DELETE /edges/egress:payments/breaker HTTP/1.1\nHost: test\nConnection: close\n\n";
    assert_eq!(http(text(&node["admin"]), bare).unwrap().0, 401, "what changes something asks for a token");
    run.signal("TERM");
    assert_eq!(run.wait(Duration::from_secs(30)).code(), Some(0));
}

#[test]
fn metrics_pass_the_checker_of_prometheus() {
    let stage = Stage::new(|spec| spec);
    let mut run = stage.spawn(&["run", "seaworthy.yaml"]);
    let node = ready(&stage);
    assert_eq!(get(text(&node["gateway"]), "/events/1").unwrap().0, 200);
    let admin = text(&node["admin"]);
    let (status, _, metrics) = get(admin, "/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(metrics.contains("seaworthy_requests_total{"), "{metrics}");

    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut checker =
        checker.expect("promtool is missing: apt-get install -y prometheus (`cargo xtask test` does it)");
    checker.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let checked = checker.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    for (path, expected) in [("/livez", 200), ("/readyz", 200), ("/healthz", 200), ("/nothing", 404)] {
        assert_eq!(get(admin, path).unwrap().0, expected, "{path}");
    }
    let (status, head, _) =
        http(admin, "POST /reset HTTP/1.1\nHost: test\nConnection: close\nContent-Length: 0\n\n").unwrap();
    assert_eq!(status, 401, "what changes something asks for a token: {head}");
    run.signal("TERM");
    assert_eq!(run.wait(Duration::from_secs(30)).code(), Some(0));
}
