//! Which fields a message has, of those that a proxy has to look at.
//!
//! Most messages have few of them. One look at each name that is there costs a fifth of a search for each name that
//! might be there.

use http::HeaderMap;

/// The fields that a message may have. They may have been removed since: it is a hint where a search is worth it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen(u32);

impl Seen {
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 1);
    pub(crate) const CONTENT_TYPE: Self = Self(1 << 2);
    pub(crate) const DEGRADED: Self = Self(1 << 3);
    pub(crate) const EXPECT: Self = Self(1 << 4);
    pub(crate) const FORWARDED_FOR: Self = Self(1 << 5);
    pub(crate) const IDEMPOTENCY_KEY: Self = Self(1 << 6);
    pub(crate) const KEEP_ALIVE: Self = Self(1 << 7);
    pub(crate) const PROXY_CONNECTION: Self = Self(1 << 8);
    pub(crate) const PUSHBACK: Self = Self(1 << 9);
    pub(crate) const REQUEST_ID: Self = Self(1 << 10);
    pub(crate) const RETRY_AFTER: Self = Self(1 << 11);
    pub(crate) const TE: Self = Self(1 << 12);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 13);
    pub(crate) const UPGRADE: Self = Self(1 << 14);
    pub(crate) const VIA: Self = Self(1 << 15);
    /// Any of the usual fields about the time that is left.
    pub(crate) const DEADLINE: Self = Self(1 << 16);
    pub(crate) const PRIORITY: Self = Self(1 << 17);

    /// Looks at every name once.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().fold(0, |seen, name| seen | Self::one(name.as_str()).0))
    }

    /// At least one of `fields` was there.
    pub(crate) fn has(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }

    /// These are there from now on.
    pub(crate) fn add(&mut self, fields: Self) {
        self.0 |= fields.0;
    }

    fn one(name: &str) -> Self {
        match name {
            "connection" => Self::CONNECTION,
            "content-length" => Self::CONTENT_LENGTH,
            "content-type" => Self::CONTENT_TYPE,
            "degraded" => Self::DEGRADED,
            "expect" => Self::EXPECT,
            "x-forwarded-for" => Self::FORWARDED_FOR,
            "idempotency-key" => Self::IDEMPOTENCY_KEY,
            "keep-alive" => Self::KEEP_ALIVE,
            "proxy-connection" => Self::PROXY_CONNECTION,
            "grpc-retry-pushback-ms" => Self::PUSHBACK,
            "x-request-id" => Self::REQUEST_ID,
            "retry-after" => Self::RETRY_AFTER,
            "seaworthy-priority" => Self::PRIORITY,
            "te" => Self::TE,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "upgrade" => Self::UPGRADE,
            "via" => Self::VIA,
            "seaworthy-deadline-ms" | "grpc-timeout" | "x-envoy-expected-rq-timeout-ms" => Self::DEADLINE,
            _ => Self::default(),
        }
    }
}
