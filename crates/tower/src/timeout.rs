//! The two timers of a call: the whole of it, and each attempt.
//!
//! **Model.** Both are the same: a deadline that is fixed when the call begins, told to everything inside (see
//! [`current`](crate::current)), and never later than that of a layer further out. When it passes, the inner future is
//! dropped. A call that comes when its deadline has passed already is rejected, and nothing is sent.
//!
//! The timer is made when the inner service is first seen waiting: an answer that is there at once costs none.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use seaworthy_policy::ConfigError;
use tokio::task::coop;
use tokio::time::{Sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

use crate::ambient::Ambient;
use crate::clock::{self, Moment};
use crate::error::{By, Error, Rejection, Timeout, Which};
use crate::inner::ready_as_the_inner_one;
use crate::observe::{Decision, Watch, watchable};

/// What a rejection for want of time says about trying again: with a new deadline, at once.
const RETRY_AFTER_DEADLINE: Duration = Duration::from_millis(1);

/// Limits how long a call, or each attempt, may take.
#[derive(Clone, Debug)]
pub struct TimeoutLayer {
    which: Which,
    after: Duration,
    watch: Watch,
}

impl TimeoutLayer {
    /// Limits the whole call; belongs outside of retries.
    pub fn total(after: Duration) -> Result<Self, ConfigError> {
        Self::new(Which::Total, after, "total_timeout")
    }

    /// Limits each attempt; belongs inside of retries and breakers.
    pub fn attempt(after: Duration) -> Result<Self, ConfigError> {
        Self::new(Which::Attempt, after, "attempt_timeout")
    }

    fn new(which: Which, after: Duration, field: &'static str) -> Result<Self, ConfigError> {
        if after.is_zero() {
            return Err(ConfigError { field, must: "be longer than 0" });
        }
        Ok(TimeoutLayer { which, after, watch: Watch::default() })
    }

    watchable!();
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = TimeoutService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService { inner, layer: self.clone() }
    }
}

/// A service with a time limit.
#[derive(Clone, Debug)]
pub struct TimeoutService<S> {
    inner: S,
    layer: TimeoutLayer,
}

impl<S, Request, E> Service<Request> for TimeoutService<S>
where
    S: Service<Request, Error = Error<E>>,
{
    ready_as_the_inner_one!();
    type Future = TimeoutFuture<S::Future>;

    fn call(&mut self, request: Request) -> Self::Future {
        let entry = clock::entering();
        let now = entry.now;
        let outer = Ambient::get();
        if outer.deadline.is_some_and(|deadline| deadline <= now) {
            let rejection =
                Rejection { by: By::Deadline, reason: "no time left", retry_after: RETRY_AFTER_DEADLINE };
            self.layer.watch.tell(Decision::Rejected(rejection));
            return TimeoutFuture { state: State::Rejected { rejection: Some(rejection) } };
        }
        let own = now.after(self.layer.after);
        let ambient = outer.no_later_than(own);
        let scope = ambient.enter();
        let inner = self.inner.call(request);
        drop(scope);
        let layer = self.layer.clone();
        TimeoutFuture { state: State::Running { inner, timer: None, own, ambient, layer } }
    }
}

pin_project! {
    /// The answer of [`TimeoutService`].
    #[derive(Debug)]
    pub struct TimeoutFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F> {
        Rejected {
            // Taken by the one poll that answers it.
            rejection: Option<Rejection>,
        },
        Running {
            #[pin]
            inner: F,
            // There once it was needed.
            #[pin]
            timer: Option<Sleep>,
            // When this layer gives up.
            own: Moment,
            // What the inner service is told.
            ambient: Ambient,
            layer: TimeoutLayer,
        },
    }
}

impl<F, Response, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Response, Error<E>>>,
{
    type Output = Result<Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        clock::polling();
        match self.project().state.project() {
            StateProjection::Rejected { rejection } => {
                let rejection = rejection.take().expect("polled after it was ready");
                Poll::Ready(Err(Error::Rejected(rejection)))
            }
            StateProjection::Running { inner, mut timer, own, ambient, layer } => {
                let scope = ambient.enter();
                let polled = inner.poll(context);
                drop(scope);
                if polled.is_ready() {
                    return polled;
                }
                if timer.is_none() {
                    timer.set(Some(sleep_until(own.instant())));
                }
                let timer = timer.as_pin_mut().expect("set above");
                if !is_over(timer, *own, context) {
                    return Poll::Pending;
                }
                let timeout = Timeout { which: layer.which, after: layer.after };
                layer.watch.tell(Decision::Timeout(timeout));
                Poll::Ready(Err(Error::Timeout(timeout)))
            }
        }
    }
}

/// Whether the timer has run out. An inner service that spends the whole of the task's cooperative budget on each poll
/// would keep the timer from ever being looked at; then the clock is asked instead.
pub(crate) fn is_over(timer: Pin<&mut Sleep>, at: Moment, context: &mut Context<'_>) -> bool {
    timer.poll(context).is_ready() || (!coop::has_budget_remaining() && clock::now() >= at)
}
