//! `PUT` and `DELETE /edges/EDGE/breaker`: a person takes the place of circuit breakers, or gives it back.

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use seaworthy_gateway::ForceError;
use seaworthy_policy::breaker::Mode;
use serde_json::{Value, json};

use super::Node;
use super::admin::{Answer, BODY_BYTES_MAX, json_answer, problem};

const TITLE: &str = "The circuit breaker stays as it is";

/// `{"mode": "force_open"}`: this mode, until told otherwise.
pub(super) async fn force(node: &Node, edge: &str, request: Request<Incoming>) -> Answer {
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return problem(StatusCode::BAD_REQUEST, TITLE, &error.to_string()),
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(mode) = body["mode"].as_str().and_then(Mode::of) else {
        let words = Mode::ALL.map(Mode::as_str).join(", ");
        return problem(StatusCode::BAD_REQUEST, TITLE, &format!("`mode` must be one of {words}"));
    };
    set(node, edge, Some(mode))
}

/// Back to what the spec says.
pub(super) fn release(node: &Node, edge: &str) -> Answer {
    set(node, edge, None)
}

fn set(node: &Node, edge: &str, mode: Option<Mode>) -> Answer {
    match node.gateway.force_breaker(edge, mode) {
        Ok(mode) => json_answer(StatusCode::OK, &json!({ "edge": edge, "mode": mode.as_str() })),
        Err(error) => {
            let status = match error {
                ForceError::Unknown { .. } => StatusCode::NOT_FOUND,
                ForceError::NoBreaker { .. } => StatusCode::CONFLICT,
            };
            problem(status, TITLE, &error.to_string())
        }
    }
}
