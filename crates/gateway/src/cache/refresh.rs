//! A flight that no client waits for: a call without an exchange, whose answer goes into the store.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, VIA};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use seaworthy_policy::call::{Call, CallConfig, Event, Safety};
use seaworthy_policy::fallback::FailureClass;

use super::capture::{Capture, Length};
use super::store::Ticket;
use crate::body::Outgoing;
use crate::deadline::{DeadlineHeaders, Telling};
use crate::driver::{Driver, Outcome, Template};
use crate::edge::Edge;
use crate::headers::strip_hop_by_hop;
use crate::upstream::Answer;
use crate::worker::Worker;

/// Where and how to fetch.
pub(crate) struct Way {
    pub(crate) edge: Arc<Edge>,
    pub(crate) lane: usize,
    pub(crate) call: Arc<CallConfig>,
    pub(crate) deadline: DeadlineHeaders,
    pub(crate) telling: Telling,
    /// Where the request belongs among the endpoints.
    pub(crate) affinity: Option<u64>,
}

/// Fetches the answer to this request again, in the background.
pub(crate) fn refresh(worker: &Rc<Worker>, way: Way, request: &Request<()>, ticket: Ticket) {
    let mut head = Request::new(());
    // A HEAD may have found the answer stale; what is kept is that of the GET.
    *head.method_mut() = Method::GET;
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    unconditional(head.headers_mut());
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        worker.tick();
        Box::pin(fetch(worker, way, head, ticket)).await;
    });
}

/// The whole answer is wanted, whatever this client has already.
pub(crate) fn unconditional(headers: &mut HeaderMap) {
    headers.remove(IF_NONE_MATCH);
    headers.remove(IF_MODIFIED_SINCE);
}

async fn fetch(worker: Rc<Worker>, way: Way, head: Request<()>, ticket: Ticket) {
    let deadline = worker.now().after(way.call.total_timeout);
    // Nobody waits, so nobody is to be parked for it.
    let config = Arc::new(CallConfig { park: false, ..(*way.call).clone() });
    let call = Call::new(Arc::clone(&config), way.lane, Safety::Safe, true, deadline);
    let call = if let Some(key) = way.affinity { call.with_affinity(key) } else { call };
    let told = (&way.deadline, way.telling);
    let template = Template { head, body: Outgoing::Empty, config, deadline, told };
    let mut driver = Driver::new(Rc::clone(&worker), way.edge, call);
    let answer = match driver.run(&template).await {
        Outcome::Committed(answer) => answer,
        Outcome::Failed(failure) => return ticket.failed(worker.now(), FailureClass::of(&failure)),
    };
    let Answer { response, seen, connection } = answer;
    let (mut parts, incoming) = response.into_parts();
    let length = Length::of(&parts.headers, incoming.size_hint().lower());
    strip_hop_by_hop(&mut parts.headers, seen);
    parts.headers.append(VIA, HeaderValue::from_static("1.1 seaworthy"));
    let Some(capture) = Capture::of(worker.now(), ticket, template.head.headers(), &parts, length) else {
        return driver.finish(Event::BodyEnded);
    };
    let body = read(&worker, incoming, capture);
    // The head had until then; the body, which is bounded, has as long again.
    let limit = worker.instant(deadline.after(way.call.total_timeout));
    match tokio::time::timeout_at(limit, body).await {
        Ok(Read::Whole) => {
            driver.finish(Event::BodyEnded);
            driver.give_back(connection);
        }
        // The endpoint did nothing wrong; the rest of it is of no use.
        Ok(Read::Unfit) => driver.finish(Event::BodyEnded),
        // When it is too late, dropping the capture gives the flight up; its place in the store has long been free.
        Ok(Read::Broken) | Err(_) => driver.finish(Event::BodyFailed),
    }
}

/// What became of a body that was read into the store.
enum Read {
    /// It is there, and the connection can be used again.
    Whole,
    /// It turned out to be too long, or to have trailers; the rest was not read.
    Unfit,
    /// It broke off.
    Broken,
}

/// Reads the body into the store.
async fn read(worker: &Worker, mut body: Incoming, mut capture: Box<Capture>) -> Read {
    loop {
        let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await;
        let now = worker.tick();
        let frame: Frame<Bytes> = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                capture.broken(now);
                return Read::Broken;
            }
            None => {
                capture.whole(now);
                return Read::Whole;
            }
        };
        match capture.frame(now, &frame) {
            Some(more) => capture = more,
            None => return Read::Unfit,
        }
    }
}
