//! One request of a client, from its head to the head of its answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, TRANSFER_ENCODING, VIA};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use seaworthy_policy::entrance::Denied;
use seaworthy_policy::exchange::{Admission, Key, MethodKind, Refusal, RequestHead};

use crate::access::Record;
use crate::affinity;
use crate::body::{ClientBody, Outgoing, REPLAY_LENGTH_MAX, ResponseBody};
use crate::cache::{Asked, Asking, ask};
use crate::connection::Client;
use crate::deadline::Telling;
use crate::driver::{Outcome, Template};
use crate::entrance::Pass;
use crate::guard::REJECTED_METHOD;
use crate::headers::{
    ATTEMPT, IDEMPOTENCY_KEY, X_REQUEST_ID, has_odd_expectation, has_passed, sane_request_id, set_forwarded,
    strip_hop_by_hop, wants_websocket,
};
use crate::journey::{Journey, send};
use crate::listener::Entry;
use crate::problem::Problem;
use crate::quota::QuotaFields;
use crate::route::{Routed, is_unambiguous};
use crate::shared::Target;

/// Answers a request. Never fails: what goes wrong becomes an answer.
pub(crate) async fn serve(client: Rc<Client>, request: Request<Incoming>) -> Response<ResponseBody> {
    let request_id = sane_request_id(request.headers()).unwrap_or_else(|| client.worker.next_request_id());
    let record =
        Record::begin(Rc::clone(&client), request.method().clone(), request.uri().path(), request_id.clone());
    let old_version = request.version() == Version::HTTP_10;
    let mut response = match examine(&client, &request) {
        Ok(target) => forward(&client, target, request, record, old_version).await,
        Err(problem) => refuse(*problem, record),
    };
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, request_id);
    if client.worker.is_draining() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Says no before any service is asked.
fn refuse(problem: Problem, mut record: Record) -> Response<ResponseBody> {
    record.answered(problem.status, None);
    record.broke_off(problem.error);
    let response = problem.into_response(record.request_id());
    record.add_bytes(usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX));
    record.finish_unasked();
    response
}

