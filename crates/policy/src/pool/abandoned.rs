//! Attempts that nobody waits for any more, while their endpoint may still be at work on them.
//!
//! **Problem.** A cap of what is in flight is to keep an endpoint's queue shorter than anybody's patience (`cap × service time < timeout`). But most
//! servers go on working for those who have given up. In a storm all give up, so a cap that only counts who still waits lets as many in
//! again as have timed out, and the endpoint works for nobody.
//!
//! **Model.** An attempt that was given up without a byte keeps its place until its endpoint answers one that was sent later (whoever serves first
//! come, first served has then done with it), and no longer than it has waited already: what is lost must not block its endpoint.
//!
//! **Rejected.** Keeping the place until an answer alone: an endpoint that hangs would never be tried again. A fixed time: nobody knows one.
//!
//! **Worked number.** Cap 10, service 50 ms, timeout 1 s; for ten seconds service takes 225 ms, so ten in the queue take 2.25 s and all time out. Those who time out
//! keep their places for a second more, and when the trouble ends the queue is 10 long, not 20 to 30.

use std::collections::VecDeque;

use crate::time::Time;

/// When it was sent, and when its place is given back at the latest.
#[derive(Debug, Clone, Copy)]
struct Given {
    sent: Time,
    until: Time,
}

/// Places that are kept; never more than the cap, because whoever gets one has room.
#[derive(Debug, Default)]
pub(super) struct Abandoned {
    kept: VecDeque<Given>,
}

impl Abandoned {
    /// An attempt was given up now. With `cap` places at most, the one that was kept longest makes room for it.
    pub(super) fn on_given_up(&mut self, now: Time, sent: Time, cap: u32) {
        if self.kept.len() >= cap as usize {
            self.kept.pop_front();
        }
        self.kept.push_back(Given { sent, until: now.after(now.saturating_since(sent)) });
    }

    /// An attempt was answered that was sent then.
    pub(super) fn on_answer(&mut self, sent: Time) {
        self.kept.retain(|given| given.sent >= sent);
    }

    /// Gives back those whose time is up.
    pub(super) fn on_time(&mut self, now: Time) {
        self.kept.retain(|given| given.until > now);
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// Places that are kept.
    pub(super) fn places(&self) -> u32 {
        self.kept.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_until_a_later_one_is_answered_or_for_as_long_as_it_waited() {
        let at = Time::from_millis;
        let mut abandoned = Abandoned::default();
        for sent in [0, 100, 200] {
            abandoned.on_given_up(at(1_000 + sent), at(sent), 10);
        }
        abandoned.on_answer(at(100));
        assert_eq!(abandoned.places(), 2, "who serves in order has done with the first");
        abandoned.on_time(at(2_099));
        assert_eq!(abandoned.places(), 2);
        abandoned.on_time(at(2_100));
        assert_eq!(abandoned.places(), 1);
        (0..9).for_each(|sent| abandoned.on_given_up(at(3_000), at(sent), 3));
        assert_eq!(abandoned.places(), 3, "bounded by the cap");
        abandoned.clear();
        assert_eq!(abandoned.places(), 0);
    }
}
