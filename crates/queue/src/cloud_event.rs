//! What a delivery is, as a CloudEvent in the binary mode of its HTTP binding (CloudEvents 1.0.2, HTTP §3.1): the body is
//! the data as it came, and the context stands in headers.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

/// The context of an event. Its id is that of the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    /// Where it comes from, as a URI reference: `/queues/purchases`.
    pub source: String,
    /// What has happened: `com.example.order.created`.
    pub kind: String,
    /// To what, if it says so.
    pub subject: Option<String>,
    /// When.
    pub time: Timestamp,
}

const SPEC_VERSION: HeaderName = HeaderName::from_static("ce-specversion");
const ID: HeaderName = HeaderName::from_static("ce-id");
const SOURCE: HeaderName = HeaderName::from_static("ce-source");
const KIND: HeaderName = HeaderName::from_static("ce-type");
const SUBJECT: HeaderName = HeaderName::from_static("ce-subject");
const TIME: HeaderName = HeaderName::from_static("ce-time");

impl CloudEvent {
    /// Adds the context to the headers of a delivery.
    pub(crate) fn write(&self, id: &str, headers: &mut HeaderMap) {
        headers.insert(SPEC_VERSION, HeaderValue::from_static("1.0"));
        let texts = [(ID, id), (SOURCE, self.source.as_str()), (KIND, self.kind.as_str())];
        let subject = self.subject.as_deref().map(|subject| (SUBJECT, subject));
        for (name, text) in texts.into_iter().chain(subject) {
            headers.insert(name, value(text));
        }
        headers.insert(TIME, value(&self.time.to_string()));
    }
}

/// A text as a header carries it: what is not visible ASCII, and `"` and `%`, percent-encoded (§3.1.3.2).
fn value(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    HeaderValue::try_from(encoded).expect("visible ASCII is a header's value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_stands_in_headers() {
        let event = CloudEvent {
            source: "/queues/purchases".into(),
            kind: "shop.order.created".into(),
            subject: Some("Euro € \"100%\"".into()),
            time: Timestamp::from_second(1_614_265_330).expect("a time"),
        };
        let mut headers = HeaderMap::new();
        event.write("job-7", &mut headers);
        let mut found: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("visible ASCII")))
            .collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("ce-id", "job-7"),
                ("ce-source", "/queues/purchases"),
                ("ce-specversion", "1.0"),
                // The example of the specification.
                ("ce-subject", "Euro%20%E2%82%AC%20%22100%25%22"),
                ("ce-time", "2021-02-25T15:02:10Z"),
                ("ce-type", "shop.order.created"),
            ]
        );
    }

    #[test]
    fn nothing_breaks_out_of_a_header() {
        let mut headers = HeaderMap::new();
        let event = CloudEvent {
            source: "a\r\nX-Evil: 1".into(),
            kind: "\0".into(),
            subject: None,
            time: Timestamp::UNIX_EPOCH,
        };
        event.write("x", &mut headers);
        assert_eq!(
            (headers["ce-source"].as_bytes(), headers["ce-type"].as_bytes()),
            (b"a%0D%0AX-Evil:%201".as_slice(), b"%00".as_slice())
        );
        assert!(!headers.contains_key("ce-subject"));
    }
}
