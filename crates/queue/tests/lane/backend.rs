//! A receiver that does what a test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::support::PATIENCE;

/// A request that was read.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) at: Instant,
}

impl Seen {
    pub(crate) fn number(&self) -> u64 {
        self.id.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).expect("an id of ours")
    }
}

/// What the n-th request gets, and after how long.
type Script = dyn Fn(usize) -> (Duration, String) + Send + Sync;

struct Inner {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
    most: AtomicUsize,
}

pub(crate) struct Backend {
    address: SocketAddr,
    inner: Arc<Inner>,
    accepting: Mutex<JoinHandle<()>>,
}

/// A whole answer.
pub(crate) fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

impl Backend {
    pub(crate) async fn start(script: impl Fn(usize) -> (Duration, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            script: Box::new(script),
            seen: Mutex::default(),
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let accepting = Mutex::new(tokio::spawn(accept(listener, Arc::clone(&inner))));
        Backend { address, inner, accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.inner.most.load(Ordering::SeqCst)
    }

    /// Until so many requests have been read.
    pub(crate) async fn wait_for(&self, count: usize) {
        let begun = Instant::now();
        while self.seen().len() < count {
            assert!(begun.elapsed() < PATIENCE, "only {} requests", self.seen().len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Connections are refused from now on.
    pub(crate) fn stop_listening(&self) {
        self.accepting.lock().unwrap().abort();
    }

    pub(crate) async fn listen_again(&self) {
        let begun = Instant::now();
        let listener = loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            if socket.bind(self.address).is_ok() {
                break socket.listen(128).unwrap();
            }
            assert!(begun.elapsed() < PATIENCE, "the port stays taken");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        *self.accepting.lock().unwrap() = tokio::spawn(accept(listener, Arc::clone(&self.inner)));
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&inner)));
    }
}

async fn serve(mut stream: TcpStream, inner: Arc<Inner>) {
    let open = inner.open.fetch_add(1, Ordering::SeqCst) + 1;
    inner.most.fetch_max(open, Ordering::SeqCst);
    if let Some(id) = read_id(&mut stream).await {
        let nth = {
            let mut seen = inner.seen.lock().unwrap();
            seen.push(Seen { id, at: Instant::now() });
            seen.len() - 1
        };
        let (wait, answer) = (inner.script)(nth);
        tokio::time::sleep(wait).await;
        // Before the answer leaves: whoever reads it may come again at once.
        inner.open.fetch_sub(1, Ordering::SeqCst);
        let _ = stream.write_all(answer.as_bytes()).await;
    } else {
        inner.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Reads a whole request and answers its id.
async fn read_id(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut buffer = [0; 2048];
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        text += std::str::from_utf8(&buffer[..read]).ok()?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        if body.len() >= field("content-length: ")?.parse().ok()? {
            return field("webhook-id: ").map(str::to_owned);
        }
    }
}
