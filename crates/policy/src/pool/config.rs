//! How an edge protects its endpoints.

use std::time::Duration;

use crate::breaker::BreakerConfig;
use crate::budget::BudgetConfig;
use crate::ejection::EjectionConfig;

/// The policy of one edge's shared state; from the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolConfig {
    /// What takes a failing endpoint out of the traffic.
    pub guard: Guard,
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
            budget: BudgetConfig::default(),
            readiness: true,
            parking: ParkingConfig::default(),
            lanes: 1,
        }
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
