//! What a proxy does to the fields of a message on its way through.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};

use crate::seen::Seen;

/// Names a request through all hops and logs.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The time left for the answer's head, in milliseconds, counted from the moment of sending.
pub(crate) const DEADLINE: HeaderName = HeaderName::from_static("seaworthy-deadline-ms");
/// In which a gRPC service says whether, and when, to send again.
pub(crate) const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// The number of this attempt, from 1.
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("seaworthy-attempt");
/// Marks a degraded answer.
pub(crate) const DEGRADED: HeaderName = HeaderName::from_static("degraded");
/// RFC 9209.
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// The idempotency key of a request.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A request id of a client is taken over up to this length.
const REQUEST_ID_LENGTH_MAX: usize = 128;

/// Fields that `Connection` cannot name: without them the message would mean something else, or we would be blind.
const ALWAYS_END_TO_END: [&str; 6] =
    ["host", "content-length", "via", "authorization", "idempotency-key", "x-request-id"];

/// Removes what concerns one connection only. The same for requests and responses.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, seen: Seen) {
    if seen.has(Seen::CONNECTION) {
        for name in connection_options(headers) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for (field, name) in [
        (Seen::KEEP_ALIVE, KEEP_ALIVE),
        (Seen::PROXY_CONNECTION, PROXY_CONNECTION),
        (Seen::TRANSFER_ENCODING, TRANSFER_ENCODING),
        (Seen::UPGRADE, UPGRADE),
    ] {
        if seen.has(field) {
            headers.remove(name);
        }
    }
    if seen.has(Seen::TE)
        && let Some(te) = headers.remove(TE)
        && has_token(te.as_bytes(), "trailers")
    {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        // RFC 9110 §10.1.4: whoever sends TE names it in Connection.
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// The fields that `Connection` names. Usually none: `keep-alive` and `close` name no field.
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive") && !name.eq_ignore_ascii_case(b"close"))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| *name != TE && !ALWAYS_END_TO_END.contains(&name.as_str()))
        .collect()
}

/// True when a comma-separated list has this element, parameters aside.
fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',').any(|element| {
        let name = element.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
    })
}

/// The client wants to speak WebSocket from here on.
pub(crate) fn wants_websocket(headers: &HeaderMap) -> bool {
    headers.get_all(UPGRADE).iter().any(|value| has_token(value.as_bytes(), "websocket"))
}

/// An expectation other than the one that everybody knows.
pub(crate) fn has_odd_expectation(headers: &HeaderMap) -> bool {
    headers.get_all(EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The request came through here before: one of its Via elements carries our mark.
pub(crate) fn has_passed(headers: &HeaderMap, mark: &str) -> bool {
    headers.get_all(VIA).iter().any(|value| value.to_str().is_ok_and(|value| value.contains(mark)))
}

/// The client's own request id, if it is fit to be passed on: visible ASCII, not too long, only one.
pub(crate) fn sane_request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let value = values.next()?;
    let bytes = value.as_bytes();
    let sane = (1..=REQUEST_ID_LENGTH_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    (sane && values.next().is_none()).then(|| value.clone())
}

/// Tells the service who asked, and for what.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, seen: Seen, peer: &HeaderValue) {
    let joined = if seen.has(Seen::FORWARDED_FOR) { join_forwarded_for(headers, peer) } else { None };
    headers.insert(X_FORWARDED_FOR, joined.unwrap_or_else(|| peer.clone()));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    match headers.get(HOST).cloned() {
        Some(host) => headers.insert(X_FORWARDED_HOST, host),
        None => headers.remove(X_FORWARDED_HOST),
    };
}

/// The addresses that were there before, with ours behind them.
fn join_forwarded_for(headers: &HeaderMap, peer: &HeaderValue) -> Option<HeaderValue> {
    let mut joined = BytesMut::new();
    for value in headers.get_all(X_FORWARDED_FOR).iter().chain([peer]) {
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(value.as_bytes());
    }
    HeaderValue::from_maybe_shared(joined.freeze()).ok()
}

/// An address as a field value.
pub(crate) fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).expect("digits, dots and colons")
}

/// Makes request ids: a prefix nobody else has, and a number.
#[derive(Debug)]
pub(crate) struct RequestIds {
    next: u64,
    prefix: [u8; 10],
}

