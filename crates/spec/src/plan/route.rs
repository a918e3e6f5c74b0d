//! How requests of clients find their service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::call::CallConfig;

use super::{CachePlan, EntrancePlan, KeysPlan, Place};

/// A route from the ingress to a service.
#[derive(Debug, Clone)]
pub struct RoutePlan {
    /// Its name.
    pub name: String,
    /// Where it stands in the spec.
    pub place: Place,
    /// Which requests it takes.
    pub matcher: RouteMatch,
    /// Index into [`Plan::services`](super::Plan::services).
    pub to: usize,
    /// Protection of calls on this route.
    pub call: Arc<CallConfig>,
    /// Unsafe requests must carry an idempotency key that the backend honours.
    pub keyed: bool,
    /// What becomes of keys of writes; `None` = they mean nothing.
    pub keys: Option<KeysPlan>,
    /// Its priority, and what its requests must pass.
    pub entrance: EntrancePlan,
    /// What to answer when the call failed, in order.
    pub degrade: Vec<DegradeStep>,
    /// How long answers are kept; `None` = they are not given twice.
    pub cache: Option<CachePlan>,
}

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// `None` = every method.
    pub method: Option<String>,
    /// Literal path, or the literal prefix of `/prefix/**` (without `/**`, so empty for `/**` alone).
    pub path: String,
    /// True for `/prefix/**`: takes the prefix itself and everything below it.
    pub prefix: bool,
}

impl RouteMatch {
    /// Whether it takes a request of this method and path (without the query).
    pub fn takes(&self, method: &str, path: &str) -> bool {
        let right_method = self.method.as_deref().is_none_or(|own| own == method);
        let right_path = match path.strip_prefix(self.path.as_str()) {
            Some("") => true,
            Some(below) => self.prefix && below.starts_with('/'),
            None => false,
        };
        right_method && right_path
    }
}

impl fmt::Display for RouteMatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = &self.method {
            write!(formatter, "{method} ")?;
        }
        write!(formatter, "{}{}", self.path, if self.prefix { "/**" } else { "" })
    }
}

/// One rung of the degradation ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DegradeStep {
    /// A fixed answer, marked `Degraded: static`.
    Static {
        /// Its status.
        status: u16,
        /// Its JSON body.
        json: String,
    },
    /// The last good answer, marked `Degraded: stale`.
    Stale {
        /// How long after it was fresh.
        max_age: Duration,
    },
    /// The answer of another service, marked `Degraded: fallback`.
    Service {
        /// Index into [`Plan::services`](super::Plan::services).
        to: usize,
        /// Calls at once.
        max_concurrent_calls: u32,
        /// The part of the route's total timeout in which the route's own service is not asked any more.
        time_kept: Duration,
    },
}
