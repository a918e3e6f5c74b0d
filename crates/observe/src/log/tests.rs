use std::io::Write;
use std::sync::mpsc;

use serde_json::json;

use super::*;
use crate::event::EventKind;

/// Memory that a test can read while the writer thread writes.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn written(rendering: Rendering, log: impl FnOnce(&LogSink)) -> String {
    let memory = Shared::default();
    let sink = LogSink::start(vec![Destination::writer(Box::new(memory.clone()), rendering)]).unwrap();
    log(&sink);
    assert!(sink.flush());
    memory.text()
}

fn line(bytes: &[u8]) -> Line {
    Line { bytes: bytes.to_vec(), cut: false }
}

fn event(kind: EventKind) -> Event {
    Event { seq: 3, at: 5, ts: "2026-11-02T12:03:04.123Z".to_owned(), kind }
}

fn exited() -> Event {
    event(EventKind::ProcessExited {
        service: "api".to_owned(),
        replica: "a-1".to_owned(),
        pid: 9,
        how: "signal 9".to_owned(),
        expected: false,
    })
}

#[test]
fn service_lines_keep_what_is_theirs_and_get_what_is_missing() {
    let cases = [
        (&b"hello"[..], json!({"level": "info", "message": "hello", "service": "api", "replica": "a-1"})),
        (
            br#"{"level":"warn","message":"m","ts":"T","n":1}"#,
            json!({"level": "warn", "message": "m", "service": "api", "replica": "a-1", "n": 1}),
        ),
        (
            br#"{"service":"own","replica":"own","level":30}"#,
            json!({"level": 30, "message": "", "service": "own", "replica": "own"}),
        ),
        (b"{broken", json!({"level": "info", "message": "{broken", "service": "api", "replica": "a-1"})),
        (b"[1]", json!({"level": "info", "message": "[1]", "service": "api", "replica": "a-1"})),
        (
            b"bad \xff byte",
            json!({"level": "info", "message": "bad \u{fffd} byte", "service": "api", "replica": "a-1"}),
        ),
    ];
    for (bytes, expected) in cases {
        let text = written(Rendering::Json, |sink| {
            sink.service_line(&"api".into(), &"a-1".into(), line(bytes));
        });
        assert!(text.starts_with(r#"{"level":"#) && text.ends_with("}\n"), "{text}");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        let ts = value.as_object_mut().unwrap().remove("ts").unwrap();
        assert!(ts == "T" || ts.as_str().unwrap().ends_with('Z'), "{ts}");
        assert_eq!(value, expected);
    }
}

#[test]
fn cut_lines_are_marked() {
    let text = written(Rendering::Json, |sink| {
        sink.service_line(&"api".into(), &"a-1".into(), Line { bytes: b"x".to_vec(), cut: true });
    });
    assert!(text.contains(r#""cut":true"#), "{text}");
}

#[test]
fn events_say_who_speaks_and_whom_they_are_about() {
    let text = written(Rendering::Json, |sink| sink.event(exited()));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value,
        json!({"level": "warn", "message": "process exited", "service": "seaworthy",
               "ts": "2026-11-02T12:03:04.123Z", "seq": 3, "at": 5, "event": "process_exited",
               "subject": "api", "replica": "a-1", "pid": 9, "how": "signal 9", "expected": false})
    );
}

#[test]
fn people_get_one_readable_line() {
    let text = written(Rendering::Human, |sink| sink.event(exited()));
    assert_eq!(text, "12:03:04.123 seaworthy | WARN api/a-1: process exited (signal 9, pid 9)\n");
    let text = written(Rendering::HumanColour, |sink| sink.event(exited()));
    assert!(text.contains("| \x1b[33mWARN api/a-1") && text.ends_with("\x1b[0m\n"), "{text:?}");
    let text = written(Rendering::Human, |sink| {
        sink.service_line(&"api".into(), &"a-1".into(), line(b"a\x07b\r"));
        sink.service_line(&"api".into(), &"a-1".into(), line(br#"{"message":"m","n":1,"ts":"T"}"#));
        let access = r#"{"level":"info","message":"GET /","service":"gateway","ts":"2026-11-02T12:03:04.123Z","status":200}"#;
        sink.json_lines(format!("{access}\n").into_bytes(), 1);
    });
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(" api/a-1 | ab"), "{text}");
    assert!(lines[1].ends_with(" api/a-1 | m n=1 ts=T") || lines[1].ends_with(" api/a-1 | m n=1"), "{text}");
    assert_eq!(lines[2], "12:03:04.123 gateway | GET / status=200");
}

/// A writer that waits for a permission before each write.
struct Gate(mpsc::Receiver<()>, Shared);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A closed gate stays open: the test is over.
        let _closed = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_writer_costs_lines_and_never_the_caller() {
    let memory = Shared::default();
    let (open, gate) = mpsc::channel();
    let writer = Box::new(Gate(gate, memory.clone()));
    let sink = LogSink::start(vec![Destination::writer(writer, Rendering::Json)]).unwrap();
    for _ in 0..3 * LINES_QUEUED_MAX {
        sink.own(Level::Info, "m", Map::new());
    }
    let dropped = sink.dropped();
    // The writer may have taken one queue full before it got stuck.
    assert!(dropped >= LINES_QUEUED_MAX as u64, "{dropped}");
    drop(open);
    assert!(sink.flush());
    sink.own(Level::Info, "last", Map::new());
    assert!(sink.flush());
    let text = memory.text();
    let reported: u64 = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["message"] == "log lines dropped")
        .map(|line| line["dropped"].as_u64().unwrap())
        .sum();
    assert_eq!(reported, dropped, "the loss is on record");
    assert_eq!(text.lines().filter(|line| line.contains(r#""m""#)).count() as u64 + dropped, 24_576);
}

#[test]
fn long_lines_are_bounded_in_bytes() {
    let (open, gate) = mpsc::channel::<()>();
    let writer = Box::new(Gate(gate, Shared::default()));
    let sink = LogSink::start(vec![Destination::writer(writer, Rendering::Json)]).unwrap();
    let queue = Arc::clone(&sink.handle.as_ref().unwrap().queue);
    for _ in 0..1000 {
        sink.json_lines(vec![b' '; 64 * 1024], 1);
        assert!(queue.lock().bytes <= BYTES_QUEUED_MAX);
    }
    assert!(sink.dropped() > 0);
    drop(open);
}

#[test]
fn files_are_replaced_when_they_grow_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.log");
    let sink = LogSink::start(vec![Destination::file_up_to(&path, 200).unwrap()]).unwrap();
    for number in 0..10 {
        sink.own(Level::Info, &format!("line {number}"), Map::new());
        assert!(sink.flush());
    }
    let (new, old) = (std::fs::read_to_string(&path).unwrap(), path.with_extension("log.old"));
    let old = std::fs::read_to_string(old).unwrap();
    assert!(new.contains("line 9") && !new.contains("line 0"), "{new}");
    assert!(new.len() < 400 && old.len() < 400 && !old.is_empty());
}

#[test]
fn the_writer_ends_with_its_last_sink() {
    let memory = Shared::default();
    let sink = LogSink::start(vec![Destination::writer(Box::new(memory.clone()), Rendering::Json)]).unwrap();
    let second = sink.clone();
    sink.own(Level::Info, "m", Map::new());
    drop(sink);
    second.own(Level::Info, "n", Map::new());
    drop(second);
    // The thread owns the other copy of the memory until it ends.
    let deadline = Instant::now() + Duration::from_secs(5);
    while Arc::strong_count(&memory.0) > 1 {
        assert!(Instant::now() < deadline, "the writer thread still runs");
        thread::yield_now();
    }
    assert_eq!(memory.text().lines().count(), 2);
}
