//! A second copy of a request that takes unusually long.
//!
//! **Problem.** A few calls take far longer than the rest for no reason of their own (a pause, a lost packet, a busy
//! neighbour); sent again, nearly all of them are answered quickly (Dean and Barroso, "The Tail at Scale", 2013).
//! **Model.** When the first copy has not answered after a delay, fixed or the observed percentile, a second one is
//! sent, if the request may be executed twice and the budget pays. The first good answer wins; the other is dropped.
//! A failure of one while the other is under way is not the end. A failure before any hedge is passed on at once:
//! retrying is the retry's affair.
//!
//! Only requests that are safe or keyed are hedged, however certain the classifier is: nobody can prove of a request
//! under way that it was not executed. Without enough observations there is no percentile, and no hedge.
//!
//! When the second copy wins, the first counts as having taken at least until then: leaving it out would shorten the
//! percentile with each hedge that helps, and so cause more of them.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use seaworthy_policy::call::Safety;
use seaworthy_policy::{ConfigError, LatencyWindow};
use tokio::time::{Sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

use crate::ambient::Ambient;
use crate::budget::{Charge, SharedBudget};
use crate::classify::{Classify, FailOnError, Meaning, Verdict, meaning};
use crate::clock::{self, Clock, Moment};
use crate::error::Error;
use crate::inner::ready_as_the_inner_one;
use crate::observe::{Decision, watchable};
use crate::replay::{Idempotent, Replay};
use crate::resend::{Resend, resending};
use crate::timeout::is_over;

/// When the second copy is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HedgeDelay {
    /// After this long.
    Fixed(Duration),
    /// When the call has taken longer than this share of the calls of the last seconds.
    Percentile {
        /// The share, between 0 and 1.
        share: f64,
        /// But not before this long.
        min: Duration,
    },
}

/// When the second copy is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeConfig {
    /// The delay.
    pub delay: HedgeDelay,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        HedgeConfig { delay: HedgeDelay::Percentile { share: 0.95, min: Duration::from_millis(10) } }
    }
}

impl HedgeConfig {
    /// Whether the delay is one.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self.delay {
            HedgeDelay::Fixed(delay) if delay.is_zero() => {
                Err(ConfigError { field: "delay", must: "be longer than 0" })
            }
            HedgeDelay::Percentile { share, .. } if !(share > 0.0 && share < 1.0) => {
                Err(ConfigError { field: "delay.share", must: "lie between 0 and 1" })
            }
            HedgeDelay::Fixed(_) | HedgeDelay::Percentile { .. } => Ok(()),
        }
    }
}

/// Sends second copies. One layer stands for one backend.
#[derive(Clone, Debug)]
pub struct HedgeLayer<C = FailOnError, P = Idempotent> {
    config: HedgeConfig,
    resend: Resend<C, P>,
    core: Arc<Latency>,
}

#[derive(Debug)]
struct Latency {
    clock: Clock,
    window: Mutex<LatencyWindow>,
}

impl Latency {
    fn lock(&self) -> MutexGuard<'_, LatencyWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> HedgeLayer<FailOnError, P> {
    /// Hedges with a budget of their own; `replay` says which requests may be executed twice.
    pub fn new(config: HedgeConfig, replay: P) -> Result<Self, ConfigError> {
        config.validate()?;
        let window = Mutex::new(LatencyWindow::default());
        let core = Arc::new(Latency { clock: Clock::starting_now(), window });
        Ok(HedgeLayer { config, resend: Resend::new(replay)?, core })
    }
}

impl<C, P> HedgeLayer<C, P> {
    resending!(HedgeLayer);

    /// When to send a second copy of a call that begins now.
    fn hedge_at(&self, now: Moment) -> Option<Moment> {
        match self.config.delay {
            HedgeDelay::Fixed(delay) => Some(now.after(delay)),
            HedgeDelay::Percentile { share, min } => {
                let usual = self.core.lock().quantile(self.core.clock.time_at(now), share)?;
                Some(now.after(usual.max(min)))
            }
        }
    }
}

