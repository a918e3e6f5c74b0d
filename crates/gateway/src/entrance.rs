//! One request on its way in: does what its passage says, and gives back what it holds, however it ends.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use seaworthy_policy::Time;
use seaworthy_policy::admission::Priority;
use seaworthy_policy::call::{Class, Event, FailureKind};
use seaworthy_policy::entrance::{Denied, Ending, Passage, Reason, Step};

use crate::connection::Client;
use crate::gate::Row;
use crate::problem::Problem;
use crate::quota::QuotaFields;
use crate::shared::Target;
use crate::worker::Worker;

/// A request that is on its way in, or has passed. Dropping it gives everything back.
pub(crate) struct Pass {
    worker: Rc<Worker>,
    row: Row,
    passage: Passage,
    class: Option<Class>,
}

/// Who said no.
pub(crate) struct Refused {
    pub(crate) denied: Denied,
    /// The gate's name.
    pub(crate) gate: String,
}

impl Pass {
    /// A request in front of the first gate; `None` where there are none.
    pub(crate) fn new(
        client: &Client,
        target: &Target,
        deadline: Time,
        priority: Priority,
    ) -> Option<Box<Self>> {
        let (worker, row) = (&client.worker, &target.gates);
        if row.is_empty() {
            return None;
        }
        let passage = target.exchange.enter(deadline, priority);
        Some(Box::new(Self { worker: Rc::clone(worker), row: Arc::clone(row), passage, class: None }))
    }

    /// Walks through the gates. Safe to be dropped anywhere: the client may leave while it waits.
    pub(crate) async fn enter(&mut self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Denied> {
        loop {
            match self.passage.step() {
                Step::Go => return Ok(()),
                Step::No(denied) => {
                    self.end(Ending::NotCalled);
                    return Err(denied);
                }
                Step::Ask(index) => {
                    let gate = &self.row[index];
                    gate.ask(self.worker.now(), &mut self.passage, gate.key_of(peer, headers));
                }
                Step::Until(due) => {
                    tokio::time::sleep_until(self.worker.instant(due)).await;
                    self.passage.on_due(self.worker.tick());
                }
                Step::Turn(index, ticket) => {
                    let gate = &self.row[index];
                    let verdict = std::future::poll_fn(|context| gate.poll_turn(ticket, context)).await;
                    self.passage.on_decided(self.worker.tick(), verdict);
                }
            }
        }
    }

    /// How long it has waited.
    pub(crate) fn waited(&self) -> Duration {
        self.passage.waited(self.worker.now())
    }

    /// What the answer says about quotas.
    pub(crate) fn quota_fields(&self) -> QuotaFields {
        let mut fields = QuotaFields::default();
        for (index, quote) in self.passage.quotes() {
            let gate = &self.row[index];
            fields.add(gate.policy_field.as_ref(), gate.quota_field(quote));
        }
        fields
    }

    /// The name of a gate.
    pub(crate) fn name_of(&self, gate: usize) -> &str {
        &self.row[gate].name
    }

    /// An answer was committed.
    pub(crate) fn head(&mut self, class: Option<Class>) {
        self.class = class;
        let now = self.worker.now();
        let ending = class.map_or(Ending::Left, Ending::Answered);
        while let Some((gate, hold)) = self.passage.on_head(now) {
            self.row[gate].end(now, hold, ending, true);
        }
    }

    /// The committed answer ended.
    pub(crate) fn body(&mut self, event: Event) {
        self.end(match (event, self.class) {
            (Event::BodyEnded, Some(class)) => Ending::Answered(class),
            (Event::BodyFailed, _) => Ending::Failed(FailureKind::Reset),
            _ => Ending::Left,
        });
    }

    /// Gives back what is held. Only the first time counts.
    pub(crate) fn end(&mut self, ending: Ending) {
        let now = self.worker.now();
        let in_time = self.passage.in_time(now);
        while let Some((gate, hold)) = self.passage.next_hold() {
            self.row[gate].end(now, hold, ending, in_time);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some((gate, waiting)) = self.passage.on_left() {
            self.row[gate].leave(self.worker.now(), waiting);
        }
        self.end(Ending::NotCalled);
    }
}

/// What a client hears of it.
pub(crate) fn denied(denied: &Denied, gate: &str, status: u16) -> Problem {
    let (slug, title, error) = match denied.reason {
        Reason::RateLimited => ("rate-limited", "There were too many requests", "http_request_denied"),
        Reason::Throttled => {
            ("throttled", "The service refuses most of what it is asked", "http_request_denied")
        }
        Reason::Crowded(_) => {
            ("overloaded", "There are as many requests under way as may be", "connection_limit_reached")
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let detail = format!("{gate}: {}", denied.reason.as_str());
    let problem = Problem::request(status, slug, title, &detail);
    Problem { error, retry_after: Some(denied.retry_after), policy: Some(gate.to_owned()), ..problem }
}
