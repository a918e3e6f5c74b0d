//! What a machine has to know about a request before it decides: its key, its priority, or nothing.

use seaworthy_policy::admission::Priority;

use crate::admission::Alike;

/// Says of a request what a machine has to know. A function from the request to that is one.
pub trait Describe<Request, About> {
    /// What there is to know.
    fn describe(&self, request: &Request) -> About;
}

impl<Request, About, F> Describe<Request, About> for F
where
    F: Fn(&Request) -> About,
{
    fn describe(&self, request: &Request) -> About {
        self(request)
    }
}

impl<Request> Describe<Request, ()> for Alike {
    fn describe(&self, _: &Request) {}
}

impl<Request> Describe<Request, Priority> for Alike {
    fn describe(&self, _: &Request) -> Priority {
        Priority::default()
    }
}
