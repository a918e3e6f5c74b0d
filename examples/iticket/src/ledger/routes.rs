//! The ledger over HTTP.

use std::sync::Arc;

use ::http::StatusCode;
use ::http::header::CONTENT_TYPE;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::book::{Command, Outcome};
use super::export::Exports;
use super::threads::{Ledger, SharedLedger, Unavailable};
use crate::StartError;
use crate::config::Config;
use crate::serve::{Shutdown, answer, busy, ok, parse, refuse, serve};

/// The longest key and the longest name of a buyer.
const TEXT_BYTES_MAX: usize = 255;

/// Runs the service until it is told to stop.
pub(crate) async fn run(config: Config) -> Result<(), StartError> {
    let shutdown = Shutdown::on_signal()?;
    let path = config.state_dir()?.join("ledger.sqlite3");
    let ledger: SharedLedger = Arc::new(Ledger::open(&path)?);
    let exports =
        Router::new().route("/tickets/export", get(export)).with_state(Arc::new(Exports::new(path)));
    let routes = Router::new()
        .route("/reserve", post(reserve))
        .route("/confirm", post(confirm))
        .route("/release", post(release))
        .route("/events", get(events))
        .route("/events/{id}", get(event))
        .route("/tickets/{key}", get(ticket))
        .with_state(ledger)
        .merge(exports);
    serve(&config, routes, shutdown).await
}

#[derive(Deserialize)]
struct Reserve {
    key: String,
    event: u32,
    buyer: String,
}

#[derive(Deserialize)]
struct Confirm {
    key: String,
    charge: i64,
}

#[derive(Deserialize)]
struct Release {
    key: String,
}

async fn reserve(State(ledger): State<SharedLedger>, body: Bytes) -> Response {
    match parse::<Reserve>(&body) {
        Ok(Reserve { key, event, buyer }) if fits(&key) && fits(&buyer) => {
            step(&ledger, Command::Reserve { key, event, buyer }).await
        }
        Ok(_) => refuse(StatusCode::BAD_REQUEST, "malformed", "key and buyer have 1 to 255 bytes"),
        Err(refusal) => refusal,
    }
}

async fn confirm(State(ledger): State<SharedLedger>, body: Bytes) -> Response {
    match parse::<Confirm>(&body) {
        Ok(Confirm { key, charge }) => step(&ledger, Command::Confirm { key, charge }).await,
        Err(refusal) => refusal,
    }
}

async fn release(State(ledger): State<SharedLedger>, body: Bytes) -> Response {
    match parse::<Release>(&body) {
        Ok(Release { key }) => step(&ledger, Command::Release { key }).await,
        Err(refusal) => refusal,
    }
}

fn fits(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len())
}

async fn step(ledger: &Ledger, command: Command) -> Response {
    match ledger.write(command).await {
        Ok(Outcome::Ticket(ticket)) => ok(&json!(ticket)),
        Ok(Outcome::Contradiction(ticket)) => {
            let body = json!({ "success": false, "reason": "contradiction", "ticket": ticket });
            answer(StatusCode::CONFLICT, &body)
        }
        Ok(Outcome::SoldOut) => refuse(StatusCode::CONFLICT, "sold_out", "no seat is left"),
        Ok(Outcome::KeyReused) => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", "this key stands for another purchase")
        }
        Ok(Outcome::NoSuchEvent) => refuse(StatusCode::NOT_FOUND, "no_such_event", "there is no such event"),
        Ok(Outcome::NoSuchTicket) => {
            refuse(StatusCode::NOT_FOUND, "no_such_ticket", "nothing under this key")
        }
        Err(unavailable) => busy(&unavailable.to_string()),
    }
}

async fn events(State(ledger): State<SharedLedger>) -> Response {
    found(ledger.read(|book| book.events().map(Some)).await)
}

async fn event(State(ledger): State<SharedLedger>, Path(id): Path<u32>) -> Response {
    found(ledger.read(move |book| book.event(id)).await)
}

async fn ticket(State(ledger): State<SharedLedger>, Path(key): Path<String>) -> Response {
    found(ledger.read(move |book| book.ticket(&key)).await)
}

fn found<T: Serialize>(result: Result<Option<T>, Unavailable>) -> Response {
    match result {
        Ok(Some(thing)) => ok(&json!(thing)),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "absent", "there is no such thing"),
        Err(unavailable) => busy(&unavailable.to_string()),
    }
}

async fn export(State(exports): State<Arc<Exports>>) -> Response {
    match exports.start() {
        Some(body) => {
            let mut response = Response::new(Body::new(body));
            let json = ::http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        None => busy("too many exports at once"),
    }
}
