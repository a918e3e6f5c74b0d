//! An answer as it is kept under a key.
//!
//! Version, whether it is whole, status, fields, body. What is not whole has a digest and a length in place of fields
//! and body: enough to prove later what was answered.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue, TRAILER};
use http::response::Parts;
use http::{Response, StatusCode};

use crate::body::ResponseBody;
use crate::headers::{PROXY_STATUS, X_REQUEST_ID};

/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const VERSION: u8 = 1;
const WHOLE: u8 = 1;
const DIGEST: u8 = 0;

/// An answer that is given again.
pub(super) fn whole(parts: &Parts, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::with_capacity(256 + body.len());
    bytes.put_slice(&[VERSION, WHOLE]);
    bytes.put_u16(parts.status.as_u16());
    // These speak of the request and of how it was served, and every request has its own.
    let fields =
        || parts.headers.iter().filter(|(name, _)| ![X_REQUEST_ID, PROXY_STATUS, TRAILER].contains(name));
    bytes.put_u16(u16::try_from(fields().count()).unwrap_or(u16::MAX));
    for (name, value) in fields().take(usize::from(u16::MAX)) {
        bytes.put_u16(name.as_str().len() as u16);
        bytes.put_slice(name.as_str().as_bytes());
        bytes.put_u32(value.len() as u32);
        bytes.put_slice(value.as_bytes());
    }
    bytes.put_slice(body);
    bytes.to_vec()
}

/// What is kept of an answer that is not given again.
pub(super) fn digest(status: StatusCode, digest: [u8; 32], length: u64) -> Vec<u8> {
    let mut bytes = BytesMut::with_capacity(44);
    bytes.put_slice(&[VERSION, DIGEST]);
    bytes.put_u16(status.as_u16());
    bytes.put_slice(&digest);
    bytes.put_u64(length);
    bytes.to_vec()
}

/// The answer, marked as given again; `None` when it cannot be.
pub(super) fn replay(stored: Vec<u8>) -> Option<Response<ResponseBody>> {
    let mut rest = Bytes::from(stored);
    if take(&mut rest, 2)?[..] != [VERSION, WHOLE] {
        return None;
    }
    let status = StatusCode::from_u16(number(&mut rest, 2)? as u16).ok()?;
    let mut headers = HeaderMap::new();
    for _ in 0..number(&mut rest, 2)? {
        let length = number(&mut rest, 2)?;
        let name = HeaderName::from_bytes(&take(&mut rest, length)?).ok()?;
        let length = number(&mut rest, 4)?;
        headers.append(name, HeaderValue::from_maybe_shared(take(&mut rest, length)?).ok()?);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    let mut response = Response::new(ResponseBody::full(rest));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (rest.len() >= length).then(|| rest.split_to(length))
}

fn number(rest: &mut Bytes, length: usize) -> Option<usize> {
    Some(take(rest, length)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, SET_COOKIE};

    use super::*;

    fn parts() -> Parts {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.append(SET_COOKIE, HeaderValue::from_static("a=1"));
        headers.append(SET_COOKIE, HeaderValue::from_bytes(b"b=\xe9").unwrap());
        headers.insert(X_REQUEST_ID, HeaderValue::from_static("first"));
        response.into_parts().0
    }

    #[test]
    fn what_is_kept_is_given_again() {
        let (parts, stored) = (parts(), whole(&parts(), b"hello"));
        let response = replay(stored).unwrap();
        assert_eq!(response.status(), 201);
        assert!(matches!(response.body(), ResponseBody::Whole(Some(body)) if body[..] == *b"hello"));
        let headers = response.headers();
        assert_eq!((headers.len(), &headers["idempotent-replayed"]), (4, &HeaderValue::from_static("true")));
        let cookies = |headers: &HeaderMap| headers.get_all(SET_COOKIE).iter().cloned().collect::<Vec<_>>();
        assert_eq!(cookies(headers), cookies(&parts.headers));
    }

    #[test]
    fn what_is_not_whole_is_not() {
        assert!(replay(digest(StatusCode::OK, [7; 32], 9)).is_none());
        let stored = whole(&parts(), b"");
        for length in 0..stored.len() {
            assert!(replay(stored[..length].to_vec()).is_none(), "{length}");
        }
        assert!(replay(stored).is_some());
    }
}
