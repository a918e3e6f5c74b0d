//! The words of [`Topics`], for the file.

use std::path::Path;

use super::machine::{Operation, TopicsMachine};
use super::reading;
use super::schema::FORMAT;
use super::topic::Topic;
use crate::bytes::{HEADERS_MAX, NAME_MAX, fits};
use crate::embedded::file;
use crate::embedded::open::Limits;
use crate::embedded::reader::{Queries, Query, Reader, query};
use crate::embedded::writer::{Context, Writer};
use crate::{Event, EventId, NewEvent, Reply, Start, StoreError, TopicConfig, TopicView, Topics};

/// The file of topics, open.
pub(in crate::embedded) struct TopicsFile {
    writer: Writer<Operation>,
    reader: Reader<Query>,
    body_max: usize,
}

impl TopicsFile {
    pub(in crate::embedded) fn open(
        folder: &Path,
        context: &Context,
        limits: &Limits,
    ) -> Result<Self, StoreError> {
        let (connection, _) = file::open_to_write(folder, &FORMAT)?;
        let to_read = file::open_to_read(folder, &FORMAT)?;
        let topics = Topic::load(&connection).map_err(|error| StoreError::BadFile {
            path: folder.join(FORMAT.file_name()),
            reason: error.to_string(),
        })?;
        Ok(TopicsFile {
            writer: Writer::start(context, connection, TopicsMachine { topics })?,
            reader: Reader::start(context, to_read, Queries)?,
            body_max: limits.body_max,
        })
    }
}

fn named<T>(names: [&str; 2], ask: impl FnOnce(String, String) -> Reply<T>) -> Reply<T> {
    let [topic, subscriber] = names;
    let fit = fits("name of the topic", topic.len(), NAME_MAX)
        .and_then(|()| fits("name of the subscriber", subscriber.len(), NAME_MAX));
    match fit {
        Ok(()) => ask(topic.to_owned(), subscriber.to_owned()),
        Err(full) => Reply::ready(Err(full)),
    }
}

impl Topics for TopicsFile {
    fn configure_topic(&self, topic: &str, config: TopicConfig) -> Reply<()> {
        named([topic, ""], |topic, _| {
            self.writer.ask(0, |answer| Operation::Configure(topic, config, answer))
        })
    }

    fn publish(&self, event: NewEvent) -> Reply<EventId> {
        let fit = fits("name of the topic", event.topic.len(), NAME_MAX)
            .and_then(|()| fits("headers", event.headers.len(), HEADERS_MAX))
            .and_then(|()| fits("body", event.body.len(), self.body_max));
        if let Err(full) = fit {
            return Reply::ready(Err(full));
        }
        let bytes = event.headers.len() + event.body.len();
        self.writer.ask(bytes, |answer| Operation::Publish(Box::new(event), answer))
    }

    fn subscribe(&self, topic: &str, subscriber: &str, start: Start) -> Reply<EventId> {
        named([topic, subscriber], |topic, subscriber| {
            self.writer.ask(0, |answer| Operation::Subscribe(topic, subscriber, start, answer))
        })
    }

    fn unsubscribe(&self, topic: &str, subscriber: &str) -> Reply<()> {
        named([topic, subscriber], |topic, subscriber| {
            self.writer.ask(0, |answer| Operation::Unsubscribe(topic, subscriber, answer))
        })
    }

    fn read(&self, topic: &str, subscriber: &str, after: Option<EventId>, max: usize) -> Reply<Vec<Event>> {
        named([topic, subscriber], |topic, subscriber| {
            self.reader.ask(|answer| {
                query(answer, move |connection| reading::events(connection, &topic, &subscriber, after, max))
            })
        })
    }

    fn acknowledge(&self, topic: &str, subscriber: &str, up_to: EventId) -> Reply<EventId> {
        named([topic, subscriber], |topic, subscriber| {
            self.writer.ask(0, |answer| Operation::Acknowledge(topic, subscriber, up_to, answer))
        })
    }

    fn replay(&self, topic: &str, subscriber: &str, start: Start) -> Reply<EventId> {
        named([topic, subscriber], |topic, subscriber| {
            self.writer.ask(0, |answer| Operation::Replay(topic, subscriber, start, answer))
        })
    }

    fn topic(&self, topic: &str) -> Reply<TopicView> {
        named([topic, ""], |topic, _| {
            self.reader.ask(|answer| query(answer, move |connection| reading::view(connection, &topic)))
        })
    }
}
