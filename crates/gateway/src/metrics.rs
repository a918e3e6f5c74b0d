//! What the gateway counts. Families and series are fixed at start; counting is one relaxed add.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use seaworthy_observe::metrics::{
    Counters, Describe, Gauges, Histograms, LATENCY_SECONDS, MetricError, Registry,
};
use seaworthy_policy::call::AttemptKind;
use seaworthy_policy::entrance::Reason;

use crate::edge::Edge;
use crate::gate::{GateView, SharedGate};

/// The classes of the `code_class` label; the last one stands for requests whose client left before an answer.
const CODE_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "gone"];
const ATTEMPT_KINDS: [&str; 3] = ["first", "retry", "hedge"];

/// The families of the gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Counters,
    durations: Histograms,
    in_flight: Gauges,
    attempts: Counters,
    denied: Counters,
    received: Counters,
    sent: Counters,
    connections: Gauges,
    upstream_connections: Gauges,
}

/// An edge and a route, the labels of a request.
pub(crate) type Labels = (String, String);

impl Metrics {
    /// Registers all families; `targets` are the labels of requests, by series.
    pub(crate) fn register(
        registry: &Registry,
        targets: &[Labels],
        edges: &[Arc<Edge>],
        listeners: &[String],
    ) -> Result<Self, MetricError> {
        let by_edge: Vec<Vec<String>> = edges.iter().map(|edge| vec![edge.name.clone()]).collect();
        let by_target: Vec<Vec<String>> =
            targets.iter().map(|(edge, route)| vec![edge.clone(), route.clone()]).collect();
        let by_listener: Vec<Vec<String>> = listeners.iter().map(|listener| vec![listener.clone()]).collect();
        let by_class = with_each(&by_target, &CODE_CLASSES);
        let by_kind = with_each(&by_edge, &ATTEMPT_KINDS);
        let by_reason = with_each(&by_target, &Reason::ALL.map(Reason::as_str));
        asked(registry, edges)?;
        let describe = |name, help, labels, series| Describe { name, help, labels, series };
        Ok(Self {
            requests: registry.counters(describe(
                "seaworthy_requests_total",
                "Requests answered, by class of the status.",
                &["edge", "route", "code_class"],
                &by_class,
            ))?,
            durations: registry.histograms(
                describe(
                    "seaworthy_request_duration_seconds",
                    "From the request's head to the end of the answer's body.",
                    &["edge", "route"],
                    &by_target,
                ),
                LATENCY_SECONDS,
            )?,
            in_flight: registry.gauges(describe(
                "seaworthy_requests_in_flight",
                "Requests whose answer has not ended.",
                &["edge", "route"],
                &by_target,
            ))?,
            attempts: registry.counters(describe(
                "seaworthy_attempts_total",
                "Attempts begun: first ones, retries and hedges.",
                &["edge", "kind"],
                &by_kind,
            ))?,
            denied: registry.counters(describe(
                "seaworthy_denied_requests_total",
                "Requests that a gate of ours refused before any service was asked, by reason.",
                &["edge", "route", "reason"],
                &by_reason,
            ))?,
            received: registry.counters(describe(
                "seaworthy_client_received_bytes_total",
                "Bytes received from clients.",
                &["listener"],
                &by_listener,
            ))?,
            sent: registry.counters(describe(
                "seaworthy_client_sent_bytes_total",
                "Bytes sent to clients.",
                &["listener"],
                &by_listener,
            ))?,
            connections: registry.gauges(describe(
                "seaworthy_client_connections",
                "Open connections of clients.",
                &["listener"],
                &by_listener,
            ))?,
            upstream_connections: registry.gauges(describe(
                "seaworthy_upstream_connections",
                "Open connections to endpoints, seen once a second.",
                &["edge"],
                &by_edge,
            ))?,
        })
    }

    pub(crate) fn request_began(&self, shard: usize, target: usize) {
        self.in_flight.add(shard, target, 1);
    }

    /// A request that was counted as unrouted found its route.
    pub(crate) fn request_moved(&self, shard: usize, from: usize, to: usize) {
        self.in_flight.add(shard, from, -1);
        self.in_flight.add(shard, to, 1);
    }

