//! A proxy that understands HTTP and does something bad to a share of the requests.
//!
//! Requests, not connections, are what is broken: a client with one long-lived connection and one with a thousand
//! short ones meet the same share. Everything else passes through, streamed, on keep-alive connections in both
//! directions. What cannot be faked is a refused connection: the proxy has accepted by the time it learns that there
//! is nobody behind it, so it closes instead; that is one more reason why no proxy stands in the way without a fault.
//!
//! After the end of its fault a proxy goes on for a moment without doing anything bad, because clients may still be on
//! their way to it; closing at once would be a fault of our own making.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::proof;
use super::upstream::Upstream;
use crate::mix::{Effect, Mix};

/// Marks an answer that a fault gave; its value is `errors`.
pub(super) const FAULT_HEADER: &str = "seaworthy-fault";

/// Marks our own requests: the proxy's token, a slash, the number of the effect.
pub(super) const PROOF_HEADER: &str = "seaworthy-fault-proof";

/// The most connections of one proxy; further ones wait in the kernel's queue. Swallowed requests hold theirs.
const CONNECTIONS_MAX: usize = 10_000;

/// How much of a request's body is read before a fault answers it; closing earlier could reset the connection before
/// the client has read the answer.
const BODY_READ_MAX: u64 = 1024 * 1024;

/// How long a connection to the real thing may take. Clients give up on their own, usually earlier.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long connections are still accepted after the end of the fault.
const LINGER: Duration = Duration::from_secs(1);

/// How long answers that are under way after that may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// After an accept that failed for lack of file descriptors or memory.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

type Body = Either<Incoming, Full<Bytes>>;

/// A running proxy. Its fault ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropping it is the sign to end.
    _fault: watch::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    mix: Mix,
    seed: u64,
    upstream: Upstream,
    token: String,
    drawn: AtomicU64,
    met: AtomicU64,
}

impl Proxy {
    /// Opens a loopback port and serves it on the current runtime.
    pub(crate) async fn start(mix: Mix, seed: u64, upstream: Upstream) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let token = format!("{address}-{}", seaworthy_observe::Clock.now().as_nanos());
        let (drawn, met) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { mix, seed, upstream, token, drawn, met });
        let (fault, ended) = watch::channel(());
        tokio::spawn(serve(listener, Arc::clone(&shared), ended));
        Ok(Self { address, shared, _fault: fault })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many client requests met an effect.
    pub(crate) fn met(&self) -> u64 {
        self.shared.met.load(Ordering::Relaxed)
    }

    /// Sees every effect happen, or says what happened instead.
    pub(crate) async fn prove(&self) -> Result<String, String> {
        proof::prove(self.address, &self.shared.token, self.shared.mix.effects().collect()).await
    }
}

/// Resolves when the fault has ended.
async fn end_of(ended: &mut watch::Receiver<()>) {
    // Nothing is ever sent: the only change is the sender's end.
    let _ = ended.changed().await;
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, ended: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    let (drain, draining) = watch::channel(());
    let mut fault = ended.clone();
    let stop = async move {
        end_of(&mut fault).await;
        sleep(LINGER).await;
    };
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    let client = Client { shared: Arc::clone(&shared), ended: ended.clone(), slot: Mutex::default() };
                    connections.spawn(client.serve(stream, draining.clone()));
                }
                Err(_) => sleep(ACCEPT_AGAIN).await,
            },
        }
    }
    drop((listener, drain));
    // What is still under way after the limit is cut off with the set.
    let _ = timeout(DRAIN_LIMIT, async { while connections.join_next().await.is_some() {} }).await;
}

/// One connection of a client, with at most one connection behind it.
struct Client {
    shared: Arc<Shared>,
    ended: watch::Receiver<()>,
    /// The connection to the real thing; requests of one client connection come one after the other.
    slot: Mutex<Option<SendRequest<Incoming>>>,
}

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("the fault that swallowed this request is over")]
    Swallowed,
    #[error("nobody serves behind the fault proxy")]
    NoUpstream,
    #[error("the connection to the real thing: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the exchange with the real thing: {0}")]
    Exchange(#[from] hyper::Error),
}

