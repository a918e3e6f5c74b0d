//! One request of a client, from its head to the head of its answer.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, TRANSFER_ENCODING, VIA};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use seaworthy_policy::Time;
use seaworthy_policy::admission::Priority;
use seaworthy_policy::call::Safety;
use seaworthy_policy::exchange::{Admission, Key, MethodKind, Refusal, RequestHead};

use crate::access::Record;
use crate::affinity;
use crate::body::{ClientBody, Outgoing, REPLAY_LENGTH_MAX, ResponseBody};
use crate::cache::{Asked, Asking, ask};
use crate::connection::Client;
use crate::deadline::Telling;
use crate::driver::{Outcome, Template};
use crate::entrance::{Pass, Refused};
use crate::guard::REJECTED_METHOD;
use crate::headers::{
    ATTEMPT, IDEMPOTENCY_KEY, X_REQUEST_ID, has_odd_expectation, has_passed, sane_request_id, set_forwarded,
    strip_hop_by_hop, wants_websocket,
};
use crate::journey::{Journey, send};
use crate::keys;
use crate::listener::Entry;
use crate::priority;
use crate::problem::Problem;
use crate::quota::QuotaFields;
use crate::route::{Routed, is_unambiguous};
use crate::seen::Seen;
use crate::shared::Target;

/// A request whose head was read and found good.
pub(crate) struct Begun {
    pub(crate) target: usize,
    judged: RequestHead,
    priority: Priority,
    pub(crate) head: Request<()>,
    seen: Seen,
    /// `None` when there is none.
    body: Option<Incoming>,
    pub(crate) record: Box<Record>,
    pub(crate) old_version: bool,
}

/// Answers a request. Never fails: what goes wrong becomes an answer.
///
/// What needs no waiting is done before the future exists, which is moved and should be small.
pub(crate) fn serve(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    let seen = Seen::of(request.headers());
    let own = if seen.has(Seen::REQUEST_ID) { sane_request_id(request.headers()) } else { None };
    let request_id = own.unwrap_or_else(|| client.worker.next_request_id());
    let begun = begin(&client, request, seen, &request_id);
    async move {
        let mut response = match begun {
            Ok(begun) => forward(&client, begun).await,
            Err(refused) => *refused,
        };
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, request_id);
        if client.worker.is_draining() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// Does everything that can be done with the head alone.
fn begin(
    client: &Rc<Client>,
    mut request: Request<Incoming>,
    mut seen: Seen,
    request_id: &HeaderValue,
) -> Result<Box<Begun>, Box<Response<ResponseBody>>> {
    let (method, path) = (request.method().clone(), request.uri().path());
    let mut record = Record::begin(Rc::clone(client), method, path, request_id.clone());
    let target = match examine(client, &request, seen) {
        Ok(target) => target,
        Err(problem) => return Err(Box::new(refuse(*problem, record))),
    };
    record.routed(target);
    let worker = &client.worker;
    let to = &worker.shared.targets[target];
    if to.keys.is_some()
        && !seen.has(Seen::IDEMPOTENCY_KEY)
        && worker.shared.keys.inbound.derive(to, &mut request)
    {
        seen.add(Seen::IDEMPOTENCY_KEY);
    }
    let judged = judged_head(to, &request, seen);
    // Refused before its body is read; judged again afterwards, because the time for the answer begins with its end.
    if let Admission::Refuse(refusal) = to.exchange.admit(worker.now(), &judged) {
        return Err(Box::new(refuse(refused(refusal), record)));
    }
    let told = if to.trusts_callers() { priority::told(request.headers(), seen) } else { None };
    let priority = to.exchange.priority(told);
    let old_version = request.version() == Version::HTTP_10;
    let (parts, body) = request.into_parts();
    let body = (!body.is_end_stream()).then_some(body);
    let mut head = Request::new(());
    *head.method_mut() = parts.method;
    *head.uri_mut() = path_only(parts.uri);
    *head.headers_mut() = parts.headers;
    Ok(Box::new(Begun { target, judged, priority, head, seen, body, record, old_version }))
}

/// Says no before any service is asked.
pub(crate) fn refuse(problem: Problem, mut record: Box<Record>) -> Response<ResponseBody> {
    record.answered(problem.status, None);
    record.broke_off(problem.error);
    let response = problem.into_response(record.request_id());
    record.add_bytes(usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX));
    record.finish_unasked();
    response
}

