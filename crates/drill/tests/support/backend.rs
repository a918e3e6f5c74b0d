//! A keep-alive HTTP server on plain threads that stores writes and can be made to misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How the backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Good,
    /// Reads nothing and answers nothing until the mood changes, then answers everything.
    Paused,
    /// Answers 503 at once and does not execute.
    Failing,
    /// Answers 200 with `Degraded: static`.
    Degraded,
    /// Sends half of an answer and closes.
    HalfAnswers,
}

#[derive(Debug)]
pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mood: Mutex<Mood>,
    changed: Condvar,
    effects: Mutex<Vec<String>>,
    /// Acknowledged and not executed.
    withheld: Mutex<Vec<String>>,
    exports: AtomicU64,
    /// Acknowledge so many of the next writes without executing them.
    drop_next: AtomicU64,
    /// Execute so many of the next writes twice.
    double_next: AtomicU64,
    requests: AtomicU64,
    connections: AtomicU64,
    export_fails: AtomicBool,
    closed: AtomicBool,
}

impl Backend {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Good),
            changed: Condvar::new(),
            effects: Mutex::new(Vec::new()),
            withheld: Mutex::new(Vec::new()),
            exports: AtomicU64::new(0),
            drop_next: AtomicU64::new(0),
            double_next: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            export_fails: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &of_thread));
        Self { address, shared }
    }

    pub fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
        self.shared.changed.notify_all();
    }

    /// Another mood for a time; returns how long it really was.
    pub fn set_for(&self, mood: Mood, time: Duration) -> Duration {
        let begun = Instant::now();
        self.set(mood);
        std::thread::sleep(time);
        self.set(Mood::Good);
        begun.elapsed()
    }

    pub fn drop_next(&self, count: u64) {
        self.shared.drop_next.store(count, Ordering::SeqCst);
    }

    pub fn double_next(&self, count: u64) {
        self.shared.double_next.store(count, Ordering::SeqCst);
    }

    pub fn fail_exports(&self) {
        self.shared.export_fails.store(true, Ordering::SeqCst);
    }

    /// Executes what was acknowledged and not executed, after so many read-backs.
    pub fn execute_withheld_after(&self, exports: u64) {
        let exported = || self.shared.exports.load(Ordering::SeqCst);
        super::wait_until("a read-back", || exported() >= exports);
        let withheld = std::mem::take(&mut *self.shared.withheld.lock().unwrap());
        self.shared.effects.lock().unwrap().extend(withheld);
    }

    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub fn effects(&self) -> Vec<String> {
        self.shared.effects.lock().unwrap().clone()
    }

    pub fn handle(&self) -> Self {
        Self { address: self.address, shared: Arc::clone(&self.shared) }
    }
}

/// Only the test's own handle closes the backend; see [`Backend::close`].
impl Backend {
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.set(Mood::Good);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        let serve = move || {
            // The client may close whenever it likes.
            let _ = serve(&stream, &shared);
        };
        std::thread::Builder::new().stack_size(128 * 1024).spawn(serve).unwrap();
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some((line, body)) = read_request(&mut reader)? {
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let mood = wait_while_paused(shared);
        let answer = answer(&line, &body, mood, shared);
        writer.write_all(answer.as_bytes())?;
        if mood == Mood::HalfAnswers || shared.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
    }
    Ok(())
}

fn wait_while_paused(shared: &Shared) -> Mood {
    let mut mood = shared.mood.lock().unwrap();
    while *mood == Mood::Paused {
        mood = shared.changed.wait(mood).unwrap();
    }
    *mood
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<(String, String)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((line, String::from_utf8(body).unwrap())))
}

fn answer(line: &str, body: &str, mood: Mood, shared: &Shared) -> String {
    if line.starts_with("GET /export") {
        if shared.export_fails.load(Ordering::SeqCst) {
            return response("500 Oops", "", "{}");
        }
        shared.exports.fetch_add(1, Ordering::SeqCst);
        let ids: Vec<String> =
            shared.effects.lock().unwrap().iter().map(|id| format!("{{\"buyer\":\"{id}\"}}")).collect();
        return response("200 OK", "", &format!("[{}]", ids.join(",")));
    }
    match mood {
        Mood::Failing => return response("503 Unavailable", "", "{}"),
        Mood::Degraded => return response("200 OK", "Degraded: static\r\n", "{}"),
        Mood::HalfAnswers => return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf".to_owned(),
        Mood::Good | Mood::Paused => {}
    }
    if line.starts_with("POST") {
        let id = body.split('"').nth(3).unwrap_or_default().to_owned();
        store(id, shared);
        return response("201 Created", "", "{}");
    }
    response("200 OK", "", "{}")
}

fn store(id: String, shared: &Shared) {
    let take = |count: &AtomicU64| {
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    };
    if take(&shared.drop_next) {
        shared.withheld.lock().unwrap().push(id);
        return;
    }
    let mut effects = shared.effects.lock().unwrap();
    if take(&shared.double_next) {
        effects.push(id.clone());
    }
    effects.push(id);
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}
