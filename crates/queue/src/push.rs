//! One attempt to deliver one job.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use seaworthy_policy::delivery::{Answer, Proof, webhook};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::cloud_event::CloudEvent;
use crate::retry_after::retry_after;
use crate::signature::{Secret, sign};

/// How much of an answer's body is kept, to be read by people beside a dead letter.
pub const KEPT_BODY_MAX: usize = 4096;
/// How long that may take; the answer itself is known by then.
pub const KEPT_BODY_WAIT: Duration = Duration::from_secs(1);

const WEBHOOK_ID: HeaderName = HeaderName::from_static(webhook::ID);
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static(webhook::TIMESTAMP);
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static(webhook::SIGNATURE);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const OURS: HeaderValue = HeaderValue::from_static(concat!("seaworthy/", env!("CARGO_PKG_VERSION")));

/// Where a job goes.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    /// What `Host` says.
    pub authority: String,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The limit of making the connection.
    pub connect_timeout: Duration,
    /// The limit of the attempt, up to the head of its answer.
    pub timeout: Duration,
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The same for every attempt; what a receiver tells repetitions by. One that [`webhook::is_id`] accepts.
    pub id: &'a str,
    /// As the job was accepted with. Those of one hop, and those that are written here, are left out.
    pub headers: &'a HeaderMap,
    /// As the job was accepted.
    pub body: Bytes,
    /// What it is, if it is to say so.
    pub event: Option<&'a CloudEvent>,
    /// The secrets that sign it, the newest first; none = unsigned.
    pub secrets: &'a [Secret],
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// When it began.
    pub at: Timestamp,
    /// In the words of the policy.
    pub answer: Answer,
    /// The beginning of the answer's body, or why there is none.
    pub note: Bytes,
}

impl Pushed {
    fn failed(at: Timestamp, proof: Proof, why: &dyn std::fmt::Display) -> Self {
        Pushed { at, answer: Answer::Failed { proof }, note: Bytes::from(why.to_string()) }
    }
}

/// Sends a job once, at `now`, and says what came of it. Dropped before its end it closes the connection, and what was
/// sent by then may have been executed.
///
/// The id is checked where jobs are accepted; one that cannot be a header's value is never sent.
pub async fn push(receiver: &Receiver, message: Message<'_>, now: Timestamp) -> Pushed {
    let deadline = Instant::now() + receiver.timeout;
    let request = match request(receiver, message, now) {
        Ok(request) => request,
        Err(error) => return Pushed::failed(now, Proof::NotSent, &error),
    };
    let connect_timeout = receiver.connect_timeout.min(receiver.timeout);
    let stream = match connect(receiver.address, connect_timeout).await {
        Ok(stream) => stream,
        Err((proof, why)) => return Pushed::failed(now, proof, &why),
    };
    let (mut sender, connection) = match http1::handshake(TokioIo::new(stream)).await {
        Ok(ends) => ends,
        Err(error) => return Pushed::failed(now, Proof::NotSent, &error),
    };
    let exchange = async move {
        let response = match timeout_at(deadline, sender.try_send_request(request)).await {
            Ok(Ok(response)) => response,
            // The request comes back when not a byte of it was written.
            Ok(Err(mut error)) => {
                let proof = if error.take_message().is_some() { Proof::NotSent } else { Proof::HeadSent };
                return Pushed::failed(now, proof, &error.into_error());
            }
            Err(_) => {
                let note = Bytes::from_static(b"no answer in time");
                return Pushed { at: now, answer: Answer::TimedOut, note };
            }
        };
        let status = response.status().as_u16();
        let answer = Answer::Status { status, retry_after: retry_after(response.headers(), now) };
        Pushed { at: now, answer, note: beginning(response).await }
    };
    let (mut exchange, connection) = (pin!(exchange), pin!(connection));
    tokio::select! {
        biased;
        pushed = &mut exchange => pushed,
        // Whatever it ended with, the exchange knows it.
        _ = connection => exchange.await,
    }
}

fn request(
    receiver: &Receiver,
    message: Message<'_>,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let Message { id, headers, body, event, secrets } = message;
    let second = u64::try_from(now.as_second()).unwrap_or(0);
    let mut own = HeaderMap::with_capacity(headers.len() + 12);
    let named = named_by_connection(headers);
    let passes = |name: &HeaderName| may_pass(name, event.is_some()) && !named.contains(name);
    for (name, value) in headers.iter().filter(|(name, _)| passes(name)) {
        own.append(name, value.clone());
    }
    own.entry(USER_AGENT).or_insert(OURS);
    // A receiver that honours keys executes the job once, however often it is sent.
    own.entry(IDEMPOTENCY_KEY).or_insert(HeaderValue::try_from(id)?);
    own.insert(HOST, HeaderValue::try_from(receiver.authority.as_str())?);
    own.insert(WEBHOOK_ID, HeaderValue::try_from(id)?);
    own.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(second));
    if !secrets.is_empty() {
        own.insert(WEBHOOK_SIGNATURE, HeaderValue::try_from(sign(secrets, id, second, &body))?);
    }
    if let Some(event) = event {
        event.write(id, &mut own);
    }
    let mut request =
        Request::builder().method(&receiver.method).uri(&receiver.path).body(Full::new(body))?;
    *request.headers_mut() = own;
    Ok(request)
}

/// Whether a header of the job goes on to the receiver. Nobody who enqueues may speak in our name; what an event is, they
/// may say themselves, unless we do.
fn may_pass(name: &HeaderName, has_event: bool) -> bool {
    let of_one_hop = [
        CONNECTION,
        CONTENT_LENGTH,
        EXPECT,
        HOST,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    let is_ours = name.as_str().starts_with("webhook-") || (has_event && name.as_str().starts_with("ce-"));
    !is_ours && !of_one_hop.contains(name)
}

/// The headers that were meant for one hop only, because `Connection` says so.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

async fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, (Proof, io::Error)> {
    let stream = match timeout(limit, TcpStream::connect(address)).await {
        Err(_) => return Err((Proof::NotSent, io::Error::other("no connection in time"))),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err((Proof::Refused, error));
        }
        Ok(Err(error)) => return Err((Proof::NotSent, error)),
        Ok(Ok(stream)) => stream,
    };
    // A closed local port in the ephemeral range can be connected to itself; nobody listens there.
    if stream.local_addr().is_ok_and(|local| local == address) {
        return Err((Proof::Refused, io::Error::other("nobody listens there")));
    }
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// The beginning of an answer's body, as far as it comes soon.
async fn beginning(response: Response<Incoming>) -> Bytes {
    let deadline = Instant::now() + KEPT_BODY_WAIT;
    let mut body = response.into_body();
    let mut kept = BytesMut::new();
    while kept.len() < KEPT_BODY_MAX
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        if let Ok(data) = frame.into_data() {
            kept.extend_from_slice(&data[..data.len().min(KEPT_BODY_MAX - kept.len())]);
        }
    }
    kept.freeze()
}
