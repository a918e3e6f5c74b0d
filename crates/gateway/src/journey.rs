//! One request from the moment its service is asked: the call, the ladder when it fails, and the answer on its way out.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, VIA};
use http::{Method, Response, StatusCode};
use http_body::Body;
use seaworthy_policy::Time;
use seaworthy_policy::call::{Call, Event, Failure, FailureKind, Safety};
use seaworthy_policy::fallback::FailureClass;
use seaworthy_policy::ladder::{Fall, Rung};

use crate::access::Record;
use crate::body::{ResponseBody, is_event_stream};
use crate::cache::{Asked, Asking, Capture, Length, Ticket};
use crate::connection::Client;
use crate::degrade::{Caught, PlaceTaken, Trip, walk};
use crate::delivery::{BODY_IDLE_LIMIT, Delivery, EVENT_STREAM_IDLE_LIMIT, Terms};
use crate::driver::{Driver, Outcome, Template};
use crate::entrance::{Pass, Refused};
use crate::headers::{DEGRADED, PROXY_STATUS, strip_hop_by_hop};
use crate::keys::Ending;
use crate::problem::{Problem, Told};
use crate::seen::Seen;
use crate::shared::Target;
use crate::upstream::Answer;

/// A request that was admitted.
pub(crate) struct Journey<'a> {
    pub(crate) client: &'a Rc<Client>,
    pub(crate) target: &'a Target,
    pub(crate) template: Template<'a>,
    /// What the store of answers knows it by.
    pub(crate) asked: Option<Asked>,
    /// Where it belongs among the endpoints.
    pub(crate) affinity: Option<u64>,
    pub(crate) safety: Safety,
    pub(crate) old_version: bool,
    /// Told how the call ended, where its key is kept.
    pub(crate) ending: Option<Rc<Cell<Ending>>>,
}

/// What else happens to an answer on its way.
#[derive(Default)]
struct Extra {
    ticket: Option<Box<Ticket>>,
    degraded: Option<Rung>,
    place: Option<PlaceTaken>,
}

