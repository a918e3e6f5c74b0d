//! The body of `/healthz`: `application/health+json`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::state::{ServiceState, State};

/// Its content type.
pub const CONTENT_TYPE: &str = "application/health+json";

/// How well something is, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// All is well.
    Pass,
    /// It works, but something needs attention.
    Warn,
    /// It does not work.
    Fail,
}

/// How well one part is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthCheck {
    /// How well.
    pub status: HealthStatus,
    /// Why, in words; absent when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// The whole body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthBody {
    /// The worst of the checks.
    pub status: HealthStatus,
    /// How long the node has been up, in seconds.
    pub uptime: f64,
    /// Now, RFC 3339.
    pub timestamp: String,
    /// Parts by name (`service:api`, `edge:egress:payments`, `node`), each a list as the media type wants it.
    pub checks: BTreeMap<String, Vec<HealthCheck>>,
}

impl HealthBody {
    /// A body without checks, which passes.
    pub fn new(uptime: Duration, timestamp: String) -> Self {
        Self { status: HealthStatus::Pass, uptime: uptime.as_secs_f64(), timestamp, checks: BTreeMap::new() }
    }

    /// Judges a state. A service without any ready replica fails when it is critical, and warns otherwise.
    pub fn of_state(
        state: &State,
        uptime: Duration,
        timestamp: String,
        is_critical: impl Fn(&str) -> bool,
    ) -> Self {
        let mut body = Self::new(uptime, timestamp);
        if state.node.draining {
            body.add("node", HealthStatus::Fail, "draining");
        } else if state.node.pid.is_none() {
            body.add("node", HealthStatus::Fail, "starting");
        } else {
            body.add("node", HealthStatus::Pass, "");
        }
        for (name, service) in &state.services {
            let (status, output) = judge(service, is_critical(name));
            body.add(&format!("service:{name}"), status, &output);
        }
        for (name, edge) in &state.edges {
            for (replica, guard) in &edge.guards {
                let output = format!("{replica} {}: {}", guard.state, guard.reason);
                body.add(&format!("edge:{name}"), HealthStatus::Warn, &output);
            }
        }
        body
    }

    /// Adds a check; the whole is as bad as its worst part.
    pub fn add(&mut self, name: &str, status: HealthStatus, output: &str) {
        self.status = self.status.max(status);
        let check = HealthCheck { status, output: output.to_owned() };
        self.checks.entry(name.to_owned()).or_default().push(check);
    }

    /// 200 unless it fails, then 503.
    pub fn http_status(&self) -> u16 {
        if self.status == HealthStatus::Fail { 503 } else { 200 }
    }
}

fn judge(service: &ServiceState, critical: bool) -> (HealthStatus, String) {
    let all = service.replicas.len();
    let ready = service.replicas.values().filter(|replica| replica.ready).count();
    let reasons: Vec<String> = service
        .replicas
        .iter()
        .filter(|(_, replica)| !replica.ready)
        .map(|(id, replica)| format!("{id}: {}", replica.reason))
        .collect();
    let output = if reasons.is_empty() {
        String::new()
    } else {
        format!("{ready} of {all} ready; {}", reasons.join("; "))
    };
    let status = match (ready, all) {
        (ready, all) if ready == all => HealthStatus::Pass,
        (0, _) if critical => HealthStatus::Fail,
        _ => HealthStatus::Warn,
    };
    (status, output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventKind};

    fn state(kinds: Vec<EventKind>) -> State {
        let mut state = State::default();
        for (seq, kind) in (1..).zip(kinds) {
            state.apply(&Event { seq, at: seq, ts: "T".to_owned(), kind });
        }
        state
    }

    fn ready(replica: &str) -> EventKind {
        EventKind::EndpointReady { service: "api".to_owned(), replica: replica.to_owned() }
    }

    fn unready(replica: &str) -> EventKind {
        EventKind::EndpointUnready {
            service: "api".to_owned(),
            replica: replica.to_owned(),
            reason: "answered 503".to_owned(),
        }
    }

    #[test]
    fn the_body_is_as_bad_as_its_worst_check() {
        let up = || EventKind::NodeStarted { pid: 1 };
        let cases = [
            (vec![], true, HealthStatus::Fail),
            (vec![up()], true, HealthStatus::Pass),
            (vec![up(), ready("1"), ready("2")], true, HealthStatus::Pass),
            (vec![up(), ready("1"), unready("2")], true, HealthStatus::Warn),
            (vec![up(), unready("1"), unready("2")], true, HealthStatus::Fail),
            (vec![up(), unready("1"), unready("2")], false, HealthStatus::Warn),
            (vec![up(), ready("1"), EventKind::NodeDraining], true, HealthStatus::Fail),
        ];
        for (kinds, critical, expected) in cases {
            let body =
                HealthBody::of_state(&state(kinds.clone()), Duration::ZERO, String::new(), |_| critical);
            assert_eq!(body.status, expected, "{kinds:?} critical {critical}");
            assert_eq!(body.http_status(), if expected == HealthStatus::Fail { 503 } else { 200 });
        }
    }

    #[test]
    fn the_json_is_what_the_media_type_wants() {
        let state = state(vec![EventKind::NodeStarted { pid: 1 }, ready("1"), unready("2")]);
        let body = HealthBody::of_state(&state, Duration::from_millis(1500), "T".to_owned(), |_| true);
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            concat!(
                r#"{"status":"warn","uptime":1.5,"timestamp":"T","checks":{"node":[{"status":"pass"}],"#,
                r#""service:api":[{"status":"warn","output":"1 of 2 ready; 2: answered 503"}]}}"#
            )
        );
    }
}
