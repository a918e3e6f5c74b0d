//! The queue around the limit.

use std::collections::VecDeque;
use std::time::Duration;

use super::config::{AdmissionConfig, Discipline, RejectorKind};
use super::pace::Pace;
use super::queue::Queue;
use super::rejector::Pid;
use super::vocabulary::{Arrival, Decided, Priority, Reason, Rejected, Ticket, Verdict};
use crate::limit::{Limit, Outcome, Permit};
use crate::{Rng, Time};

/// How many intervals the queue of a critical priority may stand before that is a state. It is served first, so it
/// drains by itself unless critical calls alone are too many. At nine tenths of the capacity its bursts last for a
/// second now and then; with a patience of one interval 5 % of critical calls were dropped, with ten up to 0.35 %,
/// with fifty none. `max_queue` bounds the wait meanwhile.
const CRITICAL_PATIENCE: u32 = 50;

/// The bulkhead of one edge and the one queue in front of it.
#[derive(Debug)]
pub struct Admission {
    config: AdmissionConfig,
    limit: Limit,
    queue: Queue,
    pid: Option<Pid>,
    pace: Pace,
    decisions: VecDeque<Decided>,
    latest: Time,
}

impl Admission {
    /// Nobody under way, nobody waiting.
    pub fn new(config: AdmissionConfig) -> Self {
        let pid = (config.rejector == RejectorKind::Pid)
            .then(|| Pid::new(config.codel_target, config.codel_interval));
        Admission {
            limit: Limit::new(config.limit),
            queue: Queue::new(),
            pid,
            pace: Pace::default(),
            decisions: VecDeque::new(),
            latest: Time::ZERO,
            config,
        }
    }

    /// Somebody wants in.
    pub fn on_arrival(&mut self, now: Time, rng: &mut Rng, arrival: &Arrival) -> Verdict {
        let now = self.advance(now);
        let standing = self.standing(now);
        if let Some(pid) = &mut self.pid {
            pid.on_arrival(now, arrival.priority, standing);
        }
        let verdict = self.judge(now, rng, arrival);
        if matches!(verdict, Verdict::Queued(_)) {
            // Who was the last one of his priority, and therefore spared, no longer is.
            self.advance(now);
        }
        self.check_in_debug();
        verdict
    }

    /// A call that was let go has ended. Whoever goes in its place is a decision.
    pub fn on_completed(&mut self, now: Time, rng: &mut Rng, permit: Permit, outcome: Outcome) {
        let now = self.advance(now);
        self.limit.release(now, rng, permit, outcome);
        self.hand_over(now);
        self.check_in_debug();
    }

    /// Somebody stopped waiting. A ticket that has been decided, but not taken, is given up as well; one that was
    /// taken is none of ours any more, and changes nothing.
    pub fn on_cancelled(&mut self, now: Time, rng: &mut Rng, ticket: Ticket) {
        let now = self.advance(now);
        if self.queue.remove(ticket).is_none()
            && let Some(index) = self.decisions.iter().position(|decided| decided.ticket == ticket)
            && let Some(Decided { verdict: Ok(permit), .. }) = self.decisions.remove(index)
        {
            self.limit.release(now, rng, permit, Outcome::Cancelled);
            self.hand_over(now);
        }
        self.note_empty();
        self.check_in_debug();
    }

    /// Drops those whose time is over.
    pub fn on_timer(&mut self, now: Time) {
        self.advance(now);
        self.check_in_debug();
    }

