//! A circuit breaker for an edge with a single endpoint.
//!
//! **Problem.** When the only endpoint is down, every call to it costs its caller a timeout and the endpoint
//! its recovery. The breaker answers at once instead, and finds out with a few probes when that may end.
//!
//! **Model.** *Closed* lets everything pass and counts. It opens on a run of failures with no success in
//! between for `quiet` (an outage), on a failure rate (partial failure), or on a rate of slow calls. *Open*
//! rejects until its wait is over. *Half-open* lets a bounded number of probes pass and follows their majority.
//! *Ramp* lets a share pass that grows evenly to all, because a backend that answers three probes need not bear
//! full load; a relapse opens again. Each opening that does not follow a full ramp doubles the wait.
//!
//! Four rules, each the answer to a breaker that was wrong:
//! - A [`Permit`] carries the **generation** it was given in, and every transition begins another one: a call
//!   let in before an outage does not close the circuit during it.
//! - A probe has a **place** and a time limit: of 64 callers at the end of a wait, three pass; one that never
//!   returns counts as failed, so that the circuit cannot stay half-open for ever.
//! - Giving a call up is an **outcome**: slow when it took long enough, otherwise nothing; callers that time
//!   out outside the breaker do not blind it. A cancelled probe gives its place back and decides nothing.
//! - Windows are exact, by time or by count: what it takes to open does not depend on how long things went well.
//!
//! *Too many requests* (429) is a failure for the rate and for a probe, and nothing for a run of failures: the backend
//! works, it only wants less. A person may take the decision over ([`Mode`]); what was under way then counts no more.
//!
//! Rates are looked at only when a call was bad, so the call that reaches the minimum must itself be bad.
//!
//! **Rejected:** a moving average (a burst can hide an outage);
//! closing on the first good probe (a backend that fails every other call would flap); a ring over generations
//! that lets late results count "a little".
//!
//! Worked number, with the defaults: 200 calls per second, all failing at once from second 0. After 500 ms
//! without success the circuit opens; probes follow after 1 s, 2 s, 4 s ... 60 s, each +- 20 %. Three probes
//! per wait are 3 calls in place of 200 and then 12 000. Back for good, the first second of the ramp admits
//! about 15 %, the last one 95 %. One breaker with a window by time takes at most 256 bytes, so ten thousand keys take
//! 2.5 MB; they share one configuration.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::time::scaled;
use crate::{Ratio, Rng, Sample, Time, Totals};
use outcome::Role;
use probes::{Probes, Vote};
use window::Window;

mod config;
mod outcome;
mod probes;
mod window;

pub use config::{BreakerConfig, Mode, PROBES_MAX, SLIDING_WINDOW_SIZE_MAX, WindowType};
pub use outcome::{Outcome, Permit, Reason, Rejected, State, Transition};

/// Transitions kept until they are taken; older ones are dropped first.
pub const TRANSITIONS_MAX: usize = 8;
/// The share that a ramp begins with: without any traffic there would be nothing to judge it by.
const RAMP_SHARE_FIRST: f64 = 0.1;
/// Doublings beyond this one no longer change a wait (2^40 s are longer than any `max_wait`).
const DOUBLINGS_MAX: u32 = 40;

#[derive(Clone, Debug)]
enum Phase {
    Closed,
    Open {
        until: Time,
    },
    /// Boxed, because few breakers are ever in it and all would be larger for it.
    HalfOpen(Box<Probes>),
    Ramp {
        since: Time,
    },
}

const _: () = assert!(size_of::<Breaker>() <= 256, "the bound on memory per key");

/// The circuit breaker of one endpoint.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: Arc<BreakerConfig>,
    mode: Mode,
    phase: Phase,
    generation: u32,
    window: Window,
    failures_in_a_row: u32,
    /// Since when there has been no success: the last one, or the moment observation began.
    no_success_since: Time,
    /// Openings since the last full ramp.
    openings: u32,
    /// Those not taken yet; `None` when there are none.
    #[expect(clippy::box_collection, reason = "8 bytes per key instead of 32; most keys never have any")]
    transitions: Option<Box<VecDeque<Transition>>>,
    latest: Time,
}

