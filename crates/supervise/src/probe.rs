//! One probe: ask, and say what was found.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use seaworthy_policy::health::{ProbeFailure, ProbeResult};
use seaworthy_spec::plan::ProbeAction;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// More than any honest status line.
const STATUS_LINE_BYTES_MAX: usize = 1024;
/// How much of the rest of an answer is taken off the connection, so that closing it does not reset it.
const REST_BYTES_MAX: usize = 64 * 1024;

/// Asks once. Ends within `limit`.
pub(crate) async fn probe(action: &ProbeAction, address: SocketAddr, limit: Duration) -> ProbeResult {
    let asked = timeout(limit, ask(action, address)).await;
    asked.unwrap_or(ProbeResult::Fail { reason: ProbeFailure::Timeout })
}

async fn ask(action: &ProbeAction, address: SocketAddr) -> ProbeResult {
    let broken = ProbeResult::Fail { reason: ProbeFailure::Connection };
    let mut stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return ProbeResult::Refused,
        Err(_) => return broken,
    };
    let ProbeAction::HttpGet(path) = action else { return ProbeResult::Pass };
    match get(&mut stream, path, address).await {
        Ok(line) => judge(&line),
        Err(_) => broken,
    }
}

/// Sends the request, and returns the status line or as much as may be one.
async fn get(stream: &mut TcpStream, path: &str, address: SocketAddr) -> io::Result<Vec<u8>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: seaworthy-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(STATUS_LINE_BYTES_MAX);
    while !answer.contains(&b'\n') && answer.len() < STATUS_LINE_BYTES_MAX {
        let mut chunk = [0; STATUS_LINE_BYTES_MAX];
        match stream.read(&mut chunk).await? {
            0 if answer.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    take_what_is_there(stream);
    let end = answer.iter().position(|byte| *byte == b'\n').unwrap_or(answer.len());
    answer.truncate(end);
    Ok(answer)
}

fn take_what_is_there(stream: &TcpStream) {
    let mut rest = [0; 4096];
    let mut taken = 0;
    while taken < REST_BYTES_MAX {
        match stream.try_read(&mut rest) {
            Ok(count) if count > 0 => taken += count,
            _ => return,
        }
    }
}

/// 2xx and 3xx are good answers.
fn judge(status_line: &[u8]) -> ProbeResult {
    match status_of(status_line) {
        Some(200..=399) => ProbeResult::Pass,
        Some(status) => ProbeResult::Fail { reason: ProbeFailure::Status(status) },
        None => ProbeResult::Fail { reason: ProbeFailure::Malformed },
    }
}

fn status_of(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let digits = rest.get(..3)?;
    let ends = rest[3..].chars().next().is_none_or(|next| next.is_ascii_whitespace());
    if !ends || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn status_lines_are_read_strictly() {
        let status = |reason| ProbeResult::Fail { reason: ProbeFailure::Status(reason) };
        let malformed = ProbeResult::Fail { reason: ProbeFailure::Malformed };
        let cases = [
            ("HTTP/1.1 200 OK\r", ProbeResult::Pass),
            ("HTTP/1.0 204\r", ProbeResult::Pass),
            ("HTTP/1.1 302 Found", ProbeResult::Pass),
            ("HTTP/1.1 404 Not Found\r", status(404)),
            ("HTTP/1.1 503 Service Unavailable\r", status(503)),
            ("HTTP/1.1 100 Continue\r", status(100)),
            ("HTTP/1.1 2000 OK", malformed),
            ("HTTP/1.1 999 Odd", malformed),
            ("HTTP/1.1 20", malformed),
            ("HTTP/2 200", malformed),
            ("SSH-2.0-OpenSSH", malformed),
            ("", malformed),
        ];
        for (line, expected) in cases {
            assert_eq!(judge(line.as_bytes()), expected, "{line:?}");
        }
    }

    /// Serves one connection with `answer`, then waits for the other side to close.
    async fn serve(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let count = stream.read(&mut request).await.unwrap();
            assert!(request[..count].starts_with(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"));
            for part in answer.chunks(7) {
                stream.write_all(part).await.unwrap();
            }
            if answer.is_empty() {
                return;
            }
            let _closed = stream.read(&mut request).await;
        });
        address
    }

    #[tokio::test]
    async fn answers_over_a_real_connection() {
        let fail = |reason| ProbeResult::Fail { reason };
        let get = ProbeAction::HttpGet("/readyz".to_owned());
        let cases: [(&'static [u8], ProbeResult); 4] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ProbeResult::Pass),
            (b"HTTP/1.1 503 Busy\r\n\r\n", fail(ProbeFailure::Status(503))),
            (&[b'x'; 5000], fail(ProbeFailure::Malformed)),
            (b"", fail(ProbeFailure::Connection)),
        ];
        for (answer, expected) in cases {
            let address = serve(answer).await;
            assert_eq!(probe(&get, address, Duration::from_secs(5)).await, expected);
        }
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        assert_eq!(probe(&get, address, Duration::from_millis(30)).await, fail(ProbeFailure::Timeout));
        assert_eq!(probe(&ProbeAction::Tcp, address, Duration::from_secs(5)).await, ProbeResult::Pass);
        drop(silent);
        assert_eq!(probe(&get, address, Duration::from_secs(5)).await, ProbeResult::Refused);
    }
}
