//! A stored answer, given again: with its `Age`, with a `Cache-Status` (RFC 9211), and marked where it is degraded.

use http::header::{
    AGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use http::{Method, Request, Response, StatusCode};

use super::store::Hit;
use crate::body::ResponseBody;
use crate::headers::DEGRADED;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a stored answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is fresh, or may be shown while it is fetched again.
    Found,
    /// Fetching it has failed.
    Failed,
}

/// The answer to this request.
pub(crate) fn give(hit: &Hit, request: &Request<()>, reason: Reason) -> Response<ResponseBody> {
    let kept = &hit.kept;
    let mut response = Response::new(ResponseBody::Whole(None));
    *response.headers_mut() = kept.headers.clone();
    *response.status_mut() = kept.status;
    let degraded = hit.degraded || reason == Reason::Failed;
    let stale = hit.is_stale();
    let detail = match (degraded, stale) {
        (true, _) => "; detail=stale-if-error",
        (false, true) => "; detail=stale-while-revalidate",
        (false, false) => "",
    };
    let left = i64::try_from(kept.ttl.as_secs()).unwrap_or(i64::MAX)
        - i64::try_from(hit.age.as_secs()).unwrap_or(i64::MAX);
    let headers = response.headers_mut();
    headers.insert(AGE, hit.age.as_secs().into());
    if let Ok(status) = HeaderValue::try_from(format!("seaworthy; hit; ttl={left}{detail}")) {
        headers.append(CACHE_STATUS, status);
    }
    if degraded {
        headers.insert(DEGRADED, HeaderValue::from_static("stale"));
    }
    if !degraded && kept.status == StatusCode::OK && is_known(headers, request.headers()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.remove(CONTENT_TYPE);
    } else if *request.method() != Method::HEAD {
        *response.body_mut() = ResponseBody::full(kept.body.clone());
    }
    response
}

/// The client has this answer already (RFC 9110 §13.1.2, compared weakly).
fn is_known(answer: &HeaderMap, request: &HeaderMap) -> bool {
    let Some(tag) = answer.get(ETAG).map(|tag| strong(tag.as_bytes())) else { return false };
    request.get_all(IF_NONE_MATCH).iter().any(|value| {
        let mut tags = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        tags.any(|known| known == b"*" || strong(known) == tag)
    })
}

fn strong(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}
