//! The places of one half-open state, and what its probes say.

use std::time::Duration;

use crate::Time;
use crate::breaker::Reason;

/// The probes of one half-open state.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    outstanding: Vec<Probe>,
    good: u32,
    bad: u32,
    next_number: u32,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    number: u32,
    /// When it counts as failed.
    due: Time,
}

/// What one probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    Good,
    Bad,
    /// It gives its place back and decides nothing.
    None,
}

impl Probes {
    /// Takes a place, if there is one of `places`, until `due`; the answer is the probe's number.
    pub(super) fn admit(&mut self, places: u32, due: Time) -> Option<u32> {
        if self.taken() >= places {
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.outstanding.push(Probe { number, due });
        Some(number)
    }

    /// A probe has returned. One that timed out was counted then.
    pub(super) fn complete(&mut self, number: u32, vote: Vote) {
        let Some(place) = self.outstanding.iter().position(|probe| probe.number == number) else { return };
        self.outstanding.swap_remove(place);
        match vote {
            Vote::Good => self.good += 1,
            Vote::Bad => self.bad += 1,
            Vote::None => {}
        }
    }

    /// Counts what is overdue as failed.
    pub(super) fn time_out(&mut self, now: Time) {
        let before = self.outstanding.len();
        self.outstanding.retain(|probe| probe.due > now);
        self.bad += (before - self.outstanding.len()) as u32;
    }

    /// When the first probe under way counts as failed.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.outstanding.iter().map(|probe| probe.due).min()
    }

    /// How long until a place may be free, and `otherwise` at the latest.
    pub(super) fn retry_after(&self, now: Time, otherwise: Duration) -> Duration {
        self.next_due().map_or(otherwise, |due| due.saturating_since(now).min(otherwise))
    }

    /// A majority of the places good, or none possible any more, or not decided.
    pub(super) fn verdict(&self, places: u32) -> Option<Reason> {
        let majority = places / 2 + 1;
        if self.good >= majority {
            Some(Reason::ProbesPassed)
        } else if self.bad > places - majority {
            Some(Reason::ProbesFailed)
        } else {
            None
        }
    }

    pub(super) fn check_invariants(&self, now: Time, places: u32) {
        assert!(self.taken() <= places, "more probes than places");
        assert_eq!(self.verdict(places), None, "decided, and still half-open");
        assert!(self.next_due().is_none_or(|due| due > now), "an overdue probe");
    }

    /// Places taken, by probes under way and by probes that have decided.
    fn taken(&self) -> u32 {
        self.outstanding.len() as u32 + self.good + self.bad
    }
}
