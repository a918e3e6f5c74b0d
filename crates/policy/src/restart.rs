//! When a process that exited is started again, and when a restart would help at all.
//!
//! **Problem.** A supervisor that gives up after a few tries turns a database's bad minute into an outage that
//! lasts until somebody wakes up; one that restarts without a pause burns the machine. **Model.** The first
//! restart is immediate, later ones wait twice as long each time, up to a maximum. Never giving up: a *crash
//! loop* is something to be seen, not a reason to stop. Only two things keep a process down: the mode the user
//! chose, and an exit code declared to be permanent. The waits begin anew once the process has been **ready**
//! (not merely running) for `reset_after`; one that hangs in its start for an hour has proved nothing.
//!
//! The crash loop lasts until then, too. Counting restarts in a window alone was **rejected**: at a wait of
//! 30 s there are only two in 60 s, so the worst crash loops would stop being called one.
//!
//! Worked number, with the defaults: exits at once, every time: restarts after 0, 0.2, 0.4, 0.8, 1.6 s (a crash
//! loop from this fifth one on, 3 s in), 3.2 ... 30, 30 s, each +- 20 %.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::{require, require_positive, require_share};
use crate::time::scaled;
use crate::{ConfigError, Rng, Time};

/// The most restarts a crash loop may be defined by; their moments are kept.
pub const CRASH_LOOP_RESTARTS_MAX: u32 = 100;
/// The most exit codes that may be declared permanent: there are no others.
pub const PERMANENT_EXIT_CODES_MAX: usize = 256;

/// Which exits are followed by a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every one.
    #[default]
    Always,
    /// All but exit code 0.
    OnFailure,
    /// None.
    Never,
}

/// So many restarts within so long are a crash loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// Restarts; 1 to [`CRASH_LOOP_RESTARTS_MAX`].
    pub restarts: u32,
    /// Within this span.
    pub window: Duration,
}

/// How restarts follow exits.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartConfig {
    /// The wait before the second restart; the first is immediate.
    pub initial: Duration,
    /// By what the wait grows; at least 1.
    pub factor: f64,
    /// Where the growth ends, before jitter.
    pub max: Duration,
    /// The share by which a wait is spread to either side, from 0 to 1.
    pub jitter: f64,
    /// How long a process must have been ready for the waits to begin anew.
    pub reset_after: Duration,
    /// What is called a crash loop.
    pub crash_loop: CrashLoop,
    /// Which exits are followed by a restart.
    pub mode: Mode,
    /// Exit codes by which a process says that a restart cannot help; 78 is a bad configuration (`EX_CONFIG`
    /// in BSD's sysexits).
    pub permanent_exit_codes: Vec<i32>,
}

impl Default for RestartConfig {
    fn default() -> Self {
        RestartConfig {
            initial: Duration::from_millis(200),
            factor: 2.0,
            max: Duration::from_secs(30),
            jitter: 0.2,
            reset_after: Duration::from_mins(1),
            crash_loop: CrashLoop { restarts: 5, window: Duration::from_mins(1) },
            mode: Mode::Always,
            permanent_exit_codes: vec![78],
        }
    }
}

impl RestartConfig {
    /// Whether the waits grow, from something to something.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_positive(self.initial, "initial")?;
        require(self.factor.is_finite() && self.factor >= 1.0, "factor", "be at least 1")?;
        require(self.max >= self.initial, "max", "be at least `initial`")?;
        require_share(self.jitter, "jitter")?;
        let restarts = self.crash_loop.restarts;
        let countable = (1..=CRASH_LOOP_RESTARTS_MAX).contains(&restarts);
        require(countable, "crash_loop.restarts", "be from 1 to 100")?;
        require_positive(self.crash_loop.window, "crash_loop.window")?;
        let codes = self.permanent_exit_codes.len();
        require(codes <= PERMANENT_EXIT_CODES_MAX, "permanent_exit_codes", "hold at most 256 codes")
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Why a process is not started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StayDownReason {
    /// It ended well, and only failures are followed by a restart.
    Finished,
    /// It is never restarted.
    NeverRestarted,
    /// It said itself that a restart cannot help.
    PermanentExitCode(i32),
}

/// What follows an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start it again.
    RestartAt {
        /// When; `now` for the first time.
        at: Time,
        /// Whether it is in a crash loop.
        crash_loop: bool,
    },
    /// Leave it.
    StayDown {
        /// Why.
        reason: StayDownReason,
    },
}

/// The restarts of one replica.
#[derive(Clone, Debug)]
pub struct Restart {
    config: RestartConfig,
    /// Restarts decided since the process was last stable.
    streak: u32,
    /// When the last restarts were due, oldest first; at most `crash_loop.restarts`.
    recent: VecDeque<Time>,
    crash_loop: bool,
    ready_since: Option<Time>,
    latest: Time,
}

impl Restart {
    /// A replica that has never exited.
    pub fn new(config: RestartConfig) -> Self {
        let recent = VecDeque::new();
        Restart { config, streak: 0, recent, crash_loop: false, ready_since: None, latest: Time::ZERO }
    }

    /// The process was started; it is not ready yet.
    pub fn on_started(&mut self, now: Time) {
        self.latest = self.latest.max(now);
        self.ready_since = None;
    }

