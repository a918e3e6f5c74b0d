//! The admin API as a drill speaks it: methods, paths, tokens and bodies on the wire.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use seaworthy_drill::node::{Applied, Ended, FaultBody, FaultRequest, HttpNode, Node, NodeError, TargetBody};

struct Request {
    line: String,
    token: Option<String>,
    body: String,
}

/// Answers one connection after the other with these answers, then closes the door.
fn serve(answers: Vec<(&'static str, &'static str)>) -> (SocketAddr, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            sender.send(read(&mut reader)).unwrap();
            let length = body.len();
            write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    (address, receiver)
}

fn read(reader: &mut impl BufRead) -> Request {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let header = |name: &str| {
        lines
            .iter()
            .find_map(|line| line.to_ascii_lowercase().starts_with(name).then(|| line[name.len()..].trim()))
    };
    let length: usize = header("content-length:").map_or(0, |length| length.parse().unwrap());
    let token = header("authorization:").map(ToOwned::to_owned);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Request { line: lines[0].clone(), token, body: String::from_utf8(body).unwrap() }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn request() -> FaultRequest {
    FaultRequest {
        faults: vec![
            FaultBody {
                kind: "latency",
                target: TargetBody::Egress("payments".to_owned()),
                add_ms: Some(300),
                share: Some(0.5),
                status: None,
            },
            FaultBody { kind: "kill", target: TargetBody::Zone(1), add_ms: None, share: None, status: None },
        ],
        deadline_ms: 40_000,
        seed: 9,
    }
}

#[test]
fn faults_are_applied_listed_and_ended() {
    let (address, requests) = serve(vec![
        (
            "200 OK",
            r#"{"id":"f1","requested_at":1,"applied_at":5,"proof":"refused","targets":["payments/1"]}"#,
        ),
        ("200 OK", r#"{"faults":[{"id":"f1","what":"latency"}]}"#),
        ("200 OK", r#"{"ended_at":9,"met":4,"why":"cleared"}"#),
        ("404 Not Found", r#"{"title":"no such fault"}"#),
        ("200 OK", "{}"),
        ("204 No Content", ""),
    ]);
    let node = HttpNode::new(address, "secret");
    block(async {
        let applied = node.apply(&request()).await.unwrap();
        let targets = vec!["payments/1".to_owned()];
        assert_eq!(
            applied,
            Applied { id: "f1".to_owned(), applied_at: 5, proof: "refused".to_owned(), targets }
        );
        assert_eq!(node.faults().await.unwrap(), ["f1"]);
        assert_eq!(node.end("f1").await.unwrap(), Ended { ended_at: 9, met: Some(4) });
        assert_eq!(node.end("f2").await, Err(NodeError::Unknown("no such fault".to_owned())));
        node.end_all().await.unwrap();
        node.reset().await.unwrap();
    });
    let requests: Vec<Request> = requests.iter().collect();
    let lines: Vec<&str> =
        requests.iter().map(|request| request.line.trim_end_matches(" HTTP/1.1")).collect();
    assert_eq!(
        lines,
        [
            "POST /faults",
            "GET /faults",
            "DELETE /faults/f1",
            "DELETE /faults/f2",
            "DELETE /faults",
            "POST /reset"
        ]
    );
    assert!(requests.iter().all(|request| request.token.as_deref() == Some("Bearer secret")));
    assert_eq!(
        requests[0].body,
        concat!(
            r#"{"faults":[{"kind":"latency","target":{"egress":"payments"},"add_ms":300,"share":0.5},"#,
            r#"{"kind":"kill","target":{"zone":1}}],"deadline_ms":40000,"seed":9}"#
        )
    );
}

#[test]
fn a_host_that_lacks_something_is_told_apart_from_a_refusal() {
    let (address, _requests) = serve(vec![
        (
            "422 Unprocessable",
            r#"{"type":"urn:seaworthy:problem:capability","title":"x","detail":"no pidfd"}"#,
        ),
        ("409 Conflict", r#"{"type":"about:blank","detail":"already faulted"}"#),
        ("503 Unavailable", ""),
    ]);
    let node = HttpNode::new(address, "secret");
    block(async {
        assert_eq!(node.apply(&request()).await, Err(NodeError::Capability("no pidfd".to_owned())));
        let refused = NodeError::Refused { status: 409, detail: "already faulted".to_owned() };
        assert_eq!(node.apply(&request()).await, Err(refused));
        assert_eq!(node.is_ready().await, Ok(false));
        // Nobody is there any more.
        assert!(matches!(node.status().await, Err(NodeError::Unreachable(_))));
        let cared_for = node.clone().abandoned_when(|| false);
        assert!(matches!(cared_for.status().await, Err(NodeError::Unreachable(_))));
        let abandoned = node.abandoned_when(|| true);
        assert!(matches!(abandoned.status().await, Err(NodeError::Gone(_))));
        assert!(matches!(abandoned.is_ready().await, Err(NodeError::Gone(_))));
        assert!(matches!(abandoned.end_all().await, Err(NodeError::Gone(_))));
    });
}

#[test]
fn events_are_asked_for_with_patience() {
    let (address, requests) =
        serve(vec![("200 OK", r#"{"events":[{"seq":8,"at":1,"ts":"t","event":"policy_reset"}],"next":8}"#)]);
    let node = HttpNode::new(address, "secret");
    let page = block(node.events(7, Duration::from_millis(200))).unwrap();
    assert_eq!((page.events.len(), page.next), (1, 8));
    assert_eq!(requests.iter().next().unwrap().line, "GET /events?since=7&wait_ms=200 HTTP/1.1");
}
