//! Drives one call: tells policy what happens, and does what policy says.
//!
//! All attempts of a request run inside the request's own task, so that dropping the request drops them, and with
//! them their connections. Nothing is decided here.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request};
use seaworthy_observe::Via;
use seaworthy_policy::Time;
use seaworthy_policy::call::{AttemptId, Call, CallConfig, Class, Ended, Event, Failure, Pushback, Step};
use seaworthy_policy::entrance::Ending;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

use crate::body::Outgoing;
use crate::deadline::{DeadlineHeaders, Telling};
use crate::edge::{Edge, Endpoint, Scratch, Start};
use crate::entrance::Pass;
use crate::headers::{ATTEMPT, GRPC_PUSHBACK};
use crate::seen::Seen;
use crate::upstream::{Answer, Attempt, AttemptError, Connection};
use crate::worker::Worker;

type Running = Pin<Box<dyn Future<Output = Result<Answer, AttemptError>>>>;

/// One attempt of the call, in the order of their numbers.
struct Slot {
    endpoint: Arc<Endpoint>,
    running: Option<Running>,
    answer: Option<Answer>,
}

/// What is sent, as often as it is sent.
pub(crate) struct Template<'a> {
    pub(crate) head: Request<()>,
    pub(crate) body: Outgoing,
    pub(crate) config: Arc<CallConfig>,
    pub(crate) deadline: Time,
    /// How each endpoint is told about the deadline.
    pub(crate) told: (&'a DeadlineHeaders, Telling),
}

/// How a call ended.
pub(crate) enum Outcome {
    /// This answer is to be delivered.
    Committed(Answer),
    /// There is none.
    Failed(Failure),
}

/// A call with everything that it is doing.
pub(crate) struct Driver {
    worker: Rc<Worker>,
    edge: Arc<Edge>,
    call: Call,
    slots: Vec<Slot>,
    committed: usize,
    timer: Option<Pin<Box<Sleep>>>,
    finished: bool,
    /// What the request holds of the gates that it has passed.
    pass: Option<Box<Pass>>,
}

impl Driver {
    /// A call that was not started yet.
    pub(crate) fn new(worker: Rc<Worker>, edge: Arc<Edge>, call: Call) -> Self {
        // Most calls need one attempt; room for four, as a vector would begin with, is beyond what is allocated cheaply.
        let slots = Vec::with_capacity(1);
        Self { worker, edge, call, slots, committed: 0, timer: None, finished: false, pass: None }
    }

    /// Runs the call until an answer is committed or the call gives up.
    pub(crate) async fn run(&mut self, template: &Template<'_>) -> Outcome {
        let mut event = Event::Start;
        loop {
            if let Some(outcome) = self.tell(event, template) {
                return outcome;
            }
            let mut woken = None;
            if self.call.is_parked() {
                // Registers first and asks again: an endpoint may have come up in between.
                woken = Some(Arc::clone(&self.edge.available).notified_owned());
                if let Some(outcome) = self.tell(Event::Timer, template) {
                    return outcome;
                }
            }
            event = self.wait(woken).await;
        }
    }

    /// The call itself.
    pub(crate) fn call(&self) -> &Call {
        &self.call
    }

