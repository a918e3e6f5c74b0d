//! How requests are spread, and what an endpoint is to the pool.

use std::time::Duration;

use crate::error::{ConfigError, require, require_positive, require_share};

/// The largest weight of an endpoint.
pub const WEIGHT_MAX: u32 = 1_000;

/// How the pool chooses among the endpoints that may be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest attempts in flight, by weight.
    LeastInFlight,
    /// The better of two drawn at random, by expected latency and attempts in flight.
    #[default]
    P2c,
}

/// How requests are spread over the endpoints of an edge.
#[derive(Debug, Clone, PartialEq)]
pub struct BalanceConfig {
    /// Who is asked when nothing else decides.
    pub strategy: Strategy,
    /// What a failed attempt counts as in the latency score: the attempt timeout, so that an endpoint which fails fast does
    /// not look fast. Longer than 0.
    pub failure_cost: Duration,
    /// A new or re-admitted endpoint reaches its full weight after this long; 0 = at once.
    pub slow_start: Duration,
    /// The zone this gateway runs in: its endpoints are preferred. `None` = all zones alike.
    pub own_zone: Option<u16>,
    /// While this share of the own zone's weight is available, nothing is sent to other zones; below it, requests spill in
    /// proportion. Above 0, up to 1. The default of 0.7 is Envoy's overprovisioning factor of 1.4.
    pub zone_healthy_share: f64,
    /// Standby endpoints join in when less than this share of the active ones is available; 0 = only when none is. Below the default
    /// of a half, panic sends requests to active endpoints that were ejected while a standby that is well stands by.
    pub standby_below: f64,
    /// Standby endpoints serve until the active ones have been well for this long.
    pub failback_delay: Duration,
    /// With an affinity key: the most an endpoint may have in flight, as a multiple of its fair share; above 1, up to 10.
    pub affinity_load_factor: f64,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            failure_cost: Duration::from_secs(5),
            slow_start: Duration::from_secs(10),
            own_zone: None,
            zone_healthy_share: 0.7,
            standby_below: 0.5,
            failback_delay: Duration::from_secs(30),
            affinity_load_factor: 1.25,
        }
    }
}

impl BalanceConfig {
    /// Whether the pool can work with it; the error names the field.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_positive(self.failure_cost, "failure_cost")?;
        require_share(self.zone_healthy_share, "zone_healthy_share")?;
        require(self.zone_healthy_share > 0.0, "zone_healthy_share", "be above 0")?;
        require_share(self.standby_below, "standby_below")?;
        let factor = self.affinity_load_factor;
        require(factor > 1.0 && factor <= 10.0, "affinity_load_factor", "be above 1 and at most 10")
    }
}

/// When an endpoint serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tier {
    /// Always.
    #[default]
    Active,
    /// Only while too few active endpoints are available.
    Standby,
}

/// What an endpoint is to its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Groups endpoints that can fail together.
    pub zone: u16,
    /// When it serves.
    pub tier: Tier,
    /// Its share of the requests relative to others; 1 to [`WEIGHT_MAX`], values outside are brought inside.
    pub weight: u32,
    /// What consistent hashing knows it by: a hash of its name, the same in every gateway and after a restart, so that
    /// its clients find it again. `None` = its key, which is new after a restart.
    pub identity: Option<u64>,
}

impl Default for Member {
    fn default() -> Self {
        Self { zone: 0, tier: Tier::Active, weight: 1, identity: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_error_names_its_field() {
        let good = BalanceConfig::default();
        assert_eq!(good.validate(), Ok(()));
        for (bad, field) in [
            (BalanceConfig { failure_cost: Duration::ZERO, ..good.clone() }, "failure_cost"),
            (BalanceConfig { zone_healthy_share: 0.0, ..good.clone() }, "zone_healthy_share"),
            (BalanceConfig { zone_healthy_share: 1.1, ..good.clone() }, "zone_healthy_share"),
            (BalanceConfig { zone_healthy_share: f64::NAN, ..good.clone() }, "zone_healthy_share"),
            (BalanceConfig { standby_below: -0.1, ..good.clone() }, "standby_below"),
            (BalanceConfig { affinity_load_factor: 1.0, ..good.clone() }, "affinity_load_factor"),
            (BalanceConfig { affinity_load_factor: f64::INFINITY, ..good.clone() }, "affinity_load_factor"),
        ] {
            assert_eq!(bad.validate().expect_err(field).field, field);
        }
    }
}
