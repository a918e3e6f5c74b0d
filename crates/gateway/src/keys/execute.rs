//! One execution, in a task of its own: it ends, and what became of it is kept, whether or not its client waits.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use seaworthy_observe::KeyOutcome;
use seaworthy_policy::Time;
use seaworthy_policy::call::{Call, Ended, Proof, Safety};
use seaworthy_policy::idempotency::Verdict;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::ask::{Asked, Execution, ask, respell, unavailable};
use super::metrics::Outcome;
use super::{KeptKeys, name, stored};
use crate::access::Record;
use crate::body::{BodyError, Outgoing, ResponseBody, is_event_stream};
use crate::connection::Client;
use crate::driver::Outcome as CallOutcome;
use crate::entrance::Pass;
use crate::journey::{Journey, send};
use crate::problem::Problem;
use crate::serve::{Begun, refuse};
use crate::worker::Worker;

/// Frames between an answer that is too long to be held back and its client.
const RELAYED_FRAMES: usize = 4;

/// How a call ended, as far as its key is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There is proof that nothing was executed.
    NotExecuted,
    /// It may have been executed, and what the client hears says nothing about that.
    NoAnswer,
    /// A service has answered, and the client gets that.
    Answered {
        /// No other attempt may have been executed.
        alone: bool,
    },
}

impl Ending {
    /// That of a call that was answered.
    pub(crate) fn answered(call: &Call) -> Self {
        let is_harmless = |ended: Option<(Time, Ended)>| match ended {
            Some((_, Ended::Committed(_) | Ended::Failed(Proof::NotSent | Proof::Refused, _))) => true,
            Some(_) | None => false,
        };
        let open = call.trail().iter().filter(|trace| !is_harmless(trace.ended)).count();
        Self::Answered { alone: open == 0 }
    }

    /// That of a call to the service that stands in, after one to the route's own.
    pub(crate) fn answered_instead(first: Option<&Call>, other: &Call) -> Self {
        match (Self::answered(other), first.is_some_and(Call::maybe_executed)) {
            (Self::Answered { .. }, true) => Self::Answered { alone: false },
            (ending, _) => ending,
        }
    }

    /// That of a call that was not.
    pub(crate) fn failed(maybe_executed: bool) -> Self {
        if maybe_executed { Self::NoAnswer } else { Self::NotExecuted }
    }
}

/// A request with a key, past the gates.
pub(crate) struct Departure {
    pub(crate) begun: Box<Begun>,
    pub(crate) body: Outgoing,
    pub(crate) safety: Safety,
    pub(crate) deadline: Time,
    pub(crate) pass: Option<Box<Pass>>,
    /// When the time for the answer began.
    pub(crate) now: Time,
}

/// Answers it. Dropping the future does not stop what was begun.
pub(crate) async fn run(client: &Rc<Client>, departure: Departure) -> Response<ResponseBody> {
    let request_id = departure.begun.record.request_id().clone();
    let (told, answer) = oneshot::channel();
    let execution = execute(Rc::clone(client), Box::new(departure), told);
    tokio::task::spawn_local(Ticking { worker: Rc::clone(&client.worker), inner: Box::pin(execution) });
    match answer.await {
        Ok(response) => response,
        Err(_) => unavailable("the gateway is stopping", true).into_response(&request_id),
    }
}

/// Reads the clock at each of its turns.
struct Ticking<F> {
    worker: Rc<Worker>,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for Ticking<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<F::Output> {
        self.worker.tick();
        self.inner.as_mut().poll(context)
    }
}

/// Keeps a drain waiting, like a connection.
struct Presence(Rc<Worker>);

impl Presence {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.closed.notify_waiters();
    }
}

/// Where the answer goes.
type Told = oneshot::Sender<Response<ResponseBody>>;

async fn execute(client: Rc<Client>, departure: Box<Departure>, mut told: Told) {
    let worker = &client.worker;
    let _presence = Presence::new(worker);
    let Departure { mut begun, body, safety, deadline, pass, now } = *departure;
    let target = &worker.shared.targets[begun.target];
    let Some(kept) = &target.keys else { return };
    let key = kept.name(&begun.head);
    let bytes = if let Outgoing::Whole(bytes) = &body { &bytes[..] } else { &[] };
    let fingerprint = name::fingerprint(&begun.head, bytes);
    // A call of ours is made on behalf of whoever made it; only requests from outside begin something.
    let known =
        (!target.trusts_callers()).then(|| worker.shared.keys.inbound.enter(begun.record.request_id(), &key));
    let asked = Box::pin(ask(worker, kept, key, fingerprint, deadline, &mut told)).await;
    let count = |outcome: Outcome, record: &mut Record| {
        worker.shared.keys.metrics.count(worker.index, record.target(), outcome);
        record.keyed(outcome.as_str());
    };
    let (mut execution, outcome) = match asked {
        Asked::Execute(execution, outcome) if !told.is_closed() => (execution, outcome),
        // Nothing was sent: dropping the execution makes the key new.
        Asked::Execute(..) | Asked::Left => {
            count(Outcome::Left, &mut begun.record);
            begun.record.client_left();
            return begun.record.finish_unasked();
        }
        Asked::Replay(response) => {
            count(Outcome::Replayed, &mut begun.record);
            let _ = told.send(send(response, begun.record, None));
            return;
        }
        Asked::Refuse(problem, outcome) => {
            count(outcome, &mut begun.record);
            let mut response = refuse(*problem, begun.record);
            respell(kept, outcome, &mut response);
            let _ = told.send(response);
            return;
        }
    };
    count(outcome, &mut begun.record);
    execution.sending();
    // The answer is whole when it goes out, so it has a length.
    begun.old_version = false;
    let request_id = begun.record.request_id().clone();
    let ending = Rc::new(Cell::new(Ending::NoAnswer));
    let (mut journey, record) = begun.depart(&client, target, body, safety, deadline);
    journey.ending = Some(Rc::clone(&ending));
    let response = Box::pin(call(*journey, pass, record, now)).await;
    let executed = Executed { kept, execution, ending: ending.get() };
    let (response, rest) = Box::pin(executed.hold(response, &request_id)).await;
    let _ = told.send(response);
    if let Some(rest) = rest {
        Box::pin(rest.relay(&client)).await;
    }
    drop(known);
}

