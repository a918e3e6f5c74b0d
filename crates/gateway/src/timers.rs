//! Timers that are used again.
//!
//! Nearly every request sets a timer that never goes off. A timer that stays in the runtime's wheel and is only moved to
//! a later moment costs one store; a new one costs an aligned allocation and two visits to the wheel.

use std::cell::RefCell;
use std::pin::Pin;

use tokio::time::{Instant, Sleep};

/// Timers that a thread keeps for its next requests.
const SPARE_MAX: usize = 1024;

/// The spare timers of one thread. One of them that goes off wakes the task that had it last, once and in vain.
#[derive(Default)]
pub(crate) struct Timers {
    spare: RefCell<Vec<Pin<Box<Sleep>>>>,
}

impl Timers {
    /// A timer that goes off then.
    pub(crate) fn take(&self, at: Instant) -> Pin<Box<Sleep>> {
        // The one given back last: its moment is the latest, so that it can be moved on without the wheel's help.
        let Some(mut timer) = self.spare.borrow_mut().pop() else {
            return Box::pin(tokio::time::sleep_until(at));
        };
        timer.as_mut().reset(at);
        timer
    }

    /// Nobody waits for it any more.
    pub(crate) fn give_back(&self, timer: Pin<Box<Sleep>>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_spare_timer_is_as_good_as_a_new_one() {
        let timers = Timers::default();
        for (wait, given_back_early) in [(50, true), (10, false), (30, true), (70, false)] {
            let begun = Instant::now();
            let mut timer = timers.take(begun + Duration::from_millis(wait));
            if given_back_early {
                // Polled once, so that it is in the wheel.
                let early = tokio::time::timeout(Duration::from_millis(1), timer.as_mut()).await;
                assert!(early.is_err(), "went off at once instead of after {wait} ms");
            } else {
                timer.as_mut().await;
                assert_eq!(begun.elapsed(), Duration::from_millis(wait));
            }
            timers.give_back(timer);
            assert_eq!(timers.spare.borrow().len(), 1, "one timer does for all");
        }
    }
}
