//! Topics: an event is published once and kept until each subscriber has acknowledged it.
//!
//! A subscriber has a cursor: everything up to it is acknowledged. Who is stuck delays nobody else; it holds the
//! events that it has not acknowledged, and when these fill the topic, publishing is refused with its name
//! ([`Bound::Topic`](crate::Bound::Topic)): an event that somebody waits for is never dropped in silence. Events
//! that all have acknowledged are kept for replays while they are younger than `age` and fit into `size`.

use std::time::Duration;

use crate::{Reply, Timestamp};

/// How much a topic keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicConfig {
    /// How long events are kept after all have acknowledged them.
    pub age: Duration,
    /// The most that it holds in all, in bytes of headers and bodies.
    pub size: u64,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig { age: Duration::from_hours(24 * 7), size: 1 << 30 }
    }
}

/// The place of an event in its topic: the first has 1, and none is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

/// Something to be published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewEvent {
    /// The topic.
    pub topic: String,
    /// Opaque.
    pub headers: Vec<u8>,
    /// Opaque.
    pub body: Vec<u8>,
}

/// Something that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place.
    pub id: EventId,
    /// When; never earlier than the event before it.
    pub at: Timestamp,
    /// As they came.
    pub headers: Vec<u8>,
    /// As it came.
    pub body: Vec<u8>,
}

/// Where a subscriber begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    Now,
    /// With the oldest event that is kept.
    Oldest,
    /// With the first event at this time or later.
    At(Timestamp),
}

/// A subscriber and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its name.
    pub name: String,
    /// Everything up to here is acknowledged.
    pub acknowledged: EventId,
}

/// What is in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// The oldest event that is kept; one more than `last` when none is.
    pub first: EventId,
    /// The latest event.
    pub last: EventId,
    /// What it holds.
    pub bytes: u64,
    /// Who reads it, by name.
    pub subscriptions: Vec<Subscription>,
}

/// Events and cursors.
pub trait Topics: Send + Sync {
    /// Makes a topic, or changes how much it keeps.
    fn configure_topic(&self, topic: &str, config: TopicConfig) -> Reply<()>;
    /// Publishes an event.
    fn publish(&self, event: NewEvent) -> Reply<EventId>;
    /// Adds a subscriber; one that exists stays where it is. Answers what it has acknowledged.
    fn subscribe(&self, topic: &str, subscriber: &str, start: Start) -> Reply<EventId>;
    /// Removes a subscriber; what only it has held may go.
    fn unsubscribe(&self, topic: &str, subscriber: &str) -> Reply<()>;
    /// Events after `after`, or after what the subscriber has acknowledged; at most `max` (and at most 1,000).
    fn read(&self, topic: &str, subscriber: &str, after: Option<EventId>, max: usize) -> Reply<Vec<Event>>;
    /// Everything up to this event is acknowledged; going back changes nothing. Answers what is acknowledged.
    fn acknowledge(&self, topic: &str, subscriber: &str, up_to: EventId) -> Reply<EventId>;
    /// Sets a subscriber back, or forward; only to what is still kept. Answers what counts as acknowledged.
    fn replay(&self, topic: &str, subscriber: &str, start: Start) -> Reply<EventId>;
    /// What is in a topic.
    fn topic(&self, topic: &str) -> Reply<TopicView>;
}
