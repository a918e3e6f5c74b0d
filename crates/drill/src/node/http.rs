//! The node's admin API over HTTP.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use seaworthy_observe::event::Event;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Applied, Ended, EventPage, FaultRequest, Node, NodeError, NodeStatus, ReplicaStatus};
use crate::http_client::{Question, ask};

/// Longest wait for an answer that only tells something.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest wait for something to be done and proven.
const ACTION_MAX: Duration = Duration::from_secs(30);
/// Largest answer.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Marks a problem of the host, not of the request.
const CAPABILITY: &str = "capability";

/// A node that is reached by its admin API.
#[derive(Clone)]
pub struct HttpNode {
    address: SocketAddr,
    token: String,
    locate: Option<Arc<Locate>>,
    is_abandoned: Option<Arc<IsAbandoned>>,
}

/// Says where the node is now, for as long as that is known.
type Locate = dyn Fn() -> Option<SocketAddr> + Send + Sync;

/// Says whether nobody is left who would start the node again.
type IsAbandoned = dyn Fn() -> bool + Send + Sync;

impl fmt::Debug for HttpNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token: what is printed for debugging ends up in logs.
        formatter.debug_struct("HttpNode").field("address", &self.address).finish_non_exhaustive()
    }
}

impl HttpNode {
    /// The node with this admin address; the token allows changes.
    pub fn new(address: SocketAddr, token: impl Into<String>) -> Self {
        Self { address, token: token.into(), locate: None, is_abandoned: None }
    }

    /// Asks `locate` before each request: a node that was started again may listen elsewhere.
    #[must_use]
    pub fn located_by(self, locate: impl Fn() -> Option<SocketAddr> + Send + Sync + 'static) -> Self {
        Self { locate: Some(Arc::new(locate)), ..self }
    }

    /// Asks `is_abandoned` whenever the node cannot be reached: if so, it is [`NodeError::Gone`] for good.
    #[must_use]
    pub fn abandoned_when(self, is_abandoned: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { is_abandoned: Some(Arc::new(is_abandoned)), ..self }
    }

    fn address(&self) -> SocketAddr {
        self.locate.as_ref().and_then(|locate| locate()).unwrap_or(self.address)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, timeout: Duration) -> Result<T, NodeError> {
        let question = Question::get(self.address(), path, timeout, BYTES_MAX);
        parse(&self.answer(Question { token: Some(&self.token), ..question }).await?)
    }

    async fn act(&self, method: Method, path: &str, json: Option<String>) -> Result<Vec<u8>, NodeError> {
        let question = Question::get(self.address(), path, ACTION_MAX, BYTES_MAX);
        self.answer(Question { method, token: Some(&self.token), json, ..question }).await
    }

    async fn answer(&self, question: Question<'_>) -> Result<Vec<u8>, NodeError> {
        let (status, body) = self.ask(question).await?;
        if (200..300).contains(&status) { Ok(body) } else { Err(refusal(status, &body)) }
    }

    async fn ask(&self, question: Question<'_>) -> Result<(u16, Vec<u8>), NodeError> {
        ask(question).await.map_err(|error| match &self.is_abandoned {
            Some(is_abandoned) if is_abandoned() => NodeError::Gone(error.to_string()),
            _ => NodeError::Unreachable(error.to_string()),
        })
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, NodeError> {
    serde_json::from_slice(body).map_err(|error| NodeError::Malformed(error.to_string()))
}

fn refusal(status: u16, body: &[u8]) -> NodeError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Problem {
        r#type: String,
        title: String,
        detail: String,
    }
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let detail = match (problem.title.is_empty(), problem.detail.is_empty()) {
        (_, false) => problem.detail,
        (false, true) => problem.title,
        (true, true) => "no reason given".to_owned(),
    };
    match status {
        422 if problem.r#type.ends_with(CAPABILITY) => NodeError::Capability(detail),
        404 => NodeError::Unknown(detail),
        _ => NodeError::Refused { status, detail },
    }
}

#[derive(Deserialize)]
struct StatusBody {
    #[serde(default)]
    seq: u64,
    services: BTreeMap<String, ServiceBody>,
}

#[derive(Deserialize)]
struct ServiceBody {
    #[serde(default)]
    replicas: BTreeMap<String, ReplicaBody>,
}

#[derive(Deserialize)]
struct ReplicaBody {
    #[serde(default)]
    pid: Option<u32>,
    #[serde(default)]
    address: String,
    #[serde(default)]
    ready: bool,
}

#[derive(Deserialize)]
struct EventsBody {
    events: Vec<serde_json::Value>,
    next: u64,
    #[serde(default)]
    node: u32,
}

#[derive(Deserialize)]
struct AppliedBody {
    id: String,
    applied_at: u64,
    #[serde(default)]
    proof: String,
    #[serde(default)]
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct EndedBody {
    ended_at: u64,
    #[serde(default)]
    met: Option<u64>,
}

#[derive(Deserialize)]
struct FaultsBody {
    faults: Vec<FaultEntry>,
}

#[derive(Deserialize)]
struct FaultEntry {
    id: String,
}

impl From<StatusBody> for NodeStatus {
    fn from(body: StatusBody) -> Self {
        let replica = |replica: ReplicaBody| ReplicaStatus {
            pid: replica.pid,
            address: replica.address.parse().ok(),
            ready: replica.ready,
        };
        let service = |service: ServiceBody| {
            service.replicas.into_iter().map(|(id, body)| (id, replica(body))).collect::<BTreeMap<_, _>>()
        };
        let services = body.services.into_iter().map(|(name, body)| (name, service(body))).collect();
        Self { seq: body.seq, services }
    }
}

impl From<EventsBody> for EventPage {
    fn from(body: EventsBody) -> Self {
        // A newer node may know events that we do not; they cannot matter to what we measure.
        let known = |value| serde_json::from_value::<Event>(value).ok();
        let events = body.events.into_iter().filter_map(known).collect();
        Self { events, next: body.next, node: body.node }
    }
}

impl Node for HttpNode {
    async fn is_ready(&self) -> Result<bool, NodeError> {
        let question = Question::get(self.address(), "/readyz", ANSWER_MAX, BYTES_MAX);
        let (status, _) = self.ask(question).await?;
        Ok(status == 200)
    }

