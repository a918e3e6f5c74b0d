//! The mail service: sends one confirmation per key (that is: counts it; the example has no mailboxes).
//!
//! It remembers the keys of the last [`KEYS_MAX`] confirmations in memory, so that being told again does not
//! mail again. A restart forgets them: the worst that follows is a second mail, which is why a mail and not a
//! ticket is kept this lightly.

use std::collections::{HashSet, VecDeque};
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

/// Keys remembered; the oldest is forgotten first.
const KEYS_MAX: usize = 100_000;

/// Runs the service until it is told to stop.
pub(crate) async fn run(config: Config) -> Result<(), StartError> {
    let shutdown = Shutdown::on_signal()?;
    let outbox = Arc::new(Mutex::new(Outbox::new(KEYS_MAX)));
    let routes =
        Router::new().route("/confirmations", post(confirm)).route("/sent", get(sent)).with_state(outbox);
    serve(&config, routes, shutdown).await
}

type Shared = State<Arc<Mutex<Outbox>>>;

#[derive(Deserialize)]
struct Confirmation {
    key: String,
}

async fn confirm(State(outbox): Shared, body: Bytes) -> Response {
    let confirmation: Confirmation = match parse(&body) {
        Ok(confirmation) => confirmation,
        Err(refusal) => return refusal,
    };
    let fresh = lock(&outbox).send(confirmation.key);
    answer(StatusCode::ACCEPTED, &json!({ "success": true, "duplicate": !fresh }))
}

async fn sent(State(outbox): Shared) -> Response {
    let outbox = lock(&outbox);
    ok(&json!({ "sent": outbox.sent, "duplicates": outbox.duplicates }))
}

fn lock(outbox: &Mutex<Outbox>) -> std::sync::MutexGuard<'_, Outbox> {
    outbox.lock().expect("no panic happens while the outbox is locked")
}

struct Outbox {
    keys_max: usize,
    known: HashSet<String>,
    /// The same keys, oldest first.
    order: VecDeque<String>,
    sent: u64,
    duplicates: u64,
}

impl Outbox {
    fn new(keys_max: usize) -> Self {
        Self { keys_max, known: HashSet::new(), order: VecDeque::new(), sent: 0, duplicates: 0 }
    }

    /// Whether this was the first time.
    fn send(&mut self, key: String) -> bool {
        if self.known.contains(&key) {
            self.duplicates += 1;
            return false;
        }
        if self.order.len() == self.keys_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(key.clone());
        self.order.push_back(key);
        self.sent += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_mailed_once_and_memory_is_bounded() {
        let mut outbox = Outbox::new(2);
        // (key, mailed?): c pushes a out, so a is mailed again; b was pushed out by that.
        let table =
            [("a", true), ("a", false), ("b", true), ("c", true), ("a", true), ("c", false), ("b", true)];
        for (position, (key, mailed)) in table.into_iter().enumerate() {
            assert_eq!(outbox.send(key.to_owned()), mailed, "step {position}, key {key}");
            assert!(outbox.known.len() <= 2 && outbox.order.len() == outbox.known.len());
        }
        assert_eq!((outbox.sent, outbox.duplicates), (5, 2));
    }
}
