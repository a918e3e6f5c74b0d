//! Another service that answers where the first one cannot.
//!
//! **Problem.** What answers in an outage is often another service: a replica, a cache, the slower region. Called by hand, it
//! is called for the wrong failures (the caller's own mistakes, an order that may have been executed), by everybody at once
//! when the first one is down, and nobody can tell its answers from the real ones. **Model.** The machine of
//! [`seaworthy_policy::fallback`] says which failures lead there, and how many calls may be there at once; `mark` turns the
//! second service's answer into one that says what it is. A call whose outcome is unknown and that must not be executed twice
//! is never passed on.
//!
//! When the second service fails as well, or has no place, the first failure is the answer: that is what a call without a
//! fallback would have seen. Nothing is held while the first service is at work but a clone of the second.
//!
//! Belongs outermost. The second service has its own timeout and breaker (a policy is a layer: `policy.layer(replica)`), since
//! what the deadline of the first has left may be nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use seaworthy_policy::ConfigError;
use seaworthy_policy::call::Safety;
use seaworthy_policy::fallback::{self, FailureClass, FallbackConfig, NoFallback, Permit};
use tower_layer::Layer;
use tower_service::Service;

use crate::classify::{Classify, FailOnError, Meaning, Verdict, meaning};
use crate::error::Error;
use crate::inner::ready_as_the_inner_one;
use crate::observe::{Decision, Watch, watchable};
use crate::replay::{Idempotent, Replay};

/// Asks a second service where the first one fails. Layers that are cloned share its places.
///
/// Without Tower, the second service is an [`FnService`](crate::FnService):
///
/// ```
/// use seaworthy_tower::{FallbackConfig, FnService, Policy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # async fn rate() -> Result<f64, std::io::Error> { Err(std::io::Error::other("down")) }
/// # async fn rate_of_yesterday() -> Result<f64, std::io::Error> { Ok(1.1) }
/// let yesterday = FnService::new(|_| rate_of_yesterday());
/// let policy = Policy::builder("rates")
///     .fallback_to(FallbackConfig::default(), yesterday, |rate| (rate, true))
///     .build()
///     .expect("a good stack");
/// // The rate, and whether it is yesterday's.
/// let answer = policy.call(|_| async { rate().await.map(|rate| (rate, false)) }).await;
/// assert_eq!(answer.unwrap(), (1.1, true));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FallbackServiceLayer<B, M, C = FailOnError, P = Idempotent> {
    backup: B,
    mark: M,
    classifier: C,
    replay: P,
    places: Places,
    watch: Watch,
}

impl<B, M, P> FallbackServiceLayer<B, M, FailOnError, P> {
    /// Asks `backup`, whose answers `mark` turns into marked ones, as `Fn(B::Response) -> Response`; `replay` says which
    /// requests can be copied, and which may be executed twice.
    pub fn new(config: FallbackConfig, backup: B, mark: M, replay: P) -> Result<Self, ConfigError> {
        config.validate()?;
        let places = Places(Arc::new(Mutex::new(fallback::Fallback::new(config))));
        Ok(FallbackServiceLayer {
            backup,
            mark,
            classifier: FailOnError,
            replay,
            places,
            watch: Watch::default(),
        })
    }
}

impl<B, M, C, P> FallbackServiceLayer<B, M, C, P> {
    /// Reads answers with this classifier, the marked ones of the second service too.
    pub fn classify<D>(self, classifier: D) -> FallbackServiceLayer<B, M, D, P> {
        let FallbackServiceLayer { backup, mark, replay, places, watch, .. } = self;
        FallbackServiceLayer { backup, mark, classifier, replay, places, watch }
    }

    watchable!();

    /// Calls to the second service under way.
    pub fn running(&self) -> u32 {
        self.places.lock().running()
    }
}

/// How many calls are with the second service.
#[derive(Clone, Debug)]
struct Places(Arc<Mutex<fallback::Fallback>>);

impl Places {
    fn lock(&self) -> MutexGuard<'_, fallback::Fallback> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, class: FailureClass) -> Result<Place, NoFallback> {
        let permit = Some(self.lock().on_failure(class)?);
        Ok(Place { places: self.clone(), permit })
    }
}

/// A place with the second service, given back when this is dropped.
#[derive(Debug)]
struct Place {
    places: Places,
    permit: Option<Permit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.places.lock().on_end(permit);
        }
    }
}

impl<S, B: Clone, M: Clone, C: Clone, P: Clone> Layer<S> for FallbackServiceLayer<B, M, C, P> {
    type Service = FallbackService<S, B, M, C, P>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService { inner, layer: self.clone() }
    }
}

/// A service with another one to fall back on.
#[derive(Clone, Debug)]
pub struct FallbackService<S, B, M, C = FailOnError, P = Idempotent> {
    inner: S,
    layer: FallbackServiceLayer<B, M, C, P>,
}

