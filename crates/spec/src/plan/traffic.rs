//! How an edge spreads requests, and what it tells and believes about deadlines.

use std::collections::BTreeMap;
use std::time::Duration;

use seaworthy_policy::pool::Tier;

use super::Plan;

/// What a gateway needs to know about the traffic to a service, beyond the pool's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficPlan {
    /// Which part of a request says where it belongs; `None` = nothing does.
    pub affinity: Option<AffinitySource>,
    /// A gateway asks the endpoints of its own zone first, once it knows its zone ([`Plan::in_zone`]).
    pub prefers_own_zone: bool,
    /// What its endpoints are, by the replica's id, or the number of the endpoint from 1. Those that are not
    /// listed are active and of weight 1.
    pub members: BTreeMap<String, MemberPlan>,
    /// In which a service that we run is told what is left of the deadline, and says it when it calls. Lower case.
    pub deadline_header: String,
    /// So much less than is left is told.
    pub deadline_margin: Duration,
}

/// Where an affinity key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AffinitySource {
    /// The value of this header; lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}

/// What an endpoint is to its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberPlan {
    /// When it serves.
    pub tier: Tier,
    /// Its share of the requests relative to others.
    pub weight: u32,
}

/// The header in which services are told about deadlines, unless the spec names another.
pub const DEADLINE_HEADER: &str = "seaworthy-deadline-ms";
/// What the way back takes, unless the spec says otherwise.
pub(crate) const DEADLINE_MARGIN: Duration = Duration::from_millis(5);

impl Default for TrafficPlan {
    fn default() -> Self {
        Self {
            affinity: None,
            prefers_own_zone: true,
            members: BTreeMap::new(),
            deadline_header: DEADLINE_HEADER.to_owned(),
            deadline_margin: DEADLINE_MARGIN,
        }
    }
}

impl Default for MemberPlan {
    fn default() -> Self {
        Self { tier: Tier::Active, weight: 1 }
    }
}

impl Plan {
    /// The same plan for a gateway in this zone: its edges ask the endpoints there first, unless the spec says otherwise.
    ///
    /// # Errors
    /// When there is no such zone; the error says which there are.
    pub fn in_zone(&self, zone: &str) -> Result<Plan, String> {
        let index = self.zones.iter().position(|known| known == zone && !known.is_empty());
        let Some(index) = index.and_then(|index| u16::try_from(index).ok()) else {
            let known: Vec<&str> =
                self.zones.iter().map(String::as_str).filter(|known| !known.is_empty()).collect();
            let known = if known.is_empty() {
                "lists no zones".to_owned()
            } else {
                format!("has {}", known.join(", "))
            };
            return Err(format!("there is no zone `{zone}`: the spec {known}"));
        };
        let mut plan = self.clone();
        for service in plan.services.iter_mut().filter(|service| service.traffic.prefers_own_zone) {
            service.pool.balance.own_zone = Some(index);
        }
        Ok(plan)
    }
}
