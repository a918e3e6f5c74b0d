//! One gate: a machine with its shared state, asked in one way whichever it is.

use std::time::Duration;

use super::config::{GateConfig, Kind};
use super::shedding::{Shedding, SheddingChange};
use super::vocabulary::{Ending, Hold, Quote, Reason, Said, Visitor, Waiting};
use crate::admission::{Arrival, Decided, Priority, Verdict};
use crate::rate_limit::{Decision, Request};
use crate::{Admission, RateLimitConfig, RateLimiter, Rng, Throttle, ThrottleConfig, Time};

/// One gate, shared by all requests that must pass it.
#[derive(Debug)]
pub struct Gate {
    machine: Machine,
    shedding: Shedding,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are a handful of gates, and each lives as long as the process"
)]
enum Machine {
    RateLimit { config: RateLimitConfig, limiter: RateLimiter<u64> },
    Throttle { config: ThrottleConfig, throttle: Throttle },
    Concurrency(Admission),
}

impl Gate {
    /// A gate that nobody has passed yet. The configuration must be valid.
    pub fn new(config: GateConfig, rng: &mut Rng) -> Self {
        debug_assert_eq!(config.validate(), Ok(()));
        let machine = match config {
            GateConfig::RateLimit(config) => {
                Machine::RateLimit { config, limiter: RateLimiter::new(config, rng) }
            }
            GateConfig::Throttle(config) => Machine::Throttle { config, throttle: Throttle::new(config) },
            GateConfig::Concurrency(config) => Machine::Concurrency(Admission::new(config)),
        };
        Gate { machine, shedding: Shedding::default() }
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match &self.machine {
            Machine::RateLimit { .. } => Kind::RateLimit,
            Machine::Throttle { .. } => Kind::Throttle,
            Machine::Concurrency(_) => Kind::Concurrency,
        }
    }

    /// Somebody wants to pass.
    pub fn on_visitor(&mut self, now: Time, rng: &mut Rng, visitor: &Visitor) -> Said {
        self.shedding.at(now);
        let said = self.ask(now, rng, visitor);
        if let Said::No(reason, _) = &said {
            self.shedding.on_refused(*reason);
        }
        said
    }

    fn ask(&mut self, now: Time, rng: &mut Rng, visitor: &Visitor) -> Said {
        match &mut self.machine {
            Machine::RateLimit { config, limiter } => {
                let request = Request { cost: 1, deadline: Some(visitor.deadline) };
                match limiter.acquire(now, &visitor.key, request) {
                    Decision::Admitted => {
                        Said::Pass(Hold::Counted(quote(config, limiter.remaining(now, &visitor.key))))
                    }
                    Decision::Wait(reservation) => {
                        Said::Wait(Waiting::Until { reservation, key: visitor.key })
                    }
                    Decision::Rejected { retry_after, .. } => Said::No(Reason::RateLimited, retry_after),
                    // Only for costs above a whole burst, and every request costs one.
                    Decision::NeverFits => Said::No(Reason::RateLimited, config.refill()),
                }
            }
            Machine::Throttle { throttle, .. } => {
                let rank = rank(visitor.priority);
                match throttle.admit(now, rng, rank) {
                    Ok(()) => Said::Pass(Hold::Outcome(rank)),
                    Err(throttled) => Said::No(Reason::Throttled, throttled.retry_after),
                }
            }
            Machine::Concurrency(admission) => {
                let (priority, fairness_key) = (visitor.priority, visitor.key);
                let arrival = Arrival { priority, fairness_key, deadline: Some(visitor.deadline) };
                match admission.on_arrival(now, rng, &arrival) {
                    Verdict::Admitted(permit) => Said::Pass(Hold::Place(permit)),
                    Verdict::Queued(ticket) => Said::Wait(Waiting::Turn(ticket)),
                    Verdict::Rejected(rejected) => {
                        Said::No(Reason::Crowded(rejected.reason), rejected.retry_after)
                    }
                }
            }
        }
    }

