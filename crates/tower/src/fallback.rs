//! An answer of another kind where the backend has none.
//!
//! **Model.** A function sees every failure, the backend's and ours, and may answer in its place: a default, a stale
//! copy, a shorter list. It does not see what the request itself was at fault for ([`Verdict::Ignored`]), and not a
//! call that its caller gave up. What it answers should say that it is second best; nobody else will.
//!
//! The function is synchronous: what waits for another backend needs that one's own timeout and breaker, and a bound on how
//! many wait there; see [`FallbackServiceLayer`](crate::FallbackServiceLayer).
//!
//! Belongs outermost: inside of a breaker or a retry it would pass failures off as success.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::classify::{Classify, FailOnError, Meaning, Verdict, meaning};
use crate::error::Error;
use crate::inner::ready_as_the_inner_one;
use crate::observe::{Decision, Watch, watchable};

/// Answers in place of failures.
#[derive(Clone, Debug)]
pub struct FallbackLayer<F, C = FailOnError> {
    answer: F,
    classifier: C,
    watch: Watch,
}

impl<F> FallbackLayer<F> {
    /// Asks `answer` about every failure, as `Fn(Result<&Response, &Error<E>>) -> Option<Response>`; `None` lets the
    /// failure through.
    pub fn new(answer: F) -> Self {
        FallbackLayer { answer, classifier: FailOnError, watch: Watch::default() }
    }
}

impl<F, C> FallbackLayer<F, C> {
    /// Reads answers with this classifier.
    pub fn classify<D>(self, classifier: D) -> FallbackLayer<F, D> {
        FallbackLayer { answer: self.answer, classifier, watch: self.watch }
    }

    watchable!();
}

impl<S, F: Clone, C: Clone> Layer<S> for FallbackLayer<F, C> {
    type Service = Fallback<S, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback { inner, layer: self.clone() }
    }
}

/// A service with something to fall back on.
#[derive(Clone, Debug)]
pub struct Fallback<S, F, C = FailOnError> {
    inner: S,
    layer: FallbackLayer<F, C>,
}

impl<S, F, C, Request, E> Service<Request> for Fallback<S, F, C>
where
    S: Service<Request, Error = Error<E>>,
    F: Fn(Result<&S::Response, &Error<E>>) -> Option<S::Response> + Clone,
    C: Classify<S::Response, E> + Clone,
{
    ready_as_the_inner_one!();
    type Future = FallbackFuture<S::Future, F, C>;

    fn call(&mut self, request: Request) -> Self::Future {
        FallbackFuture { inner: self.inner.call(request), layer: self.layer.clone() }
    }
}

pin_project! {
    /// The answer of [`Fallback`].
    #[derive(Debug)]
    pub struct FallbackFuture<I, F, C> {
        #[pin]
        inner: I,
        layer: FallbackLayer<F, C>,
    }
}

impl<I, F, C, Response, E> Future for FallbackFuture<I, F, C>
where
    I: Future<Output = Result<Response, Error<E>>>,
    F: Fn(Result<&Response, &Error<E>>) -> Option<Response>,
    C: Classify<Response, E>,
{
    type Output = Result<Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(context));
        let layer = this.layer;
        if let Meaning::Backend(Verdict::Success | Verdict::Ignored) = meaning(&layer.classifier, &result) {
            return Poll::Ready(result);
        }
        match (layer.answer)(result.as_ref()) {
            Some(answer) => {
                layer.watch.tell(Decision::Fallback);
                Poll::Ready(Ok(answer))
            }
            None => Poll::Ready(result),
        }
    }
}
