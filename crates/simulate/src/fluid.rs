//! The fluid law of retries: how long a retry storm lasts, without simulating it.
//!
//! **Problem.** During a slowdown of length `T` work piles up, and every request in the pile times out and is retried. Once
//! the slowdown is over, what comes in is `load × (1 + extra)` of the capacity. Below 1, the pile shrinks; from 1 on, it
//! never does, although nothing is broken any more: that is a metastable failure.
//!
//! **Model.** Work as a fluid. With `c` the share of capacity left during the trigger, the pile grows by
//! `load × (1 + extra) − c` per second for `T` seconds and shrinks by `1 − load × (1 + extra)` per second after it.
//!
//! **Worked number.** Load 0.7, no retries, 22 % of capacity left for 10 s: `10 × (0.7 − 0.222) / 0.3` = 16 s.
//!
//! **Limits.** Queues first in first out, abandoned work served, one gateway; noise is left out, so close to 1 it is
//! optimistic.

use std::time::Duration;

/// A slowdown, and the load that meets it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Storm {
    /// Offered first attempts, as a share of the full capacity.
    pub load: f64,
    /// Extra attempts per first attempt while everything fails.
    pub extra: f64,
    /// How long the slowdown lasts.
    pub trigger: Duration,
    /// The share of the capacity that is left meanwhile.
    pub capacity_left: f64,
}

impl Storm {
    /// Whether the storm outlives its cause for ever.
    pub fn is_metastable(&self) -> bool {
        self.load * (1.0 + self.extra) >= 1.0
    }

    /// How long after its cause the storm ends; `None` = never.
    pub fn recovery(&self) -> Option<Duration> {
        let offered = self.load * (1.0 + self.extra);
        let grows = (offered - self.capacity_left).max(0.0);
        (!self.is_metastable()).then(|| self.trigger.mul_f64(grows / (1.0 - offered)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_cells() {
        let trigger = Duration::from_secs(10);
        for (load, extra, expected_s) in [
            (0.70, 0.1, Some(23)),
            (0.70, 0.2, Some(38)),
            (0.80, 0.0, Some(28)),
            (0.80, 0.2, Some(184)),
            (0.88, 0.1, Some(233)),
            (0.88, 0.2, None),
            (0.70, 3.0, None),
        ] {
            let storm = Storm { load, extra, trigger, capacity_left: 1.0 / 4.5 };
            let seconds = storm.recovery().map(|recovery| recovery.as_secs());
            assert_eq!(seconds, expected_s, "{storm:?}");
            assert_eq!(storm.is_metastable(), expected_s.is_none());
        }
    }

    #[test]
    fn a_trigger_that_leaves_enough_capacity_has_no_aftermath() {
        let storm = Storm { load: 0.5, extra: 0.0, trigger: Duration::from_secs(9), capacity_left: 0.6 };
        assert_eq!(storm.recovery(), Some(Duration::ZERO));
    }
}
