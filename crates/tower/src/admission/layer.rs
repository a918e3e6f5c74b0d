//! The layer, its service, and the future that holds what was given.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use seaworthy_policy::admission::{self, Arrival, Permit, Priority, Reason, Rejected, Ticket};
use seaworthy_policy::{Admission, AdmissionConfig, ConfigError, Deadline};
use tokio::time::{Sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

use super::places::{Entry, Places};
use super::priority::{Alike, Prioritize};
use crate::ambient::Ambient;
use crate::breaker::seed;
use crate::classify::{Classify, FailOnError, meaning};
use crate::clock::{self, Clock, Moment};
use crate::error::{By, Error, Rejection};
use crate::inner::ready_as_the_inner_one;
use crate::observe::{Decision, Watch, watchable};
use crate::outcome::{Course, Outcome};
use crate::timeout::is_over;

/// Limits the calls under way, and lets the right ones wait. One layer stands for one backend.
#[derive(Clone, Debug)]
pub struct AdmissionLayer<C = FailOnError, P = Alike> {
    handle: AdmissionHandle,
    classifier: C,
    priorities: P,
    watch: Watch,
}

/// A look at the queue and its limit from outside; clones share it.
#[derive(Clone, Debug)]
pub struct AdmissionHandle {
    places: Arc<Places>,
    clock: Clock,
}

impl AdmissionHandle {
    /// Calls under way.
    pub fn in_flight(&self) -> u32 {
        self.places.with(|admission| admission.limit().in_flight())
    }

    /// Calls that may be under way at present.
    pub fn limit(&self) -> u32 {
        self.places.with(|admission| admission.limit().limit())
    }

    /// Calls that wait for a place.
    pub fn queued(&self) -> u32 {
        self.places.with(|admission| admission.waiting())
    }

    /// Calls of a priority that wait for a place.
    pub fn queued_of(&self, priority: Priority) -> u32 {
        self.places.with(|admission| admission.waiting_of(priority))
    }

    /// Forgets what was learnt about the backend. Those under way keep their places, those who wait go on waiting.
    pub fn reset(&self) {
        let now = self.clock.now();
        self.places.with(|admission| admission.reset(now));
    }
}

impl AdmissionLayer {
    /// Nobody under way, nobody waiting.
    pub fn new(config: AdmissionConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let places = Arc::new(Places::new(Admission::new(config), seed()));
        let handle = AdmissionHandle { places, clock: Clock::starting_now() };
        let (classifier, priorities, watch) = (FailOnError, Alike, Watch::default());
        Ok(AdmissionLayer { handle, classifier, priorities, watch })
    }
}

impl<C, P> AdmissionLayer<C, P> {
    /// Reads answers with this classifier: what is overloaded or throttled is a loss to an adaptive limit.
    pub fn classify<D>(self, classifier: D) -> AdmissionLayer<D, P> {
        let AdmissionLayer { handle, priorities, watch, .. } = self;
        AdmissionLayer { handle, classifier, priorities, watch }
    }

    /// Asks this how much each request matters.
    pub fn prioritize<Q>(self, priorities: Q) -> AdmissionLayer<C, Q> {
        let AdmissionLayer { handle, classifier, watch, .. } = self;
        AdmissionLayer { handle, classifier, priorities, watch }
    }

    watchable!();

    /// A look at the queue and its limit.
    pub fn handle(&self) -> AdmissionHandle {
        self.handle.clone()
    }

    fn reject(&self, rejected: Rejected) -> Rejection {
        let (by, reason) = match rejected.reason {
            Reason::LimitReached => (By::ConcurrencyLimit, "all places taken"),
            Reason::QueueFull => (By::AdmissionQueue, "queue full"),
            Reason::Evicted => (By::AdmissionQueue, "gave way to one that matters more"),
            Reason::Overloaded => (By::AdmissionQueue, "overloaded"),
            Reason::WaitedTooLong => (By::AdmissionQueue, "no place in time"),
            Reason::DeadlineTooShort => (By::AdmissionQueue, "the wait would be too long"),
            Reason::DeadlineExpired => (By::Deadline, "no time left"),
        };
        let rejection = Rejection { by, reason, retry_after: rejected.retry_after };
        self.watch.tell(Decision::Rejected(rejection));
        rejection
    }

    fn arrival<Request>(&self, request: &Request) -> Arrival
    where
        P: Prioritize<Request>,
    {
        let clock = self.handle.clock;
        let deadline = Ambient::get().deadline.map(|deadline| Deadline::at(clock.time_at(deadline)));
        let priority = self.priorities.priority(request);
        Arrival { priority, fairness_key: self.priorities.fairness_key(request), deadline }
    }
}

impl<S, C: Clone, P: Clone> Layer<S> for AdmissionLayer<C, P> {
    type Service = Admitting<S, C, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitting { inner, layer: self.clone() }
    }
}