impl<S, B, M, C, P, Request, E> Service<Request> for FallbackService<S, B, M, C, P>
where
    S: Service<Request, Error = Error<E>>,
    B: Service<Request> + Clone,
    M: Fn(B::Response) -> S::Response + Clone,
    C: Classify<S::Response, E> + Clone,
    P: Replay<Request> + Clone,
{
    ready_as_the_inner_one!();
    type Future = FallbackServiceFuture<S::Future, B, S::Response, Request, M, C, P, E>;

    fn call(&mut self, request: Request) -> Self::Future {
        let safety = self.layer.replay.safety(&request);
        let copy = self.layer.replay.copy(&request);
        let layer = self.layer.clone();
        let state = State::First { inner: self.inner.call(request), copy };
        FallbackServiceFuture { state, safety, failed: None, layer }
    }
}

pin_project! {
    /// The answer of [`FallbackService`].
    pub struct FallbackServiceFuture<I, B: Service<Request>, Response, Request, M, C, P, E> {
        #[pin]
        state: State<I, B::Future, Request>,
        safety: Safety,
        // What the first service failed with.
        failed: Option<Result<Response, Error<E>>>,
        layer: FallbackServiceLayer<B, M, C, P>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<I, F, Request> {
        First {
            #[pin]
            inner: I,
            copy: Option<Request>,
        },
        Readying {
            request: Option<Request>,
            place: Option<Place>,
        },
        Second {
            #[pin]
            inner: F,
            place: Place,
        },
        Done,
    }
}

impl<B, M, C, P> FallbackServiceLayer<B, M, C, P> {
    /// A place with the second service, if this failure leads there; otherwise it stands as it is.
    fn place_for<Response, E>(&self, safety: Safety, result: &Result<Response, Error<E>>) -> Option<Place>
    where
        C: Classify<Response, E>,
    {
        let executed_twice = safety == Safety::Unsafe;
        let class = match meaning(&self.classifier, result) {
            Meaning::Backend(Verdict::Success) => return None,
            Meaning::Backend(Verdict::Ignored) => FailureClass::CallerError,
            Meaning::Backend(Verdict::Failure(failure)) if failure.is_unexecuted => FailureClass::Unreachable,
            Meaning::Backend(Verdict::Failure(_)) | Meaning::TimedOut if executed_twice => {
                FailureClass::OutcomeUnknown
            }
            Meaning::Backend(Verdict::Failure(_)) => FailureClass::Error,
            Meaning::TimedOut => FailureClass::Timeout,
            Meaning::Rejected => FailureClass::Rejected,
        };
        match self.places.take(class) {
            Ok(place) => Some(place),
            Err(NoFallback::NotCovered) => None,
            Err(NoFallback::Busy { .. }) => {
                self.watch.tell(Decision::FallbackBusy);
                None
            }
        }
    }

    /// The second service's answer, marked, if it is a good one.
    fn marked<Request, Response, E>(&self, answer: Result<B::Response, B::Error>) -> Option<Response>
    where
        B: Service<Request>,
        M: Fn(B::Response) -> Response,
        C: Classify<Response, E>,
    {
        let marked = answer.ok().map(|answer| (self.mark)(answer));
        let good = marked.filter(|marked| self.classifier.classify(Ok(marked)) == Verdict::Success);
        self.watch.tell(if good.is_some() { Decision::Fallback } else { Decision::FallbackFailed });
        good
    }
}

impl<I, B, Response, Request, M, C, P, E> Future
    for FallbackServiceFuture<I, B, Response, Request, M, C, P, E>
where
    I: Future<Output = Result<Response, Error<E>>>,
    B: Service<Request>,
    M: Fn(B::Response) -> Response,
    C: Classify<Response, E>,
{
    type Output = Result<Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (layer, safety) = (this.layer, *this.safety);
        let answer = loop {
            let next = match this.state.as_mut().project() {
                StateProjection::First { inner, copy } => {
                    let result = ready!(inner.poll(context));
                    let copy = copy.take();
                    let second = copy.and_then(|request| Some((request, layer.place_for(safety, &result)?)));
                    let Some((request, place)) = second else { break Some(result) };
                    *this.failed = Some(result);
                    State::Readying { request: Some(request), place: Some(place) }
                }
                StateProjection::Readying { request, place } => {
                    if ready!(layer.backup.poll_ready(context)).is_err() {
                        layer.watch.tell(Decision::FallbackFailed);
                        break None;
                    }
                    let request = request.take().expect("there until it is sent");
                    let place = place.take().expect("there until it is sent");
                    State::Second { inner: layer.backup.call(request), place }
                }
                StateProjection::Second { inner, .. } => {
                    break layer.marked(ready!(inner.poll(context))).map(Ok);
                }
                StateProjection::Done => panic!("polled after it was ready"),
            };
            this.state.set(next);
        };
        // The place goes back before the caller acts on the answer.
        this.state.set(State::Done);
        let failed = this.failed.take();
        Poll::Ready(answer.unwrap_or_else(|| failed.expect("the first service has failed")))
    }
}