    /// When [`Admission::on_timer`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let expiry = self.queue.nearest_deadline().map(|(deadline, _)| deadline);
        let waits = Priority::ALL.into_iter().filter_map(|priority| {
            let (_, queued) = self.queue.oldest(priority)?;
            let longest = queued + self.config.max_wait_duration;
            Some(self.pointless_at(priority, queued).map_or(longest, |pointless| pointless.min(longest)))
        });
        waits.chain(expiry).min()
    }

    /// The next moment after `now` at which [`Admission::on_timer`] may have something to do for this ticket, its own
    /// deadline aside, which its owner knows. Nothing that happens meanwhile brings it forward. `None` when it no longer
    /// waits.
    ///
    /// For shells without a timer of their own: when each waiter watches its own moments, nobody is forgotten, and a
    /// waiter that goes away leaves no watch behind that somebody would have to take over.
    pub fn next_deadline_of(&self, now: Time, ticket: Ticket) -> Option<Time> {
        let (priority, queued) = self.queue.standing_of(ticket)?;
        let longest = queued + self.config.max_wait_duration;
        // The last one of a priority is spared at that moment; whoever joins him later is an arrival, which sees to it.
        let pointless = self.pointless_from(priority, queued).filter(|pointless| *pointless > now);
        Some(pointless.map_or(longest, |pointless| pointless.min(longest)))
    }

    /// The oldest decision about a ticket that was not taken yet. While as many as `max_queue` are left lying, nobody
    /// else may wait.
    pub fn take_decision(&mut self) -> Option<Decided> {
        self.decisions.pop_front()
    }

    /// Forgets what was learnt about the backend. Those under way keep their places, those who wait go on waiting.
    pub fn reset(&mut self, now: Time) {
        let now = self.advance(now);
        self.limit.reset();
        self.pace = Pace::default();
        if self.pid.is_some() {
            self.pid = Some(Pid::new(self.config.codel_target, self.config.codel_interval));
        }
        self.hand_over(now);
        self.check_in_debug();
    }

    /// The limit: how many may be under way, and how many are.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.queue.len()
    }

    /// How many of a priority wait.
    pub fn waiting_of(&self, priority: Priority) -> u32 {
        self.queue.len_of(priority)
    }

    /// The share of arrivals that the controller refuses at present; 0 without one.
    pub fn refused_share(&self) -> f64 {
        self.pid.as_ref().map_or(0.0, Pid::share)
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        self.limit.check_invariants();
        self.queue.check_invariants();
        let idle = self.limit.has_room() && self.queue.len() > 0;
        assert!(!idle, "somebody waits although there is room");
        assert!(self.queue.len() <= self.config.max_queue, "more wait than may");
        let bound = 2 * self.config.max_queue as usize;
        assert!(self.decisions.len() <= bound, "more decisions left lying than allowed");
        assert!(self.config.queues() || self.queue.len() == 0, "somebody waits where nobody may");
    }

    fn check_in_debug(&self) {
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// Drops those whose time is over and returns the moment it is, which never lies before an earlier one.
    fn advance(&mut self, now: Time) -> Time {
        let now = self.latest.max(now);
        self.latest = now;
        if self.queue.len() == 0 {
            return now;
        }
        while let Some((deadline, ticket)) = self.queue.nearest_deadline()
            && deadline <= now
        {
            self.refuse(ticket, Reason::DeadlineExpired);
        }
        for priority in Priority::ALL {
            while let Some((ticket, queued)) = self.queue.oldest(priority) {
                if now.saturating_since(queued) >= self.config.max_wait_duration {
                    self.refuse(ticket, Reason::WaitedTooLong);
                } else if self.pointless_at(priority, queued).is_some_and(|at| at <= now) {
                    self.refuse(ticket, Reason::Overloaded);
                } else {
                    break;
                }
            }
        }
        self.note_empty();
        now
    }

    fn judge(&mut self, now: Time, rng: &mut Rng, arrival: &Arrival) -> Verdict {
        if arrival.deadline.is_some_and(|deadline| deadline.is_past(now)) {
            return self.no(Reason::DeadlineExpired);
        }
        if let Some(permit) = self.limit.try_acquire(now) {
            if let Some(pid) = &mut self.pid {
                pid.on_departure(Duration::ZERO);
            }
            return Verdict::Admitted(permit);
        }
        if !self.config.queues() {
            return self.no(Reason::LimitReached);
        }
        let wait = self.pace.wait(now, self.ahead_of(now, arrival));
        if arrival.deadline.is_some_and(|deadline| deadline.remaining(now) < wait) {
            return self.no(Reason::DeadlineTooShort);
        }
        if self.pid.as_ref().is_some_and(|pid| pid.refuses(rng, arrival.priority)) {
            return self.no(Reason::Overloaded);
        }
        if self.decisions.len() >= self.config.max_queue as usize {
            return self.no(Reason::QueueFull);
        }
        if self.queue.len() >= self.config.max_queue {
            let Some(victim) = self.victim(now, arrival) else { return self.no(Reason::QueueFull) };
            self.refuse(victim, Reason::Evicted);
        }
        Verdict::Queued(self.queue.push(now, arrival))
    }

    /// Who goes from a full queue so that this one may come: of the lowest priority, from the longest bucket, and
    /// there the one that would have gone last. Nobody, when that would be the newcomer.
    fn victim(&self, now: Time, arrival: &Arrival) -> Option<Ticket> {
        let lowest = self.queue.lowest().filter(|lowest| *lowest <= arrival.priority)?;
        let newest = !self.newest_first(now, lowest);
        let (own, longest) = self.queue.crowding(lowest, arrival.fairness_key);
        if lowest < arrival.priority || longest > own + 1 {
            return self.queue.end_of_longest(lowest, newest);
        }
        if newest {
            return None;
        }
        let own = self.queue.end_of_key(lowest, arrival.fairness_key, false);
        own.or_else(|| self.queue.end_of_longest(lowest, false))
    }

    /// How many go before a newcomer.
    fn ahead_of(&self, now: Time, arrival: &Arrival) -> u64 {
        let higher = Priority::ALL.into_iter().filter(|priority| *priority > arrival.priority);
        let higher: u64 = higher.map(|priority| u64::from(self.queue.len_of(priority))).sum();
        if self.newest_first(now, arrival.priority) {
            return higher;
        }
        higher + self.queue.ahead_in_class(arrival.priority, arrival.fairness_key)
    }

    fn hand_over(&mut self, now: Time) {
        while self.limit.has_room()
            && let Some(ticket) = self.next_in_turn(now)
        {
            let (Some(entry), Some(permit)) = (self.queue.remove(ticket), self.limit.try_acquire(now)) else {
                break;
            };
            self.pace.on_departure(now);
            if let Some(pid) = &mut self.pid {
                pid.on_departure(now.saturating_since(entry.queued));
            }
            self.decisions.push_back(Decided { ticket, verdict: Ok(permit) });
        }
        self.note_empty();
    }

    fn next_in_turn(&mut self, now: Time) -> Option<Ticket> {
        for priority in Priority::ALL {
            let newest_first = self.newest_first(now, priority);
            if let Some(ticket) = self.queue.take_turn(priority, newest_first) {
                return Some(ticket);
            }
        }
        None
    }

    fn newest_first(&self, now: Time, priority: Priority) -> bool {
        self.config.queue_discipline == Discipline::AdaptiveLifo
            && self.standing_since(priority).is_some_and(|standing| standing <= now)
    }

    /// From when on this priority's queue counts as standing.
    fn standing_since(&self, priority: Priority) -> Option<Time> {
        let patience = if priority >= Priority::Critical { CRITICAL_PATIENCE } else { 1 };
        Some(self.queue.busy_since(priority)? + self.config.codel_interval.saturating_mul(patience))
    }

    /// From when on it is pointless to wait for somebody who has waited since `queued`. Never for the last one of
    /// his priority: a place that becomes free shall find somebody.
    fn pointless_at(&self, priority: Priority, queued: Time) -> Option<Time> {
        if self.queue.len_of(priority) < 2 {
            return None;
        }
        self.pointless_from(priority, queued)
    }

    /// The same, whoever else waits. Fixed while he does, because his priority's queue has not been empty since.
    fn pointless_from(&self, priority: Priority, queued: Time) -> Option<Time> {
        if self.config.rejector != RejectorKind::Codel {
            return None;
        }
        Some(self.standing_since(priority)?.max(queued + self.config.codel_target))
    }

    /// How long the one has waited who has waited longest.
    fn standing(&self, now: Time) -> Duration {
        let oldest = Priority::ALL.into_iter().filter_map(|priority| self.queue.oldest(priority));
        oldest.map(|(_, queued)| now.saturating_since(queued)).max().unwrap_or(Duration::ZERO)
    }

    fn note_empty(&mut self) {
        if self.queue.len() == 0 {
            self.pace.on_empty();
        }
    }

    fn no(&self, reason: Reason) -> Verdict {
        Verdict::Rejected(self.rejected(reason))
    }

    fn refuse(&mut self, ticket: Ticket, reason: Reason) {
        let rejected = self.rejected(reason);
        if self.queue.remove(ticket).is_some() {
            self.decisions.push_back(Decided { ticket, verdict: Err(rejected) });
        }
    }

    fn rejected(&self, reason: Reason) -> Rejected {
        Rejected { reason, retry_after: self.pace.retry_after(self.queue.len()) }
    }
}