/// Finds out where a request belongs, or why it belongs nowhere.
fn examine(client: &Client, request: &Request<Incoming>, seen: Seen) -> Result<usize, Box<Problem>> {
    let bad = |slug, title, detail: &str| {
        Err(Box::new(Problem::request(StatusCode::BAD_REQUEST, slug, title, detail)))
    };
    if request.method().as_str() == REJECTED_METHOD {
        let violation = client.signals.violation().expect("only the guard sends this method");
        return Err(Box::new(Problem::violation(violation)));
    }
    let headers = request.headers();
    if seen.has(Seen::UPGRADE) && wants_websocket(headers) {
        let detail = "WebSocket connections cannot be made through this gateway";
        let problem =
            Problem::request(StatusCode::NOT_IMPLEMENTED, "websocket", "WebSocket is not served", detail);
        return Err(Box::new(Problem { error: "http_request_denied", ..problem }));
    }
    if seen.has(Seen::EXPECT) && has_odd_expectation(headers) {
        let (status, title) = (StatusCode::EXPECTATION_FAILED, "The expectation cannot be met");
        return Err(Box::new(Problem::request(
            status,
            "expectation",
            title,
            "only 100-continue is understood",
        )));
    }
    let path = request.uri().path();
    if !is_unambiguous(path) {
        return bad(
            "path",
            "The path is ambiguous",
            "dot segments, encoded slashes and broken encodings are refused",
        );
    }
    let target = match client.entry {
        Entry::Egress { target, .. } => target,
        Entry::Ingress => route(client, request.method(), path)?,
    };
    let mark = &client.worker.shared.targets[target].edge.via_mark;
    if seen.has(Seen::VIA) && has_passed(headers, mark) {
        let detail = "the request came through this gateway before";
        let problem =
            Problem::request(StatusCode::BAD_GATEWAY, "loop", "The request goes round in circles", detail);
        return Err(Box::new(Problem { error: "proxy_loop_detected", ..problem }));
    }
    Ok(target)
}

fn route(client: &Client, method: &Method, path: &str) -> Result<usize, Box<Problem>> {
    match client.worker.shared.router.route(method.as_str(), path) {
        Routed::To(route) => Ok(route),
        Routed::Nowhere => {
            let detail = "no route takes this path";
            Err(Box::new(Problem::request(
                StatusCode::NOT_FOUND,
                "no-route",
                "There is nothing here",
                detail,
            )))
        }
        Routed::OtherMethods(methods) => {
            let (status, title) = (StatusCode::METHOD_NOT_ALLOWED, "The method is not served here");
            let detail = format!("this path takes {methods}");
            let problem = Problem::request(status, "method", title, &detail);
            Err(Box::new(Problem { allow: Some(methods), ..problem }))
        }
    }
}

