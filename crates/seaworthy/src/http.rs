//! A small HTTP client for the node's admin API, for one request at a time.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any fault takes to prove its effect.
const LIMIT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request to the admin API.
#[derive(Debug)]
pub(crate) struct AdminRequest<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// What changes something needs it.
    pub(crate) token: Option<&'a str>,
    pub(crate) body: Option<&'a Value>,
}

/// Sends a request; an answer other than 2xx becomes an error with the problem's own words.
pub(crate) async fn admin(address: SocketAddr, request: AdminRequest<'_>) -> Result<Value> {
    let exchange = timeout(LIMIT, exchange(address, &request));
    let (status, body) =
        exchange.await.with_context(|| format!("{address} did not answer within {LIMIT:?}"))??;
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(json);
    }
    let title = json["title"].as_str().unwrap_or("the node refused");
    match json["detail"].as_str() {
        Some(detail) => bail!("{title}: {detail}"),
        None => bail!("{title} ({status})"),
    }
}

async fn exchange(address: SocketAddr, request: &AdminRequest<'_>) -> Result<(hyper::StatusCode, Bytes)> {
    let stream =
        TcpStream::connect(address).await.with_context(|| format!("connecting to the node at {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let body = request.body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let mut head = Request::builder()
        .method(&request.method)
        .uri(request.path)
        .header(header::HOST, address.to_string());
    if let Some(token) = request.token {
        head = head.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = head.body(Full::new(body)).context("building a request")?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("reading the node's answer: {error}"))?.to_bytes();
        anyhow::Ok((status, body))
    };
    tokio::select! {
        answer = answer => answer,
        outcome = connection => {
            outcome.context("talking to the node")?;
            bail!("the node closed the connection without an answer")
        }
    }
}
