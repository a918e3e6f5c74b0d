//! A stored answer: fresh, stale but good enough, or no longer to be shown; and who fetches the next one.
//!
//! **Problem.** Yesterday's list of events is better than an error page, if it is marked, if it is not from
//! last week, and if showing it does not mean that a thousand requests ask the sick backend for a new one.
//! Caches that serve stale answers and revalidate for each of them hammer what they were to protect
//! (nginx#1000).
//!
//! **Model**, one stored answer, in the words of RFC 9111 and RFC 5861. Its *age* counts from the moment its
//! fetch was begun, plus what the origin's `Age` said. It is *fresh* below `ttl`. From there, both counted
//! from the end of `ttl`:
//! - within `stale_while_revalidate` it is served at once, and **one** request refreshes it in the background;
//! - within `stale_if_error` it is served when fetching fails, and, for `retry_interval` after a failure,
//!   without trying again; `stale_on_rejected` extends this to requests that we ourselves did not send
//!   (circuit open, limit).
//!
//! **One flight.** Whoever must fetch takes off; the others wait for the landing, up to `max_waiters`. At its
//! end, whatever it is, *all* waiters are to be woken and ask again (not one: tower#794). A flight that does
//! not return within `flight_timeout` no longer stands for anything: the next request takes off anew. Flights
//! are numbered, and an answer is stored only if no younger flight's is there already; an answer late by a
//! timeout is welcome as long as it is the newest. After `invalidate` (somebody wrote), answers of flights
//! that took off before are not stored.
//!
//! An answer that may not be stored would make waiters queue up one behind the other for nothing. After one,
//! requests **pass** without waiting for each other, for `retry_interval`.
//!
//! The same after a failure while there is nothing to show: else those who wait would fail one behind the other.
//!
//! **Without freshness.** Where answers are kept for bad times only (`ttl` 0), every request fetches its own, and
//! nobody waits (`coalesce: false`). Once that fails, the stored answer is shown, and one flight at a time, one per
//! `retry_interval`, finds out in the background whether the backend is well again. Where something stands above the
//! stored answer (`spare_backend: false`), every request tries, so that what stands above gets its turn.
//!
//! **Rejected:** locking the entry while it is fetched (one hung flight holds everybody for ever); a stale
//! answer to a caller's error (404 is an answer); storing failures.
//!
//! Worked number, with `ttl` 2 s, `stale_if_error` 10 min: 400 requests per second read through it. Healthy,
//! the backend sees one request per 2 s; down, one per 5 s, and its readers see nothing but a growing `Age`
//! for ten minutes.

use std::time::Duration;

use crate::error::{require, require_positive};
use crate::fallback::FailureClass;
use crate::time::nanos;
use crate::{ConfigError, Time};

/// How long an answer may be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// How long it is fresh.
    pub ttl: Duration,
    /// How long after that it may be shown while it is fetched again.
    pub stale_while_revalidate: Duration,
    /// How long after `ttl` it may be shown when fetching fails.
    pub stale_if_error: Duration,
}

impl Lifetime {
    /// The same for an answer that says `must-revalidate` or `no-cache`: never shown stale.
    #[must_use]
    pub fn must_revalidate(self) -> Lifetime {
        Lifetime { ttl: self.ttl, ..Lifetime::default() }
    }

    /// From which age on it is of no use to anybody.
    pub fn useful(self) -> Duration {
        self.ttl.saturating_add(self.stale_while_revalidate.max(self.stale_if_error))
    }
}

/// How answers are stored and fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleConfig {
    /// For answers that say nothing of their own.
    pub lifetime: Lifetime,
    /// Whether `stale_if_error` covers what we did not send.
    pub stale_on_rejected: bool,
    /// When a flight counts as lost.
    pub flight_timeout: Duration,
    /// How long to leave a backend alone after a failed refresh, and not to coalesce after an answer that may
    /// not be stored.
    pub retry_interval: Duration,
    /// Requests that wait for one flight, at most.
    pub max_waiters: u32,
    /// Whether requests wait for each other's flights at all.
    pub coalesce: bool,
    /// Whether the stored answer is shown without trying again while fetching fails. False where something better
    /// takes the place of a failure: each request has to fail for that.
    pub spare_backend: bool,
}

