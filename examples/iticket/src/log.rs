//! Log lines: one JSON object per line on standard output, with `level`, `message`, `service`, `ts`.
//!
//! A thread of its own writes them, behind a bounded queue. Whoever reads our output may stop reading for a
//! while (a paused supervisor, a full pipe), and a service must not stop serving because nobody listens to
//! it; the lines that did not fit are counted, and the count is logged.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use serde_json::{Map, Value, json};

/// Lines that wait for the reader of our output; more are dropped and counted.
const LINES_MAX: usize = 4096;
/// How long a process that is about to exit waits for its last lines to be written.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

static WRITER: OnceLock<SyncSender<Entry>> = OnceLock::new();
static IDENTITY: OnceLock<Map<String, Value>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Says once who is speaking; every later line carries it.
pub(crate) fn identify(service: &str, zone: &str, replica: &str) {
    let mut identity = Map::new();
    for (name, value) in [("service", service), ("zone", zone), ("replica", replica)] {
        identity.insert(name.to_owned(), value.into());
    }
    // A second call would be a programming error without consequence: the first identity stays.
    let _ = IDENTITY.set(identity);
}

/// Something worth knowing happened.
pub(crate) fn info(message: &str, fields: &Value) {
    submit("info", message, fields);
}

/// Something went wrong, and was answered or absorbed.
pub(crate) fn warn(message: &str, fields: &Value) {
    submit("warn", message, fields);
}

/// Something went wrong that a person has to look at.
pub(crate) fn error(message: &str, fields: &Value) {
    submit("error", message, fields);
}

/// Waits, for a bounded time, until what was logged so far has been written.
pub(crate) fn flush() {
    let (done, written) = sync_channel(1);
    if writer().try_send(Entry::Flush(done)).is_ok() {
        let _ = written.recv_timeout(FLUSH_LIMIT);
    }
}

enum Entry {
    Line(String),
    Flush(SyncSender<()>),
}

fn submit(level: &str, message: &str, fields: &Value) {
    let line = render(level, message, fields, &jiff::Timestamp::now().to_string());
    if writer().try_send(Entry::Line(line)).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn render(level: &str, message: &str, fields: &Value, timestamp: &str) -> String {
    let mut line = Map::new();
    line.insert("level".to_owned(), level.into());
    line.insert("message".to_owned(), message.into());
    line.insert("ts".to_owned(), timestamp.into());
    if let Some(identity) = IDENTITY.get() {
        line.extend(identity.clone());
    }
    if let Value::Object(fields) = fields {
        // A field may not overwrite what every line has.
        for (name, value) in fields {
            line.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let mut line = Value::Object(line).to_string();
    line.push('\n');
    line
}

fn writer() -> &'static SyncSender<Entry> {
    WRITER.get_or_init(|| {
        let (sender, entries) = sync_channel(LINES_MAX);
        std::thread::spawn(move || write_all(&entries));
        sender
    })
}

fn write_all(entries: &Receiver<Entry>) {
    while let Ok(entry) = entries.recv() {
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let now = jiff::Timestamp::now().to_string();
            put(&render("warn", "log lines dropped", &json!({ "count": dropped }), &now));
        }
        match entry {
            Entry::Line(line) => put(&line),
            Entry::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// A reader that went away is no reason to stop serving: the error has nowhere to go.
fn put(line: &str) {
    let _ = std::io::stdout().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_and_fields_do_not_overwrite_its_frame() {
        let line = render("warn", "slow", &json!({ "key": "k1", "level": "fake" }), "2026-01-01T00:00:00Z");
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "warn");
        assert_eq!(line["message"], "slow");
        assert_eq!(line["ts"], "2026-01-01T00:00:00Z");
        assert_eq!(line["key"], "k1");
    }
}
