//! `fault`: break something in a running backend, and put it back.

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::{Value, json};

use crate::cli::{FaultApplyArgs, FaultClearArgs, FaultVerb, Format, NodeChoice, StatusArgs};
use crate::exit::Exit;
use crate::http::{AdminRequest, admin};
use crate::state_dir;

pub(crate) fn run(verb: &FaultVerb) -> Result<Exit> {
    match verb {
        FaultVerb::Apply(arguments) => super::block_on(apply(arguments)),
        FaultVerb::List(arguments) => super::block_on(list(arguments)),
        FaultVerb::Clear(arguments) => super::block_on(clear(arguments)),
        FaultVerb::Heal(choice) => heal(choice),
    }
}

async fn apply(arguments: &FaultApplyArgs) -> Result<Exit> {
    let body = request_body(arguments);
    let applied = call(&arguments.node, Method::POST, "/faults", Some(&body)).await?;
    let text = |name: &str| applied[name].as_str().unwrap_or_default().to_owned();
    let targets: Vec<&str> =
        applied["targets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    println!("{}  {} on {}", text("id"), arguments.kind, targets.join(", "));
    println!("proof: {}", text("proof"));
    let spec = arguments.node.spec.display();
    eprintln!(
        "it ends by itself after {:?}; sooner with: seaworthy fault clear {} --spec {spec}",
        arguments.deadline,
        text("id")
    );
    Ok(Exit::Good)
}

async fn list(arguments: &StatusArgs) -> Result<Exit> {
    let answer = call(&arguments.node, Method::GET, "/faults", None).await?;
    if arguments.format == Format::Json {
        println!("{answer:#}");
        return Ok(Exit::Good);
    }
    let faults = answer["faults"].as_array().cloned().unwrap_or_default();
    for fault in &faults {
        let text = |name: &str| fault[name].as_str().unwrap_or_default();
        println!("{}  {}  (proof: {})", text("id"), text("what"), text("proof"));
    }
    if faults.is_empty() {
        println!("nothing is broken on purpose");
    }
    Ok(Exit::Good)
}

async fn clear(arguments: &FaultClearArgs) -> Result<Exit> {
    let path = arguments.id.as_ref().map_or("/faults".to_owned(), |id| format!("/faults/{id}"));
    let answer = call(&arguments.node, Method::DELETE, &path, None).await?;
    match &arguments.id {
        Some(id) => println!("{id} ended: {}", answer["why"].as_str().unwrap_or("cleared")),
        None => println!("{} faults ended", answer["cleared"].as_object().map_or(0, serde_json::Map::len)),
    }
    Ok(Exit::Good)
}

/// Works without a node: it is for the time after one died together with its keeper.
fn heal(choice: &NodeChoice) -> Result<Exit> {
    let folder = state_dir::of_spec(&choice.spec, choice.state_dir.as_deref());
    let report = seaworthy_keeper::heal(&folder)
        .with_context(|| format!("healing what {} remembers", folder.display()))?;
    println!("{} faults undone, {} were gone already", report.undone, report.already_gone);
    if report.failed > 0 {
        eprintln!("{} could not be undone; they stay in the journal", report.failed);
        return Ok(Exit::NotClean);
    }
    Ok(Exit::Good)
}

/// Asks the node for something that needs the token.
pub(super) async fn call(
    choice: &NodeChoice,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let folder = state_dir::of_spec(&choice.spec, choice.state_dir.as_deref());
    let node = state_dir::read_node(&folder)?;
    let token = state_dir::token(&folder)?;
    admin(node.admin, AdminRequest { method, path, token: Some(&token), body }).await
}

fn request_body(arguments: &FaultApplyArgs) -> Value {
    let replica = arguments.replica.as_ref().map(|text| match text.split_once('/') {
        Some((service, replica)) => json!({ "replica": { "service": service, "replica": replica } }),
        None => json!({ "replica": { "service": text } }),
    });
    let named = |key: &str, value: &Option<String>| value.as_ref().map(|value| json!({ key: value }));
    let target = replica
        .or_else(|| named("service", &arguments.service))
        .or_else(|| named("egress", &arguments.egress))
        .or_else(|| named("zone", &arguments.zone));
    let mut fault = json!({ "kind": arguments.kind, "target": target });
    if let Some(add) = arguments.add {
        fault["add_ms"] = json!(add.as_millis() as u64);
    }
    if let Some(share) = arguments.share {
        fault["share"] = json!(share);
    }
    if let Some(status) = arguments.status {
        fault["status"] = json!(status);
    }
    // Which replica is hit does not matter here; drills pass the seed that they print.
    let seed = u64::from(std::process::id());
    json!({ "faults": [fault], "deadline_ms": arguments.deadline.as_millis() as u64, "seed": seed })
}
