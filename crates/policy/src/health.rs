//! Whether an endpoint should get traffic, judged by asking it.
//!
//! **Problem.** One failed probe is not an outage, one good one is not health, and asking every 2 s finds a
//! dead process 2 s late. **Model.** An endpoint starts *not ready* and becomes ready after several good probes
//! in a row; several failed ones in a row take it out. Whenever the answer is *open*, from a start until ready
//! and from any suspicion or contrary result until decided, probes follow each other fast. A refused
//! connection or an exit needs no second opinion: nobody listens, so it is out at once.
//!
//! Probes that begin together stay together for long, whatever the jitter of a period. So the first one is spread a
//! little, and the first one after a doubt was settled is put anywhere in a period: endpoints that started together, or
//! gateways that do, ask at different moments from then on. An endpoint that keeps changing has to prove itself for
//! longer (see [`flap`]).
//!
//! **Limits.** A passing probe says that the health path answers, not that real requests do: what live traffic
//! ejected is not put back by a probe; that is the business of whoever ejected it. **Rejected:** a single
//! passing probe after a start (one lucky answer of a process in a crash loop would get it traffic); probing
//! fast all the time (three replicas and four gateways at 250 ms are 48 probes per second for nothing).
//!
//! Worked number, with the defaults: a process that hangs is asked within 2.2 s, and three probes of 1 s each
//! take it out 5.2 s after the hang at the latest; when traffic has seen the stall, 3 s after that. A start is
//! ready 500 ms after its first good answer: probes at 0, 250 and 500 ms.

use std::time::Duration;

use crate::error::{require, require_positive, require_share};
use crate::time::scaled;
use crate::{ConfigError, Rng, Time};
use flap::{FlapRule, Flaps};

pub mod flap;
mod result;

pub use result::{Change, DownReason, ProbeFailure, ProbeResult};

/// How often to ask, and how many answers decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthConfig {
    /// Good probes in a row that put an endpoint back, and that settle a suspicion in its favour.
    pub rise: u32,
    /// Good probes in a row that make it ready after a start.
    pub rise_after_start: u32,
    /// Failed probes in a row that take it out.
    pub fall: u32,
    /// From the beginning of one probe to the next when nothing is in doubt.
    pub period: Duration,
    /// The same, while something is.
    pub fast_period: Duration,
    /// When a probe without an answer has failed; the shell enforces it.
    pub timeout: Duration,
    /// From a start to the first probe.
    pub initial_delay: Duration,
    /// The share by which a period is spread to either side, from 0 to 1. At 0 phases are not spread either.
    pub jitter: f64,
    /// Changes within `flap_window` that make it harder to come back, up to [`flap::FLAP_CHANGES_MAX`]; 0 = never.
    pub flap_changes: u32,
    /// Within what time changes count as flapping, and how long a calm takes one doubling of `rise` back.
    pub flap_window: Duration,
    /// Good probes in a row that a return takes at most, however much it flaps.
    pub rise_max: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        HealthConfig {
            rise: 2,
            rise_after_start: 3,
            fall: 3,
            period: Duration::from_secs(2),
            fast_period: Duration::from_millis(250),
            timeout: Duration::from_secs(1),
            initial_delay: Duration::ZERO,
            jitter: 0.1,
            flap_changes: 6,
            flap_window: Duration::from_mins(1),
            rise_max: 16,
        }
    }
}