impl Journey<'_> {
    /// Whoever makes the call, before it begins.
    pub(crate) fn driver(&self, pass: Option<Box<Pass>>) -> Driver {
        let (target, template) = (self.target, &self.template);
        let replayable = template.body.is_replayable();
        let call =
            Call::new(Arc::clone(&target.call), target.lane, self.safety, replayable, template.deadline);
        let call = if let Some(key) = self.affinity { call.with_affinity(key) } else { call };
        let mut driver = Driver::new(Rc::clone(&self.client.worker), Arc::clone(&target.edge), call);
        driver.hold(pass);
        driver
    }

    /// What the answer of the service is to the ladder; `None` = nothing, it goes out.
    pub(crate) fn judge(&self, answer: &Answer) -> Option<FailureClass> {
        let status = answer.response.status().as_u16();
        self.target.exchange.on_answer(status, || answer.seen.has(Seen::DEGRADED))
    }

    /// The service answered. Not async, so that the futures of ordinary requests do not hold all of it once more.
    pub(crate) fn arrive(
        self,
        answer: Answer,
        driver: Driver,
        ticket: Option<Box<Ticket>>,
        record: Box<Record>,
    ) -> Response<ResponseBody> {
        self.target.degrade.on_answer(driver.now(), None);
        self.ended(|| Ending::answered(driver.call()));
        self.deliver(answer, driver, record, Extra { ticket, ..Extra::default() })
    }

    /// The call failed, or was answered with an error; `now` is when the time for the answer began.
    pub(crate) async fn fail(
        self,
        outcome: Outcome,
        driver: Driver,
        ticket: Option<Box<Ticket>>,
        record: Box<Record>,
        now: Time,
    ) -> Response<ResponseBody> {
        match outcome {
            Outcome::Committed(answer) => match self.judge(&answer) {
                Some(class) => self.bad_answer(class, answer, driver, ticket, record).await,
                None => self.arrive(answer, driver, ticket, record),
            },
            Outcome::Failed(failure) => {
                let class = FailureClass::of(&failure);
                if let Some(ticket) = ticket {
                    ticket.failed(driver.now(), class);
                }
                let limit = self.template.deadline.saturating_since(now);
                let problem = self.problem(&failure, &driver, limit);
                let maybe_executed = driver.call().maybe_executed();
                self.ended(|| Ending::failed(maybe_executed));
                let fall = self.fall(class, maybe_executed, false);
                self.fell(problem, fall, Some(driver), record).await
            }
        }
    }

    /// No service is asked: the store of answers had reasons.
    pub(crate) async fn unasked(
        self,
        asking: Asking,
        record: Box<Record>,
        now: Time,
    ) -> Response<ResponseBody> {
        let limit = self.template.deadline.saturating_since(now);
        let (class, problem) = if let Asking::Busy(retry_after) = asking {
            let (status, slug) = (StatusCode::SERVICE_UNAVAILABLE, "cache-full");
            let detail = "too many requests wait for the same answer";
            let problem = Problem::request(status, slug, "Too many wait for this answer", detail);
            let error = "connection_limit_reached";
            (FailureClass::Rejected, Problem { error, retry_after: Some(retry_after), ..problem })
        } else {
            let kind = FailureKind::TotalTimeout;
            let failure = Failure { kind, retry_after: None, outcome_unknown: false };
            let config = &self.target.call;
            let told = Told { trail: &[], maybe_executed: false, config, limit };
            (FailureClass::Timeout, Problem::failure(&failure, kind.status(), &told))
        };
        let fall = self.fall(class, false, false);
        self.fell(problem, fall, None, record).await
    }

    /// A gate said no.
    pub(crate) async fn denied(self, refused: Box<Refused>, record: Box<Record>) -> Response<ResponseBody> {
        let Refused { denied, gate } = &*refused;
        let (bottom, class) = self.target.exchange.on_denied(denied);
        let problem = crate::entrance::denied(denied, gate, bottom.status);
        let fall = self.fall(class, false, false);
        self.fell(problem, fall, None, record).await
    }

    /// Whoever keeps the key hears of it.
    fn ended(&self, ending: impl FnOnce() -> Ending) {
        if let Some(told) = &self.ending {
            told.set(ending());
        }
    }

    fn fall(&self, class: FailureClass, maybe_executed: bool, answered: bool) -> Fall {
        let reads = matches!(*self.template.head.method(), Method::GET | Method::HEAD);
        Fall { class, reads, maybe_executed, replayable: self.template.body.is_replayable(), answered }
    }

    fn trip(&self) -> Trip<'_> {
        Trip {
            worker: &self.client.worker,
            target: self.target,
            template: &self.template,
            asked: self.asked.as_ref(),
            safety: self.safety,
            until: self.target.exchange.until(self.template.deadline),
        }
    }

    /// The service answered with an error: whatever catches that, or the error itself.
    async fn bad_answer(
        self,
        class: FailureClass,
        answer: Answer,
        mut driver: Driver,
        ticket: Option<Box<Ticket>>,
        record: Box<Record>,
    ) -> Response<ResponseBody> {
        if let Some(ticket) = ticket {
            ticket.failed(driver.now(), class);
        }
        match walk(&self.trip(), self.fall(class, true, true), None).await {
            Caught::Nothing => {
                self.ended(|| Ending::answered(driver.call()));
                self.deliver(answer, driver, record, Extra::default())
            }
            caught => {
                // It has answered in full, as far as policy is concerned; the rest of it is of no use.
                driver.finish(Event::BodyEnded);
                self.caught(caught, Some(&driver), record)
            }
        }
    }

    /// The call failed: whatever catches that, or the problem.
    async fn fell(
        self,
        problem: Problem,
        fall: Fall,
        driver: Option<Driver>,
        mut record: Box<Record>,
    ) -> Response<ResponseBody> {
        record.broke_off(problem.error);
        let told = problem.into_response(record.request_id());
        match walk(&self.trip(), fall, Some(told.headers())).await {
            Caught::Nothing => send(told, record, driver.as_ref()),
            caught => self.caught(caught, driver.as_ref(), record),
        }
    }

    fn caught(
        self,
        caught: Caught,
        driver: Option<&Driver>,
        mut record: Box<Record>,
    ) -> Response<ResponseBody> {
        match caught {
            Caught::Ready(response) => {
                if self.asked.is_some()
                    && response.headers().get(DEGRADED).is_some_and(|step| step == "stale")
                {
                    let outcome = crate::cache::Outcome::Stale;
                    let worker = &self.client.worker;
                    worker.shared.cache_metrics.count(worker.index, record.target(), outcome);
                    record.cached(outcome.as_str());
                }
                send(response, record, driver)
            }
            Caught::Committed(answer, other, place) => {
                self.ended(|| Ending::answered_instead(driver.map(Driver::call), other.call()));
                let extra = Extra { degraded: Some(Rung::Service), place: Some(place), ticket: None };
                self.deliver(answer, *other, record, extra)
            }
            Caught::Stands(failure, other) => {
                self.ended(|| Ending::NoAnswer);
                let problem = self.problem(&failure, &other, self.target.call.total_timeout);
                record.broke_off(problem.error);
                let told = problem.into_response(record.request_id());
                send(told, record, Some(&other))
            }
            Caught::Nothing => unreachable!("whoever asks has looked"),
        }
    }

    /// What is to be said when the call failed.
    fn problem(&self, failure: &Failure, driver: &Driver, limit: Duration) -> Problem {
        let call = driver.call();
        let config = &self.target.call;
        let told = Told { trail: call.trail(), maybe_executed: call.maybe_executed(), config, limit };
        let bottom = self.target.exchange.on_failure(failure);
        Problem { retry_after: bottom.retry_after, ..Problem::failure(failure, bottom.status, &told) }
    }

    /// Passes a committed answer on.
    fn deliver(
        self,
        answer: Answer,
        driver: Driver,
        mut record: Box<Record>,
        extra: Extra,
    ) -> Response<ResponseBody> {
        let Answer { response, seen, connection } = answer;
        let (mut parts, incoming) = response.into_parts();
        // Looked up only where it is needed, and before the fields that say so are taken away.
        let keep =
            extra.ticket.map(|ticket| (ticket, Length::of(&parts.headers, incoming.size_hint().lower())));
        strip_hop_by_hop(&mut parts.headers, seen);
        parts.headers.append(VIA, HeaderValue::from_static("1.1 seaworthy"));
        let request = self.template.head.headers();
        let capture =
            keep.and_then(|(ticket, length)| Capture::of(driver.now(), *ticket, request, &parts, length));
        let headers = &mut parts.headers;
        mark(headers, &driver, extra.degraded);
        let degraded = extra.degraded.is_some() || seen.has(Seen::DEGRADED);
        record.answered(parts.status, if degraded { headers.get(DEGRADED).cloned() } else { None });
        let terms = Terms {
            idle_limit: if is_event_stream(headers) { EVENT_STREAM_IDLE_LIMIT } else { BODY_IDLE_LIMIT },
            close_delimited: self.old_version && !seen.has(Seen::CONTENT_LENGTH),
            capture,
            place: extra.place,
        };
        let delivery = Delivery::new(incoming, driver, connection, record, Rc::clone(self.client), terms);
        let body = if delivery.is_ended() {
            ResponseBody::Whole(None)
        } else {
            ResponseBody::Delivery(Box::new(delivery))
        };
        let mut response = Response::new(body);
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        response
    }
}

/// Says how the answer came about.
fn mark(headers: &mut HeaderMap, driver: &Driver, degraded: Option<Rung>) {
    let attempts = driver.call().trail().len();
    if attempts > 1
        && let Ok(status) = HeaderValue::try_from(format!("seaworthy; attempts={attempts}"))
    {
        headers.append(PROXY_STATUS, status);
    }
    if let Some(rung) = degraded {
        headers.insert(DEGRADED, HeaderValue::from_static(rung.as_str()));
    }
}

/// Sends an answer that is here in full.
pub(crate) fn send(
    response: Response<ResponseBody>,
    mut record: Box<Record>,
    driver: Option<&Driver>,
) -> Response<ResponseBody> {
    record.answered(response.status(), response.headers().get(DEGRADED).cloned());
    record.add_bytes(usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX));
    match driver {
        Some(driver) => record.finish(driver),
        None => record.finish_unasked(),
    }
    response
}
