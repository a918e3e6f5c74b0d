//! Where your service begins: below this layer errors are the service's own, above it they are [`Error`].
//!
//! **Rejected:** letting every layer wrap the error once more (a stack of five would answer with
//! `Error<Error<Error<Error<Error<E>>>>>`), and erasing errors into boxes (then no outer layer could tell a
//! rejection of ours from a failure of the backend).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Error, clock};

/// Puts a service's errors into [`Error::Inner`]. The innermost layer of every stack; [`Policy`](crate::Policy)
/// adds it by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct InnerLayer;

impl<S> Layer<S> for InnerLayer {
    type Service = Inner<S>;

    fn layer(&self, service: S) -> Inner<S> {
        Inner { service }
    }
}

/// A service whose errors are [`Error::Inner`].
#[derive(Clone, Copy, Debug)]
pub struct Inner<S> {
    service: S,
}

impl<S, Request> Service<Request> for Inner<S>
where
    S: Service<Request>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = InnerFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context).map_err(Error::Inner)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        InnerFuture { future: clock::without_reading(|| self.service.call(request)) }
    }
}

pin_project! {
    /// The answer of [`Inner`].
    #[derive(Debug)]
    pub struct InnerFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, Response, E> Future for InnerFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        clock::polling();
        self.project().future.poll(context).map_err(Error::Inner)
    }
}

/// What a service of ours has from the one inside of it: its answers, and its readiness. Nothing is held in `poll_ready`.
macro_rules! ready_as_the_inner_one {
    () => {
        type Response = S::Response;
        type Error = crate::Error<E>;

        fn poll_ready(
            &mut self,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Self::Error>> {
            self.inner.poll_ready(context)
        }
    };
}
pub(crate) use ready_as_the_inner_one;
