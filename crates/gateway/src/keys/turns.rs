//! Wakes those who wait for an execution to end.

use std::hash::{DefaultHasher, Hash, Hasher};

use seaworthy_observe::KeyName;
use tokio::sync::Notify;

/// Keys share so many bells; who is woken for another key asks once too often.
const BELLS: usize = 64;

/// A fixed number of bells, so that nothing has to be kept per key.
pub(super) struct Turns([Notify; BELLS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Notify::new()))
    }
}

impl Turns {
    /// Rung when an execution under this key has ended.
    pub(super) fn of(&self, name: &KeyName) -> &Notify {
        let mut hasher = DefaultHasher::new();
        (&name.scope, &name.key).hash(&mut hasher);
        &self.0[(hasher.finish() % BELLS as u64) as usize]
    }
}
