//! One connection of a client, from accept to close.

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use seaworthy_policy::Time;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::guard::{GuardedStream, Signals};
use crate::headers::address_value;
use crate::listener::Entry;
use crate::serve::serve;
use crate::worker::Worker;

/// The first request must begin this long after the connection was accepted.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// A connection without a request is closed after this long.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// After our close, what the client still sends is read and thrown away, so that it gets to read our last answer: a
/// close with unread bytes would reset the connection. This long at most ...
const LINGER_LIMIT: Duration = Duration::from_secs(1);
/// ... and this many bytes at most.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What all requests of a connection share.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    /// Where it came in.
    pub(crate) entry: Entry,
    pub(crate) peer: IpAddr,
    /// The client's address, as a field value.
    pub(crate) peer_value: HeaderValue,
    pub(crate) signals: Rc<Signals>,
    busy: Cell<bool>,
    last_active: Cell<Time>,
    served: Cell<bool>,
    reset: Cell<bool>,
}

impl Client {
    /// A request began.
    pub(crate) fn set_busy(&self) {
        self.busy.set(true);
        self.served.set(true);
    }

    /// Its answer ended.
    pub(crate) fn set_idle(&self, now: Time) {
        self.busy.set(false);
        self.last_active.set(now);
    }

    /// Tells the metrics what came and went since the last call.
    pub(crate) fn count_bytes(&self) {
        let (received, sent) = (self.signals.take_received(), self.signals.take_sent());
        self.worker.shared.metrics.client_bytes(self.worker.index, self.entry.index(), received, sent);
    }

    /// The connection must end with a reset: a clean end would look like the end of the body.
    pub(crate) fn reset_at_end(&self) {
        self.reset.set(true);
    }

    /// When an idle connection is given up; `None` while it is not idle.
    fn idle_until(&self) -> Option<Time> {
        let limit = if self.served.get() { IDLE_LIMIT } else { FIRST_REQUEST_LIMIT };
        (!self.busy.get()).then(|| self.last_active.get().after(limit))
    }
}

/// Counts a connection as long as it is there.
struct Presence {
    worker: Rc<Worker>,
    listener: usize,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.connections.set(worker.connections.get() - 1);
        worker.shared.metrics.client_connected(worker.index, self.listener, -1);
        worker.closed.notify_waiters();
    }
}

/// Serves a connection until it ends. It counts as open from this call on, not from the first poll.
pub(crate) fn handle(
    worker: Rc<Worker>,
    entry: Entry,
    stream: TcpStream,
    peer: IpAddr,
) -> impl Future<Output = ()> {
    let listener = entry.index();
    worker.connections.set(worker.connections.get() + 1);
    worker.shared.metrics.client_connected(worker.index, listener, 1);
    let presence = Presence { worker: Rc::clone(&worker), listener };
    let _ = stream.set_nodelay(true);
    let signals = Rc::new(Signals::default());
    let client = Rc::new(Client {
        last_active: Cell::new(worker.tick()),
        peer,
        peer_value: address_value(peer),
        worker,
        entry,
        signals: Rc::clone(&signals),
        busy: Cell::new(false),
        served: Cell::new(false),
        reset: Cell::new(false),
    });
    async move {
        let stream = run(&client, GuardedStream::new(stream, signals)).await;
        client.count_bytes();
        drop(presence);
        if client.reset.get() {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        } else if !client.signals.ended() {
            let _ = tokio::time::timeout(LINGER_LIMIT, linger(stream)).await;
        }
    }
}

/// Speaks HTTP until the connection is to be closed, and returns what is under it.
async fn run(client: &Rc<Client>, stream: GuardedStream<TcpStream>) -> TcpStream {
    let service = {
        let client = Rc::clone(client);
        service_fn(move |request: Request<Incoming>| serve(Rc::clone(&client), request))
    };
    // `pipeline_flush` stays off: with it, the library buffers answers without a bound.
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let worker = &client.worker;
    let mut closing = pin!(worker.closing.notified());
    let mut told_to_close = false;
    let first = client.last_active.get().after(FIRST_REQUEST_LIMIT);
    let mut timer = pin!(tokio::time::sleep_until(worker.instant(first)));
    std::future::poll_fn(|context| {
        worker.tick();
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
            // What went wrong was answered or logged where it happened; the connection is over either way.
            drop(ended);
            return Poll::Ready(());
        }
        if !told_to_close && closing.as_mut().poll(context).is_ready() {
            told_to_close = true;
            Pin::new(&mut connection).graceful_shutdown();
            context.waker().wake_by_ref();
        }
        while !told_to_close && timer.as_mut().poll(context).is_ready() {
            let now = worker.tick();
            let until = client.idle_until().unwrap_or_else(|| now.after(IDLE_LIMIT));
            if now < until {
                timer.as_mut().reset(worker.instant(until).max(Instant::now() + Duration::from_millis(1)));
            } else {
                told_to_close = true;
                Pin::new(&mut connection).graceful_shutdown();
                context.waker().wake_by_ref();
            }
        }
        Poll::Pending
    })
    .await;
    connection.into_parts().io.into_inner().into_inner()
}

/// Reads on until the client closes its side; ours is closed already.
async fn linger(mut stream: TcpStream) {
    let mut discarded = 0;
    let mut buffer = vec![0; 4096];
    while discarded < LINGER_BYTES_MAX {
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => discarded += length,
            _ => return,
        }
    }
}