    /// Somebody does not wait any longer.
    pub fn on_left(&mut self, now: Time, rng: &mut Rng, waiting: Waiting) {
        self.shedding.at(now);
        match (&mut self.machine, waiting) {
            (Machine::RateLimit { limiter, .. }, Waiting::Until { reservation, key }) => {
                limiter.cancel(now, &key, reservation);
            }
            (Machine::Concurrency(admission), Waiting::Turn(ticket)) => {
                admission.on_cancelled(now, rng, ticket);
            }
            (_, waiting) => debug_assert!(false, "{waiting:?} is of another gate"),
        }
    }

    /// Somebody who has passed is through. `in_time`: see [`Passage`](super::Passage).
    pub fn on_ended(&mut self, now: Time, rng: &mut Rng, hold: Hold, ending: Ending, in_time: bool) {
        self.shedding.at(now);
        match (&mut self.machine, hold) {
            (Machine::RateLimit { .. }, Hold::Counted(_)) => {}
            (Machine::Throttle { throttle, .. }, Hold::Outcome(rank)) => {
                throttle.on_outcome(now, rank, ending.of_throttle());
            }
            (Machine::Concurrency(admission), Hold::Place(permit)) => {
                admission.on_completed(now, rng, permit, ending.of_place(in_time));
            }
            (_, hold) => debug_assert!(false, "{hold:?} is of another gate"),
        }
    }

    /// The oldest decision about somebody who waits for a turn.
    pub fn take_decision(&mut self) -> Option<Decided> {
        let Machine::Concurrency(admission) = &mut self.machine else { return None };
        let decided = admission.take_decision()?;
        if let Err(rejected) = &decided.verdict {
            self.shedding.on_refused(Reason::Crowded(rejected.reason));
        }
        Some(decided)
    }

    /// What became of its shedding; to be asked after decisions were taken.
    pub fn take_change(&mut self) -> Option<SheddingChange> {
        self.shedding.take()
    }

    /// Does what is due.
    pub fn on_timer(&mut self, now: Time) {
        self.shedding.at(now);
        self.shedding.on_timer();
        match &mut self.machine {
            Machine::RateLimit { limiter, .. } => limiter.on_timer(now),
            Machine::Throttle { .. } => {}
            Machine::Concurrency(admission) => admission.on_timer(now),
        }
    }

    /// When [`Gate::on_timer`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let own = match &self.machine {
            Machine::RateLimit { limiter, .. } => limiter.next_deadline(),
            Machine::Throttle { .. } => None,
            Machine::Concurrency(admission) => admission.next_deadline(),
        };
        own.into_iter().chain(self.shedding.next_deadline()).min()
    }

    /// Forgets what was learnt about the service. Quotas and places are no knowledge: they stay.
    pub fn reset(&mut self) {
        if let Machine::Throttle { config, throttle } = &mut self.machine {
            *throttle = Throttle::new(*config);
        }
    }

    /// The queue and its limit, where it is that kind.
    pub fn admission(&self) -> Option<&Admission> {
        if let Machine::Concurrency(admission) = &self.machine { Some(admission) } else { None }
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&mut self, now: Time) {
        match &mut self.machine {
            Machine::RateLimit { limiter, .. } => limiter.check_invariants(),
            Machine::Throttle { throttle, .. } => throttle.check_invariants(now),
            Machine::Concurrency(admission) => admission.check_invariants(),
        }
    }
}

/// The throttle's rank: 0 is the most important.
fn rank(priority: Priority) -> usize {
    match priority {
        Priority::CriticalPlus => 0,
        Priority::Critical => 1,
        Priority::SheddablePlus => 2,
        Priority::Sheddable => 3,
    }
}

/// How a quota with so much left stands.
fn quote(config: &RateLimitConfig, remaining: u32) -> Quote {
    let used = config.effective_burst().saturating_sub(remaining);
    let nanos =
        config.limit_refresh_period.as_nanos() * u128::from(used) / u128::from(config.limit_for_period);
    Quote { remaining, reset: Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)) }
}
