//! Connections to endpoints: one stack of idle ones per endpoint and thread, and one attempt to send a request.
//!
//! The stack is last-in-first-out, so that few connections stay warm and the rest age out; nothing is shared between
//! threads. What an attempt reports when it fails is exact, because a request that may have been executed must not
//! be sent again: we count the bytes that the kernel took, and ask the HTTP library for the request back.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use seaworthy_observe::DialTable;
use seaworthy_policy::Time;
use seaworthy_policy::call::{Cause, Proof};
use seaworthy_policy::pool::EndpointKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::body::{Outgoing, RequestBody};
use crate::edge::{Edge, Endpoint};
use crate::seen::Seen;
use crate::socket::poll_write_slices;
use crate::worker::Worker;

/// An idle connection is not used again after this long: many servers close after 5 s, and a request that meets the
/// closing is lost unless it may be sent again.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// Idle connections per endpoint and thread.
const IDLE_MAX: usize = 256;

/// An attempt that ended before a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttemptError {
    pub(crate) proof: Proof,
    pub(crate) cause: Cause,
}

/// A response head with what belongs to it.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    /// What its head has, as it arrived.
    pub(crate) seen: Seen,
    pub(crate) connection: Connection,
}

/// One connection to an endpoint. Dropping it closes it.
pub(crate) struct Connection {
    sender: SendRequest<RequestBody>,
    address: SocketAddr,
    meter: Rc<Meter>,
    task: JoinHandle<()>,
    open: Rc<Cell<i64>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
        self.task.abort();
    }
}

/// What left us on a connection.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    written: Cell<u64>,
    body_ended: Cell<bool>,
    body_failed: Cell<bool>,
}

impl Meter {
    /// A request begins.
    pub(crate) fn begin(&self) {
        self.written.set(0);
        self.body_ended.set(false);
        self.body_failed.set(false);
    }

    /// The request's body was handed over completely.
    pub(crate) fn body_ended(&self) {
        self.body_ended.set(true);
    }

    /// The request's body broke off on the client's side.
    pub(crate) fn body_failed(&self) {
        self.body_failed.set(true);
    }
}

/// The idle connections of one thread.
#[derive(Default)]
pub(crate) struct Upstreams {
    edges: RefCell<Vec<Vec<Known>>>,
}

/// What a thread knows about an endpoint.
struct Known {
    key: EndpointKey,
    dial: Option<(u64, SocketAddr)>,
    idle: Vec<Idle>,
    open: Rc<Cell<i64>>,
    used: Time,
}

struct Idle {
    connection: Connection,
    since: Time,
}

impl Upstreams {
    /// No connections for this many edges.
    pub(crate) fn new(edges: usize) -> Self {
        Self { edges: RefCell::new((0..edges).map(|_| Vec::new()).collect()) }
    }

    /// Takes the last idle connection that can be used at once; also says where to connect when there is none.
    fn take(
        &self,
        now: Time,
        edge: &Edge,
        endpoint: &Endpoint,
        dial: &DialTable,
    ) -> (Option<Connection>, Dial) {
        let mut edges = self.edges.borrow_mut();
        let known = find(&mut edges[edge.index], endpoint.key);
        known.used = now;
        let version = dial.version();
        let address = match known.dial {
            Some((seen, address)) if seen == version => address,
            _ => {
                // The version is read first: a change in between is noticed at the next look.
                let address = dial.address(&endpoint.id, edge.via, endpoint.address);
                // A detour is asked for each time, because the table counts who takes it.
                known.dial = (address == endpoint.address).then_some((version, address));
                address
            }
        };
        let dial = Dial { address, open: Rc::clone(&known.open) };
        while let Some(idle) = known.idle.pop() {
            let fresh = now.saturating_since(idle.since) < IDLE_LIMIT;
            if fresh && idle.connection.address == address && idle.connection.sender.is_ready() {
                return (Some(idle.connection), dial);
            }
        }
        (None, dial)
    }

    /// Keeps a connection whose exchange ended well.
    pub(crate) fn give_back(&self, now: Time, edge: &Edge, endpoint: EndpointKey, connection: Connection) {
        let complete = connection.meter.body_ended.get() && !connection.sender.is_closed();
        let mut edges = self.edges.borrow_mut();
        let Some(known) = edges[edge.index].iter_mut().find(|known| known.key == endpoint) else { return };
        if complete && known.idle.len() < IDLE_MAX {
            known.idle.push(Idle { connection, since: now });
        }
    }

    /// Closes what is too old or goes to an address that is not dialled any more, and forgets endpoints not used.
    pub(crate) fn tidy(&self, now: Time, dial: &DialTable) {
        for known in self.edges.borrow_mut().iter_mut() {
            known.retain_mut(|known| {
                let address =
                    known.dial.filter(|(version, _)| *version == dial.version()).map(|(_, address)| address);
                known.idle.retain(|idle| {
                    now.saturating_since(idle.since) < IDLE_LIMIT
                        && !idle.connection.sender.is_closed()
                        && address.is_none_or(|address| idle.connection.address == address)
                });
                known.open.get() > 0 || now.saturating_since(known.used) < 2 * IDLE_LIMIT
            });
        }
    }

    /// Open connections of each edge.
    pub(crate) fn open(&self) -> Vec<i64> {
        let edges = self.edges.borrow();
        edges.iter().map(|known| known.iter().map(|known| known.open.get()).sum()).collect()
    }
}

fn find(endpoints: &mut Vec<Known>, key: EndpointKey) -> &mut Known {
    let index = endpoints.iter().position(|known| known.key == key).unwrap_or_else(|| {
        endpoints.push(Known { key, dial: None, idle: Vec::new(), open: Rc::default(), used: Time::ZERO });
        endpoints.len() - 1
    });
    &mut endpoints[index]
}

