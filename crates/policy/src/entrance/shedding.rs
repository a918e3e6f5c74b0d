//! Whether a gate sheds load: told once when it begins, and once when it is over.
//!
//! **Problem.** Under overload a gate refuses thousands of requests per second. Each is in the access log; a person wants
//! to hear of it once.
//!
//! **Model.** It begins with the first refusal, and is over when [`CALM`] has passed without another one. Quotas are no
//! part of it: whoever asks for more than its share is refused however idle everything is.
//!
//! Worked number: a gate that refuses every other request for a minute, 400 per second, tells two things instead of
//! 12,000.

use std::time::Duration;

use super::vocabulary::Reason;
use crate::time::Time;

/// A gate sheds no longer when it has refused nobody for this long.
pub const CALM: Duration = Duration::from_secs(5);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SheddingChange {
    /// The first refusal, and its reason.
    Began(Reason),
    /// Nobody was refused for a while.
    Ended {
        /// How many were, in all.
        refused: u64,
    },
}

/// The watch over one gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shedding {
    /// The last refusal, while it sheds.
    last: Option<Time>,
    refused: u64,
    change: Option<SheddingChange>,
    now: Time,
}

impl Shedding {
    /// It is so late.
    pub(super) fn at(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Somebody was refused.
    pub(super) fn on_refused(&mut self, reason: Reason) {
        if reason == Reason::RateLimited {
            return;
        }
        if self.last.is_none() {
            self.refused = 0;
            self.change = Some(SheddingChange::Began(reason));
        }
        self.last = Some(self.now);
        self.refused += 1;
    }

    pub(super) fn on_timer(&mut self) {
        // What nobody has heard of yet must not be told by its end alone.
        if self.change.is_none() && self.next_deadline().is_some_and(|due| due <= self.now) {
            self.last = None;
            self.change = Some(SheddingChange::Ended { refused: self.refused });
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.last.map(|last| last.after(CALM))
    }

    pub(super) fn take(&mut self) -> Option<SheddingChange> {
        self.change.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_refusals_is_told_twice() {
        let mut shedding = Shedding::default();
        let mut told = Vec::new();
        for millis in (0..60_000).step_by(5) {
            shedding.at(Time::from_millis(millis));
            if (1_000..2_000).contains(&millis) {
                shedding.on_refused(Reason::Throttled);
            }
            shedding.on_refused(Reason::RateLimited);
            shedding.on_timer();
            told.extend(shedding.take().map(|change| (millis, change)));
        }
        let began = (1_000, SheddingChange::Began(Reason::Throttled));
        assert_eq!(told, [began, (6_995, SheddingChange::Ended { refused: 200 })]);
        assert_eq!(shedding.next_deadline(), None);
    }
}
