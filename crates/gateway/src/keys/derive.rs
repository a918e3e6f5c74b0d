//! Keys for what a service does on behalf of a request that has one.
//!
//! A service that is executed again, under the same key, makes its calls again. Where those come through an egress that
//! keeps keys and have none of their own, they get one that is the same each time: a digest of the inbound request's
//! key, the egress, method and target, and the ordinal, if the service gives one.
//!
//! **What it needs.** The service passes the inbound `X-Request-ID` on; passing `Idempotency-Key` itself on needs
//! nothing of this. The inbound route keeps keys, through this node, and its request is still being executed.
//!
//! **Limits.** Two calls of one request with the same method and target are one call, unless each has its own
//! `Seaworthy-Ordinal`: with another body the second is refused as a mismatch, with the same one it gets the answer of
//! the first. So keys are derived only where they are kept: a backend on its own might take both for one in silence. Two
//! inbound requests that claim one `X-Request-ID` at the same time and have different keys derive nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request};
use seaworthy_observe::KeyName;
use seaworthy_policy::exchange::MethodKind;

use super::name::digest;
use crate::headers::{IDEMPOTENCY_KEY, sane_request_id};
use crate::shared::Target;

/// Tells calls of one request apart that have the same method and target.
const ORDINAL: HeaderName = HeaderName::from_static("seaworthy-ordinal");

/// The inbound requests with keys that are being executed, by their request ids.
#[derive(Default)]
pub(crate) struct Inbound(Arc<Mutex<HashMap<HeaderValue, Claimed>>>);

/// Who is known by a request id.
struct Claimed {
    /// What keys are derived from; `None` = several claim to be this request.
    key: Option<[u8; 32]>,
    claims: usize,
}

/// A request that is known until this is dropped.
pub(super) struct Known {
    inbound: Arc<Mutex<HashMap<HeaderValue, Claimed>>>,
    request_id: HeaderValue,
}

impl Inbound {
    /// From now on its calls can be told.
    pub(super) fn enter(&self, request_id: &HeaderValue, name: &KeyName) -> Known {
        let key = digest([&name.scope[..], &name.key[..]]);
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let claimed = map.entry(request_id.clone()).or_insert(Claimed { key: Some(key), claims: 0 });
        claimed.claims += 1;
        if claimed.key != Some(key) {
            claimed.key = None;
        }
        drop(map);
        Known { inbound: Arc::clone(&self.0), request_id: request_id.clone() }
    }

    fn find(&self, request_id: &HeaderValue) -> Option<[u8; 32]> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(request_id).and_then(|claimed| claimed.key)
    }

    /// Gives a call without a key one, if it can be told on whose behalf it is made. Answers whether it did.
    pub(crate) fn derive<B>(&self, target: &Target, request: &mut Request<B>) -> bool {
        let Some(kept) = target.keys.as_ref().filter(|_| target.trusts_callers()) else { return false };
        if MethodKind::of(request.method().as_str()) != MethodKind::Other {
            return false;
        }
        let ordinal = request.headers_mut().remove(ORDINAL);
        let Some(inbound) = sane_request_id(request.headers()).and_then(|id| self.find(&id)) else {
            return false;
        };
        let uri = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let derived = digest([
            &inbound[..],
            kept.place.as_bytes(),
            request.method().as_str().as_bytes(),
            uri.as_bytes(),
            ordinal.as_ref().map_or(&b""[..], HeaderValue::as_bytes),
        ]);
        insert(request.headers_mut(), &derived);
        true
    }
}

fn insert(headers: &mut HeaderMap, derived: &[u8; 32]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let text: Vec<u8> = derived
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .collect();
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)) {
        headers.insert(IDEMPOTENCY_KEY, value);
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut map = self.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = map.entry(self.request_id.clone()) {
            entry.get_mut().claims -= 1;
            if entry.get().claims == 0 {
                entry.remove();
            }
        }
    }
}
