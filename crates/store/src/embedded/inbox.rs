//! What waits for a thread of the store, with its bounds.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Bound, StoreError};

/// At most so much is carried out in one commit: more would make those wait who came first.
const BATCH_MAX: usize = 1_024;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// What nobody waits for is written after so long when no commit comes by.
const RIDE_MAX: Duration = Duration::from_millis(10);

/// Whether somebody waits for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// Carry it out as soon as possible.
    Somebody,
    /// It goes along with the next commit.
    Nobody,
}

/// A bounded queue that many threads fill and one empties.
pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    waiting_max: usize,
    bytes_max: usize,
}

struct State<T> {
    /// Each with its size in bytes.
    operations: VecDeque<(usize, Waits, T)>,
    bytes: usize,
    awaited: usize,
    riding_since: Option<Instant>,
    is_taker_asleep: bool,
    is_closed: bool,
    is_abandoned: bool,
}

impl<T> Inbox<T> {
    pub(super) fn new(waiting_max: usize, bytes_max: usize) -> Self {
        let state = State {
            operations: VecDeque::new(),
            bytes: 0,
            awaited: 0,
            riding_since: None,
            is_taker_asleep: false,
            is_closed: false,
            is_abandoned: false,
        };
        Inbox { state: Mutex::new(state), filled: Condvar::new(), waiting_max, bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes and adds an operation, unless a bound is reached. What nobody waits for is always taken in: it
    /// belongs to something that was.
    pub(super) fn push(
        &self,
        bytes: usize,
        waits: Waits,
        make: impl FnOnce() -> T,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.is_abandoned {
            return Err(StoreError::Broken("one of its threads has panicked".to_owned()));
        }
        let is_full = state.operations.len() >= self.waiting_max || state.bytes + bytes > self.bytes_max;
        if is_full && waits == Waits::Somebody {
            let (waiting, bytes) = (state.operations.len(), state.bytes);
            return Err(StoreError::Full(Bound::Waiting { waiting, bytes }));
        }
        state.operations.push_back((bytes, waits, make()));
        state.bytes += bytes;
        match waits {
            Waits::Somebody => state.awaited += 1,
            Waits::Nobody => {
                state.riding_since.get_or_insert_with(Instant::now);
            }
        }
        let is_first = match waits {
            Waits::Somebody => state.awaited == 1,
            // The taker has to hear of the first, because it then sleeps for a while only.
            Waits::Nobody => state.operations.len() == 1,
        };
        let wake = is_first && state.is_taker_asleep;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for operations and takes a batch; `None` when closed and empty.
    pub(super) fn take(&self) -> Option<Vec<T>> {
        let mut state = self.lock();
        loop {
            let rides = state.riding_since.map(|since| RIDE_MAX.saturating_sub(since.elapsed()));
            if state.awaited > 0 || rides == Some(Duration::ZERO) || state.is_closed {
                break;
            }
            state.is_taker_asleep = true;
            state = match rides {
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.is_taker_asleep = false;
        }
        if state.operations.is_empty() { None } else { Some(state.batch()) }
    }

    /// Takes a batch, which is empty when nothing waits; `None` when closed and empty.
    pub(super) fn take_now(&self) -> Option<Vec<T>> {
        let mut state = self.lock();
        if state.operations.is_empty() && state.is_closed {
            return None;
        }
        Some(state.batch())
    }

    /// Nobody takes anything any more: who waits is told, and so is everybody who comes later.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.is_abandoned = true;
        let left = std::mem::take(&mut state.operations);
        drop(state);
        // Dropped outside the lock: an answer may wake somebody who comes back at once.
        drop(left);
    }

    /// Nothing is added any more by those who behave; what waits is still taken.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }
}

impl<T> State<T> {
    fn batch(&mut self) -> Vec<T> {
        let mut batch = Vec::with_capacity(self.operations.len().min(BATCH_MAX));
        let mut bytes_in_batch = 0;
        while batch.len() < BATCH_MAX && bytes_in_batch < BATCH_BYTES_MAX {
            let Some((bytes, waits, operation)) = self.operations.pop_front() else { break };
            self.bytes -= bytes;
            self.awaited -= usize::from(waits == Waits::Somebody);
            bytes_in_batch += bytes;
            batch.push(operation);
        }
        if self.operations.is_empty() {
            self.riding_since = None;
        }
        batch
    }
}

/// Abandons the inbox when its thread panics.
pub(super) struct Abandon<'i, T>(pub(super) &'i Inbox<T>);

impl<T> Drop for Abandon<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_refuse_what_somebody_waits_for_and_nothing_else() {
        let inbox = Inbox::new(2, 100);
        assert!(inbox.push(10, Waits::Somebody, || 1).is_ok());
        let too_large = inbox.push(91, Waits::Somebody, || 2).unwrap_err();
        assert_eq!(too_large, StoreError::Full(Bound::Waiting { waiting: 1, bytes: 10 }));
        assert!(inbox.push(10, Waits::Somebody, || 3).is_ok());
        assert!(inbox.push(0, Waits::Somebody, || 4).is_err(), "two wait already");
        assert!(inbox.push(0, Waits::Nobody, || 5).is_ok());
        assert_eq!(inbox.take(), Some(vec![1, 3, 5]));
        assert!(inbox.push(100, Waits::Somebody, || 6).is_ok(), "there is room again");
    }

    #[test]
    fn who_waits_for_a_thread_that_panics_is_told() {
        let inbox = std::sync::Arc::new(Inbox::new(10, 100));
        let (answer, reply) = crate::channel::<()>();
        inbox.push(1, Waits::Somebody, || answer).unwrap();
        let thread = std::sync::Arc::clone(&inbox);
        let panicked = std::thread::spawn(move || {
            let _abandon = Abandon(&thread);
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(matches!(reply.wait(), Err(StoreError::Broken(_))));
        let (answer, _reply) = crate::channel::<()>();
        assert!(matches!(inbox.push(1, Waits::Nobody, || answer), Err(StoreError::Broken(_))));
    }

    #[test]
    fn a_batch_is_bounded_and_what_rides_along_comes_by_itself() {
        let inbox = Inbox::new(10_000, usize::MAX);
        for number in 0..=BATCH_MAX {
            inbox.push(1, Waits::Somebody, || number).unwrap();
        }
        assert_eq!(inbox.take().unwrap().len(), BATCH_MAX);
        assert_eq!(inbox.take().unwrap(), [BATCH_MAX]);
        inbox.push(1, Waits::Nobody, || 7).unwrap();
        assert_eq!(inbox.take().unwrap(), [7], "after a while, without anybody waiting");
        assert_eq!(inbox.take_now(), Some(Vec::new()));
        inbox.close();
        assert_eq!((inbox.take(), inbox.take_now()), (None, None));
    }
}
