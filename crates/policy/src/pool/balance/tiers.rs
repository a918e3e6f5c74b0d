//! Active endpoints serve; standby ones step in, and step back only when the active ones have proved themselves.
//!
//! **Problem.** A standby that takes part all the time is no reserve (it may be smaller, farther away or dearer); one that hands
//! back at the first good probe flaps with a primary that is not well yet (kgateway#13643).
//!
//! **Model.** `Active` → (no active endpoint is available) → `Standby`; or → (less than the share `standby_below` are) → `Both`. While
//! too few standby endpoints are available, active ones help before their time, which is `Both` too.
//! Back to `Active` once enough active endpoints have been available for `failback_delay` without a break, or at once when
//! no standby is left to serve. Before the first active endpoint was ever available there is nothing to fail back to, so a
//! standby that starts faster than its primary hands over at once.
//!
//! Availability here knows no panic, and by default `standby_below` is where panic would begin: a standby that is well comes before
//! active endpoints that live traffic ejected (Envoy#2671 is about the other order).
//!
//! **Worked number.** One active, one standby, 30 s: the active one dies at 0 s, is ready at 4 s, flaps at 20 s for a moment,
//! serves again from 50 s on.

use std::time::Duration;

use super::{BalanceConfig, Tier};
use crate::time::Time;

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serving {
    Active,
    Both,
    Standby,
}

/// How many endpoints of each tier would take an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::pool) struct Availability {
    pub(in crate::pool) active: usize,
    pub(in crate::pool) active_total: usize,
    pub(in crate::pool) standby: usize,
    pub(in crate::pool) standby_total: usize,
}

/// Which tier serves.
#[derive(Debug)]
pub(in crate::pool) struct Tiers {
    serving: Serving,
    needed_share: f64,
    failback_delay: Duration,
    /// An active endpoint has been available before.
    has_served: bool,
    /// Since when enough active endpoints are available.
    well_since: Option<Time>,
}

impl Tiers {
    pub(in crate::pool) fn new(config: &BalanceConfig) -> Self {
        Self {
            serving: Serving::Active,
            needed_share: config.standby_below,
            failback_delay: config.failback_delay,
            has_served: false,
            well_since: None,
        }
    }

    /// Whether endpoints of that tier are asked.
    pub(in crate::pool) fn serves(&self, tier: Tier) -> bool {
        match (self.serving, tier) {
            (Serving::Both, _) | (Serving::Active, Tier::Active) | (Serving::Standby, Tier::Standby) => true,
            (Serving::Active, Tier::Standby) | (Serving::Standby, Tier::Active) => false,
        }
    }

    /// Standby endpoints are asked.
    pub(in crate::pool) fn on_standby(&self) -> bool {
        self.serving != Serving::Active
    }

    /// What is available may have changed, or time has passed.
    pub(in crate::pool) fn on_availability(&mut self, now: Time, available: Availability) {
        let share_of = |total: usize| (self.needed_share * total as f64).ceil().max(1.0) as usize;
        let enough = available.active >= share_of(available.active_total);
        let enough_standby = available.standby >= share_of(available.standby_total);
        self.well_since = if enough { self.well_since.or(Some(now)) } else { None };
        let well_long_enough =
            self.well_since.is_some_and(|since| now.saturating_since(since) >= self.failback_delay);
        let first = !self.has_served;
        self.has_served |= available.active > 0;
        self.serving = match self.serving {
            // With nobody there at all, whoever comes first decides.
            kept if available.active == 0 && available.standby == 0 => kept,
            _ if available.standby == 0 || (enough && first) => Serving::Active,
            _ if available.active == 0 => Serving::Standby,
            Serving::Active if !enough => Serving::Both,
            Serving::Both | Serving::Standby if enough && well_long_enough => Serving::Active,
            Serving::Standby if !enough_standby => Serving::Both,
            kept => kept,
        };
    }

    /// When time alone changes who serves.
    pub(in crate::pool) fn next_deadline(&self) -> Option<Time> {
        let since = self.well_since.filter(|_| self.on_standby())?;
        Some(since.after(self.failback_delay))
    }

    /// Forgets the past; what is available decides anew.
    pub(in crate::pool) fn reset(&mut self) {
        self.serving = Serving::Active;
        self.has_served = false;
        self.well_since = None;
    }

