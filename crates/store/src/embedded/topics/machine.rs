//! What is written into the file of topics.

use std::collections::BTreeMap;

use rusqlite::params;

use super::topic::{Topic, published};
use crate::embedded::writer::{Machine, Moment};
use crate::time::milliseconds;
use crate::{Answer, Bound, EventId, NewEvent, Start, StoreError, TopicConfig};

/// Topics in one store, and subscribers of one topic.
const TOPICS_MAX: usize = 10_000;
const SUBSCRIBERS_MAX: usize = 1_000;

pub(super) enum Operation {
    Configure(String, TopicConfig, Answer<()>),
    Publish(Box<NewEvent>, Answer<EventId>),
    Subscribe(String, String, Start, Answer<EventId>),
    Unsubscribe(String, String, Answer<()>),
    Acknowledge(String, String, EventId, Answer<EventId>),
    Replay(String, String, Start, Answer<EventId>),
}

pub(super) enum Done {
    At(Answer<EventId>, Result<EventId, StoreError>),
    Said(Answer<()>, Result<(), StoreError>),
}

pub(super) struct TopicsMachine {
    pub(super) topics: BTreeMap<String, Topic>,
}

/// An answer, or an error of the file.
type Said<T> = rusqlite::Result<Result<T, StoreError>>;

impl Machine for TopicsMachine {
    type Operation = Operation;
    type Done = Done;

    fn apply(&mut self, at: &Moment<'_>, operation: Operation) -> rusqlite::Result<Done> {
        Ok(match operation {
            Operation::Configure(topic, config, answer) => {
                Done::Said(answer, self.configure(at, &topic, config)?)
            }
            Operation::Publish(event, answer) => Done::At(answer, self.publish(at, &event)?),
            Operation::Subscribe(topic, name, start, answer) => {
                Done::At(answer, self.subscribe(at, &topic, &name, start)?)
            }
            Operation::Unsubscribe(topic, name, answer) => {
                Done::Said(answer, self.unsubscribe(at, &topic, &name)?)
            }
            Operation::Acknowledge(topic, name, up_to, answer) => {
                Done::At(answer, self.acknowledge(at, &topic, &name, up_to)?)
            }
            Operation::Replay(topic, name, start, answer) => {
                Done::At(answer, self.replay(at, &topic, &name, start)?)
            }
        })
    }

    fn finish(&mut self, at: &Moment<'_>) -> rusqlite::Result<()> {
        for topic in self.topics.values_mut() {
            topic.drop_old(at)?;
            topic.save(at)?;
        }
        Ok(())
    }

    fn committed(&mut self, done: Vec<Done>) {
        for done in done {
            match done {
                Done::At(answer, result) => answer.send(result),
                Done::Said(answer, result) => answer.send(result),
            }
        }
    }
}

impl TopicsMachine {
    /// The topic; made when first named.
    fn topic(&mut self, at: &Moment<'_>, name: &str) -> Said<&mut Topic> {
        if !self.topics.contains_key(name) {
            if self.topics.len() >= TOPICS_MAX {
                return Ok(Err(StoreError::Full(Bound::Names { what: "topics", limit: TOPICS_MAX })));
            }
            self.topics.insert(name.to_owned(), Topic::create(at, name, TopicConfig::default())?);
        }
        Ok(Ok(self.topics.get_mut(name).expect("it is there now")))
    }

    /// A topic that has this subscriber.
    fn subscribed(&mut self, topic: &str, subscriber: &str) -> Result<(&mut Topic, u64), StoreError> {
        let unknown = |what, name: &str| StoreError::Unknown { what, name: name.to_owned() };
        let found = self.topics.get_mut(topic).ok_or_else(|| unknown("topic", topic))?;
        let cursor = found.cursors.get(subscriber).copied();
        Ok((found, cursor.ok_or_else(|| unknown("subscriber", subscriber))?))
    }