impl<S, C: Clone, P: Clone> Layer<S> for HedgeLayer<C, P> {
    type Service = Hedge<S, C, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Hedge { inner, layer: Arc::new(self.clone()) }
    }
}

/// A service whose slow requests are sent twice.
#[derive(Clone, Debug)]
pub struct Hedge<S, C = FailOnError, P = Idempotent> {
    inner: S,
    /// Every call takes it along, so it is one reference count.
    layer: Arc<HedgeLayer<C, P>>,
}

impl<S, C, P, Request, E> Service<Request> for Hedge<S, C, P>
where
    S: Service<Request, Error = Error<E>> + Clone,
    C: Classify<S::Response, E> + Clone,
    P: Replay<Request> + Clone,
{
    ready_as_the_inner_one!();
    type Future = HedgeFuture<S, Request, C, P>;

    fn call(&mut self, request: Request) -> Self::Future {
        let entry = clock::entering();
        let started = entry.now;
        let mut ambient = Ambient::get();
        let counts = self.layer.resend.budget.begin(&mut ambient, started);
        let copy = match self.layer.resend.replay.safety(&request) {
            Safety::Safe | Safety::Keyed => self.layer.resend.replay.copy(&request),
            Safety::Unsafe => None,
        };
        let scope = ambient.enter();
        let unready = self.inner.clone();
        let mut service = mem::replace(&mut self.inner, unready);
        let first = service.call(request);
        drop(scope);
        let race = Race { layer: Arc::clone(&self.layer), counts, started, ambient, charge: None };
        let second =
            copy.map_or(Second::Gone, |request| Second::Prepared { runner: Some((service, request)) });
        HedgeFuture { first: First::Calling { inner: first }, second, failed: None, race }
    }
}

pin_project! {
    /// The answer of [`Hedge`].
    pub struct HedgeFuture<S: Service<Request>, Request, C, P> {
        #[pin]
        first: First<S::Future>,
        #[pin]
        second: Second<S, S::Future, Request>,
        // The failure of the copy that ended while the other was under way.
        failed: Option<Result<S::Response, S::Error>>,
        race: Race<C, P>,
    }
}

pin_project! {
    #[project = FirstProjection]
    enum First<F> {
        Calling {
            #[pin]
            inner: F,
        },
        Gone,
    }
}

pin_project! {
    #[project = SecondProjection]
    enum Second<S, F, Request> {
        Prepared { runner: Option<(S, Request)> },
        Waiting {
            #[pin]
            timer: Sleep,
            at: Moment,
            runner: Option<(S, Request)>,
        },
        Readying { runner: Option<(S, Request)> },
        Calling {
            #[pin]
            inner: F,
        },
        Gone,
    }
}

/// Side of the two.
#[derive(Clone, Copy, Debug)]
enum Side {
    First,
    Second,
}

#[derive(Debug)]
struct Race<C, P> {
    layer: Arc<HedgeLayer<C, P>>,
    counts: bool,
    started: Moment,
    ambient: Ambient,
    charge: Option<Charge>,
}

impl<C, P> Race<C, P> {
    /// Whether the other copy should go on; tells the budget and the latencies when it need not.
    fn is_failure<Response, E>(&self, copy: Side, result: &Result<Response, Error<E>>) -> bool
    where
        C: Classify<Response, E>,
    {
        match meaning(&self.layer.resend.classifier, result) {
            Meaning::Backend(Verdict::Success) => {
                self.won_by(copy);
                false
            }
            Meaning::Backend(Verdict::Ignored) => false,
            Meaning::Backend(Verdict::Failure(_)) | Meaning::TimedOut | Meaning::Rejected => true,
        }
    }

