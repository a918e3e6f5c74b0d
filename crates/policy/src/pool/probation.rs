//! What an endpoint has looked like in the last sweeps, and what that is worth.
//!
//! A look that persists leads to ejection or, where that would cost more than it brings, to probation: a tenth of the weight, so
//! that the endpoint still proves from time to time how it is. It ends with as many good looks in a row as it took bad ones,
//! or after a while, because an endpoint that is hardly asked may never give a reading.

use std::time::Duration;

use crate::pool::balance::slow_start::WHOLE;
use crate::time::Time;

/// What is left of the weight, in thousandths.
const SHARE: u64 = 100;

/// Bad looks in a row, and the probation that they led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Probation {
    slow: u32,
    well: u32,
    failing: u32,
    until: Option<Time>,
}

impl Probation {
    /// One more look at its speed; true when slowness has persisted.
    pub(super) fn on_speed(&mut self, is_slow: bool, persistence: u32) -> bool {
        if is_slow {
            self.slow = self.slow.saturating_add(1);
            self.well = 0;
        } else {
            self.slow = 0;
            self.well = self.well.saturating_add(1);
            if self.well >= persistence && self.failing == 0 {
                self.until = None;
            }
        }
        self.slow >= persistence
    }

    /// Slow looks in a row, up to now.
    pub(super) fn slow_row(&self) -> u32 {
        self.slow
    }

    /// One more look at its failures; true when failing has persisted. Without a new failure the look is an old one.
    pub(super) fn on_failures(&mut self, is_failing: bool, is_new: bool, persistence: u32) -> bool {
        if !is_failing {
            self.failing = 0;
        } else if is_new {
            self.failing = self.failing.saturating_add(1);
        }
        is_new && self.failing >= persistence
    }

    /// Its last look was a slow one, or it has not made up for those before yet.
    pub(super) fn looks_slow(&self) -> bool {
        self.slow > 0 || self.is_on()
    }

    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Begins or prolongs it; true when it begins.
    pub(super) fn begin(&mut self, now: Time, lasts: Duration) -> bool {
        let begins = self.until.is_none();
        self.until = Some(now.after(lasts));
        begins
    }

    /// Ends it when its time is up.
    pub(super) fn on_sweep(&mut self, now: Time) {
        if self.until.is_some_and(|until| now >= until) {
            *self = Self::default();
        }
    }

    /// The share of its weight that the endpoint keeps, in thousandths.
    pub(super) fn share(&self) -> u64 {
        if self.is_on() { SHARE } else { WHOLE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_must_persist_and_good_ones_end_it() {
        let mut probation = Probation::default();
        let looks = [true, true, false, true, true, true];
        let persisted = looks.map(|slow| probation.on_speed(slow, 3));
        assert_eq!(persisted, [false, false, false, false, false, true]);
        assert!(probation.begin(Time::ZERO, Duration::from_secs(30)));
        assert!(!probation.begin(Time::ZERO, Duration::from_secs(30)), "begun once");
        assert_eq!((probation.is_on(), probation.share()), (true, SHARE));
        for _ in 0..2 {
            probation.on_speed(false, 3);
            assert!(probation.is_on());
        }
        probation.on_speed(false, 3);
        assert_eq!((probation.is_on(), probation.share()), (false, WHOLE));
    }

    #[test]
    fn old_failures_are_no_new_look() {
        let mut probation = Probation::default();
        let looks = [(true, true), (true, true), (true, false), (true, true), (true, false)];
        let persisted = looks.map(|(failing, new)| probation.on_failures(failing, new, 3));
        assert_eq!(persisted, [false, false, false, true, false]);
        assert!(!probation.on_failures(false, false, 3));
        assert!(!probation.on_failures(true, true, 3), "from the beginning");
    }

    #[test]
    fn it_does_not_last_for_ever() {
        let mut probation = Probation::default();
        probation.begin(Time::ZERO, Duration::from_secs(30));
        probation.on_sweep(Time::from_millis(29_999));
        assert!(probation.is_on());
        probation.on_sweep(Time::from_millis(30_000));
        assert_eq!(probation, Probation::default());
    }
}
