//! The log: one JSON object per line, from our own events, from the output of services, and from the access log.
//!
//! Whoever logs hands over a small value and goes on; one thread turns values into text and writes it. Between them
//! is a queue that is bounded in lines and in bytes. When it is full, lines are dropped and counted, and the count is
//! written as soon as there is room: a slow disk or a stuck terminal must never hold up a request.

mod destination;
mod record;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::event::{Event, Level};
use crate::lines::Line;

pub use destination::{Destination, LOG_FILE_BYTES_MAX, Rendering};
use record::Record;

/// Entries waiting to be written at most; an entry is a line, or a batch of lines of the access log.
pub const LINES_QUEUED_MAX: usize = 8192;
/// Bytes waiting to be written at most; keeps a flood of long lines from eating the memory that the number of lines
/// alone would allow.
pub const BYTES_QUEUED_MAX: usize = 16 * 1024 * 1024;
/// How long [`LogSink::flush`] waits for a writer that does not get on.
pub const FLUSH_WAIT_MAX: Duration = Duration::from_secs(2);
/// The `service` of our own lines.
pub const OWN_SERVICE: &str = "seaworthy";

/// Takes log lines and never blocks. Cheap to clone; the writer ends when the last clone is gone.
#[derive(Debug, Clone)]
pub struct LogSink {
    handle: Option<Arc<Handle>>,
}

/// Lives as long as there is a sink; its end is the writer's end.
#[derive(Debug)]
struct Handle {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<Entry>,
    bytes: usize,
    /// Lines dropped since the writer last reported it.
    dropped_unreported: u64,
    dropped: u64,
    accepted: u64,
    written: u64,
    closed: bool,
}

/// Something to be written: a line that is not text yet, or lines that are.
#[derive(Debug)]
enum Entry {
    Event(Box<Event>),
    Service {
        ts: String,
        service: Arc<str>,
        replica: Arc<str>,
        line: Line,
    },
    Record(Box<Record>),
    /// Whole lines of JSON, each with its line break.
    Json {
        text: Vec<u8>,
        lines: u64,
    },
}

