//! Parked calls: those that wait for an endpoint instead of failing at once.
//!
//! **Problem.** When every replica is gone for two seconds, a gateway that answers at once turns two seconds of outage into
//! two seconds of errors. Most clients would rather wait.
//!
//! **Model.** A counter with a bound, and a schedule of releases: once an endpoint is there again, parked calls are let go
//! one by one at `release_interval`, because a restarted process that is hit by everybody at once falls over again.
//!
//! **Worked number.** 600 requests/s, away for 2 s: 1,200 parked, released within 0.6 s at 500 µs.

use crate::pool::ParkingConfig;
use crate::time::Time;

#[derive(Debug)]
pub(crate) struct Parking {
    config: ParkingConfig,
    waiting: u32,
    open: bool,
    /// When the last endpoint went; `None` before the first was there.
    closed_since: Option<Time>,
    free_from: Time,
}

impl Parking {
    pub(crate) fn new(config: ParkingConfig) -> Self {
        Self { config, waiting: 0, open: false, closed_since: None, free_from: Time::ZERO }
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Some endpoint would take an attempt, or none; true when parked calls should be woken.
    pub(crate) fn on_availability(&mut self, now: Time, open: bool) -> bool {
        let opened = open && !self.open;
        if !open && self.open {
            self.closed_since = Some(now);
        }
        self.open = open;
        if opened {
            self.free_from = now;
        }
        opened && self.waiting > 0
    }

    /// Takes a place to wait in, if there is one.
    pub(crate) fn try_park(&mut self, now: Time) -> bool {
        let in_time = match (self.config.only_within, self.closed_since) {
            (None, _) | (Some(_), None) => true,
            (Some(limit), Some(since)) => now.saturating_since(since) < limit,
        };
        let room = self.waiting < self.config.max_requests;
        if in_time && room {
            self.waiting += 1;
        }
        in_time && room
    }

    /// Leaves the place.
    pub(crate) fn unpark(&mut self) {
        debug_assert!(self.waiting > 0, "who leaves has been waiting");
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Gives out the next turn: the moment at which one woken call may go.
    pub(crate) fn next_turn(&mut self, now: Time) -> Time {
        let turn = self.free_from.max(now);
        self.free_from = turn.after(self.config.release_interval);
        turn
    }

    /// How long a parked call may wait at most, from now.
    pub(crate) fn gives_up_at(&self) -> Option<Time> {
        Some(self.closed_since?.after(self.config.only_within?))
    }

    /// Whether there is anybody to be released to.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ms(value: u64) -> Time {
        Time::from_millis(value)
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let mut parking = Parking::new(ParkingConfig { max_requests: 2, ..ParkingConfig::default() });
        assert!(parking.try_park(ms(0)));
        assert!(parking.try_park(ms(0)));
        assert!(!parking.try_park(ms(0)));
        parking.unpark();
        assert!(parking.try_park(ms(1)));
    }

    #[test]
    fn only_within_counts_from_the_moment_the_last_endpoint_went() {
        let config = ParkingConfig { only_within: Some(Duration::from_secs(10)), ..ParkingConfig::default() };
        let mut parking = Parking::new(config);
        parking.on_availability(ms(0), true);
        parking.on_availability(ms(5_000), false);
        assert!(parking.try_park(ms(14_999)));
        assert!(!parking.try_park(ms(15_000)));
        assert_eq!(parking.gives_up_at(), Some(ms(15_000)));
    }

    #[test]
    fn releases_are_spread() {
        let mut parking = Parking::new(ParkingConfig {
            release_interval: Duration::from_millis(1),
            ..ParkingConfig::default()
        });
        assert!(parking.try_park(ms(0)));
        assert!(parking.on_availability(ms(100), true));
        assert!(!parking.on_availability(ms(100), true), "woken once");
        assert_eq!(
            [parking.next_turn(ms(100)), parking.next_turn(ms(100)), parking.next_turn(ms(110))],
            [ms(100), ms(101), ms(110)]
        );
    }
}
