//! The API over HTTP.

use std::sync::Arc;

use ::http::header::{AGE, RETRY_AFTER};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::background::Teller;
use super::pages::Pages;
use super::purchase::{ANSWER_MARGIN, Counter, DEGRADED_HEADER, Order, PURCHASE_LIMIT, buy, respond};
use super::reading::{Chat, Shown, with_chat};
use super::saga::Verdict;
use crate::StartError;
use crate::config::{Config, Degradation, Service};
use crate::http::Client;
use crate::log;
use crate::serve::{Shutdown, answer, busy, idempotency_key, ok, parse, refuse, serve, time_left};

/// Purchases in progress; more are refused untouched.
const PURCHASES_MAX: u32 = 2048;
/// The longest name of a buyer.
const BUYER_BYTES_MAX: usize = 200;

/// Runs the service until it is told to stop.
pub(crate) async fn run(config: Config) -> Result<(), StartError> {
    let shutdown = Shutdown::on_signal()?;
    let api = Arc::new(Api::new(&config)?);
    let routes = Router::new()
        .route("/events", get(list_events))
        .route("/events/{id}", get(show_event))
        .route("/tickets", post(buy_ticket))
        .route("/stats", get(stats))
        .with_state(Arc::clone(&api));
    serve(&config, routes, shutdown).await?;
    finish(api).await;
    Ok(())
}

struct Api {
    pages: Pages,
    counter: Counter,
    places: Arc<Semaphore>,
}

type Shared = State<Arc<Api>>;

impl Api {
    fn new(config: &Config) -> Result<Self, StartError> {
        let ledger = Arc::new(Client::new(config.required_egress(Service::Ledger)?));
        let optional = |service| config.egress(service).map(Client::new);
        Ok(Self {
            pages: Pages::new(
                config.degradation,
                Arc::clone(&ledger),
                optional(Service::Cache),
                optional(Service::Chat),
            ),
            counter: Counter {
                ledger,
                payments: Client::new(config.required_egress(Service::Payments)?),
                mail: Teller::start("mail", config.egress(Service::Mail), "/confirmations"),
                analytics: Teller::start("analytics", config.egress(Service::Analytics), "/e"),
            },
            places: Arc::new(Semaphore::new(PURCHASES_MAX as usize)),
        })
    }
}

/// Lets the purchases end whose customers have gone away, then delivers what mail and analytics still get.
async fn finish(api: Arc<Api>) {
    let ended = timeout(PURCHASE_LIMIT, api.places.acquire_many(PURCHASES_MAX)).await;
    if ended.is_err() {
        log::warn("stopped with purchases in progress", &json!({}));
    }
    drop(ended);
    if let Some(api) = Arc::into_inner(api) {
        tokio::join!(api.counter.mail.finish(), api.counter.analytics.finish());
    }
}

async fn list_events(State(api): Shared) -> Response {
    let shown = api.pages.read("/events").await;
    page(shown, api.pages.degradation, |events| json!({ "events": events }))
}

async fn show_event(State(api): Shared, Path(id): Path<u32>) -> Response {
    let path = format!("/events/{id}");
    let (shown, chat) = tokio::join!(api.pages.read(&path), api.pages.chat());
    let available = chat == Chat::Available;
    let shown = with_chat(shown, chat, api.pages.degradation);
    page(shown, api.pages.degradation, |event| json!({ "event": event, "chatAvailable": available }))
}

fn page(shown: Shown<Value>, degradation: Degradation, render: impl FnOnce(Value) -> Value) -> Response {
    match shown {
        Shown::Current(thing) => ok(&render(thing)),
        Shown::Stale(thing, age) => {
            let mut response = ok(&render(thing));
            response.headers_mut().insert(DEGRADED_HEADER, HeaderValue::from_static("stale"));
            response.headers_mut().insert(AGE, HeaderValue::from(age));
            response
        }
        Shown::Absent => refuse(StatusCode::NOT_FOUND, "no_such_event", "there is no such event"),
        Shown::Nothing => {
            let message = "the page cannot be shown right now";
            let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
            if degradation == Degradation::Allowed {
                response.headers_mut().insert(DEGRADED_HEADER, HeaderValue::from_static("try-again"));
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        }
    }
}

#[derive(Deserialize)]
struct Wanted {
    event: u32,
    buyer: String,
}

async fn buy_ticket(State(api): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let key = match idempotency_key(&headers) {
        Ok(key) => key.to_owned(),
        Err(message) => return refuse(StatusCode::BAD_REQUEST, "idempotency_key", message),
    };
    let Wanted { event, buyer } = match parse(&body) {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal,
    };
    if !(1..=BUYER_BYTES_MAX).contains(&buyer.len()) {
        return refuse(StatusCode::BAD_REQUEST, "buyer", "a buyer has 1 to 200 bytes");
    }
    let Ok(place) = Arc::clone(&api.places).try_acquire_owned() else {
        return busy("too many purchases at once, nothing was done");
    };
    let patience = time_left(&headers).map_or(PURCHASE_LIMIT, |left| left.saturating_sub(ANSWER_MARGIN));
    let deadline = Instant::now() + patience.min(PURCHASE_LIMIT);
    let degradation = api.pages.degradation;
    let order = Order { key: key.clone(), event, buyer };
    // A task of its own: a customer who hangs up after the charge would otherwise leave a paid seat
    // unconfirmed until the same key comes again.
    let purchase = tokio::spawn(async move {
        let verdict = buy(&api.counter, &order, deadline).await;
        // Before the place is given back: who waits for all places then holds the last `Api`.
        drop(api);
        drop(place);
        verdict
    });
    // A purchase that panicked may have paid.
    respond(purchase.await.unwrap_or(Verdict::PaymentPending), &key, degradation)
}

async fn stats(State(api): Shared) -> Response {
    let in_progress = PURCHASES_MAX as usize - api.places.available_permits();
    answer(
        StatusCode::OK,
        &json!({
            "purchases_in_progress": in_progress,
            "mail": api.counter.mail.stats(),
            "analytics": api.counter.analytics.stats(),
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_it_lacks() {
        let thing = || json!({ "id": 1 });
        // (shown, degradation, status, Degraded, Age)
        let table = [
            (Shown::Current(thing()), Degradation::Allowed, 200, None, None),
            (Shown::Stale(thing(), 7), Degradation::Allowed, 200, Some("stale"), Some("7")),
            (Shown::Absent, Degradation::Allowed, 404, None, None),
            (Shown::Nothing, Degradation::Allowed, 503, Some("try-again"), None),
            (Shown::Nothing, Degradation::Ablated, 503, None, None),
        ];
        for (shown, degradation, status, degraded, age) in table {
            let case = format!("{shown:?}, {degradation:?}");
            let response = page(shown, degradation, |thing| thing);
            let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
            let found = (response.status().as_u16(), header("degraded"), header("age"));
            assert_eq!(found, (status, degraded, age), "{case}");
        }
    }

    #[test]
    fn a_purchase_has_time_for_all_its_steps() {
        use super::super::saga::Step;
        use std::time::Duration;

        let steps = [Step::Reserve, Step::Charge { amount_cents: 1 }, Step::Confirm { charge: 1 }];
        let all: u64 = steps.into_iter().map(Step::limit_ms).sum();
        assert!(Duration::from_millis(all) <= PURCHASE_LIMIT);
    }
}