/// Sends a request to where it belongs. What is rare is boxed here, for the future of every request has room for it.
async fn forward(client: &Rc<Client>, mut begun: Box<Begun>) -> Response<ResponseBody> {
    let worker = &client.worker;
    let target = &worker.shared.targets[begun.target];
    let patience = worker.shared.client_body_timeout;
    let keyed = target.keys.is_some() && target.exchange.uses_key(&begun.judged);
    let body = match begun.body.take() {
        None => Outgoing::Empty,
        Some(body) if keyed => match Box::pin(keys::whole(body, begun.head.headers_mut(), patience)).await {
            Ok(body) => body,
            Err(problem) => return refuse(*problem, begun.record),
        },
        Some(body) => match Box::pin(outgoing(body, begun.head.headers_mut(), patience)).await {
            Ok(body) => body,
            Err(detail) => return refuse(body_failed(&detail), begun.record),
        },
    };
    let now = worker.now();
    let (safety, deadline) = match target.exchange.admit(now, &begun.judged) {
        Admission::Call { safety, deadline } => (safety, deadline),
        Admission::Refuse(refusal) => return refuse(refused(refusal), begun.record),
    };
    let mut pass = Pass::new(client, target, deadline, begun.priority);
    let (quotas, denied) = match &mut pass {
        None => (QuotaFields::default(), None),
        Some(pass) => Box::pin(enter(client.peer, pass, &mut begun)).await,
    };
    if keyed && denied.is_none() {
        let departure = keys::Departure { begun, body, safety, deadline, pass, now };
        let mut response = Box::pin(keys::run(client, departure)).await;
        quotas.apply(response.headers_mut());
        return response;
    }
    let (mut journey, mut record) = begun.depart(client, target, body, safety, deadline);
    let mut response = match denied {
        Some(denied) => Box::pin(journey.denied(denied, record)).await,
        None => match consult(&mut journey, &mut record).await {
            Asking::Fetch(ticket) => {
                let mut driver = journey.driver(pass);
                match driver.run(&journey.template).await {
                    Outcome::Committed(answer) if journey.judge(&answer).is_none() => {
                        journey.arrive(answer, driver, ticket, record)
                    }
                    outcome => Box::pin(journey.fail(outcome, driver, ticket, record, now)).await,
                }
            }
            Asking::Answered(response) => send(*response, record, None),
            refused => Box::pin(journey.unasked(refused, record, now)).await,
        },
    };
    quotas.apply(response.headers_mut());
    response
}

impl Begun {
    /// It goes on to its service. Not async, so that no future holds the parts as well as the whole.
    pub(crate) fn depart<'a>(
        self: Box<Self>,
        client: &'a Rc<Client>,
        target: &'a Target,
        body: Outgoing,
        safety: Safety,
        deadline: Time,
    ) -> (Box<Journey<'a>>, Box<Record>) {
        let Self { mut head, seen, priority, record, old_version, .. } = *self;
        let affinity = target.affinity.as_ref().and_then(|source| affinity::key(source, head.headers()));
        priority::pass_on(head.headers_mut(), seen, priority, target.deadline.is_supervised());
        let telling = prepare(head.headers_mut(), seen, target, client, record.request_id());
        let told = (&target.deadline, telling);
        let template = Template { head, body, config: Arc::clone(&target.call), deadline, told };
        let asked = target.cache.as_ref().and_then(|cache| {
            let bodiless = matches!(template.body, Outgoing::Empty);
            Asked::of(cache.route, &template.head, cache.shared.coalesce).filter(|_| bodiless)
        });
        let ending = None;
        let journey = Journey { client, target, template, asked, affinity, safety, old_version, ending };
        (Box::new(journey), record)
    }
}

/// Passes the gates; answers who said no, if somebody did.
async fn enter(peer: IpAddr, pass: &mut Pass, begun: &mut Begun) -> (QuotaFields, Option<Box<Refused>>) {
    let entered = pass.enter(peer, begun.head.headers()).await;
    let record = &mut begun.record;
    record.waited(pass.waited());
    let refused = entered.err().map(|denied| {
        let gate = pass.name_of(denied.gate).to_owned();
        record.denied(&gate, denied.reason);
        Box::new(Refused { denied, gate })
    });
    (pass.quota_fields(), refused)
}

/// Asks the store of answers. Requests that it has nothing to do with pay for one look at an `Option`.
async fn consult(journey: &mut Journey<'_>, record: &mut Record) -> Asking {
    let Some(asked) = journey.asked.clone() else { return Asking::Fetch(None) };
    let worker = &journey.client.worker;
    let (asking, outcome) = Box::pin(ask(worker, journey.target, &mut journey.template, &asked)).await;
    if let Some(outcome) = outcome {
        worker.shared.cache_metrics.count(worker.index, record.target(), outcome);
        record.cached(outcome.as_str());
    }
    asking
}

