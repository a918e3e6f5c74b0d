//! Durable work and durable events.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::DeliveryConfig;
use seaworthy_policy::admission::Priority;

use super::Place;

/// A queue of jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuePlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// How its jobs are delivered.
    pub lane: LanePlan,
    /// What makes two jobs the same; `None` = every job is taken.
    pub dedupe: Option<DedupePlan>,
    /// A job this old is not attempted any more.
    pub deadline: Option<Duration>,
    /// Every job waits this long before its first attempt.
    pub delay: Duration,
    /// How much a job matters that does not say so itself.
    pub priority: Priority,
    /// The largest body of a job, in bytes.
    pub max_body: u64,
    /// With so many jobs waiting, further ones are refused.
    pub capacity: u64,
}

/// A topic of events.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// How long events can be replayed after every subscriber has acknowledged them.
    pub age: Duration,
    /// What it holds at most, in bytes.
    pub size: u64,
    /// The largest body of an event, in bytes.
    pub max_body: u64,
    /// Who gets each event, in the order of the spec.
    pub subscribers: Vec<SubscriberPlan>,
}

/// Somebody who gets every event of a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriberPlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// A new subscriber begins with the oldest event that is kept, rather than with the next one.
    pub from_oldest: bool,
    /// How events are delivered to it.
    pub lane: LanePlan,
}

/// How the jobs of a queue, or the events of a subscriber, find their receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct LanePlan {
    /// Where they are sent; `None` = workers claim them.
    pub push: Option<PushPlan>,
    /// When they are attempted, and what answers mean.
    pub delivery: Arc<DeliveryConfig>,
    /// The header with the order key, in lower case.
    pub order_by: Option<String>,
    /// The secrets that sign each attempt, the newest first; empty = unsigned.
    pub signing: Vec<SecretSource>,
    /// How long a dead letter is kept.
    pub dead_letter_age: Duration,
    /// How many dead letters are kept.
    pub dead_letters_max: u64,
}

/// Where jobs are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushPlan {
    /// Index into [`Plan::services`](super::Plan::services).
    pub service: usize,
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
}

/// What makes two jobs the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupePlan {
    /// How long a key is remembered.
    pub window: Duration,
    /// The header with the key, in lower case.
    pub header: String,
}

/// Where a secret is; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In this environment variable.
    Environment(String),
    /// In this file, relative to the spec's folder.
    File(PathBuf),
}
