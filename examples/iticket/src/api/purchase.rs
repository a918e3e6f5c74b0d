//! Carries a saga out: takes its steps over HTTP, watches the time, and turns the verdict into an answer.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{HeaderName, RETRY_AFTER};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::background::Teller;
use super::saga::{
    News, Next, Saga, Step, StepResult, Ticket, TicketState, Verdict, charge_result, ledger_result,
};
use crate::config::Degradation;
use crate::http::{Client, Outgoing};
use crate::log;
use crate::serve::{answer, refuse};

/// By this header an answer says that it is less than was asked for, and which less.
pub(super) const DEGRADED_HEADER: HeaderName = HeaderName::from_static("degraded");
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest a purchase takes, whatever the customer's patience: the sum of its steps' limits and a little.
pub(super) const PURCHASE_LIMIT: Duration = Duration::from_secs(4);
/// Kept from the customer's patience for the way back.
pub(super) const ANSWER_MARGIN: Duration = Duration::from_millis(10);

/// What a purchase needs to reach.
pub(super) struct Counter {
    pub(super) ledger: Arc<Client>,
    pub(super) payments: Client,
    pub(super) mail: Teller,
    pub(super) analytics: Teller,
}

/// What somebody wants to buy.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) key: String,
    pub(super) event: u32,
    pub(super) buyer: String,
}

/// Buys, as far as it gets until `deadline`.
pub(super) async fn buy(counter: &Counter, order: &Order, deadline: Instant) -> Verdict {
    let (mut saga, mut next) = Saga::begin(left_ms(deadline));
    let verdict = loop {
        next = match next {
            Next::Take(step) => {
                let limit = step.limit_ms().min(left_ms(deadline));
                let result = take(counter, order, step, Duration::from_millis(limit)).await;
                saga.on(result, left_ms(deadline))
            }
            Next::Answer(verdict) => break verdict,
        }
    };
    tell(counter, &verdict);
    verdict
}

fn left_ms(deadline: Instant) -> u64 {
    deadline.saturating_duration_since(Instant::now()).as_millis() as u64
}

async fn take(counter: &Counter, order: &Order, step: Step, limit: Duration) -> StepResult {
    let Order { key, event, buyer } = order;
    let (client, path, body) = match step {
        Step::Reserve => {
            (&*counter.ledger, "/reserve", json!({ "key": key, "event": event, "buyer": buyer }))
        }
        Step::Confirm { charge } => (&*counter.ledger, "/confirm", json!({ "key": key, "charge": charge })),
        Step::Release => (&*counter.ledger, "/release", json!({ "key": key })),
        Step::Charge { amount_cents } => {
            let body = json!({ "key": key, "amount_cents": amount_cents, "buyer": buyer });
            (&counter.payments, "/charges", body)
        }
    };
    let result = match client.call(&Outgoing::post(path, key, &body, limit)).await {
        Ok(answer) => match step {
            Step::Charge { .. } => {
                charge_result(answer.status.as_u16(), &answer.body, proxy_error(&answer.headers))
            }
            _ => ledger_result(answer.status.as_u16(), &answer.body),
        },
        Err(error) if error.is_not_sent() => StepResult::NotDone,
        Err(_) => StepResult::Unclear,
    };
    report(key, path, &result);
    result
}

/// The `error` parameter of a `Proxy-Status` header: its presence says that a proxy made this answer.
fn proxy_error(headers: &HeaderMap) -> Option<&str> {
    let status = headers.get("proxy-status")?.to_str().ok()?;
    let error = status.split(';').find_map(|parameter| parameter.trim().strip_prefix("error="))?;
    Some(error.split(',').next().unwrap_or(error).trim())
}

fn report(key: &str, step: &str, result: &StepResult) {
    match result {
        StepResult::NotDone | StepResult::Unclear => {
            log::warn("step failed", &json!({ "key": key, "step": step, "result": format!("{result:?}") }));
        }
        // Cannot happen as long as the provider does not change its mind about a card.
        StepResult::Ticket(Ticket { state: TicketState::Released, .. }) if step == "/confirm" => {
            log::error("paid for a seat that was given back", &json!({ "key": key }));
        }
        _ => (),
    }
}

