//! The HTTP client: one [`Client`] per service we call, with a small pool of kept-alive connections.
//!
//! The connection used last is used next, so that the others grow old and are closed here before the other
//! side closes them under a request. That still happens now and then: a request that a *reused* connection
//! lost before the first byte of an answer is sent once more on a fresh one, if doing it twice is the same
//! as doing it once. Any other retry is the business of the egress that we call through.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::http::header::{CONTENT_TYPE, HOST};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Under this header a request tells how many milliseconds its sender still waits.
pub(crate) const DEADLINE_HEADER: &str = "seaworthy-deadline-ms";
/// Under this header a request names the work, so that doing it twice is the same as doing it once.
pub(crate) const KEY_HEADER: &str = "idempotency-key";

/// Kept connections per service; more are closed after use.
const IDLE_MAX: usize = 64;
/// A connection that rested longer is not used again: shorter than what servers commonly allow (5 s and up).
const IDLE_LIMIT: Duration = Duration::from_secs(4);
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// An answer that is longer is an error; the largest we expect, the list of events, has a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The way to one service.
pub(crate) struct Client {
    peer: String,
    host: HeaderValue,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// A request that is to be made.
pub(crate) struct Outgoing {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    limit: Duration,
}

impl Outgoing {
    /// Asks for something.
    pub(crate) fn get(path: impl Into<String>, limit: Duration) -> Self {
        Self::new(Method::GET, path.into(), Bytes::new(), limit)
    }

    /// Stores something; storing it twice is the same as once.
    pub(crate) fn put(path: impl Into<String>, body: Bytes, limit: Duration) -> Self {
        Self::new(Method::PUT, path.into(), body, limit)
    }

    /// Has something done, once per key. The key must be printable ASCII.
    pub(crate) fn post(
        path: impl Into<String>,
        key: &str,
        body: &serde_json::Value,
        limit: Duration,
    ) -> Self {
        let mut request = Self::new(Method::POST, path.into(), Bytes::from(body.to_string()), limit);
        if let Ok(key) = HeaderValue::from_str(key) {
            request.headers.insert(HeaderName::from_static(KEY_HEADER), key);
        }
        request
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    fn new(method: Method, path: String, body: Bytes, limit: Duration) -> Self {
        Self { method, path, headers: HeaderMap::new(), body, limit }
    }

    /// Is sending it twice the same as sending it once?
    fn is_replayable(&self) -> bool {
        self.method != Method::POST || self.headers.contains_key(KEY_HEADER)
    }

    fn build(&self, host: &HeaderValue) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.parse().map_err(|_| CallError::Malformed)?;
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, host.clone());
        if !self.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // A tenth is kept for the way back, so that the other side gives up, and says so, before we do.
        let patience_ms = (self.limit.as_millis() as u64 * 9 / 10).max(1);
        headers.insert(HeaderName::from_static(DEADLINE_HEADER), HeaderValue::from(patience_ms));
        Ok(request)
    }
}

/// What came back, complete.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The whole body.
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The request cannot be written down; nothing was sent.
    #[error("the request is malformed")]
    Malformed,
    /// No connection; nothing was sent.
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    /// No connection in time; nothing was sent.
    #[error("no connection in time")]
    ConnectTimeout,
    /// Sent, and no answer in time.
    #[error("no answer in time")]
    Timeout,
    /// Sent, and the connection broke.
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
    /// The answer broke off, or was longer than we read.
    #[error("the answer could not be read: {0}")]
    Body(String),
}

impl CallError {
    /// Is it certain that the other side has not seen the request?
    pub(crate) fn is_not_sent(&self) -> bool {
        matches!(self, Self::Malformed | Self::Connect(_) | Self::ConnectTimeout)
    }
}

impl Client {
    /// A client of the service at `peer`, `host:port`. Connects when first used.
    pub(crate) fn new(peer: &str) -> Self {
        let host = HeaderValue::from_str(peer).expect("a parsed authority is a header value");
        Self { peer: peer.to_owned(), host, idle: Mutex::new(Vec::new()) }
    }

    /// Sends the request and reads the whole answer, within the request's limit.
    pub(crate) async fn call(&self, request: &Outgoing) -> Result<Answer, CallError> {
        let sent = AtomicBool::new(false);
        match timeout(request.limit, self.attempt(request, &sent)).await {
            Ok(result) => result,
            Err(_) if sent.load(Ordering::Relaxed) => Err(CallError::Timeout),
            Err(_) => Err(CallError::ConnectTimeout),
        }
    }

    async fn attempt(&self, request: &Outgoing, sent: &AtomicBool) -> Result<Answer, CallError> {
        let mut lost = None;
        if let Some(connection) = self.reuse().await {
            sent.store(true, Ordering::Relaxed);
            match self.exchange(connection, request).await {
                Err(error @ CallError::Broken(_)) if request.is_replayable() => lost = Some(error),
                result => return result,
            }
        }
        // Once a connection was lost under the request, "cannot connect" no longer proves that nothing
        // arrived: the first error is the truth.
        let connection = match (self.connect().await, lost) {
            (Ok(connection), _) => connection,
            (Err(_), Some(first)) => return Err(first),
            (Err(error), None) => return Err(error),
        };
        sent.store(true, Ordering::Relaxed);
        self.exchange(connection, request).await
    }

