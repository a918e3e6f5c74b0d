//! A small HTTP/1.1 client for what a drill asks about, as opposed to what it measures: one connection for each
//! request, a limit for time and for bytes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// No connection.
    #[error("cannot connect to {address}: {source}")]
    Connect { address: SocketAddr, source: std::io::Error },
    /// The words do not make a request.
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
    /// The connection ended, or what came was not HTTP.
    #[error("{address} did not answer properly: {source}")]
    Broken { address: SocketAddr, source: hyper::Error },
    /// It took too long.
    #[error("{address} did not answer within {limit:?}")]
    Timeout { address: SocketAddr, limit: Duration },
    /// The answer is larger than we are ready to hold.
    #[error("{address} answered with more than {limit} bytes")]
    TooLarge { address: SocketAddr, limit: usize },
}

/// What to ask.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) json: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) bytes_max: usize,
}

impl<'a> Question<'a> {
    /// A GET with nothing special about it.
    pub(crate) fn get(address: SocketAddr, path: &'a str, timeout: Duration, bytes_max: usize) -> Self {
        Self { address, method: Method::GET, path, token: None, json: None, timeout, bytes_max }
    }
}

/// Ends the task that drives a connection together with the question.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks once. Returns status and body.
pub(crate) async fn ask(question: Question<'_>) -> Result<(u16, Vec<u8>), HttpError> {
    let (address, limit) = (question.address, question.timeout);
    match tokio::time::timeout(limit, ask_without_limit(question)).await {
        Ok(result) => result,
        Err(_) => Err(HttpError::Timeout { address, limit }),
    }
}

async fn ask_without_limit(question: Question<'_>) -> Result<(u16, Vec<u8>), HttpError> {
    let address = question.address;
    let mut request = Request::builder()
        .method(question.method)
        .uri(question.path)
        .header(HOST, address.to_string())
        .header(CONNECTION, "close");
    if let Some(token) = question.token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if question.json.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(question.json.unwrap_or_default())))?;
    let stream =
        TcpStream::connect(address).await.map_err(|source| HttpError::Connect { address, source })?;
    let broken = |source| HttpError::Broken { address, source };
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let _driver = Driver(tokio::spawn(async move {
        // How it ends shows in the answer.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > question.bytes_max {
            return Err(HttpError::TooLarge { address, limit: question.bytes_max });
        }
        bytes.extend_from_slice(data);
    }
    Ok((status, bytes))
}
