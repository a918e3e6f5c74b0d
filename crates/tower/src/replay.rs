//! Whether a request may be sent twice, and how a second one is made.

use seaworthy_policy::call::Safety;

/// Knows what may be sent again.
pub trait Replay<Request> {
    /// Whether executing this request twice does harm.
    fn safety(&self, request: &Request) -> Safety;

    /// A second request just like this one; `None` when there cannot be one (a streamed body, for instance).
    fn copy(&self, request: &Request) -> Option<Request>;
}

/// Your word that executing any of these requests twice does no harm.
#[derive(Clone, Copy, Debug, Default)]
pub struct Idempotent;

impl<Request: Clone> Replay<Request> for Idempotent {
    fn safety(&self, _: &Request) -> Safety {
        Safety::Safe
    }

    fn copy(&self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

/// The cautious choice: a request is sent again only with proof that it was not executed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotIdempotent;

impl<Request: Clone> Replay<Request> for NotIdempotent {
    fn safety(&self, _: &Request) -> Safety {
        Safety::Unsafe
    }

    fn copy(&self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}