    /// Panics when somebody is available and nobody who serves is.
    pub(in crate::pool) fn check_invariants(&self, available: Availability) {
        let somebody = available.active + available.standby > 0;
        let active = if self.serves(Tier::Active) { available.active } else { 0 };
        let standby = if self.serves(Tier::Standby) { available.standby } else { 0 };
        assert!(!somebody || active + standby > 0, "a preference leaves somebody to serve: {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    /// Moments of a story, `SECOND: ACTIVE/OF STANDBY SERVING`: how many endpoints are available then, and who serves.
    fn check(standby_below: f64, story: &str) {
        let config = BalanceConfig { standby_below, ..BalanceConfig::default() };
        let mut tiers = Tiers::new(&config);
        for moment in story.split(", ") {
            let words: Vec<&str> = moment.split([':', ' ', '/']).filter(|word| !word.is_empty()).collect();
            let [second, active, active_total, standby, serving] = words[..] else { panic!("{moment}") };
            let number = |word: &str| word.parse::<usize>().unwrap();
            let available = Availability {
                active: number(active),
                active_total: number(active_total),
                standby: number(standby),
                standby_total: 2,
            };
            tiers.on_availability(at(number(second) as u64), available);
            assert_eq!(format!("{:?}", tiers.serving), serving, "{moment}");
            tiers.check_invariants(available);
        }
    }

    #[test]
    fn a_standby_serves_until_the_active_one_has_been_well_for_long_enough() {
        let flaps =
            "0: 1/1 1 Active, 10: 0/1 1 Standby, 14: 1/1 1 Standby, 20: 0/1 1 Standby, 21: 1/1 1 Standby";
        check(0.0, &format!("{flaps}, 50: 1/1 1 Standby, 51: 1/1 1 Active"));
    }

    #[test]
    fn two_of_three_are_enough_and_fewer_get_help() {
        let sinks = "0: 3/3 1 Active, 1: 2/3 1 Active, 2: 1/3 1 Both, 3: 0/3 1 Standby";
        let comes_back = "4: 1/3 1 Standby, 5: 2/3 1 Standby, 34: 2/3 1 Standby, 35: 2/3 1 Active";
        check(0.5, &format!("{sinks}, {comes_back}"));
        // All of two standby endpoints are wanted, and one is gone: the active one helps before its time.
        check(1.0, "0: 1/1 2 Active, 1: 0/1 2 Standby, 2: 1/1 2 Standby, 3: 1/1 1 Both");
    }

    #[test]
    fn whoever_is_there_serves_when_the_other_is_not() {
        // A standby that is ready first hands over at once; one that dies while it serves does too.
        check(0.0, "0: 0/1 1 Standby, 1: 1/1 1 Active");
        check(0.0, "0: 1/1 1 Active, 1: 0/1 1 Standby, 2: 1/1 0 Active, 3: 1/1 1 Active");
        check(0.0, "0: 1/1 1 Active, 1: 0/1 0 Active, 2: 0/1 1 Standby");
    }

    #[test]
    fn whatever_happens_somebody_serves_and_failback_waits() {
        for seed in 0..200 {
            let mut rng = Rng::seeded(seed);
            let config = BalanceConfig {
                standby_below: rng.unit(),
                failback_delay: Duration::from_secs(5),
                ..BalanceConfig::default()
            };
            let mut tiers = Tiers::new(&config);
            let (mut was, mut enough_since, mut served) = (Serving::Active, None, false);
            for second in 0..300 {
                let active_total = 1 + rng.below(4) as usize;
                let active = rng.below(active_total as u64 + 1) as usize;
                let available =
                    Availability { active, active_total, standby: rng.below(3) as usize, standby_total: 2 };
                tiers.on_availability(at(second), available);
                tiers.check_invariants(available);
                let needed = (config.standby_below * active_total as f64).ceil().max(1.0) as usize;
                enough_since = if active >= needed { enough_since.or(Some(second)) } else { None };
                let back = was != Serving::Active && tiers.serving == Serving::Active;
                if back && available.standby > 0 && served {
                    assert!(
                        enough_since.is_some_and(|since| second - since >= 5),
                        "seed {seed} at {second} s"
                    );
                }
                served |= active > 0;
                was = tiers.serving;
            }
        }
    }

    #[test]
    fn the_deadline_is_that_of_the_failback() {
        let mut tiers = Tiers::new(&BalanceConfig::default());
        let both = Availability { active: 1, active_total: 1, standby: 1, standby_total: 1 };
        tiers.on_availability(at(0), both);
        assert_eq!(tiers.next_deadline(), None);
        tiers.on_availability(at(1), Availability { active: 0, ..both });
        assert_eq!(tiers.next_deadline(), None, "nothing to wait for");
        tiers.on_availability(at(2), both);
        assert_eq!(tiers.next_deadline(), Some(at(32)));
        tiers.on_availability(at(32), both);
        assert_eq!(tiers.next_deadline(), None);
    }
}