impl Breaker {
    /// A closed circuit that begins to observe at `now`. Breakers of many keys share their configuration.
    pub fn new(config: impl Into<Arc<BreakerConfig>>, now: Time) -> Self {
        let config = config.into();
        Breaker {
            mode: config.mode,
            phase: Phase::Closed,
            generation: 0,
            window: match config.sliding_window_type {
                WindowType::TimeBased => Window::by_time(),
                WindowType::CountBased => Window::by_count(config.sliding_window_size),
            },
            failures_in_a_row: 0,
            no_success_since: now,
            openings: 0,
            transitions: None,
            latest: now,
            config,
        }
    }

    /// Asks for the right to make one call.
    pub fn admit(&mut self, now: Time, rng: &mut Rng) -> Result<Permit, Rejected> {
        let now = self.advance(now, rng);
        let role = match self.mode {
            Mode::Automatic => self.admit_by_phase(now, rng)?,
            // What it would have rejected passes, and has no part in its decisions.
            Mode::MetricsOnly => self.admit_by_phase(now, rng).unwrap_or(Role::Uncounted),
            Mode::ForceClosed => Role::Call,
            Mode::Disabled => Role::Uncounted,
            Mode::ForceOpen => {
                return Err(Rejected::Open { retry_after: self.config.wait_duration_in_open_state });
            }
        };
        Ok(Permit { generation: self.generation, role })
    }

    /// Reports what became of a call. A permit of another generation changes nothing.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is worth one report, so it is taken away")]
    pub fn complete(&mut self, now: Time, rng: &mut Rng, permit: Permit, outcome: Outcome) {
        let now = self.advance(now, rng);
        if permit.generation != self.generation {
            return;
        }
        match permit.role {
            Role::Probe(number) => self.complete_probe(now, rng, number, outcome),
            Role::Call => self.complete_call(now, rng, outcome),
            Role::Uncounted => {}
        }
        self.check_in_debug();
    }

    /// Hands the decision over to a person, or back. Whatever was seen or is under way counts no more.
    pub fn set_mode(&mut self, now: Time, mode: Mode) {
        if mode == self.mode {
            return;
        }
        self.latest = self.latest.max(now);
        let from = self.state_entered();
        self.mode = mode;
        self.openings = 0;
        self.enter_from(from, Phase::Closed, Reason::ModeChanged);
    }

    /// Who decides.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Does what is due by `now`: ends a wait, fails a probe that did not return, finishes a ramp.
    pub fn on_timer(&mut self, now: Time, rng: &mut Rng) {
        self.advance(now, rng);
    }

