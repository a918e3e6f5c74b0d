//! Large and slow bodies: passed on as they come, and never kept.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::stub::{PATIENCE, Stub, read_head, read_request};
use crate::support::{Rig, eventually};

/// More than twice of what the kernel's buffers on the way may hold together.
const LARGE: usize = 192 * 1024 * 1024;

#[test]
fn events_are_passed_on_one_by_one() {
    let (send, receive) = mpsc::channel::<&'static str>();
    let receive = Mutex::new(receive);
    let stub = Stub::raw(move |stream, _| {
        read_request(stream);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for event in receive.lock().unwrap().iter() {
            let _ = write!(stream, "{:x}\r\n{event}\r\n", event.len());
        }
    });
    let rig = Rig::with(&[&stub]);
    let mut wire = rig.connect();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = read_head(&mut wire.0).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        send.send(event).unwrap();
        let mut chunk = vec![0; event.len() + 5];
        wire.0.read_exact(&mut chunk).unwrap();
        assert_eq!(String::from_utf8(chunk).unwrap(), format!("{:x}\r\n{event}\r\n", event.len()));
    }
    drop(send);
}

/// How far the fast side gets while the slow side takes nothing: bounded by buffers, not by the body.
fn assert_held_back(progress: &Arc<Mutex<usize>>) {
    let mut last = usize::MAX;
    eventually("back-pressure", || {
        let now = *progress.lock().unwrap();
        let settled = now == std::mem::replace(&mut last, now) && now > 0;
        std::thread::sleep(Duration::from_millis(100));
        settled
    });
    assert!(last < LARGE / 2, "{last} bytes were taken though nobody read them");
}

/// Writes a large body and counts what was taken.
fn write_counted(stream: &mut impl Write, progress: &Mutex<usize>) {
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..LARGE / piece.len() {
        if stream.write_all(&piece).is_err() {
            return;
        }
        *progress.lock().unwrap() += piece.len();
    }
}

fn read_counted(stream: &mut impl Read, length: usize) {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = length;
    while left > 0 {
        let read = stream.read(&mut buffer[..left.min(64 * 1024)]).unwrap();
        assert!(read > 0, "{left} bytes are missing");
        left -= read;
    }
}

#[test]
fn large_answers_wait_for_slow_clients() {
    let progress = Arc::new(Mutex::new(0));
    let written = Arc::clone(&progress);
    let stub = Stub::raw(move |stream, _| {
        read_request(stream);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        write_counted(stream, &written);
    });
    let rig = Rig::with(&[&stub]);
    let mut wire = rig.connect();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    read_head(&mut wire.0).unwrap();
    assert_held_back(&progress);
    read_counted(&mut wire.0, LARGE);
}

#[test]
fn large_requests_wait_for_slow_services() {
    for chunked in [false, true] {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let stub = Stub::raw(move |stream, _| {
            let head = read_head(stream).unwrap();
            wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            if head.to_lowercase().contains("content-length") {
                read_counted(stream, LARGE);
            } else {
                let body = crate::stub::read_body(stream, &head, false).unwrap();
                assert_eq!(body.len(), LARGE);
            }
            stream.write_all(&crate::stub::ok("thanks")).unwrap();
        });
        let rig = Rig::with(&[&stub]);
        let mut wire = rig.connect();
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {LARGE}")
        };
        wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
        if chunked {
            wire.send(format!("{LARGE:x}\r\n"));
        }
        let progress = Arc::new(Mutex::new(0));
        let (written, mut half) = (Arc::clone(&progress), wire.0.try_clone().unwrap());
        let writer = std::thread::spawn(move || {
            write_counted(&mut half, &written);
            if chunked {
                half.write_all(b"\r\n0\r\n\r\n").unwrap();
            }
        });
        assert_held_back(&progress);
        go.send(()).unwrap();
        assert_eq!(wire.reply(false).text(), "thanks");
        writer.join().unwrap();
    }
}

#[test]
fn a_client_that_leaves_takes_its_request_along() {
    for answers_first in [false, true] {
        let (left, gone) = mpsc::channel();
        let left = Mutex::new(left);
        let stub = Stub::raw(move |stream, record| {
            record(read_request(stream).unwrap());
            if answers_first {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart").unwrap();
            }
            // The end of the stream is the news: the gateway closed the connection.
            let rest = stream.read(&mut [0]).unwrap_or(0);
            left.lock().unwrap().send(rest).unwrap();
        });
        let rig = Rig::with(&[&stub]);
        let mut wire = rig.connect();
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if answers_first {
            read_head(&mut wire.0).unwrap();
        } else {
            eventually("the request", || stub.seen().len() == 1);
        }
        drop(wire);
        assert_eq!(gone.recv_timeout(PATIENCE), Ok(0), "{answers_first}");
        eventually("the end of the request", || {
            rig.metric(r#"seaworthy_requests_in_flight{edge="ingress:api",route="all"}"#) == 0
        });
        let gone =
            rig.metric(r#"seaworthy_requests_total{edge="ingress:api",route="all",code_class="gone"}"#);
        assert_eq!(gone, 1);
        assert_eq!(rig.gateway.views()[0].endpoints[0].1.in_flight, 0);
    }
}

#[test]
fn small_bodies_are_sent_again_and_large_ones_are_not() {
    for (length, expected) in [(64 * 1024, 200), (64 * 1024 + 1, 502)] {
        let put =
            format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
        // Which endpoint the first request of a gateway tries is up to chance.
        let tried = (0..40).any(|_| {
            let good = Stub::saying("good");
            let bad = Stub::raw(|stream, record| record(read_request(stream).unwrap()));
            let status = Rig::with(&[&bad, &good]).ask(&put).status;
            let tried = !bad.seen().is_empty();
            assert_eq!(status, if tried { expected } else { 200 });
            tried
        });
        assert!(tried, "the bad one was never tried");
    }
}
