//! An upstream in a few threads, as good or as bad as a test wants it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Nothing in a test may wait longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Request line and fields.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The value of a field, if it is there once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields(name).into_iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} is there more than once: {}", self.head);
        Some(value)
    }

    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

pub(crate) fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

/// A running upstream; dropping it closes its port, after which connections are refused.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// Answers every request with these bytes; `None` = closes instead.
    pub(crate) fn answering(answer: impl Fn(&Seen) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::raw(move |stream, record| {
            while let Some(seen) = read_request(stream) {
                record(seen.clone());
                match answer(&seen) {
                    Some(bytes) if stream.write_all(&bytes).is_ok() => {}
                    _ => return,
                }
            }
        })
    }

    /// Answers every request with the same body and status 200.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::answering(move |_| Some(ok(text)))
    }

    /// Does as it likes with every connection.
    pub(crate) fn raw(serve: impl Fn(&mut TcpStream, &dyn Fn(Seen)) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let open = Arc::new(Mutex::new(Vec::new()));
        let (serve, known, streams) = (Arc::new(serve), Arc::clone(&state), Arc::clone(&open));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if known.stop.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
                known.connections.fetch_add(1, Ordering::SeqCst);
                streams.lock().unwrap().push(stream.try_clone().unwrap());
                let (serve, known) = (Arc::clone(&serve), Arc::clone(&known));
                std::thread::spawn(move || {
                    serve(&mut stream, &|seen| known.seen.lock().unwrap().push(seen));
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { address, state, open, thread: Some(thread) }
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// A plain answer.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    status(200, body)
}

/// An answer with a status.
pub(crate) fn status(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Reads up to the empty line; `None` at the end of the stream.
pub(crate) fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

/// Reads one whole request.
pub(crate) fn read_request(stream: &mut impl Read) -> Option<Seen> {
    let head = read_head(stream)?;
    let body = read_body(stream, &head, false).ok()?;
    Some(Seen { head, body })
}

/// Reads the body that a head announces; the error is what came of one that broke off.
pub(crate) fn read_body(stream: &mut impl Read, head: &str, until_end: bool) -> Result<Vec<u8>, Vec<u8>> {
    if let Some(length) = fields(head, "content-length").first() {
        let mut body = vec![0; length.parse().unwrap()];
        let mut filled = 0;
        while filled < body.len() {
            match stream.read(&mut body[filled..]) {
                Ok(length) if length > 0 => filled += length,
                _ => return Err(body[..filled].to_vec()),
            }
        }
        return Ok(body);
    }
    if !fields(head, "transfer-encoding").is_empty() {
        return read_chunks(stream);
    }
    let mut body = Vec::new();
    match until_end.then(|| stream.read_to_end(&mut body)) {
        Some(Err(_)) => Err(body),
        _ => Ok(body),
    }
}

fn read_line(stream: &mut impl Read) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => line.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned())
}

/// Trailers are appended to the body as lines.
fn read_chunks(stream: &mut impl Read) -> Result<Vec<u8>, Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(size) = read_line(stream) else { return Err(body) };
        let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        let mut chunk = vec![0; size];
        if stream.read_exact(&mut chunk).is_err() || read_line(stream).is_none() {
            return Err(body);
        }
        body.extend(chunk);
    }
    loop {
        match read_line(stream) {
            None => return Err(body),
            Some(line) if line.is_empty() => return Ok(body),
            Some(line) => body.extend(format!("\n{line}").bytes()),
        }
    }
}
