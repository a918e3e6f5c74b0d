//! A service that does what a script says, and complains when it is called wrongly.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use seaworthy_tower::{Attempt, Event, Observer, current};
use tokio::time::Sleep;
use tower::{Service, ServiceExt};

/// The service's own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("broken")
    }
}

impl std::error::Error for Broken {}

/// What one call gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    /// Polls that find it waiting, before the wait in time.
    pub(crate) yields: u32,
    pub(crate) after: Duration,
    pub(crate) result: Result<u32, Broken>,
}

impl Reply {
    pub(crate) const OK: Reply = Reply { yields: 0, after: Duration::ZERO, result: Ok(7) };
    pub(crate) const BROKEN: Reply = Reply { result: Err(Broken), ..Reply::OK };
    pub(crate) const NEVER: Reply = Reply { after: Duration::from_hours(1), ..Reply::OK };

    pub(crate) fn after_ms(self, millis: u64) -> Reply {
        Reply { after: Duration::from_millis(millis), ..self }
    }
}

#[derive(Debug, Default)]
struct Shared {
    script: Mutex<VecDeque<Reply>>,
    /// What calls get when the script has ended; `OK` when empty.
    afterwards: Mutex<Option<Reply>>,
    attempts: Mutex<Vec<Attempt>>,
    in_flight: AtomicU32,
    in_flight_max: AtomicU32,
    /// Polls of `poll_ready` that find it busy, from now on.
    busy: AtomicU32,
}

/// The service. Each clone has to be polled ready on its own.
#[derive(Debug, Default)]
pub(crate) struct Stub {
    shared: Arc<Shared>,
    is_ready: bool,
}

impl Clone for Stub {
    fn clone(&self) -> Self {
        Stub { shared: Arc::clone(&self.shared), is_ready: false }
    }
}

impl Stub {
    pub(crate) fn new(script: &[Reply]) -> Self {
        let stub = Stub::default();
        stub.shared.script.lock().unwrap().extend(script);
        stub
    }

    /// Every call gets this.
    pub(crate) fn always(reply: Reply) -> Self {
        let stub = Stub::default();
        stub.afterwards(reply);
        stub
    }

    /// Every call gets this once the script has ended.
    pub(crate) fn afterwards(&self, reply: Reply) {
        *self.shared.afterwards.lock().unwrap() = Some(reply);
    }

    pub(crate) fn calls(&self) -> usize {
        self.shared.attempts.lock().unwrap().len()
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.shared.attempts.lock().unwrap().clone()
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn in_flight_max(&self) -> u32 {
        self.shared.in_flight_max.load(Ordering::SeqCst)
    }

    pub(crate) fn busy_for(&self, polls: u32) {
        self.shared.busy.store(polls, Ordering::SeqCst);
    }
}

impl Service<u32> for Stub {
    type Response = u32;
    type Error = Broken;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let busy = &self.shared.busy;
        if busy.try_update(Ordering::SeqCst, Ordering::SeqCst, |polls| polls.checked_sub(1)).is_ok() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Answer {
        assert!(std::mem::take(&mut self.is_ready), "called without having been polled ready");
        let scripted = self.shared.script.lock().unwrap().pop_front();
        let reply = scripted.or(*self.shared.afterwards.lock().unwrap()).unwrap_or(Reply::OK);
        self.shared.attempts.lock().unwrap().push(current());
        let in_flight = self.shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.shared.in_flight_max.fetch_max(in_flight, Ordering::SeqCst);
        Answer { shared: Arc::clone(&self.shared), reply, sleep: None, under_way: true }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    shared: Arc<Shared>,
    reply: Reply,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Until it has answered or was dropped; what has answered is not under way, even if it is still held.
    under_way: bool,
}

impl Answer {
    fn end(&mut self) {
        if std::mem::take(&mut self.under_way) {
            self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Future for Answer {
    type Output = Result<u32, Broken>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.reply.yields > 0 {
            self.reply.yields -= 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let after = self.reply.after;
        if !after.is_zero() {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
            std::task::ready!(sleep.as_mut().poll(context));
        }
        self.end();
        Poll::Ready(self.reply.result)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Polls it ready and calls it.
pub(crate) async fn call<S>(service: &mut S) -> Result<S::Response, S::Error>
where
    S: Service<u32>,
{
    service.ready().await?.call(1).await
}

/// Keeps the decisions it hears of, as text.
#[derive(Debug, Default)]
pub(crate) struct Record {
    names: Mutex<Vec<&'static str>>,
    pub(crate) count: AtomicU32,
}

impl Record {
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.names.lock().unwrap().clone()
    }
}

impl Observer for Record {
    fn on_event(&self, event: &Event<'_>) {
        self.names.lock().unwrap().push(event.decision.name());
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}