/// A service behind an admission queue.
#[derive(Clone, Debug)]
pub struct Admitting<S, C = FailOnError, P = Alike> {
    inner: S,
    layer: AdmissionLayer<C, P>,
}

impl<S, Request, E, C, P> Service<Request> for Admitting<S, C, P>
where
    S: Service<Request, Error = Error<E>> + Clone,
    C: Classify<S::Response, E> + Clone,
    P: Prioritize<Request> + Clone,
{
    ready_as_the_inner_one!();
    type Future = AdmissionFuture<S, Request, C, P>;

    fn call(&mut self, request: Request) -> Self::Future {
        let entry = clock::entering();
        let handle = &self.layer.handle;
        let arrival = self.layer.arrival(&request);
        let state = match handle.places.enter(handle.clock.time_at(entry.now), &arrival) {
            Entry::Rejected(rejected) => State::Rejected { rejection: Some(self.layer.reject(rejected)) },
            Entry::Admitted(permit) => {
                let mut pass = Pass::new(handle, permit, entry.now);
                let inner = pass.inside(|| self.inner.call(request));
                State::Running { inner, pass, classifier: self.layer.classifier.clone() }
            }
            Entry::Queued(ticket) => {
                let place =
                    Place { handle: handle.clone(), ticket: Some(ticket), deadline: arrival.deadline };
                // The instance that was polled ready waits; its clone was not, and is polled by the next call.
                let unready = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, unready);
                let waiting = Some(Waiting { service, request, layer: self.layer.clone() });
                let moment = place.next_moment(entry.now).unwrap_or(entry.now);
                State::Waiting { place, timer: sleep_until(moment.instant()), moment, waiting }
            }
        };
        AdmissionFuture { state }
    }
}

/// A place in the queue; dropping it leaves the queue.
struct Place {
    handle: AdmissionHandle,
    /// Until it is decided and taken.
    ticket: Option<Ticket>,
    deadline: Option<Deadline>,
}

impl Place {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Result<Permit, Rejected>> {
        let ticket = self.ticket.expect("polled until it is decided");
        let decided = ready!(self.handle.places.poll(ticket, context.waker()));
        self.ticket = None;
        Poll::Ready(decided)
    }

    /// Tells the machine the time; when to do so next, or `None` when that has decided about this place.
    fn next_moment(&self, now: Moment) -> Option<Moment> {
        let ticket = self.ticket?;
        let next = self.handle.places.on_timer(self.handle.clock.time_at(now), ticket)?;
        let next = self.deadline.map_or(next, |deadline| next.min(deadline.time()));
        Some(self.handle.clock.moment_of(next))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.handle.places.leave(self.handle.clock.now(), ticket);
        }
    }
}

/// The right to be under way; it ends with an outcome, whatever happens.
#[derive(Debug)]
struct Pass {
    handle: AdmissionHandle,
    permit: Option<Permit>,
    course: Course,
}