    fn won_by(&self, copy: Side) {
        let now = clock::answered();
        if self.counts {
            self.layer.resend.budget.succeeded(now);
        }
        let waited = now.since(self.started);
        let time = self.layer.core.clock.time_at(now);
        let mut latency = self.layer.core.lock();
        match copy {
            Side::First => latency.record(time, waited),
            Side::Second => latency.record_at_least(time, waited),
        }
    }

    fn pay(&mut self) -> bool {
        let now = clock::now();
        self.charge = self.layer.resend.budget.try_hedge(now);
        if self.charge.is_some() {
            let after = now.since(self.started);
            self.layer.resend.watch.tell(Decision::Hedge { after });
        }
        self.charge.is_some()
    }
}

impl<S, C, P, Request, E> Future for HedgeFuture<S, Request, C, P>
where
    S: Service<Request, Error = Error<E>>,
    C: Classify<S::Response, E>,
{
    type Output = Result<S::Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        clock::polling();
        let mut this = self.project();
        if let FirstProjection::Calling { inner } = this.first.as_mut().project() {
            let scope = this.race.ambient.enter();
            let polled = inner.poll(context);
            drop(scope);
            if let Poll::Ready(result) = polled {
                this.first.set(First::Gone);
                let failed = this.race.is_failure(Side::First, &result);
                let sent = matches!(*this.second, Second::Readying { .. } | Second::Calling { .. });
                if !failed || !sent {
                    this.second.set(Second::Gone);
                    this.race.charge = None;
                    return Poll::Ready(result);
                }
                *this.failed = Some(result);
            }
        }
        let result = ready!(poll_second(this.second.as_mut(), this.race, context));
        let waits = matches!(*this.first, First::Calling { .. });
        this.second.set(Second::Gone);
        this.race.charge = None;
        match result {
            None if waits => Poll::Pending,
            None => Poll::Ready(this.failed.take().expect("the first copy has failed")),
            Some(result) if !this.race.is_failure(Side::Second, &result) => {
                this.first.set(First::Gone);
                this.race.layer.resend.watch.tell(Decision::HedgeWon);
                Poll::Ready(result)
            }
            Some(_) if waits => Poll::Pending,
            // Of two failures the first is the one that a call without a hedge would have seen.
            Some(result) => Poll::Ready(this.failed.take().unwrap_or(result)),
        }
    }
}

/// Brings the second copy forward; `None` when there is none (any more).
fn poll_second<S, C, P, Request, E>(
    mut second: Pin<&mut Second<S, S::Future, Request>>,
    race: &mut Race<C, P>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<S::Response, Error<E>>>>
where
    S: Service<Request, Error = Error<E>>,
{
    loop {
        let next = match second.as_mut().project() {
            SecondProjection::Gone => return Poll::Ready(None),
            SecondProjection::Prepared { runner } => match race.layer.hedge_at(race.started) {
                None => return Poll::Ready(None),
                Some(at) => Second::Waiting { timer: sleep_until(at.instant()), at, runner: runner.take() },
            },
            SecondProjection::Waiting { timer, at, runner } => {
                if !is_over(timer, *at, context) {
                    return Poll::Pending;
                }
                if !race.pay() {
                    return Poll::Ready(None);
                }
                Second::Readying { runner: runner.take() }
            }
            SecondProjection::Readying { runner } => {
                let ambient = Ambient { is_hedge: true, ..race.ambient };
                let _scope = ambient.enter();
                let (service, _) = runner.as_mut().expect("there until it runs");
                if let Err(error) = ready!(service.poll_ready(context)) {
                    return Poll::Ready(Some(Err(error)));
                }
                let (mut service, request) = runner.take().expect("there until it runs");
                Second::Calling { inner: service.call(request) }
            }
            SecondProjection::Calling { inner } => {
                let ambient = Ambient { is_hedge: true, ..race.ambient };
                let _scope = ambient.enter();
                return inner.poll(context).map(Some);
            }
        };
        second.set(next);
    }
}
