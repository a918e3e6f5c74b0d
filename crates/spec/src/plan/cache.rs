//! Stored answers.

use std::time::Duration;

/// How long the answers of a route are given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePlan {
    /// How long they are fresh, unless they say less themselves.
    pub ttl: Duration,
    /// How long after that they are given while they are fetched again.
    pub stale_while_revalidate: Duration,
}

/// What stored answers may take, those of all routes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Memory, in bytes.
    pub max_bytes: u64,
    /// Answers.
    pub max_entries: u64,
    /// The longest body, in bytes.
    pub max_answer_bytes: u64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_entries: 10_000, max_answer_bytes: 1 << 20 }
    }
}
