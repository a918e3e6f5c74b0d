//! The chat: rooms in which people talk about an event, as server-sent events.
//!
//! Nothing is kept: who listens hears, who comes later has missed it. A listener that reads too slowly is
//! told how many messages it missed and goes on. Every route also answers under `/chat`, so that the service
//! works behind a gateway that keeps the prefix.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use ::http::{HeaderValue, StatusCode};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};

use crate::StartError;
use crate::config::Config;
use crate::serve::{FedBody, FeedError, Shutdown, answer, busy, ok, parse, refuse, serve};

const ROOMS_MAX: usize = 1000;
const LISTENERS_MAX: usize = 2000;
/// Messages a room holds for its slowest listener.
const BACKLOG_MAX: usize = 256;
/// Pieces of a stream that wait for the socket; a listener that stops reading waits here, then lags.
const PIECES_MAX: usize = 16;
const TEXT_CHARS_MAX: usize = 1000;
/// So often a silent stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Runs the service until it is told to stop.
pub(crate) async fn run(config: Config) -> Result<(), StartError> {
    let shutdown = Shutdown::on_signal()?;
    let hall = Arc::new(Hall {
        rooms: Mutex::new(HashMap::new()),
        places: Arc::new(Semaphore::new(LISTENERS_MAX)),
        shutdown: shutdown.clone(),
    });
    let rooms = Router::new()
        .route("/available", get(available))
        .route("/rooms/{room}/stream", get(listen))
        .route("/rooms/{room}/messages", post(speak))
        .with_state(hall);
    serve(&config, Router::new().nest("/chat", rooms.clone()).merge(rooms), shutdown).await
}

struct Hall {
    rooms: Mutex<HashMap<String, broadcast::Sender<Arc<str>>>>,
    places: Arc<Semaphore>,
    shutdown: Shutdown,
}

impl Hall {
    /// The room, opened if need be; `None` when there are too many. Rooms without listeners are closed first.
    fn room(&self, name: &str) -> Option<broadcast::Sender<Arc<str>>> {
        let mut rooms = self.rooms.lock().expect("no panic happens while the rooms are locked");
        if let Some(room) = rooms.get(name) {
            return Some(room.clone());
        }
        if rooms.len() >= ROOMS_MAX {
            rooms.retain(|_, room| room.receiver_count() > 0);
        }
        if rooms.len() >= ROOMS_MAX {
            return None;
        }
        let (room, _) = broadcast::channel(BACKLOG_MAX);
        rooms.insert(name.to_owned(), room.clone());
        Some(room)
    }
}

async fn available() -> Response {
    ok(&json!({ "available": true }))
}

#[derive(Deserialize)]
struct Message {
    text: String,
}

async fn speak(State(hall): State<Arc<Hall>>, Path(room): Path<String>, body: Bytes) -> Response {
    let message: Message = match parse(&body) {
        Ok(message) => message,
        Err(refusal) => return refusal,
    };
    if message.text.chars().count() > TEXT_CHARS_MAX {
        return refuse(StatusCode::BAD_REQUEST, "too_long", "a message has at most 1000 characters");
    }
    let Some(room) = hall.room(&room) else { return busy("too many rooms") };
    // JSON has no raw line breaks, so one message is one `data:` line.
    let event: Arc<str> = format!("data: {}\n\n", json!({ "text": message.text })).into();
    let listeners = room.send(event).unwrap_or(0);
    answer(StatusCode::ACCEPTED, &json!({ "success": true, "listeners": listeners }))
}

async fn listen(State(hall): State<Arc<Hall>>, Path(room): Path<String>) -> Response {
    let Ok(place) = Arc::clone(&hall.places).try_acquire_owned() else { return busy("too many listeners") };
    let Some(room) = hall.room(&room) else { return busy("too many rooms") };
    let (pieces, body) = mpsc::channel(PIECES_MAX);
    tokio::spawn(stream(room.subscribe(), pieces, hall.shutdown.clone(), place));
    let mut response = Response::new(Body::new(FedBody(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Carries the room's messages to one listener until it leaves or the service stops. `_place` is given back
/// at the end.
async fn stream(
    mut room: broadcast::Receiver<Arc<str>>,
    pieces: mpsc::Sender<Result<Bytes, FeedError>>,
    shutdown: Shutdown,
    _place: OwnedSemaphorePermit,
) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut stopping = std::pin::pin!(shutdown.begun());
    loop {
        let piece = tokio::select! {
            () = &mut stopping => return,
            () = pieces.closed() => return,
            _ = heartbeat.tick() => Bytes::from_static(b": heartbeat\n\n"),
            message = room.recv() => match message {
                Ok(event) => Bytes::copy_from_slice(event.as_bytes()),
                Err(RecvError::Lagged(missed)) => Bytes::from(format!("event: missed\ndata: {missed}\n\n")),
                Err(RecvError::Closed) => return,
            },
        };
        tokio::select! {
            () = &mut stopping => return,
            sent = pieces.send(Ok(piece)) => if sent.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn next(body: &mut mpsc::Receiver<Result<Bytes, FeedError>>) -> Option<String> {
        let piece = timeout(PATIENCE, body.recv()).await.expect("a piece in time")?;
        Some(String::from_utf8(piece.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_listener_hears_a_heartbeat_the_messages_and_what_it_missed() {
        let (room, listener) = broadcast::channel(2);
        let (pieces, mut body) = mpsc::channel(1);
        for text in ["lost", "one", "two"] {
            room.send(Arc::from(format!("data: {text}\n\n"))).unwrap();
        }
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let shutdown = Shutdown::on_signal().unwrap();
        let task = tokio::spawn(stream(listener, pieces, shutdown, place));
        let mut heard = Vec::new();
        while heard.len() < 3 {
            let piece = next(&mut body).await.expect("the stream goes on");
            if !piece.starts_with(": heartbeat") {
                heard.push(piece);
            }
        }
        assert_eq!(heard, ["event: missed\ndata: 1\n\n", "data: one\n\n", "data: two\n\n"]);
        assert_eq!(next(&mut body).await.as_deref(), Some(": heartbeat\n\n"));
        drop(room);
        while next(&mut body).await.is_some() {}
        timeout(PATIENCE, task).await.expect("the task ends with its room").unwrap();
    }
}
