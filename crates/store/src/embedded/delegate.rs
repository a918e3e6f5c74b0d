//! The words of all traits, passed on to the file that keeps them.

use std::sync::Arc;
use std::time::Duration;

use crate::embedded::open::Embedded;
use crate::{
    Begin, Begun, Burial, Claim, Claimed, Counts, DeadFilter, DeadLetter, Enqueued, Entry, EntryId, Event,
    EventId, History, HistoryQuery, JobId, JobView, Jobs, Keys, Moved, Nack, NewEvent, NewJob, Outcome,
    Receipt, Reply, Start, Timestamp, Token, TopicConfig, TopicView, Topics,
};

impl Jobs for Embedded {
    fn enqueue(&self, job: NewJob) -> Reply<Enqueued> {
        self.jobs.enqueue(job)
    }

    fn claim(&self, claim: Claim) -> Reply<Vec<Claimed>> {
        self.jobs.claim(claim)
    }

    fn ack(&self, receipt: Receipt) -> Reply<()> {
        self.jobs.ack(receipt)
    }

    fn nack(&self, receipt: Receipt, nack: Nack) -> Reply<()> {
        self.jobs.nack(receipt, nack)
    }

    fn extend(&self, receipt: Receipt, lease: Duration) -> Reply<Timestamp> {
        self.jobs.extend(receipt, lease)
    }

    fn dead_letter(&self, receipt: Receipt, burial: Burial) -> Reply<()> {
        self.jobs.dead_letter(receipt, burial)
    }

    fn dead_letters(&self, filter: DeadFilter, after: Option<JobId>, max: usize) -> Reply<Vec<DeadLetter>> {
        self.jobs.dead_letters(filter, after, max)
    }

    fn count_dead(&self, filter: DeadFilter) -> Reply<u64> {
        self.jobs.count_dead(filter)
    }

    fn retry_dead(&self, filter: DeadFilter) -> Reply<Moved> {
        self.jobs.retry_dead(filter)
    }

    fn drop_dead(&self, filter: DeadFilter) -> Reply<Moved> {
        self.jobs.drop_dead(filter)
    }

    fn pause(&self, queue: &str) -> Reply<()> {
        self.jobs.pause(queue)
    }

    fn resume(&self, queue: &str) -> Reply<()> {
        self.jobs.resume(queue)
    }

    fn counts(&self, queue: &str) -> Reply<Counts> {
        self.jobs.counts(queue)
    }

    fn job(&self, id: JobId) -> Reply<Option<JobView>> {
        self.jobs.job(id)
    }

    fn next_due(&self, queue: &str) -> Option<Timestamp> {
        self.jobs.next_due(queue)
    }

    fn on_ready(&self, queue: &str, hint: Arc<dyn Fn() + Send + Sync>) {
        self.jobs.on_ready(queue, hint);
    }
}

impl Keys for Embedded {
    fn begin(&self, begin: Begin) -> Reply<Begun> {
        self.keys.begin(begin)
    }

    fn finish(&self, scope: &[u8], key: &[u8], token: Token, outcome: Outcome) -> Reply<()> {
        self.keys.finish(scope, key, token, outcome)
    }
}

impl Topics for Embedded {
    fn configure_topic(&self, topic: &str, config: TopicConfig) -> Reply<()> {
        self.topics.configure_topic(topic, config)
    }

    fn publish(&self, event: NewEvent) -> Reply<EventId> {
        self.topics.publish(event)
    }

    fn subscribe(&self, topic: &str, subscriber: &str, start: Start) -> Reply<EventId> {
        self.topics.subscribe(topic, subscriber, start)
    }

    fn unsubscribe(&self, topic: &str, subscriber: &str) -> Reply<()> {
        self.topics.unsubscribe(topic, subscriber)
    }

    fn read(&self, topic: &str, subscriber: &str, after: Option<EventId>, max: usize) -> Reply<Vec<Event>> {
        self.topics.read(topic, subscriber, after, max)
    }

    fn acknowledge(&self, topic: &str, subscriber: &str, up_to: EventId) -> Reply<EventId> {
        self.topics.acknowledge(topic, subscriber, up_to)
    }

    fn replay(&self, topic: &str, subscriber: &str, start: Start) -> Reply<EventId> {
        self.topics.replay(topic, subscriber, start)
    }

    fn topic(&self, topic: &str) -> Reply<TopicView> {
        self.topics.topic(topic)
    }
}

impl History for Embedded {
    fn append(&self, kind: &str, body: Vec<u8>) -> Reply<EntryId> {
        self.history.append(kind, body)
    }

    fn entries(&self, query: HistoryQuery, max: usize) -> Reply<Vec<Entry>> {
        self.history.entries(query, max)
    }
}