/// What policy has to know of a request.
fn judged_head(target: &Target, request: &Request<Incoming>, seen: Seen) -> RequestHead {
    let headers = request.headers();
    let key = if seen.has(Seen::IDEMPOTENCY_KEY) { key_of(headers) } else { Key::Missing };
    // Our own services are trusted on egress; a client must not steer our timers.
    let time_left = if target.trusts_callers() { target.deadline.told(headers, seen) } else { None };
    RequestHead { method: MethodKind::of(request.method().as_str()), key, time_left }
}

fn key_of(headers: &HeaderMap) -> Key {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (keys.next(), keys.next()) {
        (None, _) => Key::Missing,
        (Some(key), None) => Key::of(key.as_bytes()),
        (Some(_), Some(_)) => Key::Invalid,
    }
}

fn refused(refusal: Refusal) -> Problem {
    let bad = |slug, title, detail| Problem::request(StatusCode::BAD_REQUEST, slug, title, detail);
    match refusal {
        Refusal::KeyMissing => bad(
            "idempotency-key-missing",
            "Idempotency-Key is missing",
            "requests that change something must carry an Idempotency-Key here",
        ),
        Refusal::KeyInvalid => bad(
            "idempotency-key-invalid",
            "Idempotency-Key cannot be used",
            "Idempotency-Key must be there once, with 1 to 255 visible characters",
        ),
        Refusal::DeadlinePassed => Problem {
            status: StatusCode::GATEWAY_TIMEOUT,
            error: "http_response_timeout",
            ..bad("deadline-passed", "The deadline has passed", "the caller's deadline had passed on arrival")
        },
    }
}

pub(crate) fn body_failed(detail: &str) -> Problem {
    let problem = Problem::request(
        StatusCode::BAD_REQUEST,
        "request-body",
        "The body of the request did not arrive",
        detail,
    );
    Problem { close: true, ..problem }
}

/// Only the path and query go upstream; the guard saw to it that the rest says the same as Host.
fn path_only(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let path = uri.into_parts().path_and_query;
    path.map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// Reads a small body, so that it can be sent again; leaves a large one to be streamed.
async fn outgoing(
    incoming: Incoming,
    headers: &mut HeaderMap,
    idle_limit: Duration,
) -> Result<Outgoing, String> {
    let announced = incoming.size_hint().exact();
    let body = ClientBody::new(incoming, idle_limit);
    if announced.is_some_and(|length| length <= REPLAY_LENGTH_MAX) {
        let bytes = body.collect().await.map_err(|error| error.to_string())?;
        return Ok(if bytes.is_empty() { Outgoing::Empty } else { Outgoing::Whole(bytes) });
    }
    if announced.is_none() {
        headers.remove(CONTENT_LENGTH);
    }
    Ok(Outgoing::Stream(Rc::new(RefCell::new(Some(body)))))
}

/// Turns the fields that came in into those that go out.
fn prepare(
    headers: &mut HeaderMap,
    seen: Seen,
    target: &Target,
    client: &Client,
    request_id: &HeaderValue,
) -> Telling {
    strip_hop_by_hop(headers, seen);
    if seen.has(Seen::TRANSFER_ENCODING) {
        // Said explicitly, because a GET with a body of unknown length would lose it otherwise.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if seen.has(Seen::EXPECT) {
        headers.remove(EXPECT);
    }
    let telling = target.deadline.take(headers, seen, target.trusts_callers());
    // Each attempt says its own number here; it takes the place of what a client may have said.
    headers.insert(ATTEMPT, HeaderValue::from_static("1"));
    headers.append(VIA, target.edge.via_value.clone());
    headers.insert(X_REQUEST_ID, request_id.clone());
    if client.entry == Entry::Ingress {
        set_forwarded(headers, seen, &client.peer_value);
    }
    telling
}