    /// The endpoint of each entry of the call's trail.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.slots.iter().map(|slot| &*slot.endpoint)
    }

    /// Monotonic time, as of this turn.
    pub(crate) fn now(&self) -> Time {
        self.worker.now()
    }

    /// Reads the clock, which a timer asks for that went off.
    pub(crate) fn tick(&self) -> Time {
        self.worker.tick()
    }

    /// The timer, set to `at` or earlier, for whoever goes on with the response.
    pub(crate) fn timer_by(&mut self, at: Time) -> Pin<&mut Sleep> {
        if self.timer.as_ref().is_none_or(|timer| timer.deadline() > self.worker.instant(at)) {
            self.set_timer(at);
        }
        self.timer.as_mut().expect("it was set just now").as_mut()
    }

    /// Sets the timer.
    pub(crate) fn set_timer(&mut self, at: Time) {
        let at = self.worker.instant(at);
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(self.worker.timers.take(at)),
        }
    }

    /// Tells policy how the committed response ended. Only the first time counts.
    pub(crate) fn finish(&mut self, event: Event) {
        if self.finished {
            return;
        }
        self.finished = true;
        let mut scratch = self.worker.scratch.borrow_mut();
        self.edge.tell(self.worker.now(), &mut self.call, event, &mut scratch);
        drop(scratch);
        if let Some(pass) = &mut self.pass {
            pass.body(event);
        }
    }

    /// Keeps what the request was given on its way in until the call has ended.
    pub(crate) fn hold(&mut self, pass: Option<Box<Pass>>) {
        self.pass = pass;
    }

    /// A byte of the committed response arrived.
    pub(crate) fn progress(&self, now: Time) {
        self.edge.progress(now, self.slots[self.committed].endpoint.key);
    }

    /// The committed attempt's connection is free.
    pub(crate) fn give_back(&self, connection: Connection) {
        let endpoint = self.slots[self.committed].endpoint.key;
        self.worker.upstreams.give_back(self.worker.now(), &self.edge, endpoint, connection);
    }

    fn tell(&mut self, event: Event, template: &Template<'_>) -> Option<Outcome> {
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { steps, starts } = {
            self.edge.tell(worker.now(), &mut self.call, event, &mut scratch);
            &mut *scratch
        };
        let mut starts = starts.drain(..);
        let mut outcome = None;
        for step in steps.iter() {
            match *step {
                Step::Attempt { .. } => {
                    let start = starts.next().expect("one start for each attempt step");
                    self.begin(start, template);
                }
                Step::Cancel { attempt } => {
                    let slot = &mut self.slots[usize::from(attempt)];
                    slot.running = None;
                    slot.answer = None;
                }
                Step::Commit { attempt } => {
                    self.committed = usize::from(attempt);
                    let answer = self.slots[self.committed].answer.take();
                    outcome = Some(Outcome::Committed(answer.expect("policy commits what has answered")));
                    let class = match self.call.trail()[self.committed].ended {
                        Some((_, Ended::Committed(class))) => Some(class),
                        _ => None,
                    };
                    if let Some(pass) = &mut self.pass {
                        pass.head(class);
                    }
                }
                Step::Fail(failure) => {
                    self.finished = true;
                    outcome = Some(Outcome::Failed(failure));
                    if let Some(pass) = &mut self.pass {
                        pass.end(Ending::Failed(failure.kind));
                    }
                }
            }
        }
        if outcome.is_some() {
            for slot in &mut self.slots {
                slot.running = None;
                slot.answer = None;
            }
        }
        outcome
    }

    fn begin(&mut self, start: Start, template: &Template<'_>) {
        debug_assert_eq!(usize::from(start.attempt), self.slots.len(), "attempts are numbered in order");
        self.worker.count_attempt(&self.edge, start.kind);
        let mut head = Request::new(());
        *head.method_mut() = template.head.method().clone();
        *head.uri_mut() = template.head.uri().clone();
        *head.headers_mut() = template.head.headers().clone();
        let headers = head.headers_mut();
        headers.insert(ATTEMPT, attempt_number(start.attempt));
        let (deadline, telling) = &template.told;
        deadline.tell(telling, self.worker.now(), template.deadline, headers);
        if self.edge.via == Via::Egress {
            headers.insert(HOST, start.endpoint.host.clone());
        }
        let attempt = Attempt {
            worker: Rc::clone(&self.worker),
            edge: Arc::clone(&self.edge),
            endpoint: Arc::clone(&start.endpoint),
            head,
            body: template.body.clone(),
            connect_timeout: template.config.connect_timeout.min(template.config.attempt_timeout),
        };
        let running: Running = Box::pin(attempt.run());
        self.slots.push(Slot { endpoint: start.endpoint, running: Some(running), answer: None });
    }

    /// Waits for the next thing to tell.
    async fn wait(&mut self, woken: Option<OwnedNotified>) -> Event {
        let mut woken = woken.map(Box::pin);
        if let Some(deadline) = self.call.next_deadline()
            && self.timer.as_ref().is_none_or(|timer| timer.deadline() != self.worker.instant(deadline))
        {
            self.set_timer(deadline);
        }
        let Self { slots, timer, worker, .. } = self;
        std::future::poll_fn(move |context| {
            for (index, slot) in slots.iter_mut().enumerate() {
                let Some(running) = &mut slot.running else { continue };
                if let Poll::Ready(result) = running.as_mut().poll(context) {
                    slot.running = None;
                    let attempt = AttemptId::try_from(index).expect("attempts are few");
                    return Poll::Ready(slot.ended(attempt, result));
                }
            }
            if woken.as_mut().is_some_and(|woken| woken.as_mut().poll(context).is_ready()) {
                return Poll::Ready(Event::Timer);
            }
            match timer {
                Some(timer) => timer.as_mut().poll(context).map(|()| {
                    worker.tick();
                    Event::Timer
                }),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl Slot {
    fn ended(&mut self, attempt: AttemptId, result: Result<Answer, AttemptError>) -> Event {
        match result {
            Err(AttemptError { proof, cause }) => Event::Failed { attempt, proof, cause },
            Ok(answer) => {
                let (headers, seen) = (answer.response.headers(), answer.seen);
                let class = Class::of(answer.response.status().as_u16(), seen.has(Seen::DEGRADED));
                let retry_after = if seen.has(Seen::RETRY_AFTER) { retry_after(headers) } else { None };
                let pushback = if seen.has(Seen::PUSHBACK) { pushback(headers) } else { Pushback::None };
                self.answer = Some(answer);
                Event::Head { attempt, class, retry_after, pushback }
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.running = None);
        self.finish(Event::Dropped);
        if let Some(timer) = self.timer.take() {
            self.worker.timers.give_back(timer);
        }
    }
}

/// The number of an attempt, from 1.
fn attempt_number(attempt: AttemptId) -> HeaderValue {
    const FIRST: [&str; 5] = ["1", "2", "3", "4", "5"];
    FIRST
        .get(usize::from(attempt))
        .map_or_else(|| u16::from(attempt).saturating_add(1).into(), |text| HeaderValue::from_static(text))
}

fn pushback(headers: &HeaderMap) -> Pushback {
    headers.get(GRPC_PUSHBACK).map_or(Pushback::None, |value| Pushback::of_grpc(value.as_bytes()))
}

/// `Retry-After` in seconds. The form with a date is rare, and useless without a common clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(u64::from(seconds)))
}
