//! What clients send: what is refused, what is passed on, and how.

use crate::stub::{Stub, ok};
use crate::support::{Rig, Wire, plan, route, service};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[test]
fn violations_are_answered_and_never_passed_on() {
    let stub = Stub::saying("no");
    let rig = Rig::with(&[&stub]);
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    for (request, status) in [
        (post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), 400),
        (post("Content-Length: +3\r\n", "abc"), 400),
        (post("Transfer-Encoding: chunked, identity\r\n", "abc"), 400),
        (post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(), 501),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(70_000)), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(40_000)), 414),
    ] {
        // At once, and byte by byte where that is not too slow; the rest of the bytes must not be read as a request.
        let mut wire = rig.connect();
        let reply = wire.ask(&request);
        assert_eq!((reply.status, reply.problem().as_str()), (status, "bad-request"), "{request:?}");
        assert!(reply.proxy_status().starts_with("seaworthy; error=http_request_error; details=\""));
        assert!(reply.proxy_status().ends_with("\"; sent=?0"), "{reply:?}");
        assert_eq!(reply.field("connection"), Some("close"));
        assert!(wire.is_closed(), "{request:?}");
        if request.len() < 1000 {
            let mut wire = rig.connect();
            for byte in request.as_bytes() {
                if std::io::Write::write_all(&mut wire.0, &[*byte]).is_err() {
                    break;
                }
            }
            assert_eq!(wire.reply(false).status, status, "{request:?}");
        }
    }
    assert!(stub.seen().is_empty());
}

#[test]
fn a_bad_request_behind_a_good_one_does_not_spoil_it() {
    let stub = Stub::saying("yes");
    let rig = Rig::with(&[&stub]);
    let mut wire = rig.connect();
    wire.send(format!("{GET}GET / HTTP/1.1\nHost: a\n\n"));
    assert_eq!(wire.reply(false).text(), "yes");
    assert_eq!(wire.reply(false).status, 400);
    assert!(wire.is_closed());
}

#[test]
fn a_broken_chunk_ends_the_request() {
    let stub = Stub::saying("yes");
    let rig = Rig::with(&[&stub]);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut wire = rig.connect();
    let reply = wire.ask(&format!("{head}zz\r\n{GET}"));
    // Its head was on its way already, and nobody knows what the service makes of half a request.
    assert_eq!((reply.status, reply.problem().as_str()), (400, "outcome-unknown"));
    assert!(reply.proxy_status().contains("error=http_request_error;"), "{reply:?}");
    assert!(wire.is_closed());
    assert!(stub.seen().is_empty(), "the smuggled request went nowhere");
}

