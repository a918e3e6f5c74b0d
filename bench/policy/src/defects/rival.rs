//! One way to talk to every circuit breaker: give it a backend's answer in the making, and hear what it makes of it.

use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use failsafe::futures::CircuitBreaker as _;
use recloser::{AsyncRecloser, Recloser};
use seaworthy_tower::{BreakerConfig, BreakerLayer, Error, InnerLayer};
use tokio::sync::oneshot;
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};

use crate::case::{FAILSAFE, OURS, RECLOSER, RESILIENCE};
use crate::layers::Fault;

/// How long an open circuit waits.
pub(super) const WAIT: Duration = Duration::from_millis(20);
/// Long enough for the wait to be over, whatever the timer's grain.
pub(super) const AFTER_WAIT: Duration = Duration::from_millis(30);
/// When our breaker gives a probe up; the others have no such setting.
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);
/// Failures in a row that open a circuit, or the failures in a full ring where there is only that.
pub(super) const FAILURES: u32 = 5;
/// From when on a call is slow, where there is such a thing.
const SLOW: Duration = Duration::from_millis(1);

pub(super) type Work = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;
pub(super) type Call = Pin<Box<dyn Future<Output = Answer>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Good,
    Failed,
    Rejected,
}

/// A breaker that opens after [`FAILURES`] in a row and waits for [`WAIT`].
pub(super) struct Rival {
    pub(super) who: &'static str,
    call: Box<dyn Fn(Work) -> Call>,
}

impl Rival {
    /// All of them, with so many probes.
    pub(super) fn all(probes: u32) -> [Rival; 4] {
        [ours(probes, Duration::ZERO), resilience(probes), failsafe(), recloser(probes)]
    }

    pub(super) fn begin(&self, work: Work) -> Call {
        (self.call)(work)
    }

    pub(super) async fn succeed(&self) -> Answer {
        self.begin(Box::pin(ready(Ok(())))).await
    }

    pub(super) async fn fail(&self) -> Answer {
        self.begin(Box::pin(ready(Err(Fault)))).await
    }

    /// Opens the circuit, and checks that it is.
    pub(super) async fn open(&self) {
        for _ in 0..FAILURES {
            assert_eq!(self.fail().await, Answer::Failed, "{}", self.who);
        }
        assert_eq!(self.succeed().await, Answer::Rejected, "{}: not open", self.who);
    }

    /// Opens the circuit and waits until probes are due.
    pub(super) async fn open_and_wait(&self) {
        self.open().await;
        tokio::time::sleep(AFTER_WAIT).await;
    }
}

/// A backend that answers when it is told to, and says how many calls have reached it.
#[derive(Clone, Default)]
pub(super) struct Backend {
    reached: Arc<AtomicU32>,
}

impl Backend {
    pub(super) fn reached(&self) -> u32 {
        self.reached.load(Ordering::Relaxed)
    }

    /// A call that waits for its answer; dropping the sender makes it wait for ever.
    pub(super) fn work(&self) -> (oneshot::Sender<Result<(), Fault>>, Work) {
        let (answer, told) = oneshot::channel();
        let reached = Arc::clone(&self.reached);
        let work = async move {
            reached.fetch_add(1, Ordering::Relaxed);
            match told.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        };
        (answer, Box::pin(work))
    }

    /// A call that is never answered.
    pub(super) fn hung(&self) -> Work {
        self.work().1
    }
}

/// Polls a call once, as its caller would who then waits.
pub(super) async fn poll_once(call: &mut Call) -> Option<Answer> {
    poll_fn(|context| {
        Poll::Ready(match call.as_mut().poll(context) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        })
    })
    .await
}

/// Does the work it is handed.
#[derive(Clone, Copy)]
struct Worker;

impl Service<Work> for Worker {
    type Response = ();
    type Error = Fault;
    type Future = Work;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, work: Work) -> Work {
        work
    }
}

/// Through a service's clone, polled ready as it must be.
fn through<S>(service: &S, work: Work, read: fn(Result<(), S::Error>) -> Answer) -> Call
where
    S: Service<Work, Response = ()> + Clone + 'static,
    S::Future: 'static,
{
    let mut service = service.clone();
    Box::pin(async move {
        if poll_fn(|context| service.poll_ready(context)).await.is_err() {
            return Answer::Failed;
        }
        read(service.call(work).await)
    })
}

/// With no ramp where something else is looked at: it would reject some calls by chance.
pub(super) fn ours(probes: u32, recovery_ramp: Duration) -> Rival {
    let config = BreakerConfig {
        consecutive_failures: FAILURES,
        quiet: Duration::ZERO,
        slow_call_duration: Some(SLOW),
        wait_duration_in_open_state: WAIT,
        wait_jitter: 0.0,
        permitted_number_of_calls_in_half_open_state: probes,
        probe_timeout: PROBE_TIMEOUT,
        recovery_ramp,
        ..BreakerConfig::default()
    };
    let service = BreakerLayer::new(config).expect("valid").layer(InnerLayer.layer(Worker));
    let read = |result| match result {
        Ok(()) => Answer::Good,
        Err(Error::Rejected(_)) => Answer::Rejected,
        Err(_) => Answer::Failed,
    };
    Rival { who: OURS, call: Box::new(move |work| through(&service, work, read)) }
}

pub(super) fn resilience(probes: u32) -> Rival {
    let layer = CircuitBreakerLayer::builder()
        .consecutive_failures(FAILURES as usize)
        .slow_call_duration_threshold(SLOW)
        .slow_call_rate_threshold(0.8)
        .minimum_number_of_calls(20)
        .wait_duration_in_open(WAIT)
        .permitted_calls_in_half_open(probes as usize)
        .build()
        .expect("valid");
    let service = layer.layer(Worker);
    let read = |result| match result {
        Ok(()) => Answer::Good,
        Err(CircuitBreakerError::OpenCircuit) => Answer::Rejected,
        Err(_) => Answer::Failed,
    };
    Rival { who: RESILIENCE, call: Box::new(move |work| through(&service, work, read)) }
}

fn failsafe() -> Rival {
    let policy = failsafe::failure_policy::consecutive_failures(FAILURES, failsafe::backoff::constant(WAIT));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    let call = move |work: Work| -> Call {
        let answer = breaker.call(work);
        Box::pin(async move {
            match answer.await {
                Ok(()) => Answer::Good,
                Err(failsafe::Error::Rejected) => Answer::Rejected,
                Err(failsafe::Error::Inner(_)) => Answer::Failed,
            }
        })
    };
    Rival { who: FAILSAFE, call: Box::new(call) }
}

fn recloser(probes: u32) -> Rival {
    // Its ring of n slots decides from the n-th call on; so n = 4 opens at the fifth failure.
    let ring = Recloser::custom().error_rate(0.5).closed_len(FAILURES as usize - 1);
    let breaker = AsyncRecloser::from(ring.half_open_len(probes as usize).open_wait(WAIT).build());
    let call = move |work: Work| -> Call {
        let answer = breaker.call(work);
        Box::pin(async move {
            match answer.await {
                Ok(()) => Answer::Good,
                Err(recloser::Error::Rejected) => Answer::Rejected,
                Err(recloser::Error::Inner(_)) => Answer::Failed,
            }
        })
    };
    Rival { who: RECLOSER, call: Box::new(call) }
}
