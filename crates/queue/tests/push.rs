//! Attempts against real sockets: what a receiver sees, and what is said of what it does.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use seaworthy_policy::delivery::{Answer, Proof};
use seaworthy_queue::{CloudEvent, KEPT_BODY_MAX, Message, Pushed, Receiver, Secret, push, verify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BODY: &str = r#"{"test": 2432232314}"#;

fn now() -> Timestamp {
    Timestamp::from_second(1_614_265_330).unwrap()
}

fn receiver(address: SocketAddr) -> Receiver {
    Receiver {
        address,
        authority: "mail".into(),
        method: Method::POST,
        path: "/hook?source=shop".into(),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(10),
    }
}

fn message(headers: &HeaderMap) -> Message<'_> {
    Message { id: "job-7", headers, body: Bytes::from_static(BODY.as_bytes()), event: None, secrets: &[] }
}

/// A whole request with a `Content-Length`.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "ended early: {text}");
        text += std::str::from_utf8(&buffer[..read]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

/// Pushes to somebody who reads the request and answers with these bytes; also what was read.
async fn exchange(headers: &HeaderMap, answer: &str) -> (Pushed, String) {
    exchange_as(message(headers), answer).await
}

async fn exchange_as(message: Message<'_>, answer: &str) -> (Pushed, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = receiver(listener.local_addr().unwrap());
    let served = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    };
    tokio::join!(push(&receiver, message, now()), served)
}

fn status(status: u16, seconds: Option<u64>) -> Answer {
    Answer::Status { status, retry_after: seconds.map(Duration::from_secs) }
}

fn header<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    let head = request.split_once("\r\n\r\n").unwrap().0;
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| *field == name).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn a_receiver_can_verify_what_it_gets() {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let secrets = [
        Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
        Secret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").unwrap(),
    ];
    let event = CloudEvent {
        source: "/queues/purchases".into(),
        kind: "shop.purchase".into(),
        subject: None,
        time: now(),
    };
    let message = Message { event: Some(&event), secrets: &secrets, ..message(&headers) };
    let (pushed, request) =
        exchange_as(message, "HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\n\r\ndone").await;
    assert_eq!(pushed, Pushed { at: now(), answer: status(202, None), note: Bytes::from_static(b"done") });
    assert!(request.starts_with("POST /hook?source=shop HTTP/1.1\r\n"), "{request}");
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, BODY);
    for (name, expected) in [
        ("host", "mail"),
        ("content-type", "application/json"),
        ("content-length", "20"),
        ("webhook-id", "job-7"),
        ("webhook-timestamp", "1614265330"),
        ("idempotency-key", "job-7"),
        ("ce-specversion", "1.0"),
        ("ce-id", "job-7"),
        ("ce-source", "/queues/purchases"),
        ("ce-type", "shop.purchase"),
        ("ce-time", "2021-02-25T15:02:10Z"),
    ] {
        assert_eq!(header(&request, name), [expected], "{name} in {request}");
    }
    let signature = header(&request, "webhook-signature")[0];
    let delivery = ("job-7", 1_614_265_330, body.as_bytes());
    for secret in &secrets {
        assert!(verify(std::slice::from_ref(secret), delivery, signature, 1_614_265_400), "{signature}");
    }
    let stranger = Secret::parse("whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v").unwrap();
    assert!(!verify(&[stranger], delivery, signature, 1_614_265_400));
}

