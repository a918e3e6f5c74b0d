//! What the writer, the reader and the callers share.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::index::Index;

/// Called when a queue may have something to hand out.
pub(super) type Hint = Arc<dyn Fn() + Send + Sync>;

/// See the module.
pub(super) struct Shared {
    index: Mutex<Index>,
    names: Mutex<Names>,
    hints: Mutex<HashMap<String, Vec<Hint>>>,
    orders: RandomState,
}

#[derive(Default)]
struct Names {
    numbers: HashMap<String, u32>,
    by_number: HashMap<u32, String>,
}

impl Shared {
    pub(super) fn new(token: u64, boundary: u64) -> Self {
        Shared {
            index: Mutex::new(Index::empty(token, boundary)),
            names: Mutex::default(),
            hints: Mutex::default(),
            orders: RandomState::new(),
        }
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        // A panic while it was locked ends the writer or the reader, and with it the answers.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queue(&self, name: &str) -> Option<u32> {
        self.names().numbers.get(name).copied()
    }

    pub(super) fn queues(&self) -> usize {
        self.names().by_number.len()
    }

    pub(super) fn name_of(&self, queue: u32) -> String {
        self.names().by_number.get(&queue).cloned().unwrap_or_default()
    }

    pub(super) fn add_queue(&self, name: &str, number: u32) {
        let mut names = self.names();
        names.numbers.insert(name.to_owned(), number);
        names.by_number.insert(number, name.to_owned());
    }

    pub(super) fn add_hint(&self, queue: &str, hint: Hint) {
        self.hints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(queue.to_owned())
            .or_default()
            .push(hint);
    }

    /// Tells those who listen on these queues.
    pub(super) fn tell(&self, queues: &[u32]) {
        if queues.is_empty() || self.hints.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return;
        }
        for queue in queues {
            let name = self.name_of(*queue);
            let hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
            // Not while the lock is held: a hint may add another one.
            for hint in hints.unwrap_or_default() {
                hint();
            }
        }
    }

    /// Tells order keys apart; never 0.
    pub(super) fn order(&self, key: Option<&[u8]>) -> u64 {
        key.map_or(0, |key| self.orders.hash_one(key).max(1))
    }
}
