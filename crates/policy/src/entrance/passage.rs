//! One request's walk through a row of gates.

use std::time::Duration;

use super::gate::Gate;
use super::vocabulary::{Denied, Hold, Quote, Said, Visitor, Waiting};
use crate::admission::{Priority, Rejected, Ticket};
use crate::limit::Permit;
use crate::{Deadline, Rng, Time};

/// The most gates in a row: two rate limits, a throttle, and a limit of each scope.
pub const GATES_MAX: usize = 6;
/// A body may take this long, or as long as its head, before its end says nothing about load any more.
const BODY_IN_TIME: Duration = Duration::from_millis(100);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the gate of this index.
    Ask(usize),
    /// Wait until then, and tell [`Passage::on_due`].
    Until(Time),
    /// Wait until the gate of this index has decided about this ticket, and tell [`Passage::on_decided`].
    Turn(usize, Ticket),
    /// The call may begin.
    Go,
    /// It may not.
    No(Denied),
}

/// One request on its way in. What it holds must be given back: [`Passage::on_left`] while it waits, then
/// [`Passage::next_hold`] until there is none.
#[derive(Debug)]
pub struct Passage {
    priority: Priority,
    deadline: Deadline,
    gates: usize,
    /// The gate that is asked or waited for.
    at: usize,
    waiting: Option<Waiting>,
    denied: Option<Denied>,
    holds: [Option<Hold>; GATES_MAX],
    quotes: [Option<Quote>; GATES_MAX],
    /// When the first gate was asked.
    begun: Option<Time>,
    /// When the last gate was passed.
    passed: Option<Time>,
    /// When the head of the answer was there.
    head: Option<Time>,
}

impl Passage {
    /// A request in front of so many gates, up to [`GATES_MAX`].
    pub fn new(gates: usize, priority: Priority, deadline: Deadline) -> Self {
        debug_assert!(gates <= GATES_MAX, "more gates than there are kinds and scopes");
        Passage {
            priority,
            deadline,
            gates: gates.min(GATES_MAX),
            at: 0,
            waiting: None,
            denied: None,
            holds: [const { None }; GATES_MAX],
            quotes: [None; GATES_MAX],
            begun: None,
            passed: None,
            head: None,
        }
    }

    /// What is to be done next.
    pub fn step(&self) -> Step {
        match (&self.denied, &self.waiting) {
            (Some(denied), _) => Step::No(*denied),
            (None, Some(Waiting::Until { reservation, .. })) => Step::Until(reservation.due()),
            (None, Some(Waiting::Turn(ticket))) => Step::Turn(self.at, *ticket),
            (None, None) if self.at < self.gates => Step::Ask(self.at),
            (None, None) => Step::Go,
        }
    }

    /// Asks the gate that [`Step::Ask`] named; `key` is whose request it is, as that gate tells people apart.
    pub fn ask(&mut self, now: Time, rng: &mut Rng, gate: &mut Gate, key: u64) {
        debug_assert_eq!(self.step(), Step::Ask(self.at));
        self.begun.get_or_insert(now);
        let visitor = Visitor { priority: self.priority, key, deadline: self.deadline };
        match gate.on_visitor(now, rng, &visitor) {
            Said::Pass(hold) => self.pass(now, hold),
            Said::Wait(waiting) => self.waiting = Some(waiting),
            Said::No(reason, retry_after) => {
                if reason == super::Reason::RateLimited {
                    self.quotes[self.at] = Some(Quote { remaining: 0, reset: retry_after });
                }
                self.denied = Some(Denied { gate: self.at, reason, retry_after });
            }
        }
    }

    /// The moment of [`Step::Until`] may have come. Harmless when early.
    pub fn on_due(&mut self, now: Time) {
        if let Some(Waiting::Until { reservation, .. }) = &self.waiting
            && reservation.due() <= now
        {
            self.waiting = None;
            self.pass(now, Hold::Counted(Quote { remaining: 0, reset: Duration::ZERO }));
        }
    }

    /// The gate of [`Step::Turn`] has decided.
    pub fn on_decided(&mut self, now: Time, verdict: Result<Permit, Rejected>) {
        debug_assert!(matches!(self.waiting, Some(Waiting::Turn(_))), "nobody waits for a turn");
        self.waiting = None;
        match verdict {
            Ok(permit) => self.pass(now, Hold::Place(permit)),
            Err(Rejected { reason, retry_after }) => {
                let reason = super::Reason::Crowded(reason);
                self.denied = Some(Denied { gate: self.at, reason, retry_after });
            }
        }
    }

    /// The client left: the gate in front of which it waited, if it waited, and what to tell it.
    pub fn on_left(&mut self) -> Option<(usize, Waiting)> {
        Some((self.at, self.waiting.take()?))
    }

    /// The head of the answer is there: what a gate is to hear now, not at the end.
    pub fn on_head(&mut self, now: Time) -> Option<(usize, Hold)> {
        self.head.get_or_insert(now);
        let index = self.holds.iter().position(|hold| matches!(hold, Some(Hold::Outcome(_))))?;
        Some((index, self.holds[index].take()?))
    }

    /// What is still held, and of which gate; the last one passed comes first. To be asked until there is none.
    pub fn next_hold(&mut self) -> Option<(usize, Hold)> {
        let index = self.holds.iter().rposition(Option::is_some)?;
        Some((index, self.holds[index].take()?))
    }

    /// Whether the time from the passage to now says something about the service: not when the body took longer than
    /// the head and longer than a moment.
    pub fn in_time(&self, now: Time) -> bool {
        let (Some(passed), Some(head)) = (self.passed, self.head) else { return true };
        now.saturating_since(head) <= head.saturating_since(passed).max(BODY_IN_TIME)
    }

    /// How long it waited in front of gates.
    pub fn waited(&self, now: Time) -> Duration {
        let Some(begun) = self.begun else { return Duration::ZERO };
        self.passed.unwrap_or(now).saturating_since(begun)
    }

    /// How the quotas stand that it was counted against, by gate.
    pub fn quotes(&self) -> impl Iterator<Item = (usize, Quote)> {
        self.quotes.iter().enumerate().filter_map(|(gate, quote)| Some((gate, (*quote)?)))
    }

    fn pass(&mut self, now: Time, hold: Hold) {
        if let Hold::Counted(quote) = hold {
            self.quotes[self.at] = Some(quote);
        }
        self.holds[self.at] = Some(hold);
        self.at += 1;
        if self.at == self.gates {
            self.passed = Some(now);
        }
    }
}
