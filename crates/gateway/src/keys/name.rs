//! What a request is known by: whose key it is, and a digest of what is asked for.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{Request, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use seaworthy_observe::KeyName;
use sha2::{Digest, Sha256};

use super::KeptKeys;
use crate::body::{ClientBody, Outgoing, REPLAY_LENGTH_MAX};
use crate::headers::IDEMPOTENCY_KEY;
use crate::problem::Problem;

/// Parts that cannot be mistaken for other parts: each with its length before it.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl KeptKeys {
    /// The request's key with its scope: caller, method and route.
    pub(super) fn name(&self, head: &Request<()>) -> KeyName {
        let callers = head.headers().get_all(AUTHORIZATION);
        let parts = [self.place.as_bytes(), head.method().as_str().as_bytes()];
        let scope = digest(parts.into_iter().chain(callers.iter().map(http::HeaderValue::as_bytes)));
        let key = head.headers().get(IDEMPOTENCY_KEY).map_or(&b""[..], |key| bare(key.as_bytes()));
        KeyName { scope: scope.to_vec(), key: key.to_vec() }
    }
}

/// The key without the quotes of a structured field: `"a"` and `a` are one key.
pub(super) fn bare(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// Method, target, content type and body.
pub(super) fn fingerprint(head: &Request<()>, body: &[u8]) -> [u8; 32] {
    let target = head.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let content_type = head.headers().get(CONTENT_TYPE).map_or(&b""[..], http::HeaderValue::as_bytes);
    digest([head.method().as_str().as_bytes(), target.as_bytes(), content_type, body])
}

/// Reads the whole body, which the fingerprint needs.
pub(crate) async fn whole(
    incoming: Incoming,
    headers: &mut HeaderMap,
    patience: Duration,
) -> Result<Outgoing, Box<Problem>> {
    let announced = incoming.size_hint().exact();
    if announced.is_some_and(|length| length > REPLAY_LENGTH_MAX) {
        return Err(too_large());
    }
    if announced.is_none() {
        headers.remove(CONTENT_LENGTH);
    }
    let mut body = ClientBody::new(incoming, patience);
    let mut bytes = BytesMut::new();
    while let Some(frame) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
    {
        let data: Bytes = match frame {
            // Trailers cannot be part of what is sent again.
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => return Err(Box::new(crate::serve::body_failed(&error.to_string()))),
        };
        bytes.extend_from_slice(&data);
        if bytes.len() as u64 > REPLAY_LENGTH_MAX {
            return Err(too_large());
        }
    }
    Ok(if bytes.is_empty() { Outgoing::Empty } else { Outgoing::Whole(bytes.freeze()) })
}

fn too_large() -> Box<Problem> {
    let (status, slug) = (StatusCode::PAYLOAD_TOO_LARGE, "idempotency-body-too-large");
    let title = "The request is too large for an idempotency key";
    let detail =
        format!("with an Idempotency-Key, bodies of at most {REPLAY_LENGTH_MAX} bytes are taken here");
    Box::new(Problem { close: true, ..Problem::request(status, slug, title, &detail) })
}