async fn call(
    journey: Journey<'_>,
    pass: Option<Box<Pass>>,
    record: Box<Record>,
    now: Time,
) -> Response<ResponseBody> {
    let mut driver = journey.driver(pass);
    match driver.run(&journey.template).await {
        CallOutcome::Committed(answer) if journey.judge(&answer).is_none() => {
            journey.arrive(answer, driver, None, record)
        }
        outcome => Box::pin(journey.fail(outcome, driver, None, record, now)).await,
    }
}

/// An execution whose answer begins.
struct Executed<'a> {
    kept: &'a KeptKeys,
    execution: Execution,
    ending: Ending,
}

impl<'a> Executed<'a> {
    /// Reads the answer and keeps what became of it; what is too long to be held back has a rest.
    async fn hold(
        self,
        response: Response<ResponseBody>,
        request_id: &http::HeaderValue,
    ) -> (Response<ResponseBody>, Option<Rest<'a>>) {
        let (parts, mut body) = response.into_parts();
        let mut held = BytesMut::new();
        let mut streams = is_event_stream(&parts.headers);
        while !streams {
            match next(&mut body).await {
                None => break,
                Some(Ok(frame)) => held.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(_)) => {
                    let ended = self.execution.end(KeyOutcome::Unknown).await;
                    return (broken(ended.is_ok()).into_response(request_id), None);
                }
            }
            streams = held.len() > self.kept.max_answer;
        }
        if streams {
            let (frames, relayed) = mpsc::channel(RELAYED_FRAMES);
            let rest = Rest { status: parts.status, held: held.freeze(), body, frames, executed: self };
            return (Response::from_parts(parts, ResponseBody::Relay(relayed)), Some(rest));
        }
        let held = held.freeze();
        let outcome = self.outcome(parts.status, || stored::whole(&parts, &held));
        match self.execution.end(outcome).await {
            Ok(()) | Err(seaworthy_observe::KeysError::Overtaken) => (answer(parts, held), None),
            Err(error) => (unavailable(&error.to_string(), true).into_response(request_id), None),
        }
    }

    fn outcome(&self, status: StatusCode, keep: impl FnOnce() -> Vec<u8>) -> KeyOutcome {
        match self.ending {
            Ending::NotExecuted => KeyOutcome::NotExecuted,
            Ending::NoAnswer => KeyOutcome::Unknown,
            Ending::Answered { alone } => match self.kept.config.settle(status.as_u16(), alone) {
                Verdict::Store => KeyOutcome::Done(keep()),
                Verdict::NotExecuted => KeyOutcome::NotExecuted,
                Verdict::Unknown => KeyOutcome::Unknown,
            },
        }
    }
}

fn answer(mut parts: Parts, body: Bytes) -> Response<ResponseBody> {
    parts.headers.remove(http::header::TRAILER);
    Response::from_parts(parts, ResponseBody::full(body))
}

/// The answer broke off before its client has seen any of it.
fn broken(kept: bool) -> Box<Problem> {
    if !kept {
        return unavailable("the answer broke off, and that could not be kept", true);
    }
    let (status, slug) = (StatusCode::BAD_GATEWAY, "outcome-unknown");
    let title = "The request was sent, but nobody knows whether it was executed";
    let problem = Problem::request(status, slug, title, "the answer of the service broke off");
    Box::new(Problem { error: "http_response_incomplete", sent: true, ..problem })
}

/// What is still to come of a long answer.
struct Rest<'a> {
    status: StatusCode,
    held: Bytes,
    body: ResponseBody,
    frames: mpsc::Sender<Result<Frame<Bytes>, BodyError>>,
    executed: Executed<'a>,
}

impl Rest<'_> {
    /// Passes it on, to its end, even when nobody listens any more; then keeps status and digest.
    async fn relay(self, client: &Client) {
        let Self { status, held, mut body, frames, executed } = self;
        let mut digest = Sha256::new_with_prefix(&held);
        let mut length = held.len() as u64;
        // A client that has left is no reason to stop.
        let _ = frames.send(Ok(Frame::data(held))).await;
        while let Some(frame) = next(&mut body).await {
            match frame {
                Ok(frame) => {
                    if let Some(data) = frame.data_ref() {
                        digest.update(data);
                        length += data.len() as u64;
                    }
                    let _ = frames.send(Ok(frame)).await;
                }
                Err(error) => {
                    client.reset_at_end();
                    // Whether it could be kept or not: its key is in flight, which ends as unknown.
                    let _ = executed.execution.end(KeyOutcome::Unknown).await;
                    let _ = frames.send(Err(error)).await;
                    return;
                }
            }
        }
        let digest: [u8; 32] = digest.finalize().into();
        let outcome = executed.outcome(status, || stored::digest(status, digest, length));
        let _ = executed.execution.end(outcome).await;
    }
}

async fn next(body: &mut ResponseBody) -> Option<Result<Frame<Bytes>, BodyError>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}
