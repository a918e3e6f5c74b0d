//! Who sends requests, and by which rules: the policies under test, or a control.

use std::time::Duration;

use seaworthy_policy::call::{CallConfig, Safety};
use seaworthy_policy::pool::PoolConfig;
use seaworthy_policy::{BackoffConfig, HealthConfig};

/// By which rules requests are sent.
#[derive(Debug, Clone)]
pub enum Client {
    /// The machines that Seaworthy itself runs.
    Policy(Box<PolicyConfig>),
    /// Retries of the usual kind, to compare with.
    Control(ControlConfig),
}

/// The real machines, and what their shell would tell them.
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    /// The shared state of each gateway's edge.
    pub pool: PoolConfig,
    /// How each call is protected.
    pub call: CallConfig,
    /// Whether requests may be sent twice.
    pub safety: Safety,
    /// Readiness probes; `None` = every endpoint is ready from the start.
    pub probes: Option<HealthConfig>,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            pool: PoolConfig::default(),
            call: CallConfig::default(),
            safety: Safety::Safe,
            probes: Some(HealthConfig::default()),
        }
    }
}

/// A control's cap of attempts per endpoint at once: a request whose endpoint is full is rejected. The policies have one of their own
/// ([`PoolConfig::max_in_flight`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// The most per backend.
    pub per_backend: u32,
    /// What counts.
    pub counts: CapCounts,
}

/// What counts towards a [`Cap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapCounts {
    /// Attempts of this gateway that somebody waits for: all that a gateway can know.
    Waiting,
    /// All the work at the backend, abandoned work included: what a backend knows of itself.
    Work,
}

/// What brings tokens for retries in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refill {
    /// Retries cost nothing.
    Unlimited,
    /// Each request, whatever becomes of it.
    PerRequest(f64),
    /// Each request that ended well.
    PerSuccess(f64),
}

/// A client of the usual kind: the better of two random endpoints by attempts in flight, a time-out, retries with back-off.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Attempts in all; 1 to [`seaworthy_policy::call::MAX_ATTEMPTS`].
    pub attempts: u8,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// The wait before a retry; `None` = none.
    pub backoff: Option<BackoffConfig>,
    /// What brings tokens for retries in.
    pub refill: Refill,
    /// The most tokens in store; also what is there at the start.
    pub tokens_max: f64,
    /// The most attempts per endpoint at once.
    pub cap: Option<Cap>,
}
