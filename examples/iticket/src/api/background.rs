//! Tells mail and analytics what was bought, and nobody waits for it.
//!
//! Each has a queue of its own, so that one that hangs does not hold up the other. What does not fit is
//! dropped and counted, and what could not be delivered is counted as failed: one attempt, no more (the
//! egress may make several). A mail that must arrive belongs in a durable queue, not here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::http::{Client, Outgoing};
use crate::log;

/// Messages that wait; more are dropped.
const QUEUE_MAX: usize = 1000;
const DELIVERY_LIMIT: Duration = Duration::from_secs(1);
/// How long a stopping process goes on delivering.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// One destination and its queue.
pub(super) struct Teller {
    name: &'static str,
    queue: Option<mpsc::Sender<Message>>,
    counts: Arc<Counts>,
    worker: Option<JoinHandle<()>>,
}

struct Message {
    key: String,
    body: Value,
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Teller {
    /// Delivers to `path` at `peer`; without a peer, everything is dropped and counted.
    pub(super) fn start(name: &'static str, peer: Option<&str>, path: &'static str) -> Self {
        let counts = Arc::new(Counts::default());
        let Some(peer) = peer else { return Self { name, queue: None, counts, worker: None } };
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let worker = tokio::spawn(deliver(Client::new(peer), path, messages, Arc::clone(&counts)));
        Self { name, queue: Some(queue), counts, worker: Some(worker) }
    }

    /// Never waits.
    pub(super) fn tell(&self, key: &str, body: Value) {
        let message = Message { key: key.to_owned(), body };
        let accepted = self.queue.as_ref().is_some_and(|queue| queue.try_send(message).is_ok());
        if !accepted {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For `/stats`.
    pub(super) fn stats(&self) -> Value {
        let waiting = self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity());
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        json!({
            "delivered": read(&self.counts.delivered),
            "failed": read(&self.counts.failed),
            "dropped": read(&self.counts.dropped),
            "waiting": waiting,
        })
    }

    /// Delivers, for a bounded time, what still waits.
    pub(super) async fn finish(mut self) {
        drop(self.queue.take());
        let Some(worker) = self.worker.take() else { return };
        if timeout(FINISH_LIMIT, worker).await.is_err() {
            log::warn("stopped with messages waiting", &json!({ "destination": self.name }));
        }
    }
}

async fn deliver(
    client: Client,
    path: &'static str,
    mut messages: mpsc::Receiver<Message>,
    counts: Arc<Counts>,
) {
    while let Some(Message { key, body }) = messages.recv().await {
        let request = Outgoing::post(path, &key, &body, DELIVERY_LIMIT);
        let delivered = client.call(&request).await.is_ok_and(|answer| answer.status.is_success());
        let count = if delivered { &counts.delivered } else { &counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_destination_that_hangs_costs_its_own_messages_and_no_time() {
        // Accepts connections into its backlog and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = listener.local_addr().unwrap().to_string();
        let teller = Teller::start("mail", Some(&peer), "/confirmations");
        for number in 0..QUEUE_MAX + 5 {
            teller.tell(&number.to_string(), json!({}));
        }
        let stats = teller.stats();
        assert_eq!((&stats["waiting"], &stats["dropped"]), (&json!(QUEUE_MAX), &json!(5)));
    }

    #[tokio::test]
    async fn what_cannot_be_delivered_is_counted() {
        // Bound and closed again: nobody listens there.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = listener.local_addr().unwrap().to_string();
        drop(listener);
        let teller = Teller::start("mail", Some(&peer), "/confirmations");
        teller.tell("k", json!({}));
        let counts = Arc::clone(&teller.counts);
        teller.finish().await;
        assert_eq!(counts.failed.load(Ordering::Relaxed), 1);

        let nowhere = Teller::start("mail", None, "/confirmations");
        nowhere.tell("k", json!({}));
        assert_eq!(nowhere.stats()["dropped"], 1);
    }
}
