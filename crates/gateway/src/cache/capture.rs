//! An answer that is kept while it passes. Only a whole one is: what breaks off, what has trailers and what is too
//! long is not, and the client notices nothing of it.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{AGE, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::response::Parts;
use http_body::Frame;
use seaworthy_policy::Time;
use seaworthy_policy::fallback::FailureClass;

use super::rules::{Terms, Verdict, judge};
use super::store::{Kept, Ticket};
use crate::headers::{PROXY_STATUS, X_REQUEST_ID};

/// Where a body ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// Where the connection does, which may be anywhere.
    Unknown,
    /// It says so; so many bytes at least.
    AtLeast(u64),
}

impl Length {
    /// As these fields have it, hop-by-hop fields included.
    pub(crate) fn of(headers: &HeaderMap, least: u64) -> Self {
        let framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
        if framed || least > 0 { Self::AtLeast(least) } else { Self::Unknown }
    }
}

/// An answer while it comes in.
pub(crate) struct Capture {
    ticket: Ticket,
    terms: Terms,
    status: StatusCode,
    headers: HeaderMap,
    /// The request's fields, of which the answer may be a variant.
    request: HeaderMap,
    body: BytesMut,
}

impl Capture {
    /// Judges the head of an answer to a GET, hop-by-hop fields removed; `None` when it is not kept.
    pub(crate) fn of(
        now: Time,
        ticket: Ticket,
        request: &HeaderMap,
        response: &Parts,
        length: Length,
    ) -> Option<Box<Self>> {
        let lifetime = ticket.config.lifetime;
        let terms = match judge(response.status, &response.headers, ticket.asked.personal, lifetime) {
            Verdict::Keep(terms) => terms,
            Verdict::Uncacheable => {
                ticket.uncacheable(now);
                return None;
            }
            Verdict::Unwanted => {
                ticket.unwanted(now);
                return None;
            }
            // Dropped with its ticket.
            Verdict::Own => return None,
            Verdict::Failed => {
                ticket.failed(now, FailureClass::Error);
                return None;
            }
        };
        let fits = match length {
            Length::Unknown => false,
            Length::AtLeast(least) => {
                usize::try_from(least).is_ok_and(|least| least <= ticket.body_length_max())
            }
        };
        if !fits {
            ticket.uncacheable(now);
            return None;
        }
        let mut headers = response.headers.clone();
        for name in [AGE, X_REQUEST_ID, PROXY_STATUS] {
            headers.remove(name);
        }
        let status = response.status;
        let (request, body) = (request.clone(), BytesMut::new());
        Some(Box::new(Self { ticket, terms, status, headers, request, body }))
    }

    /// A part of the body passes. Answers whether there is still something to keep.
    pub(crate) fn frame(mut self: Box<Self>, now: Time, frame: &Frame<Bytes>) -> Option<Box<Self>> {
        let fits = frame.data_ref().is_some_and(|data| {
            self.body.extend_from_slice(data);
            self.body.len() <= self.ticket.body_length_max()
        });
        if fits {
            return Some(self);
        }
        self.ticket.uncacheable(now);
        None
    }

    /// That was all of it.
    pub(crate) fn whole(self, now: Time) {
        let Self { ticket, terms, status, mut headers, request, body } = self;
        if !body.is_empty() {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let kept =
            Kept { status, headers, body: body.freeze(), public: terms.public, ttl: terms.lifetime.ttl };
        ticket.landed(now, &terms, kept, &request);
    }

    /// It broke off.
    pub(crate) fn broken(self, now: Time) {
        self.ticket.failed(now, FailureClass::Unreachable);
    }
}
