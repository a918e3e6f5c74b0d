//! An answer that comes later: to be waited for by a thread, or awaited in any runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::StoreError;

/// The answer to one operation. Dropping it does not take the operation back.
#[must_use = "the operation is under way; its answer says whether it is durable"]
#[derive(Debug)]
pub struct Reply<T>(Inner<T>);

#[derive(Debug)]
enum Inner<T> {
    Ready(Option<Result<T, StoreError>>),
    Later(Arc<Slot<T>>),
}

/// The other end of a [`Reply`]. Dropped without an answer, it answers [`StoreError::Broken`].
#[derive(Debug)]
pub struct Answer<T>(Option<Arc<Slot<T>>>);

#[derive(Debug)]
struct Slot<T> {
    state: Mutex<State<T>>,
    answered: Condvar,
}

#[derive(Debug)]
enum State<T> {
    Waiting(Option<Waker>),
    /// A thread sleeps on the condition.
    Blocked,
    Answered(Result<T, StoreError>),
    Taken,
}

/// Both ends of one answer.
pub fn channel<T>() -> (Answer<T>, Reply<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Waiting(None)), answered: Condvar::new() });
    (Answer(Some(Arc::clone(&slot))), Reply(Inner::Later(slot)))
}

impl<T> Reply<T> {
    /// An answer that is there already.
    pub fn ready(result: Result<T, StoreError>) -> Self {
        Reply(Inner::Ready(Some(result)))
    }

    /// Waits on this thread. Not for threads that serve others meanwhile: await the reply there.
    pub fn wait(self) -> Result<T, StoreError> {
        let slot = match self.0 {
            Inner::Ready(result) => return result.expect("a reply is taken once"),
            Inner::Later(slot) => slot,
        };
        let mut state = slot.lock();
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Answered(result) => return result,
                _ => *state = State::Blocked,
            }
            state = slot.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T: Unpin> Future for Reply<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = match &mut self.0 {
            Inner::Ready(result) => return Poll::Ready(result.take().expect("a reply is taken once")),
            Inner::Later(slot) => slot,
        };
        let mut state = slot.lock();
        if let State::Answered(result) = std::mem::replace(&mut *state, State::Taken) {
            return Poll::Ready(result);
        }
        *state = State::Waiting(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl<T> Slot<T> {
    /// Nobody can panic while holding the lock; and an answer is due even if somebody could.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, result: Result<T, StoreError>) {
        let before = std::mem::replace(&mut *self.lock(), State::Answered(result));
        match before {
            State::Waiting(Some(waker)) => waker.wake(),
            State::Blocked => self.answered.notify_one(),
            State::Waiting(None) | State::Answered(_) | State::Taken => {}
        }
    }
}

impl<T> Answer<T> {
    /// Answers.
    pub fn send(mut self, result: Result<T, StoreError>) {
        if let Some(slot) = self.0.take() {
            slot.put(result);
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.put(Err(StoreError::Broken("it ended before this was durable".to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_thread_waits_for_an_answer_that_comes_before_or_after() {
        let (answer, reply) = channel();
        answer.send(Ok(1));
        assert_eq!(reply.wait(), Ok(1));
        let (answer, reply) = channel();
        let thread = std::thread::spawn(move || reply.wait());
        answer.send(Ok(2));
        assert_eq!(thread.join().unwrap(), Ok(2));
        assert_eq!(Reply::ready(Ok(3)).wait(), Ok(3));
    }

    #[test]
    fn a_future_is_woken_once() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let context = &mut Context::from_waker(&waker);
        let (answer, mut reply) = channel();
        assert_eq!(Pin::new(&mut reply).poll(context), Poll::Pending);
        assert_eq!(Pin::new(&mut reply).poll(context), Poll::Pending);
        answer.send(Ok(4));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(Pin::new(&mut reply).poll(context), Poll::Ready(Ok(4)));
    }

    #[test]
    fn who_is_dropped_without_an_answer_says_broken() {
        let (answer, reply) = channel::<()>();
        drop(answer);
        assert!(matches!(reply.wait(), Err(StoreError::Broken(_))));
        let (answer, reply) = channel::<()>();
        drop(reply);
        answer.send(Ok(()));
    }
}
