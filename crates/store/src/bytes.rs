//! Sizes that are bounded, in one place.

use crate::{Bound, StoreError};

/// A name (of a queue, a topic, a subscriber, a kind of history) is at most this long, in bytes.
pub(crate) const NAME_MAX: usize = 128;
/// A key (dedupe, idempotency with its scope, order) is at most this long, in bytes.
pub(crate) const KEY_MAX: usize = 1_024;
/// Headers are at most this long, in bytes.
pub(crate) const HEADERS_MAX: usize = 64 * 1_024;

/// A size against its limit.
pub(crate) fn fits(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size <= limit { Ok(()) } else { Err(StoreError::Full(Bound::Size { what, size, limit })) }
}
