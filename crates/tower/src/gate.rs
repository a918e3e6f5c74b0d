//! The shell around every machine that lets calls in and hears how they ended.
//!
//! **Problem.** A breaker, a throttle, a rate limit and an adaptive limit decide quite different things, but they
//! are held in the same way: under a lock that never spans an await, with a permit that must come back whatever
//! becomes of the call. **Model.** [`Gate`] is what such a machine must answer, [`GateLayer`] the one shell for all
//! of them: lock, decide, unlock, act. The permit is taken in `call`, so a connection that is ready and idle holds
//! none (vector#26457), and lies in the future, so that dropping the future at any point is an outcome too.
//!
//! What a result is to the machine (what it makes of it, see [`Outcome`](crate::Outcome)):
//!
//! | the inner service answered | outcome |
//! |---|---|
//! | an answer or error of its own | what the classifier says |
//! | [`Error::Timeout`] | timed out |
//! | [`Error::Rejected`] | not sent: a policy of ours |
//! | nothing, it panicked | panicked |
//! | nothing, the future was dropped | cancelled; but timed out when its deadline had passed after a fair chance |
//!
//! The last line is why a total timeout outside a breaker does not blind it.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use seaworthy_policy::breaker::Transition;
use seaworthy_policy::{Rng, Time};
use tower_layer::Layer;
use tower_service::Service;

use crate::admission::Alike;
use crate::classify::{Classify, FailOnError, meaning};
use crate::clock::{self, Clock, Moment};
use crate::describe::Describe;
use crate::inner::ready_as_the_inner_one;
use crate::observe::{Decision, Watch, watchable};
use crate::outcome::{Course, Ended, Outcome};
use crate::{Error, Rejection};

/// A pure machine that lets calls in.
pub trait Gate: Send + 'static {
    /// What it has to know about a request; `()` where nothing.
    type About;
    /// The right to make one call.
    type Permit: Send + Debug;

    /// Asks for the right to make one call.
    fn admit(&mut self, now: Time, rng: &mut Rng, about: Self::About) -> Result<Self::Permit, Rejection>;

    /// Hears how it ended; called exactly once per permit.
    fn complete(&mut self, now: Time, rng: &mut Rng, permit: Self::Permit, ended: Ended);

    /// The oldest change of state that nobody has been told of; boxed, because nearly every call has none to carry.
    fn take_transition(&mut self) -> Option<Box<Changed>> {
        None
    }
}

/// How a circuit has changed, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// How.
    pub transition: Transition,
    /// The key, where there is a circuit for each.
    pub key: Option<String>,
}

struct Shared<G> {
    core: Mutex<Core<G>>,
    clock: Clock,
}

struct Core<G> {
    gate: G,
    rng: Rng,
}

impl<G> Shared<G> {
    fn lock(&self) -> MutexGuard<'_, Core<G>> {
        // A panic under the lock could only come from a machine's invariant; the next call must still be answered.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look at a machine from outside; clones share it.
pub struct GateHandle<G> {
    shared: Arc<Shared<G>>,
}

impl<G> Clone for GateHandle<G> {
    fn clone(&self) -> Self {
        GateHandle { shared: Arc::clone(&self.shared) }
    }
}

impl<G> GateHandle<G> {
    /// Works with the machine under its lock: be quick, and make no call inside.
    pub fn with<T>(&self, work: impl FnOnce(&mut G, Time) -> T) -> T {
        let now = self.shared.clock.now();
        work(&mut self.shared.lock().gate, now)
    }
}

impl<G> Debug for GateHandle<G> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GateHandle").finish_non_exhaustive()
    }
}

/// Puts one machine in front of every service it is applied to: one layer stands for one backend.
#[derive(Debug)]
pub struct GateLayer<G, C = FailOnError, A = Alike> {
    handle: GateHandle<G>,
    classifier: C,
    about: A,
    watch: Watch,
}

impl<G, C: Clone, A: Clone> Clone for GateLayer<G, C, A> {
    fn clone(&self) -> Self {
        let (handle, classifier) = (self.handle.clone(), self.classifier.clone());
        GateLayer { handle, classifier, about: self.about.clone(), watch: self.watch.clone() }
    }
}

impl<G: Gate> GateLayer<G> {
    /// The shell for a machine whose time begins with `clock`; `seed` determines its randomness.
    pub fn around(gate: G, clock: Clock, seed: u64) -> Self {
        let core = Mutex::new(Core { gate, rng: Rng::seeded(seed) });
        let handle = GateHandle { shared: Arc::new(Shared { core, clock }) };
        GateLayer { handle, classifier: FailOnError, about: Alike, watch: Watch::default() }
    }
}

impl<G, C, A> GateLayer<G, C, A> {
    /// Reads answers with this classifier.
    pub fn classify<D>(self, classifier: D) -> GateLayer<G, D, A> {
        GateLayer { handle: self.handle, classifier, about: self.about, watch: self.watch }
    }

    /// Asks this what the machine has to know about each request: a function from the request to that.
    pub fn about<B>(self, about: B) -> GateLayer<G, C, B> {
        GateLayer { handle: self.handle, classifier: self.classifier, about, watch: self.watch }
    }

