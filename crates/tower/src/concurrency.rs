//! How many calls may be under way at once.
//!
//! **Problem.** A slow backend collects calls until the caller has no memory, no connections or no threads left.
//! **Model.** A fixed number of permits. A call beyond it is rejected at once; it waits only where somebody has said
//! for how long and how many may wait, first come, first served, and never beyond its deadline. A permit is taken in
//! `call`, never in `poll_ready`: a connection that is ready and idle must not hold one (vector#26457). Whether a
//! permit is free is looked up directly, so a task whose cooperative budget is spent is not mistaken for an overload
//! (apollographql/router#9034).
//!
//! Worked number (Little's law): 200 calls per second of 50 ms each are 10 at once; a limit of 25 bears a backend two
//! and a half times slower before it rejects.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use seaworthy_policy::ConfigError;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

use crate::ambient::Ambient;
use crate::clock::{self, Moment};
use crate::error::{By, Error, Rejection};
use crate::inner::ready_as_the_inner_one;
use crate::observe::{Decision, Watch, watchable};
use crate::timeout::is_over;

/// How many calls at once, and who may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyConfig {
    /// Calls under way at once.
    pub max_concurrent_calls: u32,
    /// How long a call may wait for a place; zero rejects at once.
    pub max_wait_duration: Duration,
    /// How many calls may wait; only with a wait.
    pub max_queue: u32,
    /// What a rejected caller is told: when to try again.
    pub retry_after: Duration,
}

impl Default for ConcurrencyConfig {
    fn default() -> Self {
        ConcurrencyConfig {
            max_concurrent_calls: 100,
            max_wait_duration: Duration::ZERO,
            max_queue: 0,
            retry_after: Duration::from_millis(100),
        }
    }
}

impl ConcurrencyConfig {
    /// Whether calls can pass, and whether those that may wait have a place to.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let error = |field, must| Err(ConfigError { field, must });
        if self.max_concurrent_calls == 0 {
            return error("max_concurrent_calls", "be at least 1");
        }
        if self.max_queue == 0 && !self.max_wait_duration.is_zero() {
            return error("max_queue", "be at least 1 when `max_wait_duration` is not 0");
        }
        if self.max_queue > 0 && self.max_wait_duration.is_zero() {
            return error("max_wait_duration", "be longer than 0 when `max_queue` is not 0");
        }
        if self.retry_after.is_zero() {
            return error("retry_after", "be longer than 0");
        }
        Ok(())
    }
}

/// Limits the calls under way, over all services made from it.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimitLayer {
    config: ConcurrencyConfig,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    watch: Watch,
}

impl ConcurrencyLimitLayer {
    /// A limit that nobody holds anything of.
    pub fn new(config: ConcurrencyConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(ConcurrencyLimitLayer {
            config,
            running: Arc::new(Semaphore::new(config.max_concurrent_calls as usize)),
            waiting: Arc::new(Semaphore::new(config.max_queue as usize)),
            watch: Watch::default(),
        })
    }

    watchable!();

    /// Calls under way.
    pub fn in_flight(&self) -> usize {
        self.config.max_concurrent_calls as usize - self.running.available_permits()
    }

    /// Calls that wait for a place.
    pub fn queued(&self) -> usize {
        self.config.max_queue as usize - self.waiting.available_permits()
    }

    fn reject(&self, reason: &'static str) -> Rejection {
        let retry_after = self.config.retry_after;
        let rejection = Rejection { by: By::ConcurrencyLimit, reason, retry_after };
        self.watch.tell(Decision::Rejected(rejection));
        rejection
    }

    /// A place in the queue until a place in the service is free, or the reason why there is none.
    fn queue(&self) -> Result<(Wait, Moment), Rejection> {
        if self.config.max_queue == 0 {
            return Err(self.reject("all places taken"));
        }
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Err(self.reject("queue full"));
        };
        let until = clock::now().after(self.config.max_wait_duration);
        let until = Ambient::get().deadline.map_or(until, |deadline| until.min(deadline));
        let acquire = Box::pin(Arc::clone(&self.running).acquire_owned());
        Ok((Wait { acquire, _place: place }, until))
    }
}

type Acquire = dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send;

/// A place in the queue. The one boxed future of this crate, and only for calls that have to wait anyway.
struct Wait {
    acquire: Pin<Box<Acquire>>,
    _place: OwnedSemaphorePermit,
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyLimit { inner, layer: self.clone() }
    }
}

/// A service that only so many calls enter at once.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit<S> {
    inner: S,
    layer: ConcurrencyLimitLayer,
}

impl<S, Request, E> Service<Request> for ConcurrencyLimit<S>
where
    S: Service<Request, Error = Error<E>> + Clone,
{
    ready_as_the_inner_one!();
    type Future = ConcurrencyFuture<S, Request>;

    fn call(&mut self, request: Request) -> Self::Future {
        let state = match Arc::clone(&self.layer.running).try_acquire_owned() {
            Ok(permit) => State::Running { inner: self.inner.call(request), _permit: permit },
            Err(_) => match self.layer.queue() {
                Err(rejection) => State::Rejected { rejection: Some(rejection) },
                Ok((wait, until)) => {
                    // The instance that was polled ready waits; its clone was not, and is polled by the next call.
                    let unready = self.inner.clone();
                    let service = std::mem::replace(&mut self.inner, unready);
                    let waiting = Waiting { service, request, layer: self.layer.clone() };
                    let timer = sleep_until(until.instant());
                    State::Waiting { wait, timer, until, waiting: Some(waiting) }
                }
            },
        };
        ConcurrencyFuture { state }
    }
}

pin_project! {
    /// The answer of [`ConcurrencyLimit`].
    pub struct ConcurrencyFuture<S: Service<Request>, Request> {
        #[pin]
        state: State<S, Request>,
    }
}

struct Waiting<S, Request> {
    service: S,
    request: Request,
    layer: ConcurrencyLimitLayer,
}

pin_project! {
    #[project = StateProjection]
    enum State<S: Service<Request>, Request> {
        Rejected { rejection: Option<Rejection> },
        Waiting {
            wait: Wait,
            #[pin]
            timer: Sleep,
            until: Moment,
            waiting: Option<Waiting<S, Request>>,
        },
        Running {
            #[pin]
            inner: S::Future,
            _permit: OwnedSemaphorePermit,
        },
        Done,
    }
}

impl<S, Request, E> Future for ConcurrencyFuture<S, Request>
where
    S: Service<Request, Error = Error<E>>,
{
    type Output = Result<S::Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Running { inner, .. } => {
                    let result = ready!(inner.poll(context));
                    // The permit goes back before the caller acts on the answer.
                    state.set(State::Done);
                    return Poll::Ready(result);
                }
                StateProjection::Rejected { rejection } => {
                    let rejection = rejection.take().expect("polled after it was ready");
                    return Poll::Ready(Err(Error::Rejected(rejection)));
                }
                StateProjection::Waiting { wait, timer, until, waiting } => {
                    match wait.acquire.as_mut().poll(context) {
                        Poll::Ready(permit) => {
                            let permit = permit.expect("the semaphore is never closed");
                            let mut ready = waiting.take().expect("it still waits");
                            State::Running { inner: ready.service.call(ready.request), _permit: permit }
                        }
                        Poll::Pending if is_over(timer, *until, context) => {
                            let layer = &waiting.as_ref().expect("it still waits").layer;
                            State::Rejected { rejection: Some(layer.reject("no place in time")) }
                        }
                        Poll::Pending => return Poll::Pending,
                    }
                }
                StateProjection::Done => panic!("polled after it was ready"),
            };
            state.set(next);
        }
    }
}
