//! `status`: services, replicas, health and why.

use std::fmt::Write as _;

use anyhow::Result;
use hyper::Method;
use serde_json::Value;

use crate::cli::{Format, StatusArgs};
use crate::exit::Exit;
use crate::http::{AdminRequest, admin};
use crate::state_dir;

pub(crate) fn run(arguments: &StatusArgs) -> Result<Exit> {
    super::block_on(show(arguments))
}

async fn show(arguments: &StatusArgs) -> Result<Exit> {
    let folder = state_dir::of_spec(&arguments.node.spec, arguments.node.state_dir.as_deref());
    let node = state_dir::read_node(&folder)?;
    let request = AdminRequest { method: Method::GET, path: "/status", token: None, body: None };
    let status = admin(node.admin, request).await?;
    match arguments.format {
        Format::Json => println!("{status:#}"),
        Format::Human => print!("{}", human(&status)),
    }
    Ok(Exit::Good)
}

/// The status as people read it: what is wrong first in words, never in colour alone.
fn human(status: &Value) -> String {
    let mut text = String::new();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let gateway =
        if status["gateway"].is_null() { "no ingress".to_owned() } else { word(&status["gateway"]) };
    let _ = writeln!(
        text,
        "{}  gateway {gateway}  admin {}  up {:.0} s",
        word(&status["name"]),
        word(&status["admin"]),
        status["uptime_s"].as_f64().unwrap_or(0.0)
    );
    let rows = replica_rows(status);
    let widths =
        [0, 1, 2, 3].map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let [service, replica, health, address, why] = row;
        let _ = writeln!(
            text,
            "  {service:<w0$}  {replica:<w1$}  {health:<w2$}  {address:<w3$}  {why}",
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2],
            w3 = widths[3],
        );
    }
    let lines = edge_lines(status).into_iter().chain(shedding_lines(status)).chain(degrading_lines(status));
    for line in lines.chain(fault_lines(status)) {
        let _ = writeln!(text, "{line}");
    }
    text.lines().fold(String::new(), |page, line| page + line.trim_end() + "\n")
}

fn replica_rows(status: &Value) -> Vec<[String; 5]> {
    let mut rows = Vec::new();
    for (service, state) in status["services"].as_object().into_iter().flatten() {
        for (replica, state) in state["replicas"].as_object().into_iter().flatten() {
            let ready = state["ready"].as_bool().unwrap_or(false);
            let health = if state["crash_loop"].as_bool().unwrap_or(false) {
                "crash loop"
            } else if ready {
                "ready"
            } else {
                "NOT READY"
            };
            let pid = state["pid"].as_u64().map_or("no process".to_owned(), |pid| format!("pid {pid}"));
            let address = format!("{} {pid}", state["address"].as_str().unwrap_or_default());
            rows.push([service.clone(), replica.clone(), health.to_owned(), address, why(state)]);
        }
    }
    rows
}

fn why(state: &Value) -> String {
    let mut parts = Vec::new();
    let reason = state["reason"].as_str().unwrap_or_default();
    if !reason.is_empty() {
        parts.push(reason.to_owned());
    }
    let restarts = state["restarts"].as_u64().unwrap_or(0);
    if restarts > 0 {
        let how = state["last_exit"]["how"].as_str().unwrap_or("unknown");
        let times = if restarts == 1 { "once".to_owned() } else { format!("{restarts} times") };
        parts.push(format!("restarted {times}, last exit: {how}"));
    }
    parts.join("; ")
}