/// What a request is about to meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A client's request.
    Client(Option<Effect>),
    /// Our own.
    Proof(Effect),
}

impl Client {
    async fn serve(self, stream: TcpStream, mut draining: watch::Receiver<()>) {
        // Without it small answers would wait for acknowledgements: a delay nobody asked for.
        let _ = stream.set_nodelay(true);
        let client = Arc::new(self);
        let service = service_fn(move |request| {
            let client = Arc::clone(&client);
            async move { client.answer(request).await }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.auto_date_header(false).preserve_header_case(true);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        // How a connection ends is its client's business, and shows there.
        tokio::select! {
            _ = connection.as_mut() => {}
            _ = draining.changed() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
        let fate = self.fate(&request);
        if matches!(fate, Fate::Client(Some(_))) {
            self.shared.met.fetch_add(1, Ordering::Relaxed);
        }
        let effect = match fate {
            Fate::Client(effect) => effect,
            Fate::Proof(effect) => Some(effect),
        };
        let mut ended = self.ended.clone();
        match effect {
            None => self.forward(request).await,
            Some(Effect::Answer(status)) => {
                discard(request, BODY_READ_MAX).await;
                Ok(fault_answer(status))
            }
            Some(Effect::Swallow) => {
                discard(request, u64::MAX).await;
                end_of(&mut ended).await;
                Err(Closed::Swallowed)
            }
            Some(Effect::Delay(add)) => {
                // At the end of the fault what still waits goes on at once.
                let _ = timeout(add, end_of(&mut ended)).await;
                if matches!(fate, Fate::Proof(_)) { Ok(proof_answer()) } else { self.forward(request).await }
            }
        }
    }

    fn fate(&self, request: &Request<Incoming>) -> Fate {
        let shared = &self.shared;
        let own = request.headers().get(PROOF_HEADER).and_then(|value| value.to_str().ok());
        let number = own
            .and_then(|value| value.strip_prefix(&*shared.token)?.strip_prefix('/')?.parse::<usize>().ok());
        if let Some(effect) = number.and_then(|number| shared.mix.effects().nth(number)) {
            return Fate::Proof(effect);
        }
        if self.ended.has_changed().is_err() {
            return Fate::Client(None);
        }
        Fate::Client(shared.mix.choose(shared.seed, shared.drawn.fetch_add(1, Ordering::Relaxed)))
    }

    /// Sends the request on, over the connection of the request before it where that still stands.
    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Closed> {
        let mut slot = self.slot.lock().await;
        if let Some(mut kept) = slot.take()
            && kept.ready().await.is_ok()
        {
            match kept.try_send_request(request).await {
                Ok(response) => {
                    *slot = Some(kept);
                    return Ok(response.map(Either::Left));
                }
                // It was closed while idle, and the request comes back untouched: that is no failure of anybody.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut fresh = self.connect().await?;
        let response = fresh.send_request(request).await?;
        *slot = Some(fresh);
        Ok(response.map(Either::Left))
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, Closed> {
        let address = self.shared.upstream.next().ok_or(Closed::NoUpstream)?;
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await.map_err(late)??;
        stream.set_nodelay(true)?;
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.preserve_header_case(true);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // It ends with its sender, that is with the client's connection, or by itself; errors reach the requests.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Reads up to `limit` bytes of a body and forgets them.
async fn discard(request: Request<Incoming>, limit: u64) {
    let mut body = request.into_body();
    let mut read = 0_u64;
    while read < limit
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}

fn fault_answer(status: u16) -> Response<Body> {
    let status = StatusCode::from_u16(status).expect("the request was checked: 400 to 599");
    let mut response =
        Response::new(Either::Right(Full::new(Bytes::from_static(b"a fault was applied here\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(FAULT_HEADER), HeaderValue::from_static("errors"));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn proof_answer() -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::new())));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
