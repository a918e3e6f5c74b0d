//! All confirmed tickets as one JSON array, streamed: it may be a million of them.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::book::{Book, Flow, Ticket};
use crate::log;
use crate::serve::{FedBody, FeedError};

/// Exports at once: each holds a connection and a thread while it lasts.
const EXPORTS_MAX: usize = 4;
/// Pieces that wait for the socket.
const PIECES_MAX: usize = 4;
/// A piece is sent when it has grown to this size.
const PIECE_BYTES: usize = 64 * 1024;

/// Where exports come from.
pub(super) struct Exports {
    path: PathBuf,
    places: Arc<Semaphore>,
}

impl Exports {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, places: Arc::new(Semaphore::new(EXPORTS_MAX)) }
    }

    /// The body of a new export, or `None` if there are too many.
    pub(super) fn start(&self) -> Option<FedBody> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (pieces, body) = mpsc::channel(PIECES_MAX);
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || feed(&path, &pieces, place));
        Some(FedBody(body))
    }
}

type Pieces = mpsc::Sender<Result<Bytes, FeedError>>;

fn feed(path: &std::path::Path, pieces: &Pieces, place: OwnedSemaphorePermit) {
    if let Err(error) = export(path, pieces) {
        log::error("export failed", &json!({ "error": error.to_string() }));
        let _ = pieces.blocking_send(Err(FeedError(error.to_string())));
    }
    drop(place);
}

fn export(path: &std::path::Path, pieces: &Pieces) -> rusqlite::Result<()> {
    let mut piece = String::from("[");
    let mut separator = "";
    Book::open_to_read(path)?.confirmed(|ticket| {
        piece.push_str(separator);
        separator = ",";
        piece.push_str(&line(&ticket));
        if piece.len() < PIECE_BYTES {
            return Flow::Continue;
        }
        match pieces.blocking_send(Ok(Bytes::from(std::mem::take(&mut piece)))) {
            Ok(()) => Flow::Continue,
            // Nobody reads any more.
            Err(_) => Flow::Stop,
        }
    })?;
    piece.push(']');
    let _ = pieces.blocking_send(Ok(Bytes::from(piece)));
    Ok(())
}

fn line(ticket: &Ticket) -> String {
    let Ticket { id, key, event, buyer, state, .. } = ticket;
    json!({ "id": id, "key": key, "buyer": buyer, "event": event, "state": state }).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::book::Command;
    use super::*;
    use http_body_util::BodyExt as _;
    use serde_json::Value;

    #[tokio::test]
    async fn every_confirmed_ticket_is_exported_once_in_many_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite3");
        let mut book = Book::open(&path).unwrap();
        let number_of_tickets = 2 * PIECE_BYTES / 60;
        let commands: Vec<Command> = (0..number_of_tickets)
            .flat_map(|number| {
                let key = number.to_string();
                let reserve = Command::Reserve { key: key.clone(), event: 1, buyer: key.clone() };
                [reserve, Command::Confirm { key, charge: 1 }]
            })
            .collect();
        book.apply(commands.iter()).unwrap();
        let body = Exports::new(path).start().unwrap().collect().await.unwrap().to_bytes();
        let exported: Vec<Value> = serde_json::from_slice(&body).unwrap();
        assert!(body.len() > PIECE_BYTES, "more than one piece");
        let keys: Vec<usize> =
            exported.iter().map(|ticket| ticket["key"].as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(keys, (0..number_of_tickets).collect::<Vec<_>>());
        assert_eq!(exported[0], json!({"id": 1, "key": "0", "buyer": "0", "event": 1, "state": "confirmed"}));
    }

    #[tokio::test]
    async fn an_export_that_fails_breaks_off_and_never_passes_for_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let body = Exports::new(folder.path().join("absent.sqlite3")).start().unwrap();
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn exports_are_bounded() {
        let exports = Exports { path: PathBuf::new(), places: Arc::new(Semaphore::new(0)) };
        assert!(exports.start().is_none());
    }
}
