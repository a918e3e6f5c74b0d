//! The guard and the HTTP library behind it must agree about where requests end: whatever the guard lets through,
//! the library reads as the same messages.

use std::cell::RefCell;
use std::rc::Rc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use seaworthy_gateway::guard::Guard;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the guard makes of a connection: the length of each complete message's body, without its framing. `None` when
/// it rejects something, or when the connection ends inside a message.
fn by_guard(bytes: &[u8]) -> Option<Vec<usize>> {
    let (mut guard, mut window, mut messages) = (Guard::default(), Vec::new(), Vec::new());
    let (mut head, mut body) = (Vec::new(), Vec::new());
    for byte in bytes {
        window.push(*byte);
        let in_head = guard.is_in_head();
        let advance = guard.advance(&window);
        if advance.rejected.is_some() {
            return None;
        }
        let passed = window.drain(..advance.pass);
        if in_head {
            head.extend(passed);
        } else {
            body.extend(passed);
        }
        if !head.is_empty() && guard.is_between_messages() {
            let chunked = String::from_utf8_lossy(&head).to_lowercase().contains("\r\ntransfer-encoding:");
            messages.push(if chunked { data_length(&body) } else { body.len() });
            head.clear();
            body.clear();
        }
    }
    (head.is_empty() && window.is_empty()).then_some(messages)
}

/// The length of the data in a chunked body that is known to be well-formed.
fn data_length(body: &[u8]) -> usize {
    let line_end = body.windows(2).position(|pair| pair == b"\r\n").unwrap();
    let size = std::str::from_utf8(&body[..line_end]).unwrap().split(';').next().unwrap();
    match usize::from_str_radix(size, 16).unwrap() {
        0 => 0,
        size => size + data_length(&body[line_end + 2 + size + 2..]),
    }
}

/// What the library makes of it: the bytes of each body, decoded; an error when it could not read one.
async fn by_library(bytes: Vec<u8>) -> Result<Vec<usize>, String> {
    let bodies = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&bodies);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            seen.borrow_mut().push(body.len());
            Ok::<_, hyper::Error>(http::Response::new(String::new()))
        }
    });
    let (ours, theirs) = tokio::io::duplex(1024 * 1024);
    let (mut answers, mut requests) = tokio::io::split(ours);
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(theirs), service);
    let send = async {
        requests.write_all(&bytes).await.unwrap();
        requests.shutdown().await.unwrap();
        let mut all = Vec::new();
        answers.read_to_end(&mut all).await.unwrap();
    };
    let (served, ()) = tokio::join!(connection, send);
    served.map_err(|error| error.to_string())?;
    Ok(bodies.take())
}

const VALUES: [&str; 24] = [
    "0",
    "5",
    "05",
    "+5",
    "5, 5",
    "0x5",
    "chunked",
    "Chunked",
    "gzip, chunked",
    "chunked, chunked",
    "identity",
    "",
    "a",
    "a b",
    "a\tb",
    "\u{e9}",
    "close",
    "keep-alive",
    "100-continue",
    "\"q\"",
    "a\n b",
    "5\r\nX: y",
    "a:80",
    ";",
];
const NAMES: [&str; 10] = [
    "Content-Length",
    "Transfer-Encoding",
    "Host",
    "Connection",
    "Expect",
    "X",
    "TE",
    "Trailer",
    "content-length ",
    "Up",
];
const STARTS: [&str; 12] = [
    "GET / HTTP/1.1",
    "POST /a?b HTTP/1.1",
    "HEAD / HTTP/1.1",
    "PUT http://a/ HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "POST / HTTP/1.0",
    "GET /|{}\"^ HTTP/1.1",
    "GET ?x HTTP/1.1",
    "GET /\u{e9} HTTP/1.1",
    "M-SEARCH / HTTP/1.1",
    "GET http://a?x HTTP/1.1",
    "GET https://a:80 HTTP/1.1",
];
const BODIES: [&str; 10] = [
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n",
    "0\r\n\r\n",
    "5\r\nhello",
    "00005\r\nhello\r\n000\r\n\r\n",
    "1 \r\nx\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "0\r\nX:\r\nY: \u{e9}\r\n\r\n",
];

fn message() -> impl Strategy<Value = String> {
    let pick = |words: &'static [&'static str]| (0..words.len()).prop_map(move |index| words[index]);
    let fields = prop::collection::vec((pick(&NAMES), pick(&VALUES)), 0..4);
    (pick(&STARTS), any::<bool>(), fields, pick(&BODIES)).prop_map(|(start, host, fields, body)| {
        let host = if host { "Host: a\r\n" } else { "" };
        let fields: Vec<String> =
            fields.into_iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let fields = fields.concat();
        format!("{start}\r\n{host}{fields}\r\n{body}")
    })
}

/// Messages that are right, so that what stands behind a doubtful one is reached.
fn framed() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (0_usize..300).prop_map(|length| {
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
        }),
        (1_usize..300).prop_map(|length| {
            let data = "y".repeat(length);
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{data}\r\n0\r\n\r\n")
        }),
    ]
}

fn check(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let Some(guard) = by_guard(bytes) else { return Ok(false) };
    // The library closes after HTTP/1.0 and `close`; it may read fewer messages then, never others.
    let may_close = {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        text.contains("close") || text.contains("http/1.0")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let library = runtime.block_on(by_library(bytes.to_vec()));
    let text = String::from_utf8_lossy(bytes).into_owned();
    let library = library.map_err(|error| TestCaseError::fail(format!("{error}: {text:?}")))?;
    prop_assert!(library.len() == guard.len() || may_close, "{:?} {:?}: {:?}", guard, library, text);
    prop_assert_eq!(&guard[..library.len()], &library[..], "{:?}", text);
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn doubtful_messages(first in message(), second in framed()) {
        check([first, second].concat().as_bytes())?;
    }

    #[test]
    fn good_messages_with_wrong_bytes(
        messages in prop::collection::vec(framed(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
    ) {
        let mut bytes = messages.concat().into_bytes();
        for (index, byte) in &changes {
            let place = index.index(bytes.len());
            bytes[place] = *byte;
        }
        let accepted = check(&bytes)?;
        prop_assert!(accepted || !changes.is_empty(), "what is right is accepted");
    }
}