/// Mail knows each key once, so it may be told again, and has to be: the replica that completed the purchase
/// may have died before telling. Analytics counts, so it is told once and may miss one.
fn tell(counter: &Counter, verdict: &Verdict) {
    let Verdict::Bought { ticket, news } = verdict else { return };
    let Ticket { key, event, buyer, id, .. } = ticket;
    counter.mail.tell(key, json!({ "key": key, "buyer": buyer, "event": event, "ticket": id }));
    if *news == News::Fresh {
        counter.analytics.tell(key, json!({ "name": "ticket_bought", "event": event }));
    }
}

/// The answer to a purchase.
pub(super) fn respond(verdict: Verdict, key: &str, degradation: Degradation) -> Response {
    match verdict {
        Verdict::Bought { ticket, news } => {
            let body = json!({ "success": true, "ticket": public(&ticket) });
            let mut response = answer(StatusCode::CREATED, &body);
            if news == News::Replayed {
                response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
            }
            response
        }
        Verdict::Declined => {
            let message = "the card was declined, and the seat is free again";
            refuse(StatusCode::PAYMENT_REQUIRED, "declined", message)
        }
        Verdict::SoldOut => refuse(StatusCode::CONFLICT, "sold_out", "no seat is left"),
        Verdict::KeyReused => {
            let message = "this Idempotency-Key stands for another purchase";
            refuse(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", message)
        }
        Verdict::NoSuchEvent => refuse(StatusCode::NOT_FOUND, "no_such_event", "there is no such event"),
        Verdict::TryAgain => {
            let message = "not bought yet; try again with the same Idempotency-Key, which never pays twice";
            unavailable(("try_again", "try-again"), message, key, degradation)
        }
        Verdict::PaymentPending => {
            let message =
                "the payment is pending; ask again with the same Idempotency-Key, which never pays twice";
            unavailable(("payment_pending", "payment-pending"), message, key, degradation)
        }
    }
}

/// Not now. Without the ability to degrade it is a plain failure: the same status, and no word about what to
/// make of it.
fn unavailable(
    (reason, degraded): (&str, &'static str),
    message: &str,
    key: &str,
    degradation: Degradation,
) -> Response {
    if degradation == Degradation::Ablated {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the purchase failed");
    }
    let body = json!({ "success": false, "reason": reason, "message": message, "key": key });
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, &body);
    let headers = response.headers_mut();
    headers.insert(DEGRADED_HEADER, HeaderValue::from_static(degraded));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn public(ticket: &Ticket) -> Value {
    let Ticket { id, key, event, buyer, price_cents, .. } = ticket;
    json!({ "id": id, "key": key, "event": event, "buyer": buyer, "price_cents": price_cents, "state": "confirmed" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_proxy_is_found_in_its_header() {
        let table = [
            (None, None),
            (Some("seaworthy"), None),
            (Some("seaworthy; error=connection_refused"), Some("connection_refused")),
            (Some("seaworthy;error=dns_error;details=\"x\""), Some("dns_error")),
            (Some("a; error=http_response_timeout, b"), Some("http_response_timeout")),
        ];
        for (header, expected) in table {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert("proxy-status", HeaderValue::from_static(value));
            }
            assert_eq!(proxy_error(&headers), expected, "{header:?}");
        }
    }

    #[test]
    fn every_verdict_has_its_answer_and_only_degradation_marks_it() {
        let ticket = Ticket {
            id: 1,
            key: "k".to_owned(),
            event: 1,
            buyer: "ann".to_owned(),
            state: TicketState::Confirmed,
            price_cents: 5,
        };
        let bought = |news| Verdict::Bought { ticket: ticket.clone(), news };
        // (verdict, status, Degraded header when allowed)
        let table = [
            (bought(News::Fresh), 201, None),
            (bought(News::Replayed), 201, None),
            (Verdict::Declined, 402, None),
            (Verdict::SoldOut, 409, None),
            (Verdict::KeyReused, 422, None),
            (Verdict::NoSuchEvent, 404, None),
            (Verdict::TryAgain, 503, Some("try-again")),
            (Verdict::PaymentPending, 503, Some("payment-pending")),
        ];
        for (verdict, status, degraded) in table {
            for (degradation, expected) in [(Degradation::Allowed, degraded), (Degradation::Ablated, None)] {
                let response = respond(verdict.clone(), "k", degradation);
                let marked = response.headers().get(DEGRADED_HEADER).map(|value| value.to_str().unwrap());
                assert_eq!((response.status().as_u16(), marked), (status, expected), "{verdict:?}");
                assert_eq!(response.headers().contains_key(RETRY_AFTER), expected.is_some(), "{verdict:?}");
            }
        }
    }
}
