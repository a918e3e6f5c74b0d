//! A plain async function as a service, for people without Tower.

use std::future::Future;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::ambient::{Attempt, current};

/// Calls the function with what is known about the attempt; always ready. What is asked for tells the policies what the call is
/// about; the function knows that anyway.
#[derive(Clone, Copy, Debug)]
pub struct FnService<F> {
    function: F,
}

impl<F> FnService<F> {
    /// The service that calls this function.
    pub fn new(function: F) -> Self {
        FnService { function }
    }
}

impl<F, Answer, Response, E, About> Service<About> for FnService<F>
where
    F: Fn(Attempt) -> Answer,
    Answer: Future<Output = Result<Response, E>>,
{
    type Response = Response;
    type Error = E;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: About) -> Answer {
        (self.function)(current())
    }
}