impl HealthConfig {
    /// Whether an endpoint can become ready and can fall.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require(self.rise > 0, "rise", "be at least 1")?;
        require(self.rise_after_start > 0, "rise_after_start", "be at least 1")?;
        require(self.fall > 0, "fall", "be at least 1")?;
        require_positive(self.fast_period, "fast_period")?;
        require(self.period >= self.fast_period, "period", "be at least `fast_period`")?;
        require_positive(self.timeout, "timeout")?;
        require_share(self.jitter, "jitter")?;
        let kept = self.flap_changes != 1 && self.flap_changes <= flap::FLAP_CHANGES_MAX;
        require(kept, "flap_changes", "be 0, or from 2 to 16")?;
        require_positive(self.flap_window, "flap_window")
    }

    fn flap_rule(&self) -> FlapRule {
        FlapRule {
            changes: self.flap_changes,
            window: self.flap_window,
            rise: self.rise,
            // Whoever asks for a long run has asked for it from everybody.
            rise_max: self.rise_max.max(self.rise),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    NotReady,
    Exited,
}

/// The readiness of one endpoint.
///
/// The shell sends a probe when [`Health::next_probe_at`] says so, one at a time, and reports its result with
/// [`Health::on_result`]; until then it does not ask again.
#[derive(Clone, Debug)]
pub struct Health {
    config: HealthConfig,
    phase: Phase,
    /// Why it is out, or was the last time.
    reason: DownReason,
    passes_in_a_row: u32,
    failures_in_a_row: u32,
    /// Something contradicts the present answer, so probes follow fast.
    in_doubt: bool,
    next: NextProbe,
    flaps: Flaps,
    latest: Time,
}

/// When the next probe is due. The spread is drawn on demand, because results come without randomness.
#[derive(Clone, Copy, Debug)]
enum NextProbe {
    At(Time),
    Spread {
        from: Time,
        period: Duration,
        not_before: Time,
    },
    /// Anywhere between the two, so that probes which began together fall out of step.
    Phase {
        from: Time,
        to: Time,
    },
}

impl Health {
    /// An endpoint that was started, or discovered, at `now`: not ready.
    pub fn new(config: HealthConfig, now: Time) -> Self {
        Health {
            phase: Phase::Starting,
            reason: DownReason::Starting,
            passes_in_a_row: 0,
            failures_in_a_row: 0,
            in_doubt: true,
            next: NextProbe::Phase {
                from: now + config.initial_delay,
                to: now + config.initial_delay + scaled(config.fast_period, config.jitter),
            },
            flaps: Flaps::default(),
            latest: now,
            config,
        }
    }

    /// A probe has ended. A result that arrives after the process exited says nothing.
    pub fn on_result(&mut self, now: Time, result: ProbeResult) -> Option<Change> {
        let now = self.observe(now);
        let rule = self.config.flap_rule();
        self.flaps.calm_down(now, rule);
        let was_in_doubt = self.in_doubt;
        let change = match (self.phase, result) {
            (Phase::Exited, _) => return None,
            (_, ProbeResult::Pass) => self.on_pass(),
            (_, ProbeResult::Fail { reason }) => self.on_failure(DownReason::Probe(reason), self.config.fall),
            (_, ProbeResult::Refused) => self.on_failure(DownReason::Refused, 1),
        };
        if change.is_some() {
            self.flaps.on_change(now, rule);
        }
        let begun = match self.next {
            NextProbe::At(at) => at.min(now),
            NextProbe::Spread { .. } | NextProbe::Phase { .. } => now,
        };
        let settled = was_in_doubt && !self.in_doubt;
        self.next = if settled && self.config.jitter > 0.0 {
            let (from, to) = (begun + self.config.fast_period, begun + self.config.period);
            NextProbe::Phase { from: from.max(now), to: to.max(now) }
        } else {
            let period = if self.in_doubt { self.config.fast_period } else { self.config.period };
            NextProbe::Spread { from: begun, period, not_before: now }
        };
        self.check_in_debug();
        change
    }

    /// Traffic saw a stall or a refusal: asks at once, and fast until it is decided. While it is in doubt
    /// already, or out, this changes nothing, so any number of suspicions cause no more probes.
    pub fn on_suspicion(&mut self, now: Time) {
        let now = self.observe(now);
        if self.phase != Phase::Ready || self.in_doubt {
            return;
        }
        self.in_doubt = true;
        self.passes_in_a_row = 0;
        self.next = match self.next {
            NextProbe::At(at) => NextProbe::At(at.min(now)),
            NextProbe::Spread { .. } | NextProbe::Phase { .. } => NextProbe::At(now),
        };
        self.check_in_debug();
    }

    /// The process is gone: out at once, and not asked until a start.
    pub fn on_exit(&mut self, now: Time) -> Option<Change> {
        self.observe(now);
        let was_ready = self.is_ready();
        self.enter(Phase::Exited, DownReason::Exited);
        self.check_in_debug();
        was_ready.then_some(Change::Down(DownReason::Exited))
    }

    /// A process was started in its place: not ready until it has proved itself.
    pub fn on_start(&mut self, now: Time) -> Option<Change> {
        let change = self.on_exit(now);
        *self = Health::new(self.config, self.latest);
        change
    }

    /// When to send the next probe; `None` when there is nobody to ask. The answer stays the same until the
    /// next event.
    pub fn next_probe_at(&mut self, rng: &mut Rng) -> Option<Time> {
        if self.phase == Phase::Exited {
            return None;
        }
        let at = match self.next {
            NextProbe::At(at) => at,
            NextProbe::Spread { from, period, not_before } => {
                (from + rng.jitter(period, self.config.jitter)).max(not_before)
            }
            NextProbe::Phase { from, to } => from + scaled(to.saturating_since(from), rng.unit()),
        };
        self.next = NextProbe::At(at);
        Some(at)
    }

    /// Whether it should get traffic.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether probes follow fast, because the answer is open.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Good probes in a row that a return takes now: `rise`, or more for one that flaps.
    pub fn rise_needed(&self) -> u32 {
        self.flaps.needed(self.config.flap_rule())
    }

    /// Whether it changed so often lately that a return takes longer.
    pub fn is_flapping(&self) -> bool {
        self.flaps.is_flapping()
    }

    /// Why it is out; `None` while it is ready.
    pub fn down_reason(&self) -> Option<DownReason> {
        (!self.is_ready()).then_some(self.reason)
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        assert!(self.passes_in_a_row == 0 || self.failures_in_a_row == 0, "both runs at once");
        match self.phase {
            Phase::Starting => {
                assert!(self.in_doubt, "a start is in doubt until it is ready");
                assert!(self.passes_in_a_row < self.config.rise_after_start, "proved, and still starting");
            }
            Phase::Ready => {
                assert!(self.failures_in_a_row < self.config.fall, "fallen, and still ready");
                assert!(self.failures_in_a_row == 0 || self.in_doubt, "failing, and not in doubt");
            }
            Phase::NotReady => assert!(self.passes_in_a_row < self.rise_needed(), "risen, and still out"),
            Phase::Exited => assert!(!self.in_doubt, "an exit leaves no doubt"),
        }
    }

    fn check_in_debug(&self) {
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn observe(&mut self, now: Time) -> Time {
        self.latest = self.latest.max(now);
        self.latest
    }

    fn enter(&mut self, phase: Phase, reason: DownReason) {
        self.phase = phase;
        self.reason = reason;
        self.in_doubt = false;
        self.passes_in_a_row = 0;
        self.failures_in_a_row = 0;
    }

    fn on_pass(&mut self) -> Option<Change> {
        self.failures_in_a_row = 0;
        self.passes_in_a_row = self.passes_in_a_row.saturating_add(1);
        match self.phase {
            Phase::Ready => {
                self.in_doubt &= self.passes_in_a_row < self.config.rise;
                None
            }
            Phase::Starting | Phase::NotReady => {
                self.in_doubt = true;
                let starting = self.phase == Phase::Starting;
                let needed = if starting { self.config.rise_after_start } else { self.rise_needed() };
                if self.passes_in_a_row < needed {
                    return None;
                }
                self.enter(Phase::Ready, self.reason);
                Some(Change::Up)
            }
            Phase::Exited => None,
        }
    }

    fn on_failure(&mut self, reason: DownReason, needed: u32) -> Option<Change> {
        self.passes_in_a_row = 0;
        match self.phase {
            Phase::Ready => {
                self.failures_in_a_row += 1;
                self.in_doubt = true;
                if self.failures_in_a_row < needed {
                    return None;
                }
                self.enter(Phase::NotReady, reason);
                Some(Change::Down(reason))
            }
            Phase::NotReady => {
                self.in_doubt = false;
                self.reason = reason;
                None
            }
            Phase::Starting => {
                self.reason = reason;
                None
            }
            Phase::Exited => None,
        }
    }
}
