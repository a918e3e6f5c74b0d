//! What drills send, and where its effects show.

use std::time::Duration;

use super::Place;

/// What a drill sends, and how it reads back what was acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadPlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// Requests per second, open loop.
    pub rate: f64,
    /// Method.
    pub method: String,
    /// Path and query; `$id` is replaced by the request's id.
    pub path: String,
    /// JSON body as text; `$id` inside strings is replaced by the request's id.
    pub json: Option<String>,
    /// Further headers, in order; `$id` in values is replaced.
    pub headers: Vec<(String, String)>,
    /// `Idempotency-Key`; `$id` is replaced.
    pub idempotency_key: Option<String>,
    /// Statuses of a good answer; empty = any 2xx.
    pub expect: Vec<u16>,
    /// Statuses that count as degraded when the answer carries a `Degraded` header.
    pub degraded: Vec<u16>,
    /// An answer that takes longer counts as failed.
    pub timeout: Duration,
    /// Where the effects of writes are read back; empty = not a write.
    pub read_back: Vec<ReadBack>,
}

/// Where the effects of writes can be seen, past policy and faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack {
    /// Index into [`Plan::services`](super::Plan::services).
    pub from: usize,
    /// Path to GET.
    pub get: String,
    /// Where the ids stand in the JSON answer, such as `[].buyer`.
    pub ids: IdPath,
}

/// A path to ids in a JSON document: `[]` = every element, `.name` = a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPath(pub Vec<IdStep>);

/// One step of an [`IdPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdStep {
    /// Every element of an array.
    Each,
    /// A member of an object.
    Member(String),
}