/// Finds out where a request belongs, or why it belongs nowhere.
fn examine(client: &Client, request: &Request<Incoming>) -> Result<usize, Box<Problem>> {
    let bad = |slug, title, detail: &str| {
        Err(Box::new(Problem::request(StatusCode::BAD_REQUEST, slug, title, detail)))
    };
    if request.method().as_str() == REJECTED_METHOD {
        let violation = client.signals.violation().expect("only the guard sends this method");
        return Err(Box::new(Problem::violation(violation)));
    }
    let headers = request.headers();
    if wants_websocket(headers) {
        let detail = "WebSocket connections cannot be made through this gateway";
        let problem =
            Problem::request(StatusCode::NOT_IMPLEMENTED, "websocket", "WebSocket is not served", detail);
        return Err(Box::new(Problem { error: "http_request_denied", ..problem }));
    }
    if has_odd_expectation(headers) {
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
    if has_passed(headers, &client.worker.shared.targets[target].edge.via_mark) {
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

/// Sends a request to where it belongs.
async fn forward(
    client: &Rc<Client>,
    target: usize,
    request: Request<Incoming>,
    mut record: Record,
    old_version: bool,
) -> Response<ResponseBody> {
    record.routed(target);
    let worker = Rc::clone(&client.worker);
    let shared = Arc::clone(&worker.shared);
    let target = &shared.targets[target];
    let judged = judged_head(target, &request);
    // Refused before its body is read; judged again below, because the time for the answer begins with its end.
    if let Admission::Refuse(refusal) = target.exchange.admit(worker.now(), &judged) {
        return refuse(refused(refusal), record);
    }
    let (parts, incoming) = request.into_parts();
    let mut head = Request::new(());
    *head.method_mut() = parts.method;
    *head.uri_mut() = path_only(parts.uri);
    *head.headers_mut() = parts.headers;
    let body = match outgoing(incoming, head.headers_mut()).await {
        Ok(body) => body,
        Err(detail) => return refuse(body_failed(&detail), record),
    };
    let now = worker.now();
    let (safety, deadline) = match target.exchange.admit(now, &judged) {
        Admission::Call { safety, deadline } => (safety, deadline),
        Admission::Refuse(refusal) => return refuse(refused(refusal), record),
    };
    let mut pass = Pass::new(client, target, deadline);
    let (quotas, denied) = enter(client, pass.as_deref_mut(), head.headers(), &mut record).await;
    let affinity = target.affinity.as_ref().and_then(|source| affinity::key(source, head.headers()));
    let telling = prepare(head.headers_mut(), target, client, record.request_id());
    let told = (&target.deadline, telling);
    let template = Template { head, body, config: Arc::clone(&target.call), deadline, told };
    let asked = target.cache.as_ref().and_then(|cache| {
        let bodiless = matches!(template.body, Outgoing::Empty);
        Asked::of(cache.route, &template.head, cache.shared.coalesce).filter(|_| bodiless)
    });
    let mut journey = Journey { client, target, template, asked, affinity, safety, old_version };
    let mut response = match denied {
        Some((denied, gate)) => Box::pin(journey.denied(&denied, &gate, record)).await,
        None => match consult(&mut journey, &mut record).await {
            Asking::Answered(response) => send(response, record, None),
            Asking::Fetch(ticket) => {
                let mut driver = journey.driver(pass);
                match driver.run(&journey.template).await {
                    Outcome::Committed(answer) if journey.judge(&answer).is_none() => {
                        journey.arrive(answer, driver, ticket, record)
                    }
                    outcome => Box::pin(journey.fail(outcome, driver, ticket, record, now)).await,
                }
            }
            refused => Box::pin(journey.unasked(refused, record, now)).await,
        },
    };
    quotas.apply(response.headers_mut());
    response
}

/// Passes the gates; answers who said no, if somebody did.
async fn enter(
    client: &Client,
    pass: Option<&mut Pass>,
    headers: &HeaderMap,
    record: &mut Record,
) -> (QuotaFields, Option<(Denied, String)>) {
    let Some(pass) = pass else { return (QuotaFields::default(), None) };
    let entered = pass.enter(client.peer, headers).await;
    record.waited(pass.waited());
    let denied = entered.err().map(|denied| {
        let gate = pass.name_of(denied.gate).to_owned();
        record.denied(&gate, denied.reason);
        (denied, gate)
    });
    (pass.quota_fields(), denied)
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
fn judged_head(target: &Target, request: &Request<Incoming>) -> RequestHead {
    let headers = request.headers();
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (None, _) => Key::Missing,
        (Some(key), None) => Key::of(key.as_bytes()),
        (Some(_), Some(_)) => Key::Invalid,
    };
    // Our own services are trusted on egress; a client must not steer our timers.
    let time_left = if target.trusts_callers() { target.deadline.told(headers) } else { None };
    RequestHead { method: MethodKind::of(request.method().as_str()), key, time_left }
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

fn body_failed(detail: &str) -> Problem {
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
async fn outgoing(incoming: Incoming, headers: &mut HeaderMap) -> Result<Outgoing, String> {
    if incoming.is_end_stream() {
        return Ok(Outgoing::Empty);
    }
    let announced = incoming.size_hint().exact();
    let body = ClientBody::new(incoming);
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
fn prepare(headers: &mut HeaderMap, target: &Target, client: &Client, request_id: &HeaderValue) -> Telling {
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    strip_hop_by_hop(headers);
    if chunked {
        // Said explicitly, because a GET with a body of unknown length would lose it otherwise.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    headers.remove(EXPECT);
    let telling = target.deadline.take(headers, target.trusts_callers());
    headers.remove(ATTEMPT);
    headers.append(VIA, target.edge.via_value.clone());
    headers.insert(X_REQUEST_ID, request_id.clone());
    if client.entry == Entry::Ingress {
        set_forwarded(headers, &client.peer_value);
    }
    telling
}