impl Default for StaleConfig {
    fn default() -> Self {
        StaleConfig {
            lifetime: Lifetime::default(),
            stale_on_rejected: true,
            flight_timeout: Duration::from_secs(5),
            retry_interval: Duration::from_secs(5),
            max_waiters: 1_000,
            coalesce: true,
            spare_backend: true,
        }
    }
}

impl StaleConfig {
    /// Whether flights end and somebody may wait for them.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_positive(self.flight_timeout, "flight_timeout")?;
        require_positive(self.retry_interval, "retry_interval")?;
        require(self.max_waiters > 0, "max_waiters", "be at least 1")
    }
}

/// One fetch. To be ended with one of [`Cached`]'s `on_` events, whatever becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Its number; a later one is greater.
    pub number: u64,
    /// When it took off.
    pub began: Time,
    /// When it counts as lost.
    pub due: Time,
}

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The stored answer.
    Fresh {
        /// Its age.
        age: Duration,
    },
    /// The stored answer; marked as degraded when [`Cached::is_failing`].
    Stale {
        /// Its age.
        age: Duration,
        /// A refresh to begin in the background.
        refresh: Option<Flight>,
    },
    /// Nothing that may be shown: fetch it.
    Fetch(Flight),
    /// Somebody is fetching it: ask again when that flight has ended, and at the latest then.
    Wait {
        /// The flight's number.
        flight: u64,
        /// When it counts as lost.
        until: Time,
    },
    /// Fetch without telling: such answers may not be stored.
    Pass,
    /// Too many wait already. Ours, not the backend's failure.
    Busy {
        /// When the flight has ended at the latest; always more than nothing.
        retry_after: Duration,
    },
}

/// The end of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Its answer is the newest and is to be stored.
    pub stored: bool,
    /// How many wait, all of whom are to be woken and to ask again.
    pub waiters: u32,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    flight: u64,
    /// When its age was zero; before the beginning of time for an answer that was old already.
    born_ns: i128,
    lifetime: Lifetime,
}

impl Stored {
    fn age(&self, now: Time) -> Duration {
        let age = (i128::from(now.as_nanos()) - self.born_ns).max(0);
        Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX))
    }
}

/// One stored answer, or the place for one.
#[derive(Clone, Debug, Default)]
pub struct Cached {
    stored: Option<Stored>,
    flight: Option<Flight>,
    waiters: u32,
    flights: u64,
    /// Answers of this flight and of earlier ones are out of date.
    outdated: u64,
    /// No refresh before this moment if there is something to show.
    quiet_until: Time,
    /// What that moment becomes if the flight under way is lost.
    quiet_if_lost: Time,
    /// No waiting for each other before this moment.
    pass_until: Time,
    /// The newest that is known of the backend is that it fails.
    failing: bool,
    latest: Time,
}

impl Cached {
    /// The place for an answer.
    pub fn new() -> Self {
        Cached::default()
    }

    /// A request has come.
    pub fn on_request(&mut self, config: &StaleConfig, now: Time) -> Answer {
        let now = self.advance(now);
        if !config.coalesce {
            return self.without_waiting(config, now);
        }
        if let Some(stored) = self.stored {
            let (age, lifetime) = (stored.age(now), stored.lifetime);
            let quiet = now < self.quiet_until;
            if age < lifetime.ttl {
                return Answer::Fresh { age };
            }
            if age < lifetime.ttl.saturating_add(lifetime.stale_while_revalidate) {
                let refresh =
                    if quiet || self.flight.is_some() { None } else { Some(self.take_off(config, now)) };
                return Answer::Stale { age, refresh };
            }
            let spared = quiet && config.spare_backend;
            if spared && age < lifetime.ttl.saturating_add(lifetime.stale_if_error) {
                return Answer::Stale { age, refresh: None };
            }
        }
        if now < self.pass_until {
            return Answer::Pass;
        }
        let Some(flight) = self.flight else { return Answer::Fetch(self.take_off(config, now)) };
        if self.waiters >= config.max_waiters {
            return Answer::Busy { retry_after: flight.due.saturating_since(now) };
        }
        self.waiters += 1;
        Answer::Wait { flight: flight.number, until: flight.due }
    }