/// Where to connect, and who counts it.
struct Dial {
    address: SocketAddr,
    open: Rc<Cell<i64>>,
}

/// One attempt: everything it needs, so that it can run beside others of the same request.
pub(crate) struct Attempt {
    pub(crate) worker: Rc<Worker>,
    pub(crate) edge: std::sync::Arc<Edge>,
    pub(crate) endpoint: std::sync::Arc<Endpoint>,
    pub(crate) head: Request<()>,
    pub(crate) body: Outgoing,
    pub(crate) connect_timeout: Duration,
}

impl Attempt {
    /// Sends the request and waits for the response head. Dropping the future closes the connection.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn keeps its arguments twice, and this future is moved"
    )]
    pub(crate) fn run(mut self) -> impl Future<Output = Result<Answer, AttemptError>> {
        async move {
            loop {
                let (idle, dial) = self.take_idle();
                let (reused, mut connection) = match idle {
                    Some(connection) => (true, connection),
                    // Boxed, because it is rare and would make every attempt larger.
                    None => (false, Box::pin(connect(dial, self.connect_timeout)).await?),
                };
                let Some(body) = self.body.take(&connection.meter) else {
                    return Err(AttemptError { proof: Proof::NotSent, cause: Cause::RequestBody });
                };
                let head = std::mem::take(&mut self.head);
                let sent = connection.sender.try_send_request(head.map(|()| body));
                match sent.await {
                    Ok(response) => return judge(response, connection),
                    Err(error) => self.take_back(error, reused, &connection.meter)?,
                }
            }
        }
    }

    /// The request comes back when not a byte of it was formatted: the idle connection was closed under us. That says
    /// nothing about the endpoint, so it gets the request on a new connection.
    fn take_back(
        &mut self,
        mut error: TrySendError<Request<RequestBody>>,
        reused: bool,
        meter: &Meter,
    ) -> Result<(), AttemptError> {
        let Some(request) = error.take_message() else {
            return Err(failed(meter, &error.into_error(), &self.body));
        };
        let (parts, body) = request.into_parts();
        self.body.put_back(body);
        self.head = Request::from_parts(parts, ());
        let unsent = AttemptError { proof: Proof::NotSent, cause: Cause::Reset };
        if reused { Ok(()) } else { Err(unsent) }
    }

    fn take_idle(&self) -> (Option<Connection>, Dial) {
        let Self { worker, edge, endpoint, .. } = self;
        worker.upstreams.take(worker.now(), edge, endpoint, &worker.shared.ports.dial)
    }
}

/// A head that says two things at once, or speaks of another protocol, is not passed on.
fn judge(response: Response<Incoming>, connection: Connection) -> Result<Answer, AttemptError> {
    let switching = response.status().is_informational();
    let seen = Seen::of(response.headers());
    let contradicting = seen.has(Seen::TRANSFER_ENCODING) && seen.has(Seen::CONTENT_LENGTH);
    if switching || contradicting {
        return Err(AttemptError { proof: sent(&connection.meter), cause: Cause::Protocol });
    }
    Ok(Answer { response, seen, connection })
}

fn sent(meter: &Meter) -> Proof {
    if meter.body_ended.get() { Proof::BodySent } else { Proof::HeadSent }
}

fn failed(meter: &Meter, error: &hyper::Error, body: &Outgoing) -> AttemptError {
    if meter.body_failed.get() {
        return AttemptError { proof: Proof::HeadSent, cause: Cause::RequestBody };
    }
    // Nothing was taken by the kernel; but a streamed body may have been read already and cannot be sent twice.
    let untouched = meter.written.get() == 0 && body.is_replayable();
    let proof = if untouched { Proof::NotSent } else { sent(meter) };
    let cause = if error.is_parse() { Cause::Protocol } else { Cause::Reset };
    AttemptError { proof, cause }
}

async fn connect(dial: Dial, limit: Duration) -> Result<Connection, AttemptError> {
    let not_sent = |cause| AttemptError { proof: Proof::NotSent, cause };
    let stream = match tokio::time::timeout(limit, TcpStream::connect(dial.address)).await {
        Err(_) => return Err(not_sent(Cause::ConnectTimeout)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(AttemptError { proof: Proof::Refused, cause: Cause::Connect });
        }
        Ok(Err(_)) => return Err(not_sent(Cause::Connect)),
        Ok(Ok(stream)) => stream,
    };
    // A closed local port in the ephemeral range can be connected to itself; nobody listens there.
    if stream.local_addr().is_ok_and(|local| local == dial.address) {
        return Err(AttemptError { proof: Proof::Refused, cause: Cause::Connect });
    }
    let _ = stream.set_nodelay(true);
    let meter = Rc::new(Meter::default());
    let metered = Metered { stream, meter: Rc::clone(&meter) };
    let handshake = http1::Builder::new().handshake(TokioIo::new(metered)).await;
    let (sender, driver) = handshake.map_err(|_| not_sent(Cause::Connect))?;
    let task = tokio::task::spawn_local(async move {
        // What goes wrong here is told to whoever waits for a response or a body.
        let _ = driver.await;
    });
    dial.open.set(dial.open.get() + 1);
    Ok(Connection { sender, address: dial.address, meter, task, open: dial.open })
}

/// A socket that counts what it was given.
struct Metered {
    stream: TcpStream,
    meter: Rc<Meter>,
}

impl Metered {
    fn count(&self, written: usize) -> usize {
        self.meter.written.set(self.meter.written.get() + written as u64);
        written
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        Poll::Ready(Ok(self.count(written)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(poll_write_slices(&mut self.stream, context, slices))?;
        Poll::Ready(Ok(self.count(written)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
