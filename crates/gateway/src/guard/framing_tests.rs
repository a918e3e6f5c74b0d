use proptest::prelude::*;

use super::super::{
    CHUNK_EXTENSIONS_LENGTH_MAX, FIELDS_MAX, HEAD_LENGTH_MAX, TARGET_LENGTH_MAX, TRAILER_FIELDS_MAX,
};
use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Feeds bytes in the given pieces and returns what passed and why it stopped.
fn run(pieces: &[&[u8]]) -> (Vec<u8>, Option<Violation>) {
    let (mut guard, mut window, mut passed) = (Guard::default(), Vec::new(), Vec::new());
    for piece in pieces {
        window.extend_from_slice(piece);
        let advance = guard.advance(&window);
        passed.extend(window.drain(..advance.pass));
        if advance.rejected.is_some() {
            return (passed, advance.rejected);
        }
    }
    (passed, None)
}

fn verdict(text: &[u8]) -> Result<usize, Violation> {
    let (passed, rejected) = run(&[text]);
    rejected.map_or(Ok(passed.len()), Err)
}

const GOOD: &[&str] = &[
    GET,
    "\r\nGET / HTTP/1.1\r\nhost:a:80\r\n\r\n",
    "GET /a?b=\\c%20d|{} HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
    "GET http://a/b?c HTTP/1.1\r\nHost: A\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: \t y\u{e9} \r\nEmpty:\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
];

const BAD: &[(&str, Violation)] = &[
    ("GET / HTTP/1.1\nHost: a\r\n\r\n", Violation::BareLf),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", Violation::BareLf),
    ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Violation::BareCr),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Violation::ControlByte),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", Violation::ControlByte),
    ("\x16\x03\x01", Violation::ControlByte),
    ("GET /\r\n\r\n", Violation::RequestLine),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Violation::RequestLine),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Violation::RequestLine),
    ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Violation::RequestLine),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Violation::RequestLine),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", Violation::RequestLine),
    ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", Violation::RequestLine),
    ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Violation::RequestLine),
    ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Method),
    ("PRI * HTTP/2.0\r\n\r\n", Violation::Version),
    ("GET / HTTP/0.9\r\n\r\n", Violation::Version),
    ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Violation::MethodRefused),
    ("SEAWORTHY-REJECTED / HTTP/1.1\r\nHost: a\r\n\r\n", Violation::MethodRefused),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Target),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Target),
    ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Target),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Target),
    ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Target),
    ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Target),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Target),
    ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Target),
    ("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Target),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Violation::HostInvalid),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Violation::ObsoleteFold),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", Violation::ObsoleteFold),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Violation::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Violation::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", Violation::FieldName),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: x\r\n\r\n", Violation::FieldName),
    ("GET / HTTP/1.1\r\n\r\n", Violation::HostMissing),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Violation::HostRepeated),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Violation::HostInvalid),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Violation::HostInvalid),
    ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", Violation::HostInvalid),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Violation::HostInvalid),
];

/// Fields of a POST.
const BAD_FIELDS: &[(&str, Violation)] = &[
    ("Content-Length: +3\r\n", Violation::ContentLength),
    ("Content-Length: 3 3\r\n", Violation::ContentLength),
    ("Content-Length: 3, 3\r\n", Violation::ContentLength),
    ("Content-Length: -1\r\n", Violation::ContentLength),
    ("Content-Length: 0x3\r\n", Violation::ContentLength),
    ("Content-Length:\r\n", Violation::ContentLength),
    ("Content-Length: 99999999999999999999\r\n", Violation::ContentLength),
    ("Content-Length: 3\r\ncontent-length: 4\r\n", Violation::ContentLength),
    ("Content-Length: 3\r\ncontent-length: 3\r\n", Violation::ContentLength),
    ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", Violation::LengthAndEncoding),
    ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", Violation::LengthAndEncoding),
    ("Transfer-Encoding: gzip\r\n", Violation::TransferEncoding),
    ("Transfer-Encoding: identity\r\n", Violation::TransferEncoding),
    ("Transfer-Encoding: chunked, gzip\r\n", Violation::TransferEncoding),
    ("Transfer-Encoding: chunked, chunked\r\n", Violation::TransferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Violation::TransferEncoding),
    ("Transfer-Encoding: xchunked\r\n", Violation::TransferEncoding),
    ("Transfer-Encoding: \"chunked\"\r\n", Violation::TransferEncoding),
    ("Transfer-Encoding:\r\n", Violation::TransferEncoding),
    ("Transfer-Encoding: ,chunked\r\n", Violation::TransferEncoding),
    ("Transfer-Encoding: gzip, chunked\r\n", Violation::TransferCoding),
    ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Violation::TransferCoding),
];

