//! A small HTTP service for tests to break. It prints `PORT n`, and `CHILD pid` when started with `--grandchild`.
//!
//! `GET /count` says how many other requests were executed; `GET /stream` answers in two parts, the second one after
//! 400 ms; everything else is answered with the process id.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut out = io::stdout();
    if std::env::args().any(|argument| argument == "--grandchild") {
        let child = Command::new("sleep").arg("600").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        writeln!(out, "CHILD {}", child.id())?;
    }
    writeln!(out, "PORT {}", listener.local_addr()?.port())?;
    out.flush()?;
    let executed = Arc::new(AtomicU64::new(0));
    for stream in listener.incoming() {
        let (stream, executed) = (stream?, Arc::clone(&executed));
        std::thread::spawn(move || serve(stream, &executed));
    }
    Ok(())
}

fn serve(mut stream: TcpStream, executed: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let Some((path, body, close)) = read_request(&mut reader)? else { return Ok(()) };
        let answer = match path.as_str() {
            "/count" => executed.load(Ordering::SeqCst).to_string(),
            "/stream" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
                std::thread::sleep(Duration::from_millis(400));
                stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n")?;
                continue;
            }
            _ => {
                executed.fetch_add(1, Ordering::SeqCst);
                format!("{} {body}", std::process::id())
            }
        };
        let head = format!("HTTP/1.1 200 OK\r\nX-Stub: Yes\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes())?;
        if close {
            return Ok(());
        }
    }
}

/// The path, the number of bytes in the body, and whether to close afterwards; `None` at the end.
fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<(String, u64, bool)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let (mut length, mut close) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        close |= lower == "connection: close";
    }
    let body = io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
    Ok(Some((path, body, close)))
}
