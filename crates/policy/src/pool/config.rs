//! How an edge protects its endpoints.

use std::time::Duration;

use crate::breaker::BreakerConfig;
use crate::budget::BudgetConfig;
use crate::ejection::EjectionConfig;
use crate::error::{ConfigError, require};
use crate::pool::BalanceConfig;

/// The policy of one edge's shared state; from the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolConfig {
    /// What takes a failing endpoint out of the traffic.
    pub guard: Guard,
    /// How requests are spread.
    pub balance: BalanceConfig,
    /// Attempts in flight per endpoint, streaming bodies included, and for a while those that were given up without an answer, because the endpoint
    /// may still be at work on them; whoever has so many is passed over, and when all have, calls
    /// are refused. At least 1; `None` = no cap. There is no adaptive default: `cap × service time < timeout` needs the service
    /// time of a *full* endpoint, which nobody knows before it is full, and long polls and streams are in flight without being work.
    pub max_in_flight: Option<u32>,
    /// The shared budget of retries and hedges.
    pub budget: BudgetConfig,
    /// Obey the prober's verdicts; off = the control run.
    pub readiness: bool,
    /// Waiting for an endpoint to appear.
    pub parking: ParkingConfig,
    /// How many lanes (routes with a latency of their own) share this pool; at least 1.
    pub lanes: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            guard: Guard::Ejection(EjectionConfig::default()),
            balance: BalanceConfig::default(),
            max_in_flight: None,
            budget: BudgetConfig::default(),
            readiness: true,
            parking: ParkingConfig::default(),
            lanes: 1,
        }
    }
}

impl PoolConfig {
    /// Whether the pool can work with it; the error names the field, that of a part by its own name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match &self.guard {
            Guard::Ejection(config) => config.validate()?,
            Guard::Breaker(config) => config.validate()?,
            Guard::Off => {}
        }
        self.balance.validate()?;
        self.budget.validate()?;
        require(self.max_in_flight != Some(0), "max_in_flight", "be at least 1")?;
        require(self.lanes >= 1, "lanes", "be at least 1")
    }
}

/// What takes a failing endpoint out of the traffic: never two of these on one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Guard {
    /// Several endpoints: outlier ejection and the stall rule.
    Ejection(EjectionConfig),
    /// A single endpoint: circuit breaker.
    Breaker(BreakerConfig),
    /// Nothing; the control run.
    Off,
}

/// Waiting for an endpoint to appear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkingConfig {
    /// Calls that may wait at once; 0 = none ever waits.
    pub max_requests: u32,
    /// Wait only within this time after the last endpoint went; `None` = until the call's deadline.
    pub only_within: Option<Duration>,
    /// Parked calls are let go at this distance once an endpoint is there, so that it is not run over.
    pub release_interval: Duration,
}

impl Default for ParkingConfig {
    fn default() -> Self {
        Self { max_requests: 10_000, only_within: None, release_interval: Duration::from_micros(500) }
    }
}
