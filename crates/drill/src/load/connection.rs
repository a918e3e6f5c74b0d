//! One exchange on a raw HTTP/1 connection, and the connections kept for the next one.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AGE, CONTENT_TYPE, HeaderMap};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::classify::{Answer, DEGRADED_HEADER, Ending, Expectation, Judged, classify};
use crate::clock;

/// A connection that was idle for longer is not used again: servers close idle connections, and a request that
/// crosses such a close would be a failure that the client made itself.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// Most idle connections of one load; more than its requests in flight need at any rate worth measuring.
const IDLE_COUNT_MAX: usize = 1_024;
/// How much of a problem body is kept to see what kind of problem it is.
const PROBLEM_BYTES_MAX: usize = 8 * 1024;
/// Ending of the problem type that says that nobody knows whether a write was carried out.
const OUTCOME_UNKNOWN: &str = "outcome-unknown";

/// A connection; ends with this value, whatever is still going on in it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connections of one load to one address. Lives on one thread.
pub(super) struct Connections {
    address: SocketAddr,
    idle: RefCell<Vec<(Connection, u64)>>,
}

/// How far an exchange came; decides what its end proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Sent,
    Head(u16),
}

impl Connections {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, idle: RefCell::new(Vec::new()) }
    }

    /// Sends a request once and judges what comes back until `deadline` (monotonic nanoseconds).
    pub(super) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        expectation: Expectation<'_>,
        deadline: u64,
    ) -> (Judged, Option<Reusable>) {
        let stage = Cell::new(Stage::Connecting);
        let work = self.send(request, expectation, &stage);
        if let Ok(Ok(result)) = tokio::time::timeout(clock::until(deadline), work).await {
            return result;
        }
        let ending = match stage.get() {
            Stage::Connecting => Ending::NotSent,
            Stage::Sent => Ending::NoAnswer,
            Stage::Head(status) => Ending::BrokenOff { status },
        };
        (classify(expectation, ending), None)
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        expectation: Expectation<'_>,
        stage: &Cell<Stage>,
    ) -> Result<(Judged, Option<Reusable>), Broken> {
        let mut connection = self.connection().await?;
        stage.set(Stage::Sent);
        let response = match connection.sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                if error.take_message().is_some() {
                    // Given back: not a byte of it was written.
                    stage.set(Stage::Connecting);
                }
                return Err(Broken);
            }
        };
        stage.set(Stage::Head(response.status().as_u16()));
        let (head, body) = response.into_parts();
        let outcome_unknown = read_body(&head, body).await?;
        let answer = Answer {
            status: head.status.as_u16(),
            degraded: text(&head.headers, DEGRADED_HEADER),
            age: text(&head.headers, AGE.as_str()),
            proxy_status: head
                .headers
                .get_all("proxy-status")
                .iter()
                .next_back()
                .and_then(|v| v.to_str().ok()),
            outcome_unknown,
        };
        Ok((classify(expectation, Ending::Answered(answer)), Some(Reusable(connection))))
    }

    async fn connection(&self) -> Result<Connection, Broken> {
        if let Some(connection) = self.take_idle() {
            return Ok(connection);
        }
        let stream = TcpStream::connect(self.address).await.map_err(|_| Broken)?;
        // Without it the kernel may hold back a small request; a connection that refuses it works all the same.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Broken)?;
        let driver = tokio::task::spawn_local(async move {
            // How it ends shows in the exchange that was using it.
            let _ = connection.await;
        });
        Ok(Connection { sender, driver })
    }

    fn take_idle(&self) -> Option<Connection> {
        let oldest = clock::now().saturating_sub(clock::nanos(IDLE_MAX));
        let mut idle = self.idle.borrow_mut();
        while let Some((connection, since)) = idle.pop() {
            if since < oldest {
                // The last one returned is the youngest: all others are older still.
                idle.clear();
                return None;
            }
            if connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request once it is ready for one.
    pub(super) async fn keep(&self, reusable: Reusable) {
        let Reusable(mut connection) = reusable;
        if connection.sender.ready().await.is_err() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_COUNT_MAX {
            idle.push((connection, clock::now()));
        }
    }
}

/// A connection whose exchange ended well.
pub(super) struct Reusable(Connection);

/// The exchange did not end well; the stage says what that means.
#[derive(Debug)]
struct Broken;

/// Reads a body to its end; true when it is a problem of an unknown outcome.
async fn read_body(head: &http::response::Parts, mut body: Incoming) -> Result<bool, Broken> {
    let is_problem = head.status.is_client_error()
        && text(&head.headers, CONTENT_TYPE.as_str())
            .is_some_and(|value| value.starts_with("application/problem+json"));
    let mut problem = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Broken)?;
        if let (true, Some(data)) = (is_problem, frame.data_ref()) {
            let room = PROBLEM_BYTES_MAX.saturating_sub(problem.len());
            problem.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(is_problem && is_outcome_unknown(&problem))
}

fn is_outcome_unknown(problem: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Problem {
        r#type: String,
    }
    serde_json::from_slice::<Problem>(problem).is_ok_and(|problem| problem.r#type.ends_with(OUTCOME_UNKNOWN))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}
