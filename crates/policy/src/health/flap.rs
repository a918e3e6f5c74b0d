//! Flap damping: an endpoint that keeps changing its mind has to prove itself for longer.
//!
//! **Problem.** An endpoint that is well for ten seconds and ill for ten costs requests at every change, and each return is
//! paid for anew. **Model.** The moments of the last changes are kept. A change that makes `flap_changes` of them within
//! `flap_window` lengthens the run of good probes that a return takes: it doubles, up to `rise_max`. Every `flap_window`
//! without a change takes one doubling back. **Limits.** Only the return gets harder, never the way out: damping must not
//! keep traffic at an endpoint that fails. A restarted process is a new identity and begins without a past.
//! **Rejected:** a penalty that decays exponentially, as routers have it; nobody can say what a number like 1730 means.
//!
//! Worked number, with the defaults: up and down every ten seconds are six changes in a minute. From then on a return
//! takes 4, then 8, then 16 good probes, which are 4 s at 250 ms; three calm minutes later 2 are enough again.

use std::time::Duration;

use crate::Time;

/// The most changes that `flap_changes` may ask for; that many moments are kept.
pub const FLAP_CHANGES_MAX: u32 = 16;

#[derive(Clone, Debug, Default)]
pub(super) struct Flaps {
    /// The last changes, in the place `number % FLAP_CHANGES_MAX`.
    changes: [Time; FLAP_CHANGES_MAX as usize],
    /// Changes so far.
    number: u64,
    /// How often the run has been doubled.
    doublings: u32,
    /// Since when there has been no change, less what was taken back for.
    calm_since: Time,
}

/// What counts as flapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlapRule {
    pub(super) changes: u32,
    pub(super) window: Duration,
    pub(super) rise: u32,
    pub(super) rise_max: u32,
}

impl Flaps {
    /// The endpoint came up or went down.
    pub(super) fn on_change(&mut self, now: Time, rule: FlapRule) {
        self.calm_since = now;
        if rule.changes == 0 {
            return;
        }
        let kept = u64::from(FLAP_CHANGES_MAX);
        self.changes[(self.number % kept) as usize] = now;
        self.number += 1;
        let Some(first) = self.number.checked_sub(u64::from(rule.changes)) else { return };
        let first = self.changes[(first % kept) as usize];
        if now.saturating_since(first) < rule.window && self.needed(rule) < rule.rise_max {
            self.doublings += 1;
        }
    }

    /// Takes back what the calm since the last change has earned.
    pub(super) fn calm_down(&mut self, now: Time, rule: FlapRule) {
        let calm = now.saturating_since(self.calm_since);
        if self.doublings == 0 || calm < rule.window {
            return;
        }
        let earned = calm.as_nanos() / rule.window.as_nanos().max(1);
        let earned = u32::try_from(earned).unwrap_or(u32::MAX).min(self.doublings);
        self.doublings -= earned;
        self.calm_since = self.calm_since.after(rule.window.saturating_mul(earned));
    }

    /// Good probes in a row that a return takes now.
    pub(super) fn needed(&self, rule: FlapRule) -> u32 {
        let doubled = 1_u32.checked_shl(self.doublings).and_then(|factor| rule.rise.checked_mul(factor));
        doubled.unwrap_or(u32::MAX).min(rule.rise_max)
    }

    pub(super) fn is_flapping(&self) -> bool {
        self.doublings > 0
    }
}