#[test]
fn heads_are_judged() {
    for good in GOOD {
        assert_eq!(verdict(good.as_bytes()), Ok(good.len()), "{good:?}");
    }
    for (head, violation) in BAD {
        assert_eq!(verdict(head.as_bytes()), Err(*violation), "{head:?}");
    }
    for (fields, violation) in BAD_FIELDS {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(verdict(head.as_bytes()), Err(*violation), "{head:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(verdict(old.as_bytes()), Err(Violation::EncodingOnOldVersion));
}

#[test]
fn limits_hold_at_their_edges() {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    assert!(verdict(fields(FIELDS_MAX).as_bytes()).is_ok());
    assert_eq!(verdict(fields(FIELDS_MAX + 1).as_bytes()), Err(Violation::TooManyFields));
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1));
    assert!(verdict(target(TARGET_LENGTH_MAX).as_bytes()).is_ok());
    assert_eq!(verdict(target(TARGET_LENGTH_MAX + 1).as_bytes()), Err(Violation::TargetTooLong));
    let head =
        |length: usize| format!("{}X: {}\r\n\r\n", &GET[..GET.len() - 2], "y".repeat(length - GET.len() - 5));
    assert_eq!(verdict(head(HEAD_LENGTH_MAX).as_bytes()), Ok(HEAD_LENGTH_MAX));
    assert_eq!(verdict(head(HEAD_LENGTH_MAX + 1).as_bytes()), Err(Violation::HeadTooLong));
    assert_eq!(verdict(&vec![b'x'; HEAD_LENGTH_MAX]), Err(Violation::HeadTooLong));
    assert_eq!(verdict(&vec![b'x'; HEAD_LENGTH_MAX - 1]), Ok(0));
}

#[test]
fn chunked_bodies_are_followed() {
    let check = |body: &str, expected: Result<usize, Violation>| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let found = verdict(format!("{head}{body}{GET}").as_bytes());
        assert_eq!(found, expected.map(|length| head.len() + length + GET.len()), "{body:?}");
    };
    for good in [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "A;x=\"y\"\r\n0123456789\r\n000\r\n\r\n",
        "0\r\nChecksum: x\r\nOther:\r\n\r\n",
    ] {
        check(good, Ok(good.len()));
    }
    let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(CHUNK_EXTENSIONS_LENGTH_MAX + 1));
    let many = format!("0\r\n{}\r\n", "a:b\r\n".repeat(TRAILER_FIELDS_MAX + 1));
    for (bad, violation) in [
        ("\r\n", Violation::Chunk),
        ("g\r\n", Violation::Chunk),
        ("-1\r\n", Violation::Chunk),
        ("0x1\r\n", Violation::Chunk),
        ("1 \r\nx\r\n", Violation::Chunk),
        ("1\nx\r\n", Violation::Chunk),
        ("1\r\nxy\r\n", Violation::Chunk),
        ("1\r\nx\n", Violation::Chunk),
        ("1;a\nb\r\nx\r\n", Violation::Chunk),
        ("fffffffffffffffff\r\n", Violation::Chunk),
        (&long, Violation::Chunk),
        ("0\r\n x: y\r\n\r\n", Violation::Trailer),
        ("0\r\nx : y\r\n\r\n", Violation::Trailer),
        ("0\r\nx: y\n\r\n", Violation::Trailer),
        ("0\r\n\n", Violation::Trailer),
        (&many, Violation::Trailer),
    ] {
        check(bad, Err(violation));
    }
}

/// Mostly well-formed messages, with bytes changed here and there.
fn connections() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        Just(GET.to_owned()),
        Just("GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n".to_owned()),
        (0_usize..40).prop_map(|length| format!(
            "POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}",
            "b".repeat(length)
        )),
        (1_usize..40).prop_map(|length| format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x};e=f\r\n{}\r\n0\r\nT: u\r\n\r\n",
            "c".repeat(length)
        )),
    ];
    let change =
        (any::<prop::sample::Index>(), prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), any::<u8>()]);
    (prop::collection::vec(message, 1..4), prop::collection::vec(change, 0..3)).prop_map(
        |(messages, changes)| {
            let mut bytes = messages.concat().into_bytes();
            for (index, byte) in changes {
                let place = index.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn splitting_changes_nothing(bytes in connections(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let whole = run(&[&bytes]);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&run(&pieces), &whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&run(&single), &whole);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), prefix in 0_usize..GET.len()) {
        let all = [&GET.as_bytes()[..prefix], &bytes].concat();
        let (passed, _) = run(&[&all]);
        prop_assert_eq!(&passed[..], &all[..passed.len()]);
    }
}
