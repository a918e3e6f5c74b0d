//! What every service has in common: listening, probes, admission, shutting down, and answering in JSON.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::StartError;
use crate::config::Config;
use crate::http::{DEADLINE_HEADER, KEY_HEADER};
use crate::log;

/// Requests in progress in one process; more are refused with 503, untouched.
const REQUESTS_MAX: usize = 4096;
/// The longest request body that is read.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest idempotency key.
const KEY_CHARS_MAX: usize = 255;
/// How long a process that was told to stop finishes what it has begun.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// Tells every part of a process that it is to stop. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens for SIGTERM and SIGINT from now on.
    pub(crate) fn on_signal() -> Result<Self, StartError> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
            // Nobody left to tell means that the process is already ending.
            let _ = stop.send(true);
        });
        Ok(Self(stopped))
    }

    /// Returns when the process is to stop.
    pub(crate) async fn begun(mut self) {
        // The sender only goes away with the runtime; then stopping is right as well.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

/// Serves `routes` and the probes until shut down; then stops accepting and finishes what is in progress.
pub(crate) async fn serve(config: &Config, routes: Router, shutdown: Shutdown) -> Result<(), StartError> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, config.port))).await?;
    let port = listener.local_addr()?.port();
    // Without it, small answers wait for the acknowledgement of earlier ones; refusing it is only slower.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = with_probes(routes);
    log::info("listening", &json!({ "port": port }));
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().begun());
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        result = &mut server => return Ok(result?),
        () = shutdown.begun() => log::info("draining", &json!({})),
    }
    match timeout(DRAIN_LIMIT, server).await {
        Ok(result) => result?,
        Err(_) => log::warn("drain cut short", &json!({ "limit_ms": DRAIN_LIMIT.as_millis() as u64 })),
    }
    log::info("stopped", &json!({}));
    Ok(())
}

/// The probes say that this process serves, whatever becomes of the services behind it: a shared dependency
/// that fails must not take every copy out of rotation at once.
fn with_probes(routes: Router) -> Router {
    let admission = Arc::new(Semaphore::new(REQUESTS_MAX));
    routes
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(admission, admit))
        .route("/readyz", get(|| async { "ready\n" }))
        .route("/livez", get(|| async { "alive\n" }))
}

async fn admit(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => busy("too many requests at once"),
    }
}

/// A JSON answer.
pub(crate) fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.to_string()).into_response()
}

/// 200 with a JSON body.
pub(crate) fn ok(body: &Value) -> Response {
    answer(StatusCode::OK, body)
}

/// A refusal: `reason` for programs, `message` for people.
pub(crate) fn refuse(status: StatusCode, reason: &str, message: &str) -> Response {
    answer(status, &json!({ "success": false, "reason": reason, "message": message }))
}

/// Not now; nothing was done.
pub(crate) fn busy(message: &str) -> Response {
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "busy", message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Reads a JSON body, or says what is wrong with it.
// The refusal is the answer itself and is sent at once: boxing it would help nobody.
#[expect(clippy::result_large_err, reason = "the error is the response that is returned next")]
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body)
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, "malformed", &format!("the body: {error}")))
}

/// The client's idempotency key, bare or as a quoted string.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<&str, &'static str> {
    let header = headers.get(KEY_HEADER).ok_or("the header Idempotency-Key is missing")?;
    let text = header.to_str().map_err(|_| "the Idempotency-Key is not printable ASCII")?.trim();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    match key.len() {
        0 => Err("the Idempotency-Key is empty"),
        1..=KEY_CHARS_MAX => Ok(key),
        _ => Err("the Idempotency-Key is longer than 255 characters"),
    }
}

/// How long the client still waits, if it says so.
pub(crate) fn time_left(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(DEADLINE_HEADER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_millis)
}

/// A body of unknown length, fed from elsewhere; whoever feeds it waits while the client reads slowly.
/// It ends well when the feeder goes away, and breaks off when the feeder sends an error, so that a part
/// never passes for the whole.
pub(crate) struct FedBody(pub(crate) mpsc::Receiver<Result<Bytes, FeedError>>);

/// The rest of a body cannot be produced.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FeedError(pub(crate) String);

impl http_body::Body for FedBody {
    type Data = Bytes;
    type Error = FeedError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, FeedError>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(http_body::Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_bare_or_quoted_up_to_255_characters() {
        let longest = "k".repeat(255);
        let too_long = "k".repeat(256);
        let table: &[(Option<&str>, Option<&str>)] = &[
            (Some("abc"), Some("abc")),
            (Some("\"abc\""), Some("abc")),
            (Some(" abc "), Some("abc")),
            (Some("\"abc"), Some("\"abc")),
            (Some(&longest), Some(&longest)),
            (Some(&too_long), None),
            (Some(""), None),
            (Some("\"\""), None),
            (None, None),
        ];
        for (header, expected) in table {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(KEY_HEADER, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(idempotency_key(&headers).ok(), *expected, "{header:?}");
        }
    }

    #[test]
    fn a_deadline_that_is_no_number_is_ignored() {
        for (value, expected) in
            [("250", Some(250)), (" 0 ", Some(0)), ("-1", None), ("soon", None), ("", None)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(DEADLINE_HEADER, HeaderValue::from_static(value));
            assert_eq!(time_left(&headers), expected.map(Duration::from_millis), "{value:?}");
        }
    }
}