    watchable!();

    /// A look at the machine.
    pub fn handle(&self) -> GateHandle<G> {
        self.handle.clone()
    }
}

impl<S, G, C: Clone, A: Clone> Layer<S> for GateLayer<G, C, A> {
    type Service = Gated<S, G, C, A>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated { inner, layer: self.clone() }
    }
}

/// A service behind a machine.
#[derive(Debug)]
pub struct Gated<S, G, C, A = Alike> {
    inner: S,
    layer: GateLayer<G, C, A>,
}

impl<S: Clone, G, C: Clone, A: Clone> Clone for Gated<S, G, C, A> {
    fn clone(&self) -> Self {
        Gated { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, G, C, A, Request, E> Service<Request> for Gated<S, G, C, A>
where
    S: Service<Request, Error = Error<E>>,
    G: Gate,
    C: Classify<S::Response, E> + Clone,
    A: Describe<Request, G::About>,
{
    ready_as_the_inner_one!();
    type Future = GateFuture<S::Future, G, C>;

    fn call(&mut self, request: Request) -> Self::Future {
        let entry = clock::entering();
        // Before anything is locked: this is other people's code.
        let about = self.layer.about.describe(&request);
        match Pass::ask(&self.layer, entry.now, about) {
            Err(rejection) => GateFuture { state: State::Rejected { rejection: Some(rejection) } },
            Ok(mut pass) => {
                pass.course.inside = true;
                let inner = self.inner.call(request);
                pass.course.inside = false;
                let classifier = self.layer.classifier.clone();
                GateFuture { state: State::Running { inner, pass, classifier } }
            }
        }
    }
}

/// A permit on its way: it ends with an outcome, whatever happens.
#[derive(Debug)]
struct Pass<G: Gate> {
    handle: GateHandle<G>,
    watch: Watch,
    permit: Option<G::Permit>,
    course: Course,
}

impl<G: Gate> Pass<G> {
    fn ask<C, A>(layer: &GateLayer<G, C, A>, started: Moment, about: G::About) -> Result<Self, Rejection> {
        let GateLayer { handle, watch, .. } = layer;
        let now = handle.shared.clock.time_at(started);
        let (answer, transition) = {
            let core = &mut *handle.shared.lock();
            let answer = core.gate.admit(now, &mut core.rng, about);
            (answer, core.gate.take_transition())
        };
        if let Some(transition) = transition {
            tell_transitions(handle, watch, transition);
        }
        match answer {
            Ok(permit) => Ok(Pass {
                handle: handle.clone(),
                watch: watch.clone(),
                permit: Some(permit),
                course: Course::begin(started),
            }),
            Err(rejection) => {
                watch.tell(Decision::Rejected(rejection));
                Err(rejection)
            }
        }
    }

    fn end(&mut self, at: Moment, ended: Ended) {
        let Some(permit) = self.permit.take() else { return };
        let now = self.handle.shared.clock.time_at(at);
        let transition = {
            let core = &mut *self.handle.shared.lock();
            core.gate.complete(now, &mut core.rng, permit, ended);
            core.gate.take_transition()
        };
        if let Some(transition) = transition {
            tell_transitions(&self.handle, &self.watch, transition);
        }
    }
}

impl<G: Gate> Drop for Pass<G> {
    fn drop(&mut self) {
        if self.permit.is_none() {
            return;
        }
        let now = clock::now();
        let ended = self.course.dropped(now);
        self.end(now, ended);
    }
}

/// Tells of the one that was taken under the lock already, and of those behind it.
#[cold]
fn tell_transitions<G: Gate>(handle: &GateHandle<G>, watch: &Watch, first: Box<Changed>) {
    let mut next = Some(first);
    while let Some(changed) = next {
        watch.tell_of(changed.key.as_deref(), Decision::Transition(changed.transition));
        next = handle.shared.lock().gate.take_transition();
    }
}

pin_project! {
    /// The answer of [`Gated`].
    #[derive(Debug)]
    pub struct GateFuture<F, G: Gate, C> {
        #[pin]
        state: State<F, G, C>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F, G: Gate, C> {
        Rejected {
            // Taken by the one poll that answers it.
            rejection: Option<Rejection>,
        },
        Running {
            #[pin]
            inner: F,
            pass: Pass<G>,
            classifier: C,
        },
    }
}

impl<F, G, C, Response, E> Future for GateFuture<F, G, C>
where
    F: Future<Output = Result<Response, Error<E>>>,
    G: Gate,
    C: Classify<Response, E>,
{
    type Output = Result<Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        clock::polling();
        match self.project().state.project() {
            StateProjection::Rejected { rejection } => {
                let rejection = rejection.take().expect("polled after it was ready");
                Poll::Ready(Err(Error::Rejected(rejection)))
            }
            StateProjection::Running { inner, pass, classifier } => {
                pass.course.inside = true;
                let polled = inner.poll(context);
                pass.course.inside = false;
                let result = ready!(polled);
                let outcome = Outcome::of(&meaning(classifier, &result));
                let now = clock::answered();
                let ended = pass.course.ended(now, outcome);
                pass.end(now, ended);
                Poll::Ready(result)
            }
        }
    }
}
