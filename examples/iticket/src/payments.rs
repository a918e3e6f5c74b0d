//! The payment provider: the third party of the example. It charges a card once per key, takes 100 ms for it,
//! and keeps its own books.
//!
//! A charge that was begun is finished, whether or not the one who asked still waits: the work runs in a task
//! of its own, and everybody who asks for the same key meanwhile waits for that task. A charge exists from
//! the moment it is in the journal and synchronized with the disk; only then is it answered. A process killed
//! before that has charged nobody.

mod desk;
mod journal;

use std::sync::Arc;

use ::http::{HeaderMap, StatusCode};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::StartError;
use crate::config::Config;
use crate::serve::{Shutdown, answer, busy, idempotency_key, ok, parse, refuse, serve};
use desk::{Desk, Refusal, SERVICE_TIME};
use journal::{Charge, Journal};

pub(crate) use journal::JournalDamaged;

/// Runs the service until it is told to stop.
pub(crate) async fn run(config: Config) -> Result<(), StartError> {
    let shutdown = Shutdown::on_signal()?;
    let (journal, charges) = Journal::open(&config.state_dir()?.join("charges.jsonl"))?;
    let desk = Arc::new(Desk::new(journal, charges, SERVICE_TIME));
    let routes = Router::new()
        .route("/charges", post(charge))
        .route("/ledger", get(ledger))
        .route("/stats", get(stats))
        .with_state(Arc::clone(&desk));
    serve(&config, routes, shutdown).await?;
    desk.finish().await;
    Ok(())
}

#[derive(Deserialize)]
struct Order {
    key: String,
    amount_cents: u64,
    buyer: String,
}

async fn charge(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let order: Order = match parse(&body) {
        Ok(order) => order,
        Err(refusal) => return refusal,
    };
    match idempotency_key(&headers) {
        Ok(key) if key == order.key => (),
        Ok(_) => return refuse(StatusCode::BAD_REQUEST, "key", "header and body name different keys"),
        Err(message) => return refuse(StatusCode::BAD_REQUEST, "key", message),
    }
    match desk.charge(&order.key, order.amount_cents, &order.buyer).await {
        Ok(charge) => answer(StatusCode::CREATED, &public(&charge)),
        Err(Refusal::Declined) => {
            refuse(StatusCode::PAYMENT_REQUIRED, "declined", "the card was declined, nothing was charged")
        }
        Err(Refusal::KeyReused) => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", "this key stands for another charge")
        }
        Err(Refusal::Busy) => busy("too many charges at once, nothing was charged"),
        Err(Refusal::NotRecorded) => busy("the charge could not be recorded, nothing was charged"),
    }
}

async fn ledger(State(desk): State<Arc<Desk>>) -> Response {
    ok(&Value::Array(desk.charges().iter().map(|charge| public(charge)).collect()))
}

async fn stats(State(desk): State<Arc<Desk>>) -> Response {
    let stats = desk.stats();
    ok(&json!({ "charges": stats.charges, "in_flight": stats.in_flight }))
}

fn public(charge: &Charge) -> Value {
    json!({ "id": charge.id, "key": charge.key, "amount_cents": charge.amount_cents })
}
