//! How much a request matters.

use seaworthy_policy::admission::Priority;

/// Knows how much a request matters, and whose it is.
///
/// A function from the request to its [`Priority`] is one.
pub trait Prioritize<Request> {
    /// How much it matters. A lower one never makes a higher one wait.
    fn priority(&self, request: &Request) -> Priority;

    /// Whose it is: a hash of the user or tenant, spread over all bits. Within a priority, keys take turns. Zero for
    /// everybody means: no turns, plain order.
    fn fairness_key(&self, request: &Request) -> u64 {
        let _ = request;
        0
    }
}

/// Every request matters alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alike;

impl<Request> Prioritize<Request> for Alike {
    fn priority(&self, _: &Request) -> Priority {
        Priority::default()
    }
}

impl<Request, F> Prioritize<Request> for F
where
    F: Fn(&Request) -> Priority,
{
    fn priority(&self, request: &Request) -> Priority {
        self(request)
    }
}