    /// `status` is `None` when the client left before an answer.
    pub(crate) fn request_ended(
        &self,
        shard: usize,
        target: usize,
        status: Option<StatusCode>,
        duration: Duration,
    ) {
        let gone = CODE_CLASSES.len() - 1;
        let class = status.map_or(gone, |status| (usize::from(status.as_u16() / 100)).clamp(1, gone) - 1);
        self.in_flight.add(shard, target, -1);
        self.requests.add(shard, target * CODE_CLASSES.len() + class, 1);
        self.durations.observe(shard, target, duration);
    }

    pub(crate) fn attempt_began(&self, shard: usize, edge: usize, kind: AttemptKind) {
        let kind = match kind {
            AttemptKind::First => 0,
            AttemptKind::Retry => 1,
            AttemptKind::Hedge => 2,
        };
        self.attempts.add(shard, edge * ATTEMPT_KINDS.len() + kind, 1);
    }

    /// A gate said no.
    pub(crate) fn denied(&self, shard: usize, target: usize, reason: Reason) {
        self.denied.add(shard, target * Reason::ALL.len() + reason.index(), 1);
    }

    pub(crate) fn client_connected(&self, shard: usize, listener: usize, difference: i64) {
        self.connections.add(shard, listener, difference);
    }

    pub(crate) fn client_bytes(&self, shard: usize, listener: usize, received: u64, sent: u64) {
        self.received.add(shard, listener, received);
        self.sent.add(shard, listener, sent);
    }

    pub(crate) fn upstream_connections(&self, shard: usize, edge: usize, difference: i64) {
        self.upstream_connections.add(shard, edge, difference);
    }
}

/// What is computed when somebody asks.
fn asked(registry: &Registry, edges: &[Arc<Edge>]) -> Result<(), MetricError> {
    let ask = |name, help, value: fn(&Edge) -> f64| {
        let edges = edges.to_vec();
        let describe = Describe { name, help, labels: &["edge"], series: &[] };
        registry.gauge_asked(describe, move || {
            edges.iter().map(|edge| (vec![edge.name.clone()], value(edge))).collect()
        })
    };
    ask("seaworthy_parked_requests", "Requests that wait for an endpoint.", |edge| f64::from(edge.parked()))?;
    ask("seaworthy_retry_budget_attempts", "Retries and hedges that the budget still allows.", |edge| {
        edge.view().1
    })?;
    ask("seaworthy_endpoints_out", "Endpoints that get no ordinary traffic.", |edge| {
        // On probation an endpoint keeps a part of its traffic.
        let serves = |state: &str| matches!(state, "available" | "ramp" | "probation");
        edge.view().0.iter().filter(|(_, view)| !serves(view.state)).count() as f64
    })?;
    ask(
        "seaworthy_endpoints_on_probation",
        "Endpoints worse than their peers that get less traffic.",
        |edge| edge.view().0.iter().filter(|(_, view)| view.state == "probation").count() as f64,
    )?;
    let edges = edges.to_vec();
    let describe = Describe {
        name: "seaworthy_ejections_total",
        help: "Endpoints that live traffic ejected.",
        labels: &["edge"],
        series: &[],
    };
    registry.counter_asked(describe, move || {
        edges.iter().map(|edge| (vec![edge.name.clone()], edge.ejections() as f64)).collect()
    })
}

/// How limits of concurrency stand, computed when somebody asks.
pub(crate) fn gates_asked(registry: &Registry, gates: &[Arc<SharedGate>]) -> Result<(), MetricError> {
    let ask = |name, help, value: fn(&GateView) -> u32| {
        let gates = gates.to_vec();
        let describe = Describe { name, help, labels: &["gate", "edge"], series: &[] };
        registry.gauge_asked(describe, move || {
            let stands = |gate: &Arc<SharedGate>| Some((gate.labels(), f64::from(value(&gate.view()?))));
            gates.iter().filter_map(stands).collect()
        })
    };
    ask("seaworthy_queued_requests", "Requests that wait for a place.", |view| view.waiting)?;
    ask("seaworthy_concurrency", "Requests that have a place.", |view| view.in_flight)?;
    ask("seaworthy_concurrency_limit", "Places that there are.", |view| view.limit)
}

/// Every label set, with every value of one more label behind it.
fn with_each(series: &[Vec<String>], values: &[&str]) -> Vec<Vec<String>> {
    let extend = |labels: &Vec<String>, value: &&str| [labels.as_slice(), &[(*value).to_owned()]].concat();
    series.iter().flat_map(|labels| values.iter().map(move |value| extend(labels, value))).collect()
}
