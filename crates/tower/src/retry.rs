//! Sending a request again when that may help, and only then.
//!
//! **Problem.** Most failures pass; a retry hides them. But retries multiply the load of a backend just when it can
//! bear least, execute twice what must happen once, and go on when nobody waits for the answer any more.
//! **Model.** A failure is followed by another attempt when *all* of this holds: the classifier calls it transient;
//! attempts are left; executing the request twice does no harm, or it certainly was not executed; the wait and an
//! attempt of usual length end before the deadline; and the budget pays. The budget is charged when the retry is
//! decided, so that retries that wait count as well.
//!
//! What a policy of ours rejected further in is passed on: the same circuit, limit or deadline would reject it again.
//! `Retry-After` of the backend lengthens the wait, up to a limit; beyond it the answer is passed on as it is.
//!
//! **Rejected:** retries free of charge after proof that nothing was executed. That is right where the next attempt
//! goes to another endpoint; a Tower service is one, and its refusals would double its connections.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use seaworthy_policy::call::Safety;
use seaworthy_policy::{BackoffConfig, ConfigError, LatencyWindow, Rng};
use tokio::time::{Sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

use crate::ambient::Ambient;
use crate::breaker::seed;
use crate::budget::{Charge, SharedBudget};
use crate::classify::{Classify, FailOnError, Failure, Meaning, Verdict, meaning};
use crate::clock::{self, Clock, Moment};
use crate::error::Error;
use crate::inner::ready_as_the_inner_one;
use crate::observe::{Decision, NoRetry, watchable};
use crate::replay::{Idempotent, Replay};
use crate::resend::{Resend, resending};

/// The most attempts a configuration may ask for; more would be hammering.
pub const ATTEMPTS_MAX: u32 = 5;

/// When to send a request again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryConfig {
    /// Attempts in all, the first one included; 1 to [`ATTEMPTS_MAX`].
    pub max_attempts: u32,
    /// The waits between them.
    pub backoff: BackoffConfig,
    /// The longest `Retry-After` that is waited for.
    pub max_retry_after: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        RetryConfig {
            max_attempts: 3,
            backoff: BackoffConfig::default(),
            max_retry_after: Duration::from_secs(10),
        }
    }
}

impl RetryConfig {
    /// Whether there is an attempt, and not too many.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=ATTEMPTS_MAX).contains(&self.max_attempts) {
            return Err(ConfigError { field: "max_attempts", must: "be from 1 to 5" });
        }
        self.backoff.validate()
    }
}

/// Sends requests again. One layer stands for one backend.
#[derive(Clone, Debug)]
pub struct RetryLayer<C = FailOnError, P = Idempotent> {
    config: RetryConfig,
    resend: Resend<C, P>,
    core: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    core: Mutex<Core>,
}

#[derive(Debug)]
struct Core {
    rng: Rng,
    /// How long good attempts take.
    latency: LatencyWindow,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> RetryLayer<FailOnError, P> {
    /// Retries with a budget of their own; `replay` says which requests may be executed twice.
    pub fn new(config: RetryConfig, replay: P) -> Result<Self, ConfigError> {
        config.validate()?;
        let resend = Resend::new(replay)?;
        let core = Mutex::new(Core { rng: Rng::seeded(seed()), latency: LatencyWindow::default() });
        let core = Arc::new(Shared { clock: Clock::starting_now(), core });
        Ok(RetryLayer { config, resend, core })
    }
}

impl<C, P> RetryLayer<C, P> {
    resending!(RetryLayer);
}

impl<S, C: Clone, P: Clone> Layer<S> for RetryLayer<C, P> {
    type Service = Retry<S, C, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry { inner, layer: Arc::new(self.clone()) }
    }
}

/// A service whose requests are sent again.
#[derive(Clone, Debug)]
pub struct Retry<S, C = FailOnError, P = Idempotent> {
    inner: S,
    /// Every call takes it along, so it is one reference count.
    layer: Arc<RetryLayer<C, P>>,
}

impl<S, C, P, Request, E> Service<Request> for Retry<S, C, P>
where
    S: Service<Request, Error = Error<E>> + Clone,
    C: Classify<S::Response, E> + Clone,
    P: Replay<Request> + Clone,
{
    ready_as_the_inner_one!();
    type Future = RetryFuture<S, Request, C, P>;

    fn call(&mut self, request: Request) -> Self::Future {
        let entry = clock::entering();
        let started = entry.now;
        let mut ambient = Ambient::get();
        let counts = self.layer.resend.budget.begin(&mut ambient, started);
        ambient.number = 1;
        let safety = self.layer.resend.replay.safety(&request);
        let copy =
            if self.layer.config.max_attempts > 1 { self.layer.resend.replay.copy(&request) } else { None };
        // The instance that was polled ready makes the first attempt; its clone was not, and is polled later.
        let unready = self.inner.clone();
        let mut service = mem::replace(&mut self.inner, unready);
        let scope = ambient.enter();
        let inner = service.call(request);
        drop(scope);
        let layer = Arc::clone(&self.layer);
        let backoff = Duration::ZERO;
        let turn = Turn { layer, copy, safety, ambient, counts, started, backoff, charge: None };
        RetryFuture { state: State::Calling { inner }, service, turn }
    }
}

