//! Outlier ejection of one endpoint among several: in, out, and the careful way back.
//!
//! **Problem.** A replica that fails behind a healthy probe (500s, a hang, a slow disk) keeps its share of the traffic,
//! and a proxy that re-admits it on the next good probe flaps: HAProxy and Envoy, tuned, still let 2,028 and 3,141 of
//! 40,000 requests pay for one slow replica that way.
//!
//! **Model.** `In` → (failures in a row, a stall, or worse than its peers for several sweeps) → `Out` for `base × n` → `Readmitting`: one real request at a time,
//! each of them hedged, `readmission_successes` good ones in a row → `In`. A bad one, or [`INCONCLUSIVE_TRIALS_MAX`] in a
//! row that told nothing → `Out` again, for longer. A probe has no say in this: what live traffic ejected, only live
//! traffic takes back. `n` falls back to zero once the endpoint has been in for as long as its last ejection lasted.
//!
//! A trial that its hedge overtakes must not count as bad at once (a cold connection is slower than a warm one), but it
//! must count: a hung endpoint never gives another sign, and every request would pay for trying it.
//!
//! Every result carries the **generation** it was admitted in, so a request from before the ejection that ends after it
//! changes nothing.
//!
//! **Not here.** How many endpoints may be out at once is the pool's decision, because it needs to see all of them.
//!
//! **Worked number.** Base 30 s: an endpoint that relapses at every re-admission is out for 30, 60, 90 ... 300 s, and so
//! costs at most three hedged requests per five minutes in the long run.

use std::time::Duration;

use crate::error::{ConfigError, require, require_positive, require_share};
use crate::time::Time;

/// Trials in a row that may end without an answer of the endpoint, or with "slow down", before it is out again.
pub const INCONCLUSIVE_TRIALS_MAX: u32 = 3;

/// When an endpoint is ejected, and how it comes back.
#[derive(Debug, Clone, PartialEq)]
pub struct EjectionConfig {
    /// 5xx answers or connect failures in a row that eject; at least 1.
    pub consecutive_failures: u32,
    /// The first ejection lasts this long, the n-th in a row n times as long.
    pub base_ejection_time: Duration,
    /// The longest ejection.
    pub max_ejection_time: Duration,
    /// The stall rule never fires before this long without a byte.
    pub min_stall: Duration,
    /// The stall rule: this many times the lane's p99.
    pub stall_factor: u32,
    /// The stall rule needs this many attempts outstanding.
    pub stall_outstanding: u32,
    /// Good re-admission requests in a row that take an endpoint back; at least 1.
    pub readmission_successes: u32,
    /// Endpoints are compared with their peers this often; longer than 0. With three sweeps to persist, 500 ms find an endpoint
    /// that has become ten times as slow within 2 s, and let a pause of a second pass; one each second would take more than three.
    pub sweep_interval: Duration,
    /// What an endpoint looks like must persist for so many sweeps; at least 1.
    pub persistence: u32,
    /// This many times the peers' median is slow; above 1.
    pub slow_factor: f64,
    /// A share of failures that exceeds the peers' median share by this much is failing; from 0 to 1.
    pub failure_excess: f64,
    /// A share of fewer calls than this is no share; at least 1.
    pub failure_calls_min: u32,
}

impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_mins(5),
            min_stall: Duration::from_millis(200),
            stall_factor: 8,
            stall_outstanding: 3,
            readmission_successes: 3,
            sweep_interval: Duration::from_millis(500),
            persistence: 3,
            slow_factor: 4.0,
            failure_excess: 0.1,
            failure_calls_min: 20,
        }
    }
}

impl EjectionConfig {
    /// Whether the machine can work with it; the error names the field.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require(self.consecutive_failures >= 1, "consecutive_failures", "be at least 1")?;
        require_positive(self.base_ejection_time, "base_ejection_time")?;
        let ordered = self.max_ejection_time >= self.base_ejection_time;
        require(ordered, "max_ejection_time", "not be shorter than `base_ejection_time`")?;
        require_positive(self.min_stall, "min_stall")?;
        require(self.stall_factor >= 1, "stall_factor", "be at least 1")?;
        require(self.stall_outstanding >= 1, "stall_outstanding", "be at least 1")?;
        require(self.readmission_successes >= 1, "readmission_successes", "be at least 1")?;
        require_positive(self.sweep_interval, "sweep_interval")?;
        require(self.persistence >= 1, "persistence", "be at least 1")?;
        require(self.slow_factor > 1.0, "slow_factor", "be above 1")?;
        require_share(self.failure_excess, "failure_excess")?;
        require(self.failure_calls_min >= 1, "failure_calls_min", "be at least 1")
    }
}