    fn configure(&mut self, at: &Moment<'_>, name: &str, config: TopicConfig) -> Said<()> {
        let topic = match self.topic(at, name)? {
            Ok(topic) => topic,
            Err(full) => return Ok(Err(full)),
        };
        (topic.age_ms, topic.size) = (milliseconds(config.age), config.size.min(u64::MAX / 4));
        topic.is_changed = true;
        Ok(Ok(()))
    }

    fn publish(&mut self, at: &Moment<'_>, event: &NewEvent) -> Said<EventId> {
        let topic = match self.topic(at, &event.topic)? {
            Ok(topic) => topic,
            Err(full) => return Ok(Err(full)),
        };
        let bytes = (event.headers.len() + event.body.len()) as u64;
        if !topic.make_room(at, bytes)? {
            return Ok(Err(StoreError::Full(full(at, &event.topic, topic, bytes)?)));
        }
        Ok(Ok(EventId(topic.publish(at, &event.headers, &event.body)?)))
    }

    fn subscribe(&mut self, at: &Moment<'_>, topic: &str, name: &str, start: Start) -> Said<EventId> {
        let topic = match self.topic(at, topic)? {
            Ok(topic) => topic,
            Err(full) => return Ok(Err(full)),
        };
        if let Some(cursor) = topic.cursors.get(name) {
            return Ok(Ok(EventId(*cursor)));
        }
        if topic.cursors.len() >= SUBSCRIBERS_MAX {
            return Ok(Err(StoreError::Full(Bound::Names { what: "subscribers", limit: SUBSCRIBERS_MAX })));
        }
        let cursor = topic.place(at.connection, start)?;
        topic.set_cursor(at, name, cursor)?;
        Ok(Ok(EventId(cursor)))
    }

    fn unsubscribe(&mut self, at: &Moment<'_>, topic: &str, name: &str) -> Said<()> {
        let topic = match self.subscribed(topic, name) {
            Ok((topic, _)) => topic,
            Err(unknown) => return Ok(Err(unknown)),
        };
        topic.cursors.remove(name);
        let sql = "DELETE FROM subscribers WHERE topic = ?1 AND name = ?2";
        at.connection.execute(sql, params![topic.id, name])?;
        Ok(Ok(()))
    }

    fn acknowledge(&mut self, at: &Moment<'_>, topic: &str, name: &str, up_to: EventId) -> Said<EventId> {
        let (topic, cursor) = match self.subscribed(topic, name) {
            Ok(found) => found,
            Err(unknown) => return Ok(Err(unknown)),
        };
        // What is not published yet cannot have been read.
        let up_to = up_to.0.min(topic.next - 1);
        if up_to <= cursor {
            return Ok(Ok(EventId(cursor)));
        }
        topic.set_cursor(at, name, up_to)?;
        Ok(Ok(EventId(up_to)))
    }

    fn replay(&mut self, at: &Moment<'_>, topic: &str, name: &str, start: Start) -> Said<EventId> {
        let topic = match self.subscribed(topic, name) {
            Ok((topic, _)) => topic,
            Err(unknown) => return Ok(Err(unknown)),
        };
        let cursor = topic.place(at.connection, start)?;
        topic.set_cursor(at, name, cursor)?;
        Ok(Ok(EventId(cursor)))
    }
}

/// Why an event does not fit.
fn full(at: &Moment<'_>, name: &str, topic: &Topic, bytes: u64) -> rusqlite::Result<Bound> {
    let Some((held_by, cursor)) = topic.slowest().filter(|(_, cursor)| cursor + 1 < topic.next) else {
        return Ok(Bound::Size { what: "event", size: bytes as usize, limit: topic.size as usize });
    };
    let since = published(at.connection, topic.id, cursor + 1)?.unwrap_or_default();
    Ok(Bound::Topic { topic: name.to_owned(), bytes: topic.bytes, held_by: held_by.to_owned(), since })
}