    /// The process is ready; saying so again changes nothing.
    pub fn on_ready(&mut self, now: Time) {
        self.latest = self.latest.max(now);
        self.ready_since.get_or_insert(self.latest);
    }

    /// The process has exited without having been asked to.
    pub fn on_exit(&mut self, now: Time, rng: &mut Rng, exit: Exit) -> Decision {
        let now = self.latest.max(now);
        self.latest = now;
        if self.is_stable(now) {
            self.streak = 0;
            self.crash_loop = false;
            self.recent.clear();
        }
        self.ready_since = None;
        if let Some(reason) = self.reason_to_stay_down(exit) {
            return Decision::StayDown { reason };
        }
        // An exit reported before its process was due again must not put a restart before an earlier one.
        let earliest = self.recent.back().copied().unwrap_or(now);
        let at = (now + self.wait(rng)).max(earliest);
        self.streak = self.streak.saturating_add(1);
        self.remember(at);
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
        Decision::RestartAt { at, crash_loop: self.crash_loop }
    }

    /// Whether it is in a crash loop as of `now`.
    pub fn in_crash_loop(&self, now: Time) -> bool {
        self.crash_loop && !self.is_stable(now)
    }

    /// Restarts decided since the process was last stable.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        assert!(self.recent.len() <= self.config.crash_loop.restarts as usize, "more moments than allowed");
        assert!(self.recent.iter().is_sorted(), "restarts out of order");
        assert!(!self.crash_loop || self.streak >= self.config.crash_loop.restarts, "a loop of too few");
        assert!(self.ready_since.is_none_or(|since| since <= self.latest), "ready in the future");
    }

    fn is_stable(&self, now: Time) -> bool {
        self.ready_since.is_some_and(|since| now.saturating_since(since) >= self.config.reset_after)
    }

    fn reason_to_stay_down(&self, exit: Exit) -> Option<StayDownReason> {
        match (self.config.mode, exit) {
            (Mode::Never, _) => Some(StayDownReason::NeverRestarted),
            (_, Exit::Code(code)) if self.config.permanent_exit_codes.contains(&code) => {
                Some(StayDownReason::PermanentExitCode(code))
            }
            (Mode::OnFailure, Exit::Code(0)) => Some(StayDownReason::Finished),
            (Mode::Always | Mode::OnFailure, _) => None,
        }
    }

    fn wait(&self, rng: &mut Rng) -> Duration {
        let Some(exponent) = self.streak.checked_sub(1) else { return Duration::ZERO };
        let growth = self.config.factor.powi(i32::try_from(exponent).unwrap_or(i32::MAX));
        rng.jitter(scaled(self.config.initial, growth).min(self.config.max), self.config.jitter)
    }

    /// Notes a restart, and whether the last ones came so close together that they are a crash loop.
    fn remember(&mut self, at: Time) {
        let restarts = self.config.crash_loop.restarts as usize;
        while self.recent.len() >= restarts {
            self.recent.pop_front();
        }
        self.recent.push_back(at);
        let oldest = self.recent.front().copied().unwrap_or(at);
        let close = at.saturating_since(oldest) <= self.config.crash_loop.window;
        self.crash_loop |= self.recent.len() == restarts && close;
    }
}

/// What is known when a replica's liveness probe asks for its restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateInput {
    /// Replicas of the service.
    pub replicas: u32,
    /// How many of them fail their liveness probe by *timeout*, this one included. A refused connection or an
    /// exit is not counted: those are dead, not slow.
    pub failing_by_timeout: u32,
    /// Whether a dependency that the service declares as required is down.
    pub dependency_down: bool,
    /// Liveness restarts of this service that are under way.
    pub restarts_in_progress: u32,
}

/// Whether a liveness restart may go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Restart,
    /// It would not help, or would hurt.
    Hold(HoldReason),
}

/// Why a liveness restart is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// A dependency is down, and restarting does not bring it back.
    Dependency,
    /// Several replicas, more than a third, are slow at once: that is overload, which a restart makes worse.
    Fleet,
    /// Another replica is being restarted; one at a time.
    AnotherRestart,
}

/// Liveness restarts of one service that may be under way at once.
const RESTARTS_AT_ONCE_MAX: u32 = 1;
/// More than one in this many replicas failing at once is the fleet's trouble, not a replica's.
const FLEET_SHARE: u64 = 3;

/// Decides whether a replica that fails its liveness probe is restarted.
///
/// A hung process is cured by a restart; a slow one under too much load is not: its restart sends its load to
/// the others, and they follow. The two differ in how many hang at once. A single failing replica is never the
/// fleet's trouble, even if it is the only one there is.
///
/// Worked number: of 3 replicas, 1 failing is restarted (a third is not more than a third), 2 are held.
pub fn gate(input: GateInput) -> Gate {
    if input.dependency_down {
        return Gate::Hold(HoldReason::Dependency);
    }
    let failing = u64::from(input.failing_by_timeout);
    if failing > 1 && failing * FLEET_SHARE > u64::from(input.replicas) {
        return Gate::Hold(HoldReason::Fleet);
    }
    if input.restarts_in_progress >= RESTARTS_AT_ONCE_MAX {
        return Gate::Hold(HoldReason::AnotherRestart);
    }
    Gate::Restart
}