impl Pass {
    fn new(handle: &AdmissionHandle, permit: Permit, started: Moment) -> Self {
        Pass { handle: handle.clone(), permit: Some(permit), course: Course::begin(started) }
    }

    /// Runs code of the inner service.
    fn inside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.course.inside = true;
        let answer = work();
        self.course.inside = false;
        answer
    }

    fn end(&mut self, at: Moment, outcome: Outcome) {
        let Some(permit) = self.permit.take() else { return };
        self.handle.places.exit(self.handle.clock.time_at(at), permit, read(outcome));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.permit.is_some() {
            let now = clock::now();
            self.end(now, self.course.dropped(now).outcome);
        }
    }
}

/// What an ending is to the limit.
fn read(outcome: Outcome) -> admission::Outcome {
    match outcome {
        Outcome::Success => admission::Outcome::Success,
        Outcome::Failed | Outcome::Unexecuted | Outcome::Ignored => admission::Outcome::Failed,
        Outcome::Overloaded | Outcome::Throttled => admission::Outcome::Overloaded,
        Outcome::TimedOut => admission::Outcome::TimedOut,
        Outcome::Panicked | Outcome::NotSent | Outcome::Cancelled => admission::Outcome::Cancelled,
    }
}

pin_project! {
    /// The answer of [`Admitting`].
    pub struct AdmissionFuture<S: Service<Request>, Request, C, P> {
        #[pin]
        state: State<S, Request, C, P>,
    }
}

impl<S: Service<Request>, Request, C, P> fmt::Debug for AdmissionFuture<S, Request, C, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AdmissionFuture").finish_non_exhaustive()
    }
}

struct Waiting<S, Request, C, P> {
    service: S,
    request: Request,
    layer: AdmissionLayer<C, P>,
}

pin_project! {
    #[project = StateProjection]
    enum State<S: Service<Request>, Request, C, P> {
        Rejected { rejection: Option<Rejection> },
        Waiting {
            place: Place,
            #[pin]
            timer: Sleep,
            // When the timer is over.
            moment: Moment,
            waiting: Option<Waiting<S, Request, C, P>>,
        },
        Running {
            #[pin]
            inner: S::Future,
            pass: Pass,
            classifier: C,
        },
    }
}

impl<S, Request, E, C, P> Future for AdmissionFuture<S, Request, C, P>
where
    S: Service<Request, Error = Error<E>>,
    C: Classify<S::Response, E>,
{
    type Output = Result<S::Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        clock::polling();
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Rejected { rejection } => {
                    let rejection = rejection.take().expect("polled after it was ready");
                    return Poll::Ready(Err(Error::Rejected(rejection)));
                }
                StateProjection::Running { inner, pass, classifier } => {
                    let result = ready!(pass.inside(|| inner.poll(context)));
                    // The place goes back before the caller acts on the answer.
                    pass.end(clock::answered(), Outcome::of(&meaning(classifier, &result)));
                    return Poll::Ready(result);
                }
                StateProjection::Waiting { place, mut timer, moment, waiting } => match place.poll(context) {
                    Poll::Ready(Ok(permit)) => {
                        let entry = clock::entering();
                        let mut pass = Pass::new(&place.handle, permit, entry.now);
                        let Waiting { mut service, request, layer } = waiting.take().expect("it still waits");
                        let inner = pass.inside(|| service.call(request));
                        State::Running { inner, pass, classifier: layer.classifier }
                    }
                    Poll::Ready(Err(rejected)) => {
                        let waiting = waiting.take().expect("it still waits");
                        State::Rejected { rejection: Some(waiting.layer.reject(rejected)) }
                    }
                    Poll::Pending => {
                        if !is_over(timer.as_mut(), *moment, context) {
                            return Poll::Pending;
                        }
                        if let Some(next) = place.next_moment(clock::now()) {
                            *moment = next;
                            timer.as_mut().reset(next.instant());
                        }
                        continue;
                    }
                },
            };
            state.set(next);
        }
    }
}
