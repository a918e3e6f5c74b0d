//! The degradation ladder: which rung may be tried next, for this request and this failure; and when its route
//! counts as degrading.
//!
//! **Problem.** "Show something else when it fails" is dangerous in three ways: somebody whose order may have been
//! executed is told something soothing; a second service executes what the first has executed already; and the
//! caller's own mistake is painted over.
//!
//! **Model.** The rungs stand in the order of the spec, each kind at most once. Whoever fell asks for the next rung
//! that *may* be tried, tries it (there may be no stored answer, or no place in the other service), and asks again
//! from behind it:
//! - no rung catches a caller's error, a caller who has left, or an unknown outcome;
//! - [`Rung::Stale`] catches requests that only read;
//! - [`Rung::Service`] catches what only reads, or surely was not executed; a request whose body is gone cannot be
//!   sent again;
//! - [`Rung::Fixed`] catches everything else that failed. It does not replace an answer that the service gave
//!   itself, even if that is an error: the service knows more than the spec does.
//!
//! **Rejected:** choosing the best rung by its age or its speed: nobody could say beforehand what people will see.
//!
//! [`Watch`] tells the beginning and the end of a route's degradation, once each: it begins with the first degraded
//! answer and ends with the first ordinary one that comes [`CALM`] after the last degraded one.
//!
//! Worked number: a route that answers every other request from its store, 200 times per second, begins to degrade
//! once, and writes one event instead of 200 per second.

use std::time::Duration;

use crate::fallback::FailureClass;
use crate::time::Time;

/// Rungs of a ladder at most: one of each kind, and room for one kind more.
pub const RUNGS_MAX: usize = 4;

/// A route degrades no longer when it has not answered so for this long.
pub const CALM: Duration = Duration::from_secs(5);

/// What may be answered instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// A stored answer.
    Stale,
    /// The answer of another service.
    Service,
    /// A fixed answer.
    Fixed,
}

impl Rung {
    /// The word in the header `Degraded`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Service => "fallback",
            Self::Fixed => "static",
        }
    }
}

/// A request that fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts, spelled out where they are stated"
)]
pub struct Fall {
    /// What it met.
    pub class: FailureClass,
    /// It only reads (GET, HEAD).
    pub reads: bool,
    /// Some of it may have reached a service.
    pub maybe_executed: bool,
    /// Its body can be sent once more.
    pub replayable: bool,
    /// The service has answered, with an error.
    pub answered: bool,
}

/// The rungs of one route, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    rungs: [Option<Rung>; RUNGS_MAX],
}

impl Ladder {
    /// No rung.
    pub const NONE: Ladder = Ladder { rungs: [None; RUNGS_MAX] };

    /// These rungs; what is more than [`RUNGS_MAX`] is never reached.
    pub fn of(rungs: &[Rung]) -> Self {
        let mut ladder = Ladder::default();
        for (place, rung) in ladder.rungs.iter_mut().zip(rungs) {
            *place = Some(*rung);
        }
        ladder
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rungs[0].is_none()
    }

    /// The next rung that may be tried, from this place on.
    pub fn next(&self, from: usize, fall: &Fall) -> Option<(usize, Rung)> {
        fall.class.trigger()?;
        let rungs = self.rungs.iter().enumerate().skip(from);
        let mut rungs = rungs.filter_map(|(place, rung)| Some((place, (*rung)?)));
        rungs.find(|(_, rung)| match rung {
            Rung::Stale => fall.reads,
            Rung::Service => fall.replayable && (fall.reads || !fall.maybe_executed),
            Rung::Fixed => !fall.answered,
        })
    }
}

/// What became of a route's degradation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It began, with this rung.
    Began(Rung),
    /// It is over.
    Ended,
}

/// Whether a route degrades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    last: Option<Time>,
}

impl Watch {
    /// An answer went out, from this rung or as it should be.
    pub fn on_answer(&mut self, now: Time, rung: Option<Rung>) -> Option<Change> {
        match (self.last, rung) {
            (None, None) => None,
            (last, Some(rung)) => {
                self.last = Some(last.map_or(now, |last| last.max(now)));
                last.is_none().then_some(Change::Began(rung))
            }
            (Some(last), None) => {
                let calm = now.saturating_since(last) >= CALM;
                if calm {
                    self.last = None;
                }
                calm.then_some(Change::Ended)
            }
        }
    }

    /// Whether it does.
    pub fn is_degrading(&self) -> bool {
        self.last.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Fall = Fall {
        class: FailureClass::Unreachable,
        reads: true,
        maybe_executed: true,
        replayable: true,
        answered: false,
    };

    /// All rungs that a fall is offered, one after the other.
    fn walk(ladder: &[Rung], fall: Fall) -> Vec<Rung> {
        let ladder = Ladder::of(ladder);
        let mut offered = Vec::new();
        let mut from = 0;
        while let Some((place, rung)) = ladder.next(from, &fall) {
            offered.push(rung);
            from = place + 1;
        }
        offered
    }

    #[test]
    fn a_rung_catches_what_it_may() {
        use FailureClass::{CallerCancelled, CallerError, Error, OutcomeUnknown, Rejected, Timeout};
        use Rung::{Fixed, Service, Stale};
        let write = Fall { reads: false, ..READ };
        let unsent = Fall { maybe_executed: false, ..write };
        let answered = Fall { class: Error, answered: true, ..READ };
        let cases: [(&str, Fall, &[Rung]); 10] = [
            ("a read that broke off", READ, &[Stale, Service, Fixed]),
            ("a read too late", Fall { class: Timeout, ..READ }, &[Stale, Service, Fixed]),
            ("a read we did not send", Fall { class: Rejected, ..READ }, &[Stale, Service, Fixed]),
            ("a read answered by an error", answered, &[Stale, Service]),
            ("a write that was sent", write, &[Fixed]),
            ("a write that was not", unsent, &[Service, Fixed]),
            ("a write whose body is gone", Fall { replayable: false, ..unsent }, &[Fixed]),
            ("an unknown outcome", Fall { class: OutcomeUnknown, ..write }, &[]),
            ("the caller's error", Fall { class: CallerError, ..READ }, &[]),
            ("a caller who left", Fall { class: CallerCancelled, ..READ }, &[]),
        ];
        for (name, fall, expected) in cases {
            assert_eq!(walk(&[Stale, Service, Fixed], fall), expected, "{name}");
        }
        assert_eq!(walk(&[Fixed, Stale], READ), [Fixed, Stale], "the order is the spec's");
        assert_eq!(walk(&[], READ), []);
        assert!(Ladder::of(&[]).is_empty() && !Ladder::of(&[Stale]).is_empty());
    }

    #[test]
    fn degradation_begins_and_ends_once() {
        let mut watch = Watch::default();
        let at = Time::from_millis;
        assert_eq!(watch.on_answer(at(0), None), None);
        assert_eq!(watch.on_answer(at(10), Some(Rung::Stale)), Some(Change::Began(Rung::Stale)));
        for step in 0..500 {
            assert_eq!(watch.on_answer(at(20 + 2 * step), None), None);
            assert_eq!(watch.on_answer(at(21 + 2 * step), Some(Rung::Fixed)), None);
        }
        assert!(watch.is_degrading());
        // The last degraded answer went out at 1019 ms.
        assert_eq!(watch.on_answer(at(6_018), None), None);
        assert_eq!(watch.on_answer(at(6_019), None), Some(Change::Ended));
        assert_eq!(watch.on_answer(at(6_020), None), None);
        assert_eq!(watch.on_answer(at(6_021), Some(Rung::Fixed)), Some(Change::Began(Rung::Fixed)));
    }
}