    /// A flight has brought an answer that may be stored; `age` is what its `Age` said, `lifetime` what it
    /// said of itself (otherwise the configuration's).
    pub fn on_answer(&mut self, now: Time, flight: Flight, age: Duration, lifetime: Lifetime) -> Landing {
        let now = self.advance(now);
        let newest = self.stored.is_none_or(|stored| stored.flight < flight.number);
        let stored = newest && flight.number > self.outdated;
        if stored {
            // RFC 9111 §4.2.3: the time it took to answer is part of the age.
            let born_ns = i128::from(flight.began.min(now).as_nanos()) - i128::from(nanos(age));
            self.stored = Some(Stored { flight: flight.number, born_ns, lifetime });
            self.quiet_until = Time::ZERO;
            self.pass_until = Time::ZERO;
            self.failing = false;
        }
        let ended = self.land(flight);
        // A late answer serves those who wait for a younger flight as well.
        let waiters = if ended || stored { std::mem::take(&mut self.waiters) } else { 0 };
        self.checked(Landing { stored, waiters })
    }

    /// A flight has brought an answer that may not be stored. What was stored is no longer true.
    pub fn on_uncacheable(&mut self, config: &StaleConfig, now: Time, flight: Flight) -> Landing {
        let now = self.advance(now);
        if flight.number > self.outdated && self.stored.is_none_or(|stored| stored.flight < flight.number) {
            self.stored = None;
            self.pass_until = now + config.retry_interval;
            self.failing = false;
        }
        self.without_answer(flight)
    }

    /// A flight has brought an answer that is not worth storing and says nothing about the one stored: the
    /// service is busy, or degraded by its own account.
    pub fn on_unwanted(&mut self, config: &StaleConfig, now: Time, flight: Flight) -> Landing {
        let now = self.advance(now);
        self.pass_until = now + config.retry_interval;
        self.without_answer(flight)
    }

    /// A flight has failed. Whoever made it may show the stored answer if [`on_error`](Self::on_error) says so.
    pub fn on_failed(
        &mut self,
        config: &StaleConfig,
        now: Time,
        flight: Flight,
        class: FailureClass,
    ) -> Landing {
        let now = self.advance(now);
        // Of a flight that was given up for lost, nothing new is learned: it has been counted as failed by
        // its time limit.
        let newest = self.stored.is_none_or(|stored| stored.flight < flight.number);
        let counts = self.flight == Some(flight) || (!config.coalesce && newest);
        if class.trigger().is_some() && counts {
            self.quiet_until = now + config.retry_interval;
            self.pass_until = now + config.retry_interval;
            self.failing = true;
        }
        self.without_answer(flight)
    }

    /// A flight was given up: its caller has left.
    pub fn on_cancelled(&mut self, now: Time, flight: Flight) -> Landing {
        self.advance(now);
        self.without_answer(flight)
    }

    /// One who waited for that flight has left.
    pub fn on_waiter_left(&mut self, now: Time, flight: u64) {
        self.advance(now);
        if self.flight.is_some_and(|running| running.number == flight) {
            self.waiters = self.waiters.saturating_sub(1);
        }
    }

    /// Whether an answer is stored.
    pub fn is_filled(&self) -> bool {
        self.stored.is_some()
    }