    async fn status(&self) -> Result<NodeStatus, NodeError> {
        self.get::<StatusBody>("/status", ANSWER_MAX).await.map(NodeStatus::from)
    }

    async fn events(&self, since: u64, wait: Duration) -> Result<EventPage, NodeError> {
        let path = format!("/events?since={since}&wait_ms={}", wait.as_millis());
        self.get::<EventsBody>(&path, wait + ANSWER_MAX).await.map(EventPage::from)
    }

    async fn apply(&self, request: &FaultRequest) -> Result<Applied, NodeError> {
        let json = serde_json::to_string(request).map_err(|error| NodeError::Malformed(error.to_string()))?;
        let body: AppliedBody = parse(&self.act(Method::POST, "/faults", Some(json)).await?)?;
        let AppliedBody { id, applied_at, proof, targets } = body;
        Ok(Applied { id, applied_at, proof, targets })
    }

    async fn end(&self, fault: &str) -> Result<Ended, NodeError> {
        let body: EndedBody = parse(&self.act(Method::DELETE, &format!("/faults/{fault}"), None).await?)?;
        Ok(Ended { ended_at: body.ended_at, met: body.met })
    }

    async fn end_all(&self) -> Result<(), NodeError> {
        self.act(Method::DELETE, "/faults", None).await.map(|_| ())
    }

    async fn faults(&self) -> Result<Vec<String>, NodeError> {
        let body: FaultsBody = self.get("/faults", ANSWER_MAX).await?;
        Ok(body.faults.into_iter().map(|fault| fault.id).collect())
    }

    async fn reset(&self) -> Result<(), NodeError> {
        self.act(Method::POST, "/reset", Some("{}".to_owned())).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_the_words_of_the_node() {
        for (status, body, expected) in [
            (
                422,
                r#"{"type":"urn:seaworthy:problem:capability","title":"t","detail":"no pidfd"}"#,
                NodeError::Capability("no pidfd".to_owned()),
            ),
            (
                422,
                r#"{"title":"bad share"}"#,
                NodeError::Refused { status: 422, detail: "bad share".to_owned() },
            ),
            (404, "", NodeError::Unknown("no reason given".to_owned())),
            (500, "<html>", NodeError::Refused { status: 500, detail: "no reason given".to_owned() }),
        ] {
            assert_eq!(refusal(status, body.as_bytes()), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_status_is_read_as_the_node_writes_it() {
        let body = r#"{"seq":9,"gateway":"127.0.0.1:8080","node":{"pid":4},"services":{"api":{"build":null,"replicas":{
            "a-1":{"pid":1,"address":"127.0.0.1:20001","ready":true,"reason":""},
            "b-1":{"pid":null,"address":"","ready":false}}},"pay":{"replicas":{}}}}"#;
        let status = NodeStatus::from(parse::<StatusBody>(body.as_bytes()).unwrap());
        assert_eq!(status.seq, 9);
        let api = &status.services["api"];
        assert_eq!(
            api["a-1"],
            ReplicaStatus { pid: Some(1), address: Some("127.0.0.1:20001".parse().unwrap()), ready: true }
        );
        assert_eq!(api["b-1"], ReplicaStatus::default());
        assert!(parse::<StatusBody>(b"{}").is_err());
    }

    #[test]
    fn unknown_events_are_skipped() {
        let body = r#"{"events":[
            {"seq":1,"at":5,"ts":"t","event":"endpoint_ready","service":"api","replica":"a-1"},
            {"seq":2,"at":6,"ts":"t","event":"from_the_future"}],"next":2}"#;
        let page = EventPage::from(parse::<EventsBody>(body.as_bytes()).unwrap());
        assert_eq!((page.events.len(), page.next), (1, 2));
        assert_eq!(page.events[0].kind.subject(), Some(("api", Some("a-1"))));
    }
}
