//! What upstreams answer, good and bad.

use std::io::Write;

use crate::stub::{Stub, read_request};
use crate::support::{Rig, Wire};

fn answering(bytes: &'static str) -> Stub {
    Stub::answering(move |_| Some(bytes.as_bytes().to_vec()))
}

/// Answers once with these bytes and closes.
fn closing(bytes: &'static str) -> Stub {
    Stub::raw(move |stream, record| {
        record(read_request(stream).unwrap());
        stream.write_all(bytes.as_bytes()).unwrap();
    })
}

#[test]
fn good_answers_come_through() {
    for (answer, status, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n",
            200,
            "hi!",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, ""),
        ("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304, ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n", 304, ""),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, ""),
        ("HTTP/1.1 299 Odd\r\nContent-Length: 1\r\n\r\nx", 299, "x"),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny",
            200,
            "y",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nz", 200, "z"),
    ] {
        let stub = answering(answer);
        let rig = Rig::with(&[&stub]);
        let mut wire = rig.connect();
        for _ in 0..2 {
            let reply = wire.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!((reply.status, reply.text()), (status, body), "{answer:?}");
            assert_eq!(reply.field("via"), Some("1.1 seaworthy"));
            assert_eq!(reply.field("proxy-status"), None, "the service said it, not we");
        }
        assert_eq!(stub.connections(), 1, "{answer:?}");
    }
}

#[test]
fn answers_that_end_with_their_connection_come_through() {
    for answer in ["HTTP/1.1 200 OK\r\n\r\nall of it", "HTTP/1.0 200 OK\r\n\r\nall of it"] {
        let stub = closing(answer);
        let rig = Rig::with(&[&stub]);
        let mut wire = rig.connect();
        for _ in 0..2 {
            assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "all of it");
        }
        assert_eq!(stub.connections(), 2);
    }
}

#[test]
fn head_has_the_length_of_get_and_no_body() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let stub = answering(answer);
        let rig = Rig::with(&[&stub]);
        let mut wire = rig.connect();
        for _ in 0..2 {
            let reply = wire.ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(reply.status, 200);
            let length = answer.contains("77").then_some("77");
            assert_eq!(reply.field("content-length"), length);
        }
    }
}

#[test]
fn hop_by_hop_fields_of_answers_stay_behind() {
    let stub = answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Theirs\r\nX-Theirs: 1\r\nKeep-Alive: timeout=5\r\n\
         Upgrade: h2c\r\nProxy-Connection: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nVia: 1.1 inner\r\n\
         X-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n",
    );
    let rig = Rig::with(&[&stub]);
    let reply = rig.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: ours\r\n\r\n");
    for name in ["connection", "x-theirs", "keep-alive", "upgrade", "proxy-connection"] {
        assert_eq!(reply.field(name), None, "{name}");
    }
    assert_eq!(crate::stub::fields(&reply.head, "set-cookie"), ["a", "b"]);
    assert_eq!(crate::stub::fields(&reply.head, "via"), ["1.1 inner", "1.1 seaworthy"]);
    assert_eq!(crate::stub::fields(&reply.head, "x-request-id"), ["ours"]);
}

#[test]
fn trailers_are_passed_on_to_those_who_take_them() {
    let stub = answering(
        "HTTP/1.1 200 OK\r\nTrailer: Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nSum: 7\r\n\r\n",
    );
    let rig = Rig::with(&[&stub]);
    let reply = rig.ask("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n");
    assert_eq!(reply.text(), "x\nsum: 7");
    let reply = rig.get("/");
    assert_eq!(reply.text(), "x");
}

#[test]
fn answers_that_are_not_http_become_ours() {
    for (answer, problem) in [
        ("garbage and more garbage\r\n\r\n", "bad-response"),
        ("HTTP/1.1 abc\r\n\r\n", "bad-response"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "bad-response"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "bad-response"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "bad-response",
        ),
        ("HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n", "bad-response"),
        ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "bad-response"),
        ("", "connection-terminated"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "connection-terminated"),
    ] {
        let stub = closing(answer);
        let rig = Rig::with(&[&stub]);
        let reply = rig.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!((reply.status, reply.problem().as_str()), (502, "outcome-unknown"), "{answer:?}");
        let error = if problem == "bad-response" { "http_protocol_error" } else { "connection_terminated" };
        assert!(reply.proxy_status().contains(&format!("error={error};")), "{answer:?}: {reply:?}");
        assert!(reply.proxy_status().contains("sent=?1"), "{reply:?}");
        assert_eq!(stub.seen().len(), 1, "{answer:?}: an unkeyed POST is never sent again");
    }
}

#[test]
fn an_answer_that_breaks_off_is_never_ended_cleanly() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n",
    ] {
        let stub = closing(answer);
        let rig = Rig::with(&[&stub]);
        let reply = rig.get("/");
        assert_eq!(reply.status, 200);
        assert!(reply.body.is_err(), "{answer:?}: {reply:?}");
        assert_eq!(stub.seen().len(), 1, "nothing is sent again after the first byte");
        // A client that can only see the end of the connection gets a reset.
        if answer.contains("chunked") {
            let reply = Wire::to(rig.ingress()).ask("GET / HTTP/1.0\r\n\r\n");
            assert!(reply.body.is_err(), "{answer:?}: {reply:?}");
        }
    }
}

#[test]
fn more_than_was_announced_closes_the_connection() {
    let stub = answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    );
    let rig = Rig::with(&[&stub]);
    let mut wire = rig.connect();
    for _ in 0..3 {
        assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "hi");
    }
    assert_eq!(stub.connections(), 3, "what stands behind an answer is not the next answer");
}