#[tokio::test]
async fn who_enqueues_cannot_speak_in_our_name() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("webhook-signature", "v1,forged"),
        ("webhook-id", "forged"),
        ("ce-type", "theirs"),
        ("host", "forged"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-hop, close"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=1"),
        ("idempotency-key", "mine"),
        ("x-tenant", "a"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers.append("x-tenant", HeaderValue::from_static("b"));
    let (pushed, request) = exchange(&headers, "HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(pushed.answer, status(204, None));
    assert!(!request.contains("forged"), "{request}");
    for name in ["webhook-signature", "transfer-encoding", "x-hop", "keep-alive"] {
        assert!(header(&request, name).is_empty(), "{name} in {request}");
    }
    assert_eq!(header(&request, "content-length"), ["20"]);
    assert_eq!(header(&request, "x-tenant"), ["a", "b"]);
    assert_eq!(header(&request, "idempotency-key"), ["mine"]);
    assert_eq!(header(&request, "ce-type"), ["theirs"], "an event of their own");

    let event = CloudEvent { source: "/queues/q".into(), kind: "ours".into(), subject: None, time: now() };
    let ours = Message { event: Some(&event), ..message(&headers) };
    let (_, request) = exchange_as(ours, "HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(header(&request, "ce-type"), ["ours"]);
}

#[tokio::test]
async fn every_answer_is_told_as_it_is() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", status(200, None)),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            status(302, None),
        ),
        ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", status(410, None)),
        ("HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n", status(429, Some(7))),
        (
            "HTTP/1.1 503 No\r\nretry-after: Thu, 25 Feb 2021 15:03:10 GMT\r\ncontent-length: 0\r\n\r\n",
            status(503, Some(60)),
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", status(500, None)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\ncut", status(200, None)),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", Answer::Failed { proof: Proof::HeadSent }),
        ("", Answer::Failed { proof: Proof::HeadSent }),
        ("HTTP/1.1 200", Answer::Failed { proof: Proof::HeadSent }),
    ] {
        let (pushed, _) = exchange(&HeaderMap::new(), answer).await;
        assert_eq!(pushed.answer, expected, "{answer:?}: {:?}", pushed.note);
    }
}

#[tokio::test]
async fn nobody_there_is_proof_that_nothing_was_executed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let headers = HeaderMap::new();
    let pushed = push(&receiver(address), message(&headers), now()).await;
    assert_eq!(pushed.answer, Answer::Failed { proof: Proof::Refused });
    assert!(!pushed.note.is_empty());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bad = Message { id: "a\nb", ..message(&headers) };
    let pushed = push(&receiver(listener.local_addr().unwrap()), bad, now()).await;
    assert_eq!(pushed.answer, Answer::Failed { proof: Proof::NotSent });
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_proves_it_too() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let limit = Duration::from_millis(200);
    // Nobody accepts, so the kernel's queue is full before long.
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(limit, TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 100, "the queue has no end");
    }
    let hasty = Receiver { connect_timeout: limit, ..receiver(address) };
    let headers = HeaderMap::new();
    let pushed = push(&hasty, message(&headers), now()).await;
    assert_eq!(pushed.answer, Answer::Failed { proof: Proof::NotSent });
}

#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limit = Duration::from_millis(300);
    let slow = Receiver { timeout: limit, ..receiver(listener.local_addr().unwrap()) };
    let headers = HeaderMap::new();
    let begun = std::time::Instant::now();
    let served = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        // Until the connection is closed.
        stream.read(&mut [0; 16]).await.unwrap()
    };
    let (pushed, rest) = tokio::join!(push(&slow, message(&headers), now()), served);
    assert_eq!((pushed.answer, rest), (Answer::TimedOut, 0));
    assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_that_does_not_end_changes_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = receiver(listener.local_addr().unwrap());
    let headers = HeaderMap::new();
    let served = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n";
        stream.write_all(endless.as_bytes()).await.unwrap();
        stream.read(&mut [0; 16]).await.unwrap()
    };
    let (pushed, _) = tokio::join!(push(&receiver, message(&headers), now()), served);
    assert_eq!(pushed, Pushed { at: now(), answer: status(200, None), note: Bytes::from_static(b"begin") });

    let long = format!("HTTP/1.1 422 No\r\ncontent-length: 9000\r\n\r\n{}", "x".repeat(9_000));
    let (pushed, _) = exchange(&headers, &long).await;
    assert_eq!((pushed.answer, pushed.note.len()), (status(422, None), KEPT_BODY_MAX));
}

#[tokio::test]
async fn a_repetition_has_the_same_id_and_another_time() {
    let headers = HeaderMap::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = receiver(listener.local_addr().unwrap());
    let mut seen = Vec::new();
    for second in [1_614_265_330, 1_614_265_335] {
        let served = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            request
        };
        let at = Timestamp::from_second(second).unwrap();
        let (_, request) = tokio::join!(push(&receiver, message(&headers), at), served);
        let of = |name| header(&request, name)[0].to_owned();
        seen.push((of("webhook-id"), of("webhook-timestamp"), of("idempotency-key")));
    }
    let expected = |time: &str| ("job-7".to_owned(), time.to_owned(), "job-7".to_owned());
    assert_eq!(seen, [expected("1614265330"), expected("1614265335")]);
}
