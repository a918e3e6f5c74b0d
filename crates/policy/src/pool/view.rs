//! The pool's state in words, for `status`, metrics and events.

use crate::breaker;
use crate::pool::{EndpointKey, Tier};

/// How the endpoint stands, for `status` and metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointView {
    /// Which endpoint.
    pub endpoint: EndpointKey,
    /// Probes say it is ready.
    pub ready: bool,
    /// `available`, `unready`, `ejected`, `readmitting`, `probation`, `open`, `half_open`, `ramp`.
    pub state: &'static str,
    /// Why, in words; empty when available.
    pub reason: &'static str,
    /// Attempts in flight, streaming bodies included.
    pub in_flight: u32,
    /// What it can fail together with.
    pub zone: u16,
    /// When it serves.
    pub tier: Tier,
    /// Its configured weight.
    pub weight: u32,
}

/// A breaker's change of state, in words.
pub(super) struct BreakerChange {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) reason: &'static str,
}

/// Whether an attempt would be let in, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Open,
    /// Open, with a small weight.
    Probation,
    Unready(&'static str),
    Refused,
    Ejected(&'static str),
    Readmitting,
    Breaker(&'static str, &'static str),
}

/// Why the guard of an endpoint lets nobody in.
pub(super) fn entry_words(entry: Entry) -> (&'static str, &'static str) {
    match entry {
        Entry::Open => ("available", ""),
        Entry::Probation => ("probation", "worse than its peers, but too many are to eject it"),
        Entry::Unready(reason) => ("unready", reason),
        Entry::Refused => ("unready", "connection refused"),
        Entry::Ejected(reason) => ("ejected", reason),
        Entry::Readmitting => ("readmitting", "a few hedged requests try it"),
        Entry::Breaker(state, reason) => (state, reason),
    }
}

pub(super) fn breaker_state(state: breaker::State) -> &'static str {
    match state {
        breaker::State::Closed => "closed",
        breaker::State::Open { .. } => "open",
        breaker::State::HalfOpen => "half_open",
        breaker::State::ForcedOpen => "forced_open",
        breaker::State::Ramp { .. } => "ramp",
    }
}

pub(super) fn breaker_reason(reason: breaker::Reason) -> &'static str {
    match reason {
        breaker::Reason::ConsecutiveFailures { .. } => "failures in a row",
        breaker::Reason::FailureRate { .. } => "failure rate",
        breaker::Reason::SlowCallRate { .. } => "slow-call rate",
        breaker::Reason::WaitOver => "the wait is over",
        breaker::Reason::ProbesPassed => "a majority of probes passed",
        breaker::Reason::ProbesFailed => "probes failed",
        breaker::Reason::RampFinished => "full traffic passed",
        breaker::Reason::Reset => "reset on request",
        breaker::Reason::ModeChanged => "somebody took over, or gave back",
    }
}