impl RequestIds {
    /// Ids that begin with ten characters made from `seed`.
    pub(crate) fn new(mut seed: u64) -> Self {
        const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let prefix = std::array::from_fn(|_| {
            let letter = LETTERS[(seed % 32) as usize];
            seed /= 32;
            letter
        });
        Self { next: 0, prefix }
    }

    /// The next id, such as `8k2f0q9x1d-2f`.
    pub(crate) fn next(&mut self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.next += 1;
        let mut text = [b'-'; 27];
        text[..10].copy_from_slice(&self.prefix);
        let digits = (self.next.ilog2() / 4 + 1) as usize;
        for (place, digit) in text[11..11 + digits].iter_mut().enumerate() {
            *digit = DIGITS[((self.next >> (4 * (digits - 1 - place))) & 15) as usize];
        }
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text[..11 + digits]))
            .expect("letters, digits, a dash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            map.append(name, value);
        }
        map
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_fields_stay_behind() {
        let check = |fields: &[(&str, &str)], expected: &[&str]| {
            let mut headers = map(fields);
            let seen = Seen::of(&headers);
            strip_hop_by_hop(&mut headers, seen);
            assert_eq!(names(&headers), expected, "{fields:?}");
        };
        check(&[("host", "a"), ("connection", "keep-alive"), ("keep-alive", "timeout=5")], &["host"]);
        check(
            &[("connection", "close, X-One"), ("connection", "x-two"), ("x-one", "1"), ("x-two", "2")],
            &[],
        );
        check(&[("connection", "host, content-length, via"), ("host", "a"), ("via", "b")], &["host", "via"]);
        check(&[("proxy-connection", "x"), ("transfer-encoding", "chunked"), ("upgrade", "h2c")], &[]);
        check(&[("te", "gzip")], &[]);
        check(&[("te", "gzip, Trailers;q=1"), ("connection", "te")], &["connection", "te"]);
        check(&[("trailer", "x"), ("cookie", "y")], &["cookie", "trailer"]);
        check(&[("connection", " , not a token,,"), ("x", "y")], &["x"]);
    }

    #[test]
    fn request_ids_are_taken_over_when_sane() {
        let long = "x".repeat(REQUEST_ID_LENGTH_MAX + 1);
        for (fields, expected) in [
            (map(&[]), false),
            (map(&[("x-request-id", "abc-1")]), true),
            (map(&[("x-request-id", &long[1..])]), true),
            (map(&[("x-request-id", &long)]), false),
            (map(&[("x-request-id", "a b")]), false),
            (map(&[("x-request-id", "")]), false),
            (map(&[("x-request-id", "a"), ("x-request-id", "b")]), false),
        ] {
            assert_eq!(sane_request_id(&fields).is_some(), expected, "{fields:?}");
        }
    }

    #[test]
    fn request_ids_are_made_in_order() {
        let mut ids = RequestIds::new(1);
        let made: Vec<HeaderValue> = (0..17).map(|_| ids.next()).collect();
        assert_eq!(
            (&made[0], &made[14], &made[15]),
            (
                &HeaderValue::from_static("1000000000-1"),
                &HeaderValue::from_static("1000000000-f"),
                &HeaderValue::from_static("1000000000-10"),
            )
        );
        ids.next = u64::MAX - 1;
        assert_eq!(ids.next(), "1000000000-ffffffffffffffff");
    }

    #[test]
    fn forwarded_fields_name_the_client() {
        let peer = address_value([127, 0, 0, 1].into());
        let mut headers =
            map(&[("host", "a"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]);
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        let seen = Seen::of(&headers);
        set_forwarded(&mut headers, seen, &peer);
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 127.0.0.1");
        assert_eq!(
            (&headers["x-forwarded-proto"], &headers["x-forwarded-host"]),
            (&HeaderValue::from_static("http"), &HeaderValue::from_static("a"),)
        );
    }

    #[test]
    fn websockets_expectations_and_loops_are_seen() {
        assert!(wants_websocket(&map(&[("upgrade", "WebSocket")])));
        assert!(!wants_websocket(&map(&[("upgrade", "h2c")])));
        assert!(has_odd_expectation(&map(&[("expect", "200-ok")])));
        assert!(!has_odd_expectation(&map(&[("expect", "100-Continue")])));
        assert!(has_passed(&map(&[("via", "1.1 other, 1.1 seaworthy (abc-1)")]), "(abc-1)"));
        assert!(!has_passed(&map(&[("via", "1.1 seaworthy (abc-2)")]), "(abc-1)"));
    }
}
