//! The bus: everything that happens passes here once, in one order.
//!
//! One mutex orders the events, numbers them, keeps the last of them, folds them into the [`State`] and hands them
//! to the log. Events are rare (requests are not events), so a lock-free ring would buy nothing and cost the order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::clock::Clock;
use crate::event::{Event, EventKind};
use crate::log::LogSink;
use crate::state::State;

/// How many events are kept for readers; older ones are forgotten, which readers see as a gap in `seq`.
pub const EVENTS_KEPT_MAX: usize = 10_000;

/// Takes events and shows them to whoever asks. Cheap to clone; all clones are the same bus.
#[derive(Debug, Clone)]
pub struct EventBus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    logs: LogSink,
    newest: watch::Sender<u64>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seq: u64,
    ring: VecDeque<Event>,
    state: State,
}

impl EventBus {
    /// An empty bus whose events are also written to `logs`.
    pub fn new(logs: LogSink) -> Self {
        let shared =
            Shared { clock: Clock, logs, newest: watch::Sender::new(0), inner: Mutex::new(Inner::default()) };
        Self { shared: Arc::new(shared) }
    }

    /// Records that something happened now, and returns it with its number and times. Never blocks on IO.
    pub fn emit(&self, kind: EventKind) -> Event {
        let mut inner = self.lock();
        inner.seq += 1;
        // The clocks are read inside the lock, so that `at` never runs against `seq`.
        let at = self.shared.clock.now().as_nanos();
        let event = Event { seq: inner.seq, at, ts: self.shared.clock.wall(), kind };
        inner.state.apply(&event);
        if inner.ring.len() == EVENTS_KEPT_MAX {
            inner.ring.pop_front();
        }
        inner.ring.push_back(event.clone());
        self.shared.logs.event(event.clone());
        self.shared.newest.send_replace(event.seq);
        event
    }

    /// At most `limit` of the kept events with a number above `seq`, oldest first.
    pub fn since(&self, seq: u64, limit: usize) -> Vec<Event> {
        let inner = self.lock();
        let known = inner.ring.partition_point(|event| event.seq <= seq);
        inner.ring.iter().skip(known).take(limit).cloned().collect()
    }

    /// The number of the newest event; 0 when there is none.
    pub fn newest(&self) -> u64 {
        *self.shared.newest.borrow()
    }

    /// Waits until there is an event with a number above `seq`, and returns the newest number.
    pub async fn wait_beyond(&self, seq: u64) -> u64 {
        let mut newest = self.shared.newest.subscribe();
        let reached = newest.wait_for(|newest| *newest > seq).await;
        *reached.expect("the sender lives in the bus, which this call borrows")
    }

    /// What people see now.
    pub fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// The log that events go to.
    pub fn logs(&self) -> &LogSink {
        &self.shared.logs
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().expect("the fold does not panic")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ready(replica: &str) -> EventKind {
        EventKind::EndpointReady { service: "api".to_owned(), replica: replica.to_owned() }
    }

    #[test]
    fn events_are_numbered_kept_and_folded() {
        let bus = EventBus::new(LogSink::discard());
        let first = bus.emit(ready("a-1"));
        let second = bus.emit(ready("a-2"));
        assert_eq!((first.seq, second.seq, bus.newest()), (1, 2, 2));
        assert!(second.at >= first.at);
        assert_eq!(bus.since(0, 10), [first.clone(), second.clone()]);
        assert_eq!(bus.since(0, 1), [first]);
        assert_eq!(bus.since(1, 10), [second]);
        assert!(bus.since(2, 10).is_empty());
        assert_eq!(bus.state().services["api"].replicas.len(), 2);
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let bus = EventBus::new(LogSink::discard());
        for _ in 0..EVENTS_KEPT_MAX + 5 {
            bus.emit(EventKind::PolicyReset);
        }
        let kept = bus.since(0, usize::MAX);
        assert_eq!((kept.len(), kept[0].seq), (EVENTS_KEPT_MAX, 6));
        assert_eq!(bus.since(3, 1)[0].seq, 6);
    }

    #[tokio::test]
    async fn waiters_wake_for_events_beyond_theirs() {
        let bus = EventBus::new(LogSink::discard());
        bus.emit(EventKind::NodeDraining);
        assert_eq!(bus.wait_beyond(0).await, 1);
        let other = bus.clone();
        let waiter = tokio::spawn(async move { other.wait_beyond(1).await });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        // From another thread, as the gateway's threads do.
        let emitting = bus.clone();
        std::thread::spawn(move || emitting.emit(EventKind::PolicyReset)).join().unwrap();
        let newest = tokio::time::timeout(Duration::from_secs(5), waiter).await.unwrap().unwrap();
        assert_eq!(newest, 2);
    }
}
