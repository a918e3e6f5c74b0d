//! What `GET /status` says: the fold of all events, and what the gateway sees right now.

use seaworthy_policy::breaker::Mode;
use seaworthy_policy::pool::Tier;
use serde_json::{Value, json};

use super::Node;

impl Node {
    pub(super) fn status(&self) -> Value {
        let mut status = json!(self.bus.state());
        let edges: Vec<Value> =
            self.gateway.views().iter().map(|view| edge(view, &status["edges"])).collect();
        status["name"] = json!(self.plan.name);
        status["gateway"] = json!(self.gateway.ingress_address());
        status["admin"] = json!(self.admin);
        status["egress"] = json!(self.gateway.egress_addresses());
        status["uptime_s"] = json!(self.uptime().as_secs_f64());
        status["edges"] = json!(edges);
        status
    }
}

/// `folded` has what events said about edges, by name.
fn edge(view: &seaworthy_gateway::EdgeView, folded: &Value) -> Value {
    let forced = folded[&view.name]["breaker_mode"].is_string();
    let is = |what: &str| folded[&view.name][what].as_bool().unwrap_or(false);
    let endpoints = view.endpoints.iter().map(|(id, endpoint)| {
        json!({
            "endpoint": id.to_string(),
            "incarnation": id.incarnation,
            "ready": endpoint.ready,
            "state": endpoint.state,
            "reason": endpoint.reason,
            "in_flight": endpoint.in_flight,
            "tier": if endpoint.tier == Tier::Standby { "standby" } else { "active" },
            "weight": endpoint.weight,
        })
    });
    json!({
        "name": view.name,
        "retry_budget": view.budget_balance,
        "breaker_mode": view.breaker_mode.map(Mode::as_str),
        "breaker_forced": forced,
        "panic": is("panic"),
        "standby": is("standby"),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}
