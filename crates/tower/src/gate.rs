//! The shell around every machine that lets calls in and hears how they ended.
//!
//! **Problem.** A breaker, a throttle, a rate limit and an adaptive limit decide quite different things, but they
//! are held in the same way: under a lock that never spans an await, with a permit that must come back whatever
//! becomes of the call. **Model.** [`Gate`] is what such a machine must answer, [`GateLayer`] the one shell for all
//! of them: lock, decide, unlock, act. The permit is taken in `call`, so a connection that is ready and idle holds
//! none (vector#26457), and lies in the future, so that dropping the future at any point is an outcome too.
//!
//! What a result means to the machine:
//!
//! | the inner service answered | outcome |
//! |---|---|
//! | an answer or error of its own | what the classifier says |
//! | [`Error::Timeout`] | failure: it was silent for too long |
//! | [`Error::Rejected`] | ignored: a policy of ours, nothing was sent |
//! | nothing, it panicked | failure |
//! | nothing, the future was dropped | cancelled; but a failure when its deadline had passed after a fair chance |
//!
//! The last line is why a total timeout outside a breaker does not blind it.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use seaworthy_policy::breaker::{Outcome, Transition};
use seaworthy_policy::{Rng, Time};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::ambient::Ambient;
use crate::classify::{Classify, FailOnError, Meaning, Verdict, meaning};
use crate::clock::{self, Clock};
use crate::observe::{Decision, Watch, watchable};
use crate::{Error, Rejection};

/// A deadline that passes sooner than this says more about the caller than about the backend.
pub(crate) const FAIR_CHANCE: Duration = Duration::from_millis(200);

/// A pure machine that lets calls in.
pub trait Gate: Send + 'static {
    /// The right to make one call.
    type Permit: Send + Debug;

    /// Asks for the right to make one call.
    fn admit(&mut self, now: Time, rng: &mut Rng) -> Result<Self::Permit, Rejection>;

    /// Hears how it ended; called exactly once per permit.
    fn complete(&mut self, now: Time, rng: &mut Rng, permit: Self::Permit, outcome: Outcome);

    /// The oldest change of state that nobody has been told of.
    fn take_transition(&mut self) -> Option<Transition> {
        None
    }
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
pub struct GateLayer<G, C = FailOnError> {
    handle: GateHandle<G>,
    classifier: C,
    watch: Watch,
}

impl<G, C: Clone> Clone for GateLayer<G, C> {
    fn clone(&self) -> Self {
        GateLayer {
            handle: self.handle.clone(),
            classifier: self.classifier.clone(),
            watch: self.watch.clone(),
        }
    }
}

impl<G: Gate> GateLayer<G> {
    /// The shell for a machine whose time begins with `clock`; `seed` determines its randomness.
    pub fn around(gate: G, clock: Clock, seed: u64) -> Self {
        let core = Mutex::new(Core { gate, rng: Rng::seeded(seed) });
        let handle = GateHandle { shared: Arc::new(Shared { core, clock }) };
        GateLayer { handle, classifier: FailOnError, watch: Watch::default() }
    }
}

impl<G, C> GateLayer<G, C> {
    /// Reads answers with this classifier.
    pub fn classify<D>(self, classifier: D) -> GateLayer<G, D> {
        GateLayer { handle: self.handle, classifier, watch: self.watch }
    }

    watchable!();

    /// A look at the machine.
    pub fn handle(&self) -> GateHandle<G> {
        self.handle.clone()
    }
}

impl<S, G, C: Clone> Layer<S> for GateLayer<G, C> {
    type Service = Gated<S, G, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated { inner, layer: self.clone() }
    }
}

/// A service behind a machine.
#[derive(Debug)]
pub struct Gated<S, G, C> {
    inner: S,
    layer: GateLayer<G, C>,
}

impl<S: Clone, G, C: Clone> Clone for Gated<S, G, C> {
    fn clone(&self) -> Self {
        Gated { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, G, C, Request, E> Service<Request> for Gated<S, G, C>
where
    S: Service<Request, Error = Error<E>>,
    G: Gate,
    C: Classify<S::Response, E> + Clone,
{
    type Response = S::Response;
    type Error = Error<E>;
    type Future = GateFuture<S::Future, G, C>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let entry = clock::entering();
        match Pass::ask(&self.layer.handle, &self.layer.watch, entry.now) {
            Err(rejection) => GateFuture { state: State::Rejected { rejection: Some(rejection) } },
            Ok(mut pass) => {
                pass.inside = true;
                let inner = self.inner.call(request);
                pass.inside = false;
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
    started: Instant,
    deadline: Option<Instant>,
    /// While code of the inner service runs; still set in `drop` when that code panicked.
    inside: bool,
}

impl<G: Gate> Pass<G> {
    fn ask(handle: &GateHandle<G>, watch: &Watch, started: Instant) -> Result<Self, Rejection> {
        let now = handle.shared.clock.time_of(started);
        let (answer, transition) = {
            let core = &mut *handle.shared.lock();
            let answer = core.gate.admit(now, &mut core.rng);
            (answer, core.gate.take_transition())
        };
        tell_transitions(handle, watch, transition);
        match answer {
            Ok(permit) => Ok(Pass {
                handle: handle.clone(),
                watch: watch.clone(),
                permit: Some(permit),
                started,
                deadline: Ambient::get().deadline,
                inside: false,
            }),
            Err(rejection) => {
                watch.tell(Decision::Rejected(rejection));
                Err(rejection)
            }
        }
    }

    fn end(&mut self, ended: Instant, outcome: impl FnOnce(Duration) -> Outcome) {
        let Some(permit) = self.permit.take() else { return };
        let outcome = outcome(ended.saturating_duration_since(self.started));
        let now = self.handle.shared.clock.time_of(ended);
        let transition = {
            let core = &mut *self.handle.shared.lock();
            core.gate.complete(now, &mut core.rng, permit, outcome);
            core.gate.take_transition()
        };
        tell_transitions(&self.handle, &self.watch, transition);
    }
}

impl<G: Gate> Drop for Pass<G> {
    fn drop(&mut self) {
        if self.permit.is_none() {
            return;
        }
        let now = clock::now();
        let overdue = self.deadline.is_some_and(|deadline| deadline <= now);
        let panicked = self.inside;
        self.end(now, |elapsed| {
            if panicked || (overdue && elapsed >= FAIR_CHANCE) {
                Outcome::Failure { elapsed }
            } else {
                Outcome::Cancelled { elapsed }
            }
        });
    }
}

/// Tells of the one that was taken under the lock already, and of those behind it.
fn tell_transitions<G: Gate>(handle: &GateHandle<G>, watch: &Watch, first: Option<Transition>) {
    let mut next = first;
    while let Some(transition) = next {
        watch.tell(Decision::Transition(transition));
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
                pass.inside = true;
                let polled = inner.poll(context);
                pass.inside = false;
                let result = ready!(polled);
                let meaning = meaning(classifier, &result);
                pass.end(clock::answered(), |elapsed| outcome_of(&meaning, elapsed));
                Poll::Ready(result)
            }
        }
    }
}

fn outcome_of(meaning: &Meaning, elapsed: Duration) -> Outcome {
    match meaning {
        Meaning::Backend(Verdict::Success) => Outcome::Success { elapsed },
        Meaning::Backend(Verdict::Failure(failure)) if failure.is_throttled => Outcome::Throttled { elapsed },
        Meaning::Backend(Verdict::Failure(_)) | Meaning::TimedOut => Outcome::Failure { elapsed },
        Meaning::Backend(Verdict::Ignored) | Meaning::Rejected => Outcome::Ignored,
    }
}
