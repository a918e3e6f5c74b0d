//! The analytics service: counts what it is told. Whoever tells it does not wait and does not ask again, so
//! its counts may be too low, never a reason for anything else to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ::http::StatusCode;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::StartError;
use crate::config::Config;
use crate::serve::{Shutdown, answer, ok, parse, serve};

/// Different names counted; what comes after is counted as `other`.
const NAMES_MAX: usize = 100;
const OTHER: &str = "other";

/// Runs the service until it is told to stop.
pub(crate) async fn run(config: Config) -> Result<(), StartError> {
    let shutdown = Shutdown::on_signal()?;
    let counts = Arc::new(Mutex::new(Counts::default()));
    let routes = Router::new().route("/e", post(record)).route("/counts", get(counted)).with_state(counts);
    serve(&config, routes, shutdown).await
}

type Counts = BTreeMap<String, u64>;
type Shared = State<Arc<Mutex<Counts>>>;

#[derive(Deserialize)]
struct Occurrence {
    name: String,
}

async fn record(State(counts): Shared, body: Bytes) -> Response {
    match parse::<Occurrence>(&body) {
        Ok(occurrence) => {
            count(&mut lock(&counts), occurrence.name, NAMES_MAX);
            answer(StatusCode::ACCEPTED, &json!({ "success": true }))
        }
        Err(refusal) => refusal,
    }
}

async fn counted(State(counts): Shared) -> Response {
    ok(&json!(*lock(&counts)))
}

fn count(counts: &mut Counts, name: String, names_max: usize) {
    let known = counts.contains_key(&name) || counts.len() < names_max;
    *counts.entry(if known { name } else { OTHER.to_owned() }).or_insert(0) += 1;
}

fn lock(counts: &Mutex<Counts>) -> std::sync::MutexGuard<'_, Counts> {
    counts.lock().expect("no panic happens while the counts are locked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_are_counted_together() {
        let mut counts = Counts::default();
        for name in ["a", "b", "a", "c", "d", "c"] {
            count(&mut counts, name.to_owned(), 2);
        }
        let expected = [("a", 2), ("b", 1), (OTHER, 3)].map(|(name, number)| (name.to_owned(), number));
        assert_eq!(counts, Counts::from(expected));
    }
}
