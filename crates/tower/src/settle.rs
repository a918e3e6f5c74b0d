//! Several calls, one answer: with what came in time, where that is enough.
//!
//! **Problem.** A page made of six services is as unavailable as all six together, and as slow as the slowest; joined by hand,
//! it waits for all, fails with any, or forgets to cancel what nobody waits for any more. **Model.** The machine of
//! [`seaworthy_policy::settle`]: each leg is required or optional, and the whole is decided as soon as it is certain. With the
//! decision, every leg that is still under way is dropped. Legs are futures: calls of Tower services, of policies, or any
//! others; each has its own policy, this is none.
//!
//! Legs are told the time at which the whole is decided as their deadline (see [`current`](crate::current)), or an earlier one
//! from further out. They are polled in turn by the task that waits; who wants them on several threads spawns them.
//!
//! Each leg is boxed: legs answer alike, but are seldom of one type, and a box is little beside a call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use seaworthy_policy::ConfigError;
use seaworthy_policy::settle::{self, Need, Settle, SettleConfig, Verdict};
use tokio::time::{Sleep, sleep_until};

use crate::ambient::Ambient;
use crate::clock::{self, Clock, Moment};
use crate::timeout::is_over;

type Leg<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// The legs of one request, before they begin.
pub struct Legs<'a, T, E> {
    config: SettleConfig,
    legs: Vec<Leg<'a, T, E>>,
}

impl<'a, T, E> Legs<'a, T, E> {
    /// Waits this long at most, and no longer than a deadline from further out.
    pub fn within(settle_within: Duration) -> Self {
        let config = SettleConfig { legs: Vec::new(), min_success: None, settle_within };
        Legs { config, legs: Vec::new() }
    }

    /// So many legs are enough, the required ones included; the others are dropped then. Without this, it waits for every
    /// leg as long as there is time.
    #[must_use]
    pub fn at_least(mut self, min_success: u32) -> Self {
        self.config.min_success = Some(min_success);
        self
    }

    /// A leg without which there is no answer.
    #[must_use]
    pub fn required(self, leg: impl Future<Output = Result<T, E>> + Send + 'a) -> Self {
        self.leg(Need::Required, leg)
    }

    /// A leg with which the answer is better.
    #[must_use]
    pub fn optional(self, leg: impl Future<Output = Result<T, E>> + Send + 'a) -> Self {
        self.leg(Need::Optional, leg)
    }

    fn leg(mut self, need: Need, leg: impl Future<Output = Result<T, E>> + Send + 'a) -> Self {
        self.config.legs.push(need);
        self.legs.push(Box::pin(leg));
        self
    }

    /// Begins. Refuses what can never be an answer: no legs or more than 64, more successes than legs, no time.
    pub fn settle(self) -> Result<Settling<'a, T, E>, ConfigError> {
        self.config.validate()?;
        let (ambient, now) = (Ambient::get(), clock::now());
        let ambient = ambient.no_later_than(now.after(self.config.settle_within));
        let due = ambient.deadline.unwrap_or(now);
        let clock = Clock::starting_now();
        let settle_within = due.since(now);
        let machine = Settle::new(SettleConfig { settle_within, ..self.config }, clock.time_at(now));
        let legs = self.legs.into_iter().map(State::UnderWay).collect();
        Ok(Settling { machine, clock, due, ambient, legs, timer: None })
    }
}

impl<T, E> fmt::Debug for Legs<'_, T, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Legs").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled<T, E> {
    /// It succeeded.
    Ok(T),
    /// It failed.
    Failed(E),
    /// The time was up.
    TimedOut,
    /// It was no longer wanted, since all was decided.
    Skipped,
}

impl<T, E> Settled<T, E> {
    /// Its answer, if it succeeded.
    pub fn ok(self) -> Option<T> {
        match self {
            Settled::Ok(answer) => Some(answer),
            Settled::Failed(_) | Settled::TimedOut | Settled::Skipped => None,
        }
    }
}

/// What became of all legs together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial<T, E> {
    /// Whether it is an answer, and if not, why.
    pub verdict: Verdict,
    /// How each leg ended, in the order in which they were named.
    pub legs: Vec<Settled<T, E>>,
}

impl<T, E> Partial<T, E> {
    /// Whether there is an answer at all.
    pub fn is_answer(&self) -> bool {
        self.verdict.is_answer()
    }

    /// Whether the answer lacks something because of a failure or of time, so that it should say so. A leg that was no
    /// longer wanted is no lack.
    pub fn is_degraded(&self) -> bool {
        let lacking = |leg: &Settled<T, E>| matches!(leg, Settled::Failed(_) | Settled::TimedOut);
        self.is_answer() && self.legs.iter().any(lacking)
    }
}

enum State<'a, T, E> {
    UnderWay(Leg<'a, T, E>),
    Ended(Settled<T, E>),
}

// The legs are pinned in their boxes, and an answer is never pinned.
pin_project! {
    /// Waits for the legs; dropping it drops them all.
    #[must_use = "legs make progress only when they are waited for"]
    pub struct Settling<'a, T, E> {
        machine: Settle,
        clock: Clock,
        due: Moment,
        ambient: Ambient,
        legs: Vec<State<'a, T, E>>,
        // There once it was needed.
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<T, E> fmt::Debug for Settling<'_, T, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settling").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl<T, E> Future for Settling<'_, T, E> {
    type Output = Partial<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        assert!(!this.legs.is_empty(), "polled after it was ready");
        for number in 0..this.legs.len() {
            let State::UnderWay(leg) = &mut this.legs[number] else { continue };
            let scope = this.ambient.enter();
            let polled = leg.as_mut().poll(context);
            drop(scope);
            let Poll::Ready(answer) = polled else { continue };
            let settled = if answer.is_ok() { settle::Settled::Ok } else { settle::Settled::Failed };
            // A leg may have taken its time even to say that it is ready.
            let now = this.clock.time_at(clock::now());
            let decided = this.machine.on_settled(now, number, settled).is_some();
            // What came too late is not heard: the machine has settled this leg in its own way.
            if this.machine.settled()[number] == Some(settled) {
                this.legs[number] = State::Ended(answer.map_or_else(Settled::Failed, Settled::Ok));
            }
            if decided {
                return Poll::Ready(collect(this.machine, this.legs));
            }
        }
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(this.due.instant())));
        }
        let timer = this.timer.as_mut().as_pin_mut().expect("set above");
        if !is_over(timer, *this.due, context) {
            return Poll::Pending;
        }
        this.machine.on_timer(this.clock.time_at(clock::now().max(*this.due)));
        Poll::Ready(collect(this.machine, this.legs))
    }
}

/// Takes the answers out and drops what is still under way.
fn collect<T, E>(machine: &Settle, legs: &mut Vec<State<'_, T, E>>) -> Partial<T, E> {
    let verdict = machine.verdict().expect("it has been decided");
    let ended = legs.drain(..).zip(machine.settled()).map(|(leg, settled)| match (leg, settled) {
        (State::Ended(leg), _) => leg,
        (State::UnderWay(_), Some(settle::Settled::TimedOut)) => Settled::TimedOut,
        (State::UnderWay(_), _) => Settled::Skipped,
    });
    Partial { verdict, legs: ended.collect() }
}
