//! The admin API: what the node tells about itself, and the few things it can be told to do.
//!
//! Reading is open on the loopback address; whatever changes something asks for the token in the state folder.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use seaworthy_fault::{FaultError, FaultRequest};
use seaworthy_observe::health::{self, HealthBody, HealthStatus};
use seaworthy_observe::metrics;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{Node, breaker};

/// The largest body of a request.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;
/// The most events in one answer.
const EVENTS_PER_ANSWER_MAX: usize = 1_000;
/// The longest a reader of events may wait for the next one.
const EVENTS_WAIT_MAX: Duration = Duration::from_secs(30);

pub(super) type Answer = Response<Full<Bytes>>;

/// Serves until the runtime ends.
pub(super) async fn serve(listener: TcpListener, node: Rc<Node>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: let others finish before trying again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let node = node.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| {
                let node = node.clone();
                async move { Ok::<_, Infallible>(answer(&node, request).await) }
            });
            // A client that goes away is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Opens the admin listener; the error names the address and the next step.
pub(super) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!("the admin API cannot listen on {address}: {error}; set `admin: {{ listen: 127.0.0.1:0 }}` or stop what uses it")
    })
}

async fn answer(node: &Node, request: Request<Incoming>) -> Answer {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let changes = method != Method::GET && method != Method::HEAD;
    if changes && !node.is_authorised(request.headers()) {
        return problem(
            StatusCode::UNAUTHORIZED,
            "A token is needed",
            "send `Authorization: Bearer TOKEN`; it stands in the state folder",
        );
    }
    match (method.as_str(), &segments[..]) {
        ("GET", ["livez"]) => text(StatusCode::OK, "ok\n"),
        ("GET", ["readyz"]) => readiness(node),
        ("GET", ["healthz"]) => health_body(node),
        ("GET", ["metrics"]) => content(StatusCode::OK, metrics::CONTENT_TYPE, node.metrics.render()),
        ("GET", ["status"]) => json_answer(StatusCode::OK, &node.status()),
        ("GET", ["events"]) => events(node, request.uri().query().unwrap_or_default()).await,
        ("GET", ["faults"]) => json_answer(StatusCode::OK, &json!({ "faults": node.faults.list() })),
        ("GET", ["capabilities"]) => capabilities(node).await,
        ("POST", ["faults"]) => apply_fault(node, request).await,
        ("DELETE", ["faults"]) => clear_faults(node).await,
        ("DELETE", ["faults", id]) => clear_fault(node, id).await,
        ("PUT", ["edges", edge, "breaker"]) => breaker::force(node, edge, request).await,
        ("DELETE", ["edges", edge, "breaker"]) => breaker::release(node, edge),
        ("POST", ["reset"]) => {
            node.reset();
            json_answer(StatusCode::OK, &json!({}))
        }
        ("POST", ["stop"]) => {
            node.stop.notify_one();
            json_answer(StatusCode::ACCEPTED, &json!({}))
        }
        _ => problem(StatusCode::NOT_FOUND, "No such resource", &format!("{method} {path}")),
    }
}

fn readiness(node: &Node) -> Answer {
    match node.unready_reason() {
        None => text(StatusCode::OK, "ok\n"),
        Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n")),
    }
}

fn health_body(node: &Node) -> Answer {
    let state = node.bus.state();
    let mut body =
        HealthBody::of_state(&state, node.uptime(), node.clock.wall(), |service| node.is_critical(service));
    if let Some(reason) = node.broken.reason() {
        body.add("store", HealthStatus::Fail, reason);
    }
    let status = StatusCode::from_u16(body.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    content(status, health::CONTENT_TYPE, to_text(&body))
}

async fn events(node: &Node, query: &str) -> Answer {
    let number = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<u64>().ok())
    };
    // Whoever asks for more than there is heard another node before us, and has missed everything of ours.
    let since = number("since").filter(|since| *since <= node.bus.newest()).unwrap_or(0);
    let wait = Duration::from_millis(number("wait_ms").unwrap_or(0)).min(EVENTS_WAIT_MAX);
    if !wait.is_zero() {
        // A wait that ends without news is an empty answer.
        let _ = timeout(wait, node.bus.wait_beyond(since)).await;
    }
    let events = node.bus.since(since, EVENTS_PER_ANSWER_MAX);
    let next = events.last().map_or(since, |event| event.seq);
    json_answer(StatusCode::OK, &json!({ "events": events, "next": next, "node": std::process::id() }))
}

async fn capabilities(node: &Node) -> Answer {
    match node.faults.capabilities().await {
        Ok(found) => {
            let entries =
                found.into_iter().map(|(kind, outcome)| (kind.word().to_owned(), json!(outcome.err())));
            json_answer(StatusCode::OK, &Value::Object(entries.collect()))
        }
        Err(error) => fault_problem(&error),
    }
}

async fn apply_fault(node: &Node, request: Request<Incoming>) -> Answer {
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            return problem(StatusCode::BAD_REQUEST, "The body could not be read", &error.to_string());
        }
    };
    let fault: FaultRequest = match serde_json::from_slice(&body) {
        Ok(fault) => fault,
        Err(error) => {
            return problem(StatusCode::BAD_REQUEST, "The body is not a fault request", &error.to_string());
        }
    };
    match node.faults.apply(fault).await {
        Ok(applied) => json_answer(StatusCode::OK, &json!(applied)),
        Err(error) => fault_problem(&error),
    }
}

async fn clear_fault(node: &Node, id: &str) -> Answer {
    match node.faults.clear(id).await {
        Ok(ended) => json_answer(StatusCode::OK, &json!(ended)),
        Err(error) => fault_problem(&error),
    }
}

async fn clear_faults(node: &Node) -> Answer {
    match node.faults.clear_all().await {
        Ok(ended) => {
            let entries = ended.into_iter().map(|(id, ended)| (id, json!(ended)));
            json_answer(StatusCode::OK, &json!({ "cleared": Value::Object(entries.collect()) }))
        }
        Err(error) => fault_problem(&error),
    }
}

fn fault_problem(error: &FaultError) -> Answer {
    let status = match error {
        FaultError::Invalid { .. } => StatusCode::BAD_REQUEST,
        FaultError::UnknownTarget { .. } | FaultError::UnknownFault(_) => StatusCode::NOT_FOUND,
        FaultError::Conflict { .. } | FaultError::TargetGone { .. } => StatusCode::CONFLICT,
        FaultError::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        FaultError::Unsupported { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let kind = if status == StatusCode::UNPROCESSABLE_ENTITY {
        "urn:seaworthy:problem:capability"
    } else {
        "about:blank"
    };
    let title = "The fault was not carried out";
    let body =
        json!({ "type": kind, "title": title, "status": status.as_u16(), "detail": error.to_string() });
    content(status, "application/problem+json", body.to_string())
}

pub(super) fn problem(status: StatusCode, title: &str, detail: &str) -> Answer {
    let body = json!({ "title": title, "status": status.as_u16(), "detail": detail });
    content(status, "application/problem+json", body.to_string())
}

pub(super) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    content(status, "application/json", body.to_string())
}

fn text(status: StatusCode, body: &str) -> Answer {
    content(status, "text/plain; charset=utf-8", body.to_owned())
}

fn to_text(body: &impl serde::Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

fn content(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    answer
}