pin_project! {
    /// The answer of [`Retry`].
    #[derive(Debug)]
    pub struct RetryFuture<S: Service<Request>, Request, C, P> {
        #[pin]
        state: State<S::Future>,
        service: S,
        turn: Turn<Request, C, P>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F> {
        Calling {
            #[pin]
            inner: F,
        },
        Waiting {
            #[pin]
            timer: Sleep,
        },
        Readying,
        Done,
    }
}

/// What stays the same from attempt to attempt, and what is counted.
#[derive(Debug)]
struct Turn<Request, C, P> {
    layer: Arc<RetryLayer<C, P>>,
    copy: Option<Request>,
    safety: Safety,
    ambient: Ambient,
    /// Whether the budget hears of this request's success from us.
    counts: bool,
    /// When the present attempt began.
    started: Moment,
    /// The wait before the present attempt, as the backoff drew it; zero before the first.
    backoff: Duration,
    /// What was paid for the present attempt or the wait before it.
    charge: Option<Charge>,
}

impl<Request, C, P: Replay<Request>> Turn<Request, C, P> {
    /// How long to wait before the next attempt; `None` when this result is the last word.
    fn next_wait<Response, E>(&mut self, result: &Result<Response, Error<E>>) -> Option<Duration>
    where
        C: Classify<Response, E>,
    {
        let failure = match meaning(&self.layer.resend.classifier, result) {
            Meaning::Backend(Verdict::Success) => {
                self.succeeded();
                return None;
            }
            Meaning::Backend(Verdict::Failure(failure)) if failure.is_transient => failure,
            Meaning::TimedOut => Failure::TRANSIENT,
            Meaning::Backend(Verdict::Failure(_) | Verdict::Ignored) | Meaning::Rejected => return None,
        };
        let attempt = self.ambient.number;
        let decision = match self.decide(failure) {
            Ok(wait) => Decision::Retry { attempt: attempt + 1, wait },
            Err(why) => Decision::NoRetry { attempt, why },
        };
        self.layer.resend.watch.tell(decision);
        if let Decision::Retry { wait, .. } = decision { Some(wait) } else { None }
    }

    fn decide(&mut self, failure: Failure) -> Result<Duration, NoRetry> {
        let config = &self.layer.config;
        if self.ambient.number >= config.max_attempts {
            return Err(NoRetry::AttemptsExhausted);
        }
        if self.safety == Safety::Unsafe && !failure.is_unexecuted {
            return Err(NoRetry::NotIdempotent);
        }
        if self.copy.is_none() {
            return Err(NoRetry::NotReplayable);
        }
        let pause = failure.retry_after.unwrap_or(Duration::ZERO);
        if pause > config.max_retry_after {
            return Err(NoRetry::RetryAfterTooLong);
        }
        let now = clock::answered();
        let (backoff, usual) = {
            let core = &mut *self.layer.core.lock();
            let backoff = config.backoff.delay(&mut core.rng, self.ambient.number - 1, self.backoff);
            (backoff, core.latency.quantile(self.layer.core.clock.time_at(now), 0.5))
        };
        self.backoff = backoff;
        let wait = backoff.max(pause);
        let needed = wait.saturating_add(usual.unwrap_or(Duration::ZERO));
        if self.ambient.deadline.is_some_and(|deadline| deadline.since(now) <= needed) {
            return Err(NoRetry::DeadlineInsufficient);
        }
        // The attempt that failed gives its place back before the next one asks for one.
        self.charge = None;
        self.charge = Some(self.layer.resend.budget.try_retry(now).ok_or(NoRetry::BudgetExhausted)?);
        Ok(wait)
    }

    fn succeeded(&self) {
        let now = clock::answered();
        if self.counts {
            self.layer.resend.budget.succeeded(now);
        }
        let elapsed = now.since(self.started);
        let shared = &self.layer.core;
        shared.lock().latency.record(shared.clock.time_at(now), elapsed);
    }

    /// The request of the next attempt; keeps a copy as long as another one may follow.
    fn next_request(&mut self, started: Moment) -> Request {
        self.ambient.number += 1;
        self.started = started;
        let request = self.copy.take().expect("a retry is decided only with a copy");
        if self.ambient.number < self.layer.config.max_attempts {
            self.copy = self.layer.resend.replay.copy(&request);
        }
        request
    }
}

impl<S, C, P, Request, E> Future for RetryFuture<S, Request, C, P>
where
    S: Service<Request, Error = Error<E>>,
    C: Classify<S::Response, E>,
    P: Replay<Request>,
{
    type Output = Result<S::Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        clock::polling();
        let this = self.project();
        let (mut state, service, turn) = (this.state, this.service, this.turn);
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Calling { inner } => {
                    let scope = turn.ambient.enter();
                    let polled = inner.poll(context);
                    drop(scope);
                    let result = ready!(polled);
                    let Some(wait) = turn.next_wait(&result) else {
                        state.set(State::Done);
                        turn.charge = None;
                        return Poll::Ready(result);
                    };
                    if wait.is_zero() {
                        State::Readying
                    } else {
                        State::Waiting { timer: sleep_until(clock::answered().after(wait).instant()) }
                    }
                }
                StateProjection::Waiting { timer } => {
                    ready!(timer.poll(context));
                    State::Readying
                }
                StateProjection::Readying => {
                    let scope = turn.ambient.enter();
                    let readiness = ready!(service.poll_ready(context));
                    drop(scope);
                    if let Err(error) = readiness {
                        state.set(State::Done);
                        turn.charge = None;
                        return Poll::Ready(Err(error));
                    }
                    let entry = clock::entering();
                    let request = turn.next_request(entry.now);
                    let _scope = turn.ambient.enter();
                    State::Calling { inner: service.call(request) }
                }
                StateProjection::Done => panic!("polled after it was ready"),
            };
            state.set(next);
        }
    }
}