impl LogSink {
    /// Starts the writer thread.
    pub fn start(destinations: Vec<Destination>) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writing = Arc::clone(&queue);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&writing, destinations))?;
        Ok(Self { handle: Some(Arc::new(Handle { queue })) })
    }

    /// A sink that forgets everything.
    pub fn discard() -> Self {
        Self { handle: None }
    }

    /// Logs one of our own events.
    pub fn event(&self, event: Event) {
        self.push(|| Entry::Event(Box::new(event)));
    }

    /// Logs something of our own that is not an event, with fields.
    pub fn own(&self, level: Level, message: &str, fields: Map<String, Value>) {
        self.push(|| {
            let ts = Clock.wall();
            Entry::Record(Box::new(Record::new(
                level,
                message.to_owned(),
                OWN_SERVICE.to_owned(),
                ts,
                fields,
            )))
        });
    }

    /// Logs one line that a service wrote. JSON objects keep their fields; anything else becomes the `message`.
    pub fn service_line(&self, service: &Arc<str>, replica: &Arc<str>, line: Line) {
        self.push(|| Entry::Service {
            ts: Clock.wall(),
            service: Arc::clone(service),
            replica: Arc::clone(replica),
            line,
        });
    }

    /// Logs lines that are already JSON objects with `level`, `message`, `service` and `ts`, each followed by a line
    /// break. For lines so frequent that their writer formats and collects them itself, such as the access log: handing
    /// them over one by one wakes the log's thread for each.
    pub fn json_lines(&self, text: Vec<u8>, lines: u64) {
        self.push(|| Entry::Json { text, lines });
    }

    /// Lines dropped so far because the writer could not keep up.
    pub fn dropped(&self) -> u64 {
        self.handle.as_ref().map_or(0, |handle| handle.queue.lock().dropped)
    }

    /// Waits until everything logged before is written, at most [`FLUSH_WAIT_MAX`]; false when that was too short.
    /// Blocks: for shutdown and tests, never for a thread that serves requests.
    pub fn flush(&self) -> bool {
        let Some(handle) = &self.handle else { return true };
        let started = Instant::now();
        let mut inner = handle.queue.lock();
        let goal = inner.accepted;
        while inner.written < goal {
            let Some(left) = FLUSH_WAIT_MAX.checked_sub(started.elapsed()) else { return false };
            inner = handle.queue.changed.wait_timeout(inner, left).expect("no holder panics").0;
        }
        true
    }

    fn push(&self, entry: impl FnOnce() -> Entry) {
        if let Some(handle) = &self.handle {
            handle.queue.push(entry());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }

    fn push(&self, entry: Entry) {
        let cost = entry.cost();
        let mut inner = self.lock();
        if inner.lines.len() >= LINES_QUEUED_MAX || inner.bytes + cost > BYTES_QUEUED_MAX {
            inner.dropped += entry.lines();
            inner.dropped_unreported += entry.lines();
            return;
        }
        inner.bytes += cost;
        inner.accepted += 1;
        inner.lines.push_back(entry);
        // The writer takes everything at once, so it can only be asleep when the queue was empty.
        let wake = inner.lines.len() == 1;
        drop(inner);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Waits for lines and takes all of them, with the number of lines dropped before; `None` at the end.
    fn take(&self) -> Option<(VecDeque<Entry>, u64)> {
        let mut inner = self.lock();
        while inner.lines.is_empty() {
            if inner.closed {
                return None;
            }
            inner = self.changed.wait(inner).expect("no holder panics");
        }
        inner.bytes = 0;
        let dropped = std::mem::take(&mut inner.dropped_unreported);
        Some((std::mem::take(&mut inner.lines), dropped))
    }

    fn finished(&self, lines: u64) {
        self.lock().written += lines;
        self.changed.notify_all();
    }
}

impl Entry {
    /// About how much memory it holds.
    fn cost(&self) -> usize {
        const OVERHEAD: usize = 256;
        OVERHEAD
            + match self {
                Self::Service { line, .. } => line.bytes.len(),
                Self::Json { text, .. } => text.len(),
                Self::Event(_) | Self::Record(_) => 0,
            }
    }

    fn lines(&self) -> u64 {
        match self {
            Self::Json { lines, .. } => *lines,
            Self::Event(_) | Self::Service { .. } | Self::Record(_) => 1,
        }
    }

    fn append_to(self, destinations: &mut [Destination]) {
        let record = match self {
            Self::Event(event) => Record::of_event(&event),
            Self::Service { ts, service, replica, line } => Record::of_service(ts, &service, &replica, &line),
            Self::Record(record) => *record,
            Self::Json { text, .. } => return append_json(&text, destinations),
        };
        for destination in destinations {
            destination.append(&record);
        }
    }
}

/// Lines that are JSON already go out as they are: reading and writing them again cost more than proxying the requests
/// that they are about.
fn append_json(text: &[u8], destinations: &mut [Destination]) {
    for destination in destinations {
        if destination.is_json() {
            destination.append_raw(text);
            continue;
        }
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            destination.append(&Record::of_json(line));
        }
    }
}

/// The writer thread.
fn write_all(queue: &Queue, mut destinations: Vec<Destination>) {
    while let Some((entries, dropped)) = queue.take() {
        let count = entries.len() as u64;
        for entry in entries {
            entry.append_to(&mut destinations);
        }
        if dropped > 0 {
            let fields = Map::from_iter([("dropped".to_owned(), dropped.into())]);
            let (message, service) = ("log lines dropped".to_owned(), OWN_SERVICE.to_owned());
            let record = Record::new(Level::Warn, message, service, Clock.wall(), fields);
            for destination in &mut destinations {
                destination.append(&record);
            }
        }
        for destination in &mut destinations {
            destination.write_out();
        }
        queue.finished(count);
    }
}

#[cfg(test)]
mod tests;