    /// When [`Breaker::on_timer`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { until } => Some(*until),
            Phase::HalfOpen(probes) => probes.next_due(),
            Phase::Ramp { since } => Some(*since + self.config.recovery_ramp),
        }
    }

    /// The state as of `now`, as callers meet it.
    pub fn state(&self, now: Time) -> State {
        match self.mode {
            Mode::Automatic => self.decided_state(now),
            Mode::ForceOpen => State::ForcedOpen,
            Mode::ForceClosed | Mode::Disabled | Mode::MetricsOnly => State::Closed,
        }
    }

    /// The state as of `now` that the machine would be in if it were obeyed; [`Mode::MetricsOnly`] is for watching it.
    pub fn decided_state(&self, now: Time) -> State {
        let now = now.max(self.latest);
        match &self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { until } if *until <= now => State::HalfOpen,
            Phase::Open { until } => State::Open { until: *until },
            Phase::HalfOpen(_) => State::HalfOpen,
            Phase::Ramp { since } => {
                let ramped = now.saturating_since(*since);
                if ramped >= self.config.recovery_ramp {
                    return State::Closed;
                }
                State::Ramp { share: ramp_share(ramped, self.config.recovery_ramp) }
            }
        }
    }

    /// The number of the present state; every transition begins another one.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// What the window holds at `now`.
    pub fn totals(&self, now: Time) -> Totals {
        self.window.totals(now.max(self.latest), self.config.sliding_window)
    }

    /// The oldest transition that was not taken yet.
    pub fn take_transition(&mut self) -> Option<Transition> {
        let kept = self.transitions.as_mut()?;
        let oldest = kept.pop_front();
        if kept.is_empty() {
            self.transitions = None;
        }
        oldest
    }

    /// Closes the circuit and forgets everything but its mode; calls under way no longer count.
    pub fn reset(&mut self, now: Time) {
        let now = self.latest.max(now);
        self.latest = now;
        self.openings = 0;
        self.enter(Phase::Closed, Reason::Reset);
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        let kept = self.transitions.as_ref().map_or(0, |kept| kept.len());
        assert!(kept <= TRANSITIONS_MAX, "more transitions kept than allowed");
        let decides = matches!(self.mode, Mode::Automatic | Mode::MetricsOnly);
        assert!(decides || matches!(self.phase, Phase::Closed), "decides, though a person does");
        assert!(self.no_success_since <= self.latest, "a success in the future");
        match &self.phase {
            Phase::Closed => assert_eq!(self.openings, 0, "closed without a full ramp"),
            Phase::Open { until } => {
                let longest = scaled(self.config.max_wait, 1.0 + self.config.wait_jitter);
                assert!(self.openings > 0, "open without having opened");
                assert!(*until <= self.latest.after(longest), "a wait that is too long");
            }
            Phase::HalfOpen(probes) => {
                probes
                    .check_invariants(self.latest, self.config.permitted_number_of_calls_in_half_open_state);
            }
            Phase::Ramp { since } => assert!(*since <= self.latest, "a ramp that begins in the future"),
        }
    }

    fn check_in_debug(&self) {
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn admit_by_phase(&mut self, now: Time, rng: &mut Rng) -> Result<Role, Rejected> {
        let soon = self.config.wait_duration_in_open_state;
        match &mut self.phase {
            Phase::Closed => Ok(Role::Call),
            Phase::Open { until } => Err(Rejected::Open { retry_after: until.saturating_since(now) }),
            Phase::HalfOpen(probes) => {
                let places = self.config.permitted_number_of_calls_in_half_open_state;
                let number = probes.admit(places, now + self.config.probe_timeout);
                let busy = || Rejected::ProbesBusy { retry_after: probes.retry_after(now, soon) };
                number.map(Role::Probe).ok_or_else(busy)
            }
            Phase::Ramp { since } => {
                let ramped = now.saturating_since(*since);
                if rng.chance(ramp_share(ramped, self.config.recovery_ramp).get()) {
                    return Ok(Role::Call);
                }
                let left = self.config.recovery_ramp.saturating_sub(ramped);
                Err(Rejected::Ramping { retry_after: left.min(soon) })
            }
        }
    }

    /// Does what is due and returns the moment it is, which never lies before an earlier one.
    fn advance(&mut self, now: Time, rng: &mut Rng) -> Time {
        let now = self.latest.max(now);
        self.latest = now;
        match &mut self.phase {
            Phase::Open { until } if *until <= now => {
                self.enter(Phase::HalfOpen(Box::default()), Reason::WaitOver);
            }
            Phase::HalfOpen(probes) => {
                probes.time_out(now);
                self.follow_majority(now, rng);
            }
            Phase::Ramp { since } if now.saturating_since(*since) >= self.config.recovery_ramp => {
                self.openings = 0;
                self.enter(Phase::Closed, Reason::RampFinished);
            }
            Phase::Closed | Phase::Open { .. } | Phase::Ramp { .. } => {}
        }
        self.check_in_debug();
        now
    }

    fn complete_probe(&mut self, now: Time, rng: &mut Rng, number: u32, outcome: Outcome) {
        let Phase::HalfOpen(probes) = &mut self.phase else { return };
        let vote = match outcome {
            Outcome::Success { elapsed } if !self.config.is_slow(elapsed) => Vote::Good,
            Outcome::Success { .. } | Outcome::Failure { .. } | Outcome::Throttled { .. } => Vote::Bad,
            Outcome::Cancelled { elapsed } if self.config.is_slow(elapsed) => Vote::Bad,
            Outcome::Ignored | Outcome::Cancelled { .. } => Vote::None,
        };
        probes.complete(number, vote);
        self.follow_majority(now, rng);
    }

    fn complete_call(&mut self, now: Time, rng: &mut Rng, outcome: Outcome) {
        let Some(sample) = outcome.sample(&self.config) else { return };
        self.window.record(now, self.config.sliding_window, sample);
        match outcome {
            Outcome::Success { .. } => {
                self.failures_in_a_row = 0;
                self.no_success_since = now;
            }
            Outcome::Failure { .. } => self.failures_in_a_row = self.failures_in_a_row.saturating_add(1),
            // Whoever asks for less is up; and a caller's patience is not a verdict.
            Outcome::Throttled { .. } | Outcome::Cancelled { .. } | Outcome::Ignored => {}
        }
        if sample != Sample::Ok
            && self.mode != Mode::ForceClosed
            && let Some(reason) = self.reason_to_open(now)
        {
            self.open(now, rng, reason);
        }
    }

    fn reason_to_open(&self, now: Time) -> Option<Reason> {
        let failures = self.failures_in_a_row;
        let quiet = now.saturating_since(self.no_success_since) >= self.config.quiet;
        if failures >= self.config.consecutive_failures && quiet {
            return Some(Reason::ConsecutiveFailures { failures });
        }
        let totals = self.totals(now);
        let calls = totals.calls();
        if calls < u64::from(self.config.minimum_number_of_calls) {
            return None;
        }
        if Ratio::of(totals.failed, calls).get() >= self.config.failure_rate_threshold {
            return Some(Reason::FailureRate { failed: totals.failed, calls });
        }
        let slow_rate = Ratio::of(totals.slow, calls).get();
        let slow =
            self.config.slow_call_duration.is_some() && slow_rate >= self.config.slow_call_rate_threshold;
        slow.then_some(Reason::SlowCallRate { slow: totals.slow, calls })
    }

    fn follow_majority(&mut self, now: Time, rng: &mut Rng) {
        let Phase::HalfOpen(probes) = &self.phase else { return };
        match probes.verdict(self.config.permitted_number_of_calls_in_half_open_state) {
            None => {}
            Some(Reason::ProbesPassed) if self.config.recovery_ramp.is_zero() => {
                self.openings = 0;
                self.enter(Phase::Closed, Reason::ProbesPassed);
            }
            Some(Reason::ProbesPassed) => self.enter(Phase::Ramp { since: now }, Reason::ProbesPassed),
            Some(reason) => self.open(now, rng, reason),
        }
    }

    fn open(&mut self, now: Time, rng: &mut Rng, reason: Reason) {
        let doublings = self.openings.min(DOUBLINGS_MAX);
        let doubled = scaled(self.config.wait_duration_in_open_state, (1_u64 << doublings) as f64);
        let wait = rng.jitter(doubled.min(self.config.max_wait), self.config.wait_jitter);
        self.openings = self.openings.saturating_add(1);
        self.enter(Phase::Open { until: now + wait }, reason);
    }

    fn enter(&mut self, phase: Phase, reason: Reason) {
        self.enter_from(self.state_entered(), phase, reason);
    }

    fn enter_from(&mut self, from: State, phase: Phase, reason: Reason) {
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        // The end of a ramp changes how much passes, not what was seen: its evidence stays.
        if reason != Reason::RampFinished {
            self.window.clear();
            self.failures_in_a_row = 0;
            self.no_success_since = self.latest;
        }
        let transition = Transition { from, to: self.state_entered(), reason, at: self.latest };
        let kept = self.transitions.get_or_insert_default();
        if kept.len() == TRANSITIONS_MAX {
            kept.pop_front();
        }
        kept.push_back(transition);
    }

    /// The phase as people see it; a ramp by the share it has at the latest moment.
    fn state_entered(&self) -> State {
        match &self.phase {
            _ if self.mode == Mode::ForceOpen => State::ForcedOpen,
            Phase::Closed => State::Closed,
            Phase::Open { until } => State::Open { until: *until },
            Phase::HalfOpen(_) => State::HalfOpen,
            Phase::Ramp { since } => {
                let ramped = self.latest.saturating_since(*since);
                State::Ramp { share: ramp_share(ramped, self.config.recovery_ramp) }
            }
        }
    }
}

/// The probability of passing after `ramped` of a ramp: from [`RAMP_SHARE_FIRST`] evenly up to one.
fn ramp_share(ramped: Duration, ramp: Duration) -> Ratio {
    let progress = Ratio::clamped(ramped.as_secs_f64() / ramp.as_secs_f64()).get();
    Ratio::clamped(RAMP_SHARE_FIRST + (1.0 - RAMP_SHARE_FIRST) * progress)
}