    /// Whether the last flight that could tell has failed: what is shown stale now is a degradation.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// Whether a request that failed like this may be answered with what is stored, and how old that is.
    pub fn on_error(&self, config: &StaleConfig, now: Time, class: FailureClass) -> Option<Duration> {
        let now = now.max(self.latest);
        let covered = match class {
            FailureClass::Error | FailureClass::Unreachable | FailureClass::Timeout => true,
            FailureClass::Rejected => config.stale_on_rejected,
            FailureClass::CallerError | FailureClass::CallerCancelled | FailureClass::OutcomeUnknown => false,
        };
        let stored = self.stored.filter(|_| covered)?;
        let limit = stored.lifetime.ttl.saturating_add(stored.lifetime.stale_if_error);
        Some(stored.age(now)).filter(|age| *age < limit)
    }

    /// Somebody wrote: what is stored, and what is under way, is out of date. Answers how many wait and are
    /// to ask again.
    pub fn invalidate(&mut self, now: Time) -> u32 {
        self.advance(now);
        self.stored = None;
        self.flight = None;
        self.outdated = self.flights;
        std::mem::take(&mut self.waiters)
    }

    /// When the flight under way counts as lost. Those who wait for it know that moment; nothing else needs a
    /// timer.
    pub fn next_deadline(&self) -> Option<Time> {
        self.flight.map(|flight| flight.due)
    }

    /// Whether there is nothing left that could be shown or landed.
    pub fn is_over(&self, now: Time) -> bool {
        let now = now.max(self.latest);
        let useless = self.stored.is_none_or(|stored| stored.age(now) >= stored.lifetime.useful());
        useless && self.flight.is_none_or(|flight| flight.due <= now) && self.pass_until <= now
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        assert!(self.waiters == 0 || self.flight.is_some(), "whoever waits waits for a flight");
        assert!(self.flight.is_none_or(|flight| flight.number <= self.flights), "flights are numbered");
        assert!(
            self.flight.is_none_or(|flight| flight.number > self.outdated),
            "no flight under way is out of date"
        );
        let stored =
            self.stored.is_none_or(|stored| self.outdated < stored.flight && stored.flight <= self.flights);
        assert!(stored, "what is stored is not out of date");
    }

    /// Every request fetches for itself, unless the backend fails and there is something to show.
    fn without_waiting(&mut self, config: &StaleConfig, now: Time) -> Answer {
        if let Some(stored) = self.stored.filter(|_| self.failing && config.spare_backend) {
            let age = stored.age(now);
            if age < stored.lifetime.ttl.saturating_add(stored.lifetime.stale_if_error) {
                let rest = now < self.quiet_until || self.flight.is_some();
                return Answer::Stale { age, refresh: (!rest).then(|| self.take_off(config, now)) };
            }
        }
        // Not the flight that others wait for: just numbered, so that its answer is known as the newest.
        self.flights += 1;
        Answer::Fetch(Flight { number: self.flights, began: now, due: now + config.flight_timeout })
    }

    fn take_off(&mut self, config: &StaleConfig, now: Time) -> Flight {
        debug_assert!(self.flight.is_none(), "one flight at a time");
        self.flights += 1;
        let flight = Flight { number: self.flights, began: now, due: now + config.flight_timeout };
        self.flight = Some(flight);
        self.quiet_if_lost = flight.due + config.retry_interval;
        flight
    }

    fn without_answer(&mut self, flight: Flight) -> Landing {
        let waiters = if self.land(flight) { std::mem::take(&mut self.waiters) } else { 0 };
        self.checked(Landing { stored: false, waiters })
    }

    /// Whether this was the flight under way, which it no longer is.
    fn land(&mut self, flight: Flight) -> bool {
        let running = self.flight.is_some_and(|running| running.number == flight.number);
        if running {
            self.flight = None;
        }
        running
    }

    /// Time goes on, and a flight may be lost by it. Its waiters knew when, and ask again by themselves.
    fn advance(&mut self, now: Time) -> Time {
        self.latest = self.latest.max(now);
        if self.flight.is_some_and(|flight| flight.due <= self.latest) {
            self.flight = None;
            self.waiters = 0;
            self.quiet_until = self.quiet_if_lost;
            self.failing = true;
        }
        self.latest
    }

    fn checked(&self, landing: Landing) -> Landing {
        #[cfg(debug_assertions)]
        self.check_invariants();
        landing
    }
}