/// Only what is not as it should be.
fn edge_lines(status: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for edge in status["edges"].as_array().into_iter().flatten() {
        for endpoint in edge["endpoints"].as_array().into_iter().flatten() {
            let text = |name: &str| endpoint[name].as_str().unwrap_or_default();
            if text("state") != "available" {
                let name = edge["name"].as_str().unwrap_or_default();
                let state = if text("state") == "probation" { "on probation" } else { text("state") };
                lines.push(format!("  {name}: {} is {state}: {}", text("endpoint"), text("reason")));
            }
        }
        if edge["breaker_forced"].as_bool().unwrap_or(false) {
            let text = |name: &str| edge[name].as_str().unwrap_or_default();
            lines.push(format!(
                "  {}: circuit breaker in the hands of a person: {}",
                text("name"),
                text("breaker_mode")
            ));
        }
        for (key, words) in [
            ("panic", "too few endpoints are left, ejections are ignored"),
            ("standby", "standby endpoints serve"),
        ] {
            if edge[key].as_bool().unwrap_or(false) {
                lines.push(format!("  {}: {words}", edge["name"].as_str().unwrap_or_default()));
            }
        }
    }
    lines
}

fn shedding_lines(status: &Value) -> Vec<String> {
    let gates = status["shedding"].as_object().into_iter().flatten();
    gates
        .map(|(gate, state)| {
            let word = |name: &str| state[name].as_str().unwrap_or_default();
            format!("  {gate} refuses requests ({}), since {}", word("reason"), word("since"))
        })
        .collect()
}

fn degrading_lines(status: &Value) -> Vec<String> {
    let services = status["services"].as_object().into_iter().flatten();
    let routes = services.flat_map(|(service, state)| {
        let routes = state["degrading"].as_object().into_iter().flatten();
        routes.map(move |(route, state)| (service, route, state))
    });
    routes
        .map(|(service, route, state)| {
            let word = |name: &str| state[name].as_str().unwrap_or_default();
            let (step, since) = (word("step"), word("since"));
            format!("  route {route} degrades ({step}) instead of {service}, since {since}")
        })
        .collect()
}

fn fault_lines(status: &Value) -> Vec<String> {
    let faults = status["faults"].as_object().into_iter().flatten();
    faults
        .map(|(id, fault)| {
            format!("  broken on purpose: {id} {}", fault["what"].as_str().unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_says_what_is_wrong_and_why() {
        let status = json!({
            "name": "shop", "gateway": "127.0.0.1:8080", "admin": "127.0.0.1:9180", "uptime_s": 12.4,
            "services": { "api": { "replicas": {
                "a-1": { "ready": true, "pid": 11, "address": "127.0.0.1:20001", "reason": "", "restarts": 1,
                         "last_exit": { "how": "signal 9" } },
                "b-1": { "ready": false, "pid": 12, "address": "127.0.0.1:20002", "reason": "answered 503", "restarts": 0 },
            }, "degrading": { "list": { "step": "stale", "since": "2026-01-02T03:04:05Z" } } } },
            "shedding": { "services.api.policy.concurrency on ingress:api": { "reason": "queue_full", "since": "2026-01-02T03:04:05Z" } },
            "edges": [ { "name": "egress:pay", "breaker_forced": true, "breaker_mode": "force_open", "endpoints": [] },
                       { "name": "ingress:api", "standby": true, "panic": false, "endpoints": [
                { "endpoint": "api/a-1", "state": "available", "reason": "" },
                { "endpoint": "api/b-1", "state": "ejected", "reason": "failures in a row" },
                { "endpoint": "api/b-2", "state": "probation", "reason": "slow" },
            ] } ],
            "faults": { "f1": { "what": "pause api/b-1" } },
        });
        let expected = "\
shop  gateway 127.0.0.1:8080  admin 127.0.0.1:9180  up 12 s
  api  a-1  ready      127.0.0.1:20001 pid 11  restarted once, last exit: signal 9
  api  b-1  NOT READY  127.0.0.1:20002 pid 12  answered 503
  egress:pay: circuit breaker in the hands of a person: force_open
  ingress:api: api/b-1 is ejected: failures in a row
  ingress:api: api/b-2 is on probation: slow
  ingress:api: standby endpoints serve
  services.api.policy.concurrency on ingress:api refuses requests (queue_full), since 2026-01-02T03:04:05Z
  route list degrades (stale) instead of api, since 2026-01-02T03:04:05Z
  broken on purpose: f1 pause api/b-1
";
        assert_eq!(human(&status), expected);
    }
}