/// Why live traffic ejected an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectReason {
    /// 5xx answers or connect failures in a row.
    Consecutive,
    /// Several attempts outstanding and no byte for too long.
    Stall,
    /// Much slower than its peers, for several sweeps.
    Slow,
    /// It fails much more often than its peers, for several sweeps.
    Failing,
    /// A re-admission request failed or was too slow.
    Relapse,
}

impl EjectReason {
    /// In words, for events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "failures in a row",
            Self::Stall => "attempts outstanding and no byte (stall rule)",
            Self::Slow => "much slower than its peers",
            Self::Failing => "fails much more often than its peers",
            Self::Relapse => "a re-admission request failed",
        }
    }
}

/// Where the endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectionState {
    /// In the traffic.
    In,
    /// Out until then.
    Out {
        /// The end of the ejection.
        until: Time,
        /// The stall rule ejected it; panic does not bring it back.
        stalled: bool,
    },
    /// One hedged request at a time tries it.
    Readmitting {
        /// Good ones in a row so far.
        successes: u32,
        /// A request is on its way.
        trying: bool,
    },
}

/// The ejection state of one endpoint.
#[derive(Debug, Clone)]
pub struct Ejection {
    state: EjectionState,
    generation: u32,
    failures_in_row: u32,
    /// Committed bodies that broke off in a row; their heads were good, so `failures_in_row` cannot tell.
    broken_bodies_in_row: u32,
    inconclusive_in_row: u32,
    /// Ejections in a row; decides the length of the next.
    times: u32,
    last_duration: Duration,
    in_since: Time,
    readmitting_since: Time,
    /// Why it was last ejected, relapses aside.
    cause: Option<EjectReason>,
}

/// What a result means for the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Keep,
    /// It should be ejected, if the pool can afford to.
    Eject(EjectReason),
    /// It just came back.
    Readmitted,
}