#[test]
fn requests_are_passed_on_without_what_concerns_one_hop() {
    let stub = Stub::saying("yes");
    let rig = Rig::with(&[&stub]);
    rig.ask(
        "GET /a%20b?c=d HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n\
         Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Forwarded-For: 9.9.9.9\r\n\
         X-Forwarded-Proto: https\r\nVia: 1.0 other\r\nSeaworthy-Deadline-Ms: 1\r\nSeaworthy-Attempt: 7\r\n\
         Cookie: x=y\r\nExpect: 100-continue\r\n\r\n",
    );
    let seen = stub.seen().remove(0);
    assert_eq!(seen.line(), "GET /a%20b?c=d HTTP/1.1");
    for (name, value) in [
        ("host", Some("shop.example")),
        ("cookie", Some("x=y")),
        ("x-mine", None),
        ("keep-alive", None),
        ("proxy-connection", None),
        ("upgrade", None),
        ("expect", None),
        ("seaworthy-deadline-ms", None),
        ("seaworthy-attempt", Some("1")),
        ("te", Some("trailers")),
        ("connection", Some("te")),
        ("x-forwarded-for", Some("9.9.9.9, 127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("shop.example")),
    ] {
        assert_eq!(seen.field(name), value, "{name} in {}", seen.head);
    }
    assert_eq!(seen.fields("via").len(), 2);
    assert!(seen.fields("via")[1].starts_with("1.1 seaworthy ("));
}

#[test]
fn request_ids_go_all_the_way() {
    let stub = Stub::saying("yes");
    let rig = Rig::with(&[&stub]);
    let reply = rig.get("/");
    let made = reply.field("x-request-id").unwrap();
    assert_eq!(stub.seen()[0].field("x-request-id"), Some(made));
    let reply = rig.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-1\r\n\r\n");
    assert_eq!(
        (reply.field("x-request-id"), stub.seen()[1].field("x-request-id")),
        (Some("mine-1"), Some("mine-1"))
    );
    let reply = rig.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: not mine\r\n\r\n");
    assert_ne!(reply.field("x-request-id"), Some("not mine"));
}

#[test]
fn routes_decide_who_answers() {
    let routes = vec![route("one", "GET /one"), route("tree", "/tree/**")];
    let stub = Stub::saying("yes");
    let rig = Rig::of(&plan(vec![service("api")], routes), &[&stub]);
    let ask = |line: &str| rig.ask(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
    for (line, status) in [
        ("GET /one", 200),
        ("HEAD /one", 200),
        ("GET http://a/one?x", 200),
        ("DELETE /tree/x", 200),
        ("POST /one", 405),
        ("GET /two", 404),
        ("GET /onex", 404),
        ("OPTIONS *", 404),
        ("GET /tree/../one", 400),
        ("GET /tree/%2e%2e/one", 400),
        ("GET /tree/a%2Fb", 400),
    ] {
        let reply = ask(line);
        assert_eq!(reply.status, status, "{line}");
        if status >= 400 {
            reply.problem();
            assert!(reply.proxy_status().contains("sent=?0"), "{reply:?}");
        }
    }
    let mut wire = rig.connect();
    for _ in 0..2 {
        let reply = wire.ask("HEAD /two HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(reply.status, 404, "a HEAD has no body, not even a problem");
    }
    assert_eq!(ask("POST /one").field("allow"), Some("GET, HEAD"));
    assert_eq!(stub.seen()[2].line(), "GET /one?x HTTP/1.1");
    assert_eq!(rig.metric(r#"seaworthy_requests_total{edge="ingress",route="",code_class="4xx"}"#), 10);
}

#[test]
fn keyed_routes_want_a_key() {
    let mut buy = route("buy", "POST /buy");
    buy.keyed = true;
    let stub = Stub::saying("yes");
    let rig = Rig::of(&plan(vec![service("api")], vec![buy]), &[&stub]);
    let ask = |fields: &str| {
        rig.ask(&format!("POST /buy HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 1\r\n\r\nx"))
    };
    for (fields, problem) in [
        ("", Some("idempotency-key-missing")),
        ("Idempotency-Key: \r\n", Some("idempotency-key-invalid")),
        ("Idempotency-Key: a b\r\n", Some("idempotency-key-invalid")),
        ("Idempotency-Key: a\r\nIdempotency-Key: a\r\n", Some("idempotency-key-invalid")),
        ("Idempotency-Key: a-1\r\n", None),
        ("Idempotency-Key: \"a-1\"\r\n", None),
    ] {
        let reply = ask(fields);
        match problem {
            Some(problem) => assert_eq!((reply.status, reply.problem().as_str()), (400, problem), "{fields}"),
            None => assert_eq!(reply.status, 200, "{fields}"),
        }
    }
    assert_eq!(stub.seen().len(), 2);
}

#[test]
fn what_is_not_served_is_said() {
    let stub = Stub::saying("yes");
    let rig = Rig::with(&[&stub]);
    for (fields, status, problem) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", 501, "websocket"),
        ("Expect: the-best\r\n", 417, "expectation"),
    ] {
        let reply = rig.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!((reply.status, reply.problem().as_str()), (status, problem));
    }
    assert!(stub.seen().is_empty());
}

#[test]
fn a_request_that_comes_back_is_stopped() {
    // An upstream that sends what it gets back to the gateway, as a proxy in a circle would.
    let place = std::sync::Arc::new(std::sync::OnceLock::new());
    let target = std::sync::Arc::clone(&place);
    let stub = Stub::answering(move |seen| {
        let reply = Wire::to(*target.get().unwrap()).ask(&seen.head);
        Some(ok(&format!("{} {}", reply.status, reply.problem())))
    });
    let rig = Rig::with(&[&stub]);
    place.set(rig.ingress()).unwrap();
    let reply = rig.get("/");
    assert_eq!(reply.text(), "502 loop");
    assert_eq!(stub.seen().len(), 1);
}

#[test]
fn connections_are_kept_and_pipelines_answered_in_order() {
    let stub = Stub::answering(|seen| Some(ok(seen.line())));
    let rig = Rig::with(&[&stub]);
    let mut wire = rig.connect();
    for path in ["/a", "/b"] {
        let reply = wire.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(reply.text(), format!("GET {path} HTTP/1.1"));
        assert_eq!(reply.field("connection"), None);
    }
    let many: Vec<String> =
        (0..20).map(|index| format!("GET /{index} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    wire.send(many.concat());
    for index in 0..20 {
        assert_eq!(wire.reply(false).text(), format!("GET /{index} HTTP/1.1"));
    }
    assert_eq!(stub.connections(), 1, "upstream connections are kept as well");
}

#[test]
fn old_clients_are_served() {
    let stub = Stub::saying("yes");
    let rig = Rig::with(&[&stub]);
    let mut wire = rig.connect();
    let reply = wire.ask("GET / HTTP/1.0\r\n\r\n");
    assert!(reply.head.starts_with("HTTP/1.0 200"), "{reply:?}");
    assert_eq!(reply.text(), "yes");
    assert!(wire.is_closed());
    assert_eq!(stub.seen()[0].line(), "GET / HTTP/1.1");
    let mut wire = rig.connect();
    for _ in 0..2 {
        let reply = wire.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((reply.text(), reply.field("connection")), ("yes", Some("keep-alive")));
    }
}

#[test]
fn continue_is_said_when_the_body_is_wanted() {
    let stub = Stub::answering(|seen| Some(ok(&String::from_utf8_lossy(&seen.body))));
    let rig = Rig::with(&[&stub]);
    for length in [5, 100_000] {
        let mut wire = rig.connect();
        wire.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        ));
        assert_eq!(wire.reply(false).status, 100);
        wire.send("x".repeat(length));
        assert_eq!(wire.reply(false).text().len(), length);
    }
    let mut wire = rig.connect();
    let refused =
        wire.ask("POST /../ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(refused.status, 400, "a body that is not wanted is not asked for");
}

#[test]
fn answers_are_not_lost_to_what_is_still_coming() {
    let stub = Stub::saying("no");
    let rig = Rig::with(&[&stub]);
    // More than the buffers between us hold: whoever writes it fails when the connection is reset.
    let rest = "x".repeat(8_000_000);
    for head in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(),
        "POST /../ HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n".to_owned(),
    ] {
        for _ in 0..3 {
            let mut wire = rig.connect();
            wire.send(&head);
            wire.send(&rest);
            assert_eq!(wire.reply(false).status, 400, "{head}");
        }
    }
}

#[test]
fn a_get_may_have_a_body() {
    let stub = Stub::answering(|seen| Some(ok(&String::from_utf8_lossy(&seen.body))));
    let rig = Rig::with(&[&stub]);
    for framing in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        let reply = rig.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{framing}"));
        assert_eq!(reply.text(), "hello", "{framing}");
    }
}

#[test]
fn an_early_answer_does_not_wait_for_the_body() {
    let stub = Stub::raw(|stream, _| {
        crate::stub::read_head(stream);
        let _ = std::io::Write::write_all(stream, b"HTTP/1.1 413 X\r\nContent-Length: 3\r\n\r\nbig");
        // Reads on, so that the answer is not lost to a reset.
        let _ = std::io::copy(stream, &mut std::io::sink());
    });
    let rig = Rig::with(&[&stub]);
    let mut wire = rig.connect();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning");
    let reply = wire.reply(false);
    assert_eq!((reply.status, reply.text()), (413, "big"));
}