    /// The youngest kept connection that still lives.
    async fn reuse(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut connection = {
                let mut idle = self.lock();
                let youngest = idle.pop()?;
                if youngest.since.elapsed() > IDLE_LIMIT {
                    idle.clear();
                    return None;
                }
                youngest.connection
            };
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let stream = match timeout(CONNECT_LIMIT, TcpStream::connect(&self.peer)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(CallError::Connect(error)),
            Err(_) => return Err(CallError::ConnectTimeout),
        };
        // Small requests must not wait for the acknowledgement of earlier ones; a socket that refuses the
        // option is slower, not wrong.
        let _ = stream.set_nodelay(true);
        let (connection, driver) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(CallError::Broken)?;
        // Ends when the connection closes; its error reaches us through the request it broke.
        tokio::spawn(driver);
        Ok(connection)
    }

    async fn exchange(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        request: &Outgoing,
    ) -> Result<Answer, CallError> {
        let response =
            connection.send_request(request.build(&self.host)?).await.map_err(CallError::Broken)?;
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(CallError::Body(format!("longer than {ANSWER_BYTES_MAX} bytes")));
            }
            Err(error) => return Err(CallError::Body(error.to_string())),
        };
        self.keep(connection);
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    fn keep(&self, connection: SendRequest<Full<Bytes>>) {
        if connection.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().expect("no panic happens while the pool is locked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(5);
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// What the server does with one request.
    #[derive(Clone, Copy)]
    enum Do {
        Answer,
        /// Reads the request, then closes without a word.
        HangUp,
        /// Reads the request, and never answers.
        Sleep,
    }

    /// A server whose connections follow `scripts`, one each, one after the other. What it saw comes back:
    /// the number of requests per connection.
    async fn server(scripts: Vec<Vec<Do>>) -> (Client, tokio::task::JoinHandle<Vec<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&listener.local_addr().unwrap().to_string());
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            for script in scripts {
                let (mut stream, _) = listener.accept().await.unwrap();
                seen.push(follow(script, &mut stream).await);
            }
            seen
        });
        (client, task)
    }

    async fn follow(script: Vec<Do>, stream: &mut TcpStream) -> usize {
        let mut requests = 0;
        for action in script {
            if !read_request(stream).await {
                break;
            }
            requests += 1;
            match action {
                Do::Answer => stream.write_all(ANSWER).await.unwrap(),
                Do::HangUp => break,
                Do::Sleep => std::future::pending().await,
            }
        }
        requests
    }

    /// Reads to the end of the head, and of the body `{}` if there is one.
    async fn read_request(stream: &mut TcpStream) -> bool {
        let mut text = Vec::new();
        let complete = |text: &[u8]| {
            let text = String::from_utf8_lossy(text);
            if text.starts_with("POST") { text.ends_with("{}") } else { text.ends_with("\r\n\r\n") }
        };
        while !complete(&text) {
            let mut byte = [0];
            if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                return false;
            }
            text.push(byte[0]);
        }
        true
    }

    fn keyed() -> Outgoing {
        Outgoing::post("/x", "k", &serde_json::json!({}), LIMIT)
    }

    fn unkeyed() -> Outgoing {
        let mut request = keyed();
        request.headers.clear();
        request
    }

    #[tokio::test]
    async fn a_connection_is_used_again() {
        let (client, server) = server(vec![vec![Do::Answer, Do::Answer, Do::Answer]]).await;
        for request in [keyed(), Outgoing::get("/x", LIMIT), unkeyed()] {
            assert_eq!(client.call(&request).await.unwrap().body, "ok");
        }
        assert_eq!(server.await.unwrap(), [3]);
    }

    #[tokio::test]
    async fn what_a_reused_connection_lost_is_sent_once_more_if_that_is_harmless() {
        let lost = || vec![vec![Do::Answer, Do::HangUp], vec![Do::Answer]];
        for request in [keyed(), Outgoing::get("/x", LIMIT)] {
            let (client, server) = server(lost()).await;
            assert!(client.call(&keyed()).await.is_ok());
            assert!(client.call(&request).await.is_ok());
            assert_eq!(server.await.unwrap(), [2, 1]);
        }
        let (client, server) = server(lost()).await;
        assert!(client.call(&keyed()).await.is_ok());
        assert!(matches!(client.call(&unkeyed()).await, Err(CallError::Broken(_))));
        server.abort();
    }

    #[tokio::test]
    async fn a_fresh_connection_that_is_lost_is_not_replaced() {
        let (client, server) = server(vec![vec![Do::HangUp], vec![Do::Answer]]).await;
        let error = client.call(&keyed()).await.unwrap_err();
        assert!(matches!(error, CallError::Broken(_)) && !error.is_not_sent(), "{error:?}");
        server.abort();
    }

    #[tokio::test]
    async fn lost_then_refused_is_no_proof_that_nothing_arrived() {
        let (client, server) = server(vec![vec![Do::Answer, Do::HangUp]]).await;
        assert!(client.call(&keyed()).await.is_ok());
        // The script is over, so nobody listens any more when the request is to be sent again.
        let error = client.call(&keyed()).await.unwrap_err();
        assert!(!error.is_not_sent(), "{error:?}");
        assert_eq!(server.await.unwrap(), [2]);
        // Only now that no connection is left is a refusal a proof.
        assert!(client.call(&keyed()).await.unwrap_err().is_not_sent());
    }

    #[tokio::test]
    async fn silence_ends_with_the_limit() {
        let (client, server) = server(vec![vec![Do::Sleep]]).await;
        let mut request = keyed();
        request.limit = Duration::from_millis(50);
        assert!(matches!(client.call(&request).await, Err(CallError::Timeout)));
        server.abort();
    }
}