impl Ejection {
    /// An endpoint that is in.
    pub fn new(now: Time) -> Self {
        Self {
            state: EjectionState::In,
            generation: 0,
            failures_in_row: 0,
            broken_bodies_in_row: 0,
            inconclusive_in_row: 0,
            times: 0,
            last_duration: Duration::ZERO,
            in_since: now,
            readmitting_since: now,
            cause: None,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> EjectionState {
        self.state
    }

    /// The generation that an attempt admitted now belongs to.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Failures in a row while in.
    pub fn failures_in_row(&self) -> u32 {
        self.failures_in_row
    }

    /// A good answer to an attempt of `generation`.
    pub fn on_success(&mut self, now: Time, generation: u32, config: &EjectionConfig) -> Verdict {
        if generation != self.generation {
            return Verdict::Keep;
        }
        match self.state {
            EjectionState::In => {
                self.failures_in_row = 0;
                if self.times > 0 && now.saturating_since(self.in_since) >= self.last_duration {
                    self.times = 0;
                }
                Verdict::Keep
            }
            EjectionState::Out { .. } => Verdict::Keep,
            EjectionState::Readmitting { successes, .. } if successes + 1 >= config.readmission_successes => {
                self.enter(EjectionState::In);
                self.in_since = now;
                Verdict::Readmitted
            }
            EjectionState::Readmitting { successes, .. } => {
                self.inconclusive_in_row = 0;
                self.state = EjectionState::Readmitting { successes: successes + 1, trying: false };
                Verdict::Keep
            }
        }
    }

    /// The body of a good answer to an attempt of `generation` ended, well or broken.
    pub fn on_body_end(&mut self, generation: u32, broken: bool, config: &EjectionConfig) -> Verdict {
        if generation != self.generation {
            return Verdict::Keep;
        }
        if !broken {
            self.broken_bodies_in_row = 0;
            return Verdict::Keep;
        }
        self.broken_bodies_in_row = self.broken_bodies_in_row.saturating_add(1);
        let enough = self.broken_bodies_in_row >= config.consecutive_failures;
        match self.on_failure(generation, config) {
            Verdict::Keep if enough && self.state == EjectionState::In => {
                Verdict::Eject(EjectReason::Consecutive)
            }
            verdict => verdict,
        }
    }

    /// A failed attempt of `generation`.
    pub fn on_failure(&mut self, generation: u32, config: &EjectionConfig) -> Verdict {
        if generation != self.generation {
            return Verdict::Keep;
        }
        match self.state {
            EjectionState::In => {
                self.failures_in_row = self.failures_in_row.saturating_add(1);
                if self.failures_in_row >= config.consecutive_failures {
                    return Verdict::Eject(EjectReason::Consecutive);
                }
                Verdict::Keep
            }
            EjectionState::Out { .. } => Verdict::Keep,
            EjectionState::Readmitting { .. } => Verdict::Eject(EjectReason::Relapse),
        }
    }

    /// A trial of `generation` told neither good nor bad: its hedge overtook it, or it was asked to slow down.
    pub fn on_inconclusive(&mut self, generation: u32) -> Verdict {
        let EjectionState::Readmitting { successes, .. } = self.state else { return Verdict::Keep };
        if generation != self.generation {
            return Verdict::Keep;
        }
        self.inconclusive_in_row += 1;
        self.state = EjectionState::Readmitting { successes, trying: false };
        if self.inconclusive_in_row >= INCONCLUSIVE_TRIALS_MAX {
            return Verdict::Eject(EjectReason::Relapse);
        }
        Verdict::Keep
    }

    /// A relapse that the pool could not afford to obey: the endpoint begins its re-admission anew.
    pub fn spare(&mut self) {
        if let EjectionState::Readmitting { .. } = self.state {
            self.inconclusive_in_row = 0;
            self.state = EjectionState::Readmitting { successes: 0, trying: false };
        }
    }

    /// An attempt of `generation` was dropped; it tells nothing, but it frees the re-admission place.
    pub fn on_cancelled(&mut self, generation: u32) {
        if generation == self.generation
            && let EjectionState::Readmitting { successes, .. } = self.state
        {
            self.state = EjectionState::Readmitting { successes, trying: false };
        }
    }

    /// Puts the endpoint out; returns for how long.
    pub fn eject(&mut self, now: Time, reason: EjectReason, config: &EjectionConfig) -> Duration {
        self.times = self.times.saturating_add(1);
        let duration = config.base_ejection_time.saturating_mul(self.times).min(config.max_ejection_time);
        self.last_duration = duration;
        // A relapse after a stall is still that stall: the endpoint has not shown a byte in time since.
        if reason != EjectReason::Relapse {
            self.cause = Some(reason);
        }
        let stalled = self.cause == Some(EjectReason::Stall);
        self.enter(EjectionState::Out { until: now.after(duration), stalled });
        duration
    }

    /// Runs the timer; true when re-admission begins now.
    pub fn on_timer(&mut self, now: Time) -> bool {
        match self.state {
            EjectionState::Out { until, .. } if now >= until => self.begin_readmission(now),
            _ => false,
        }
    }

    /// Ends an ejection before its time; true when re-admission begins now.
    pub fn begin_readmission(&mut self, now: Time) -> bool {
        let EjectionState::Out { .. } = self.state else { return false };
        self.readmitting_since = now;
        self.enter(EjectionState::Readmitting { successes: 0, trying: false });
        true
    }

    /// Why it was last ejected, relapses aside.
    pub fn cause(&self) -> Option<EjectReason> {
        self.cause
    }

    /// When the present (or last) re-admission began.
    pub fn readmitting_since(&self) -> Time {
        self.readmitting_since
    }

    /// Takes the one re-admission place, if it is free.
    pub fn try_readmission(&mut self) -> bool {
        match self.state {
            EjectionState::Readmitting { successes, trying: false } => {
                self.state = EjectionState::Readmitting { successes, trying: true };
                true
            }
            _ => false,
        }
    }

    /// When [`Ejection::on_timer`] is due.
    pub fn next_deadline(&self) -> Option<Time> {
        match self.state {
            EjectionState::Out { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Forgets everything but the generation.
    pub fn reset(&mut self, now: Time) {
        let generation = self.generation.wrapping_add(1);
        *self = Self { generation, ..Self::new(now) };
    }

    fn enter(&mut self, state: EjectionState) {
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
        self.failures_in_row = 0;
        self.broken_bodies_in_row = 0;
        self.inconclusive_in_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn out(config: &EjectionConfig, reason: EjectReason) -> Ejection {
        let mut ejection = Ejection::new(at(0));
        ejection.eject(at(0), reason, config);
        ejection
    }

    #[test]
    fn the_defaults_are_valid_and_each_error_names_its_field() {
        let good = EjectionConfig::default();
        assert_eq!(good.validate(), Ok(()));
        for (bad, field) in [
            (EjectionConfig { consecutive_failures: 0, ..good.clone() }, "consecutive_failures"),
            (EjectionConfig { base_ejection_time: Duration::ZERO, ..good.clone() }, "base_ejection_time"),
            (
                EjectionConfig { max_ejection_time: Duration::from_secs(1), ..good.clone() },
                "max_ejection_time",
            ),
            (EjectionConfig { min_stall: Duration::ZERO, ..good.clone() }, "min_stall"),
            (EjectionConfig { stall_factor: 0, ..good.clone() }, "stall_factor"),
            (EjectionConfig { stall_outstanding: 0, ..good.clone() }, "stall_outstanding"),
            (EjectionConfig { readmission_successes: 0, ..good.clone() }, "readmission_successes"),
            (EjectionConfig { sweep_interval: Duration::ZERO, ..good.clone() }, "sweep_interval"),
            (EjectionConfig { persistence: 0, ..good.clone() }, "persistence"),
            (EjectionConfig { slow_factor: f64::NAN, ..good.clone() }, "slow_factor"),
            (EjectionConfig { failure_excess: 1.5, ..good.clone() }, "failure_excess"),
            (EjectionConfig { failure_calls_min: 0, ..good.clone() }, "failure_calls_min"),
        ] {
            assert_eq!(bad.validate().expect_err(field).field, field);
        }
    }

    #[test]
    fn failures_in_a_row_ask_for_ejection_and_a_success_between_them_does_not() {
        let config = EjectionConfig::default();
        let mut ejection = Ejection::new(at(0));
        for _ in 0..4 {
            assert_eq!(ejection.on_failure(0, &config), Verdict::Keep);
        }
        assert_eq!(ejection.on_success(at(1), 0, &config), Verdict::Keep);
        for _ in 0..4 {
            assert_eq!(ejection.on_failure(0, &config), Verdict::Keep);
        }
        assert_eq!(ejection.on_failure(0, &config), Verdict::Eject(EjectReason::Consecutive));
    }

    #[test]
    fn a_result_from_before_the_ejection_never_counts() {
        let config = EjectionConfig::default();
        let mut ejection = out(&config, EjectReason::Consecutive);
        assert!(ejection.on_timer(at(30)));
        assert_eq!(ejection.on_success(at(30), 0, &config), Verdict::Keep);
        assert_eq!(ejection.on_failure(0, &config), Verdict::Keep);
        assert_eq!(ejection.state(), EjectionState::Readmitting { successes: 0, trying: false });
    }

    #[test]
    fn the_way_back_takes_real_requests_one_at_a_time() {
        let config = EjectionConfig::default();
        let mut ejection = out(&config, EjectReason::Consecutive);
        assert!(!ejection.try_readmission(), "not before its time");
        assert!(!ejection.on_timer(at(29)));
        assert!(ejection.on_timer(at(30)));
        for round in 0..3 {
            assert!(ejection.try_readmission());
            assert!(!ejection.try_readmission(), "only one at a time");
            let expected = if round == 2 { Verdict::Readmitted } else { Verdict::Keep };
            assert_eq!(ejection.on_success(at(31), ejection.generation(), &config), expected);
        }
        assert_eq!(ejection.state(), EjectionState::In);
    }

    #[test]
    fn relapses_last_longer_up_to_the_limit() {
        let config = EjectionConfig::default();
        let mut ejection = out(&config, EjectReason::Stall);
        let mut now = at(30);
        for expected_s in [60, 90, 120, 150, 180, 210, 240, 270, 300, 300] {
            assert!(ejection.on_timer(now));
            assert!(ejection.try_readmission());
            assert_eq!(
                ejection.on_failure(ejection.generation(), &config),
                Verdict::Eject(EjectReason::Relapse)
            );
            let duration = ejection.eject(now, EjectReason::Relapse, &config);
            assert_eq!(duration, Duration::from_secs(expected_s));
            let EjectionState::Out { until, stalled } = ejection.state() else { panic!("out") };
            assert!(stalled, "a relapse after a stall is still a stall");
            now = until;
        }
    }

    #[test]
    fn a_cancelled_readmission_frees_its_place_and_proves_nothing() {
        let config = EjectionConfig::default();
        let mut ejection = out(&config, EjectReason::Consecutive);
        assert!(ejection.on_timer(at(30)));
        assert!(ejection.try_readmission());
        ejection.on_cancelled(ejection.generation());
        assert_eq!(ejection.state(), EjectionState::Readmitting { successes: 0, trying: false });
        assert!(ejection.try_readmission());
    }

    #[test]
    fn a_long_good_time_forgives() {
        let config = EjectionConfig::default();
        let mut ejection = out(&config, EjectReason::Consecutive);
        assert!(ejection.on_timer(at(30)));
        for _ in 0..3 {
            assert!(ejection.try_readmission());
            ejection.on_success(at(31), ejection.generation(), &config);
        }
        ejection.on_success(at(62), ejection.generation(), &config);
        assert_eq!(ejection.eject(at(63), EjectReason::Consecutive, &config), Duration::from_secs(30));
    }
}
