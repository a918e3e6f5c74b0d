//! Stored answers of services: given again while they are fresh, and in place of a failure when they are not.
//!
//! `policy::stale` decides for each of them what a request gets and who fetches the next one; here is where they are
//! kept (`store`), what HTTP says about keeping them (`rules`), how an answer on its way to a client is kept
//! (`capture`), how one is given again (`given`), and how one is fetched for nobody in particular (`refresh`).
//!
//! **One store behind one lock, for all threads.** A store per thread would need no lock, but ask the service once
//! per thread, and a route that degrades would answer from one thread and fail from the other. The lock is held for
//! one lookup, like that of an edge; a route without a cache and without a stale step never takes it.

mod ask;
mod capture;
mod given;
mod metrics;
mod refresh;
mod rules;
mod store;

pub(crate) use ask::{Asking, ask};
pub(crate) use capture::{Capture, Length};
pub(crate) use given::{Reason, give};
pub(crate) use metrics::{CacheMetrics, Outcome};
pub(crate) use refresh::{Way, refresh, unconditional};
pub(crate) use rules::Asked;
pub(crate) use store::{Found, Store, Ticket};

use std::time::Duration;

use seaworthy_policy::call::CallConfig;
use seaworthy_policy::stale::{Lifetime, StaleConfig};
use seaworthy_spec::plan::{DegradeStep, RoutePlan};

/// How the answers of one route are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RouteCache {
    /// The index of its target.
    pub(crate) route: usize,
    /// For what anybody may see.
    pub(crate) shared: StaleConfig,
    /// For requests whose answer is theirs alone unless it says otherwise: they wait for nobody.
    pub(crate) alone: StaleConfig,
}

impl RouteCache {
    /// What a route wants kept; `None` = nothing.
    pub(crate) fn of(index: usize, route: &RoutePlan) -> Option<Self> {
        let stale = route.degrade.iter().find_map(|step| match step {
            DegradeStep::Stale { max_age } => Some(*max_age),
            _ => None,
        });
        if route.cache.is_none() && stale.is_none() {
            return None;
        }
        let fresh = route.cache.map_or(Duration::ZERO, |cache| cache.ttl);
        let lifetime = Lifetime {
            ttl: fresh,
            stale_while_revalidate: route.cache.map_or(Duration::ZERO, |cache| cache.stale_while_revalidate),
            stale_if_error: stale.unwrap_or(Duration::ZERO),
        };
        let coalesce = route.cache.is_some();
        let shared = StaleConfig {
            lifetime,
            coalesce,
            // What stands above it on the ladder is asked first, each time.
            spare_backend: matches!(route.degrade.first(), None | Some(DegradeStep::Stale { .. })),
            flight_timeout: flight_timeout(&route.call),
            ..StaleConfig::default()
        };
        Some(Self { route: index, shared, alone: StaleConfig { coalesce: false, ..shared } })
    }
}

/// Nobody waits longer for another request than for an attempt of its own.
fn flight_timeout(call: &CallConfig) -> Duration {
    call.attempt_timeout.min(call.total_timeout)
}
