//! What a route or a service does with idempotency keys.

use std::time::Duration;

use seaworthy_policy::idempotency::{Backend, Dialect};

/// How keys of writes are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeysPlan {
    /// A write without a key is refused.
    pub required: bool,
    /// Whether the backend, too, executes a key once.
    pub backend: Backend,
    /// At least how long what became of a key is remembered here; `None` = not at all.
    pub keep: Option<Duration>,
    /// What a request is told whose key is in flight.
    pub in_flight: InFlight,
    /// The largest answer body that is replayed, in bytes.
    pub max_answer: u64,
    /// Whose expectations about failures are met.
    pub dialect: Dialect,
}

/// What a request is told whose key is in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InFlight {
    /// 409, at once.
    #[default]
    Refuse,
    /// The answer of the first, as soon as there is one.
    Wait,
}

impl KeysPlan {
    /// Keys are required and the backend honours them, which is what makes writes safe to send again.
    pub fn are_safe(&self) -> bool {
        self.required && self.backend == Backend::Honours
    }
}
