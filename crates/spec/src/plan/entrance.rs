//! What requests must pass before they are served.

use seaworthy_policy::admission::Priority;
use seaworthy_policy::entrance::GateConfig;
use seaworthy_policy::{AdmissionConfig, RateLimitConfig, ThrottleConfig};

/// The gates of one scope: of the gateway, a route, or the edges to a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EntrancePlan {
    /// How much requests of this route matter; of no meaning elsewhere.
    pub priority: Priority,
    /// So many requests per period and key.
    pub rate_limit: Option<Gated<RateLimitConfig>>,
    /// So many at once, and a queue in front.
    pub concurrency: Option<Gated<AdmissionConfig>>,
    /// Spares a service that refuses anyway; at its egress.
    pub throttle: Option<ThrottleConfig>,
}

/// A gate that may tell people apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Gated<C> {
    /// What it does.
    pub config: C,
    /// Whose a request is.
    pub key: KeySource,
}

/// Whose a request is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeySource {
    /// Nobody's in particular: all are one.
    #[default]
    All,
    /// The client's, by its address; an IPv6 client's by the 64 bits that its network was given.
    Client,
    /// That of the value of this header, in lower case; without it the client's. A header is as honest as whoever
    /// sets it.
    Header(String),
}

impl EntrancePlan {
    /// Its gates.
    pub fn gates(&self) -> Vec<(GateConfig, KeySource)> {
        let rate_limit = self.rate_limit.iter();
        let rate_limit = rate_limit.map(|gated| (GateConfig::RateLimit(gated.config), gated.key.clone()));
        let throttle = self.throttle.iter().map(|config| (GateConfig::Throttle(*config), KeySource::All));
        let concurrency = self.concurrency.iter();
        let concurrency = concurrency.map(|gated| (GateConfig::Concurrency(gated.config), gated.key.clone()));
        rate_limit.chain(throttle).chain(concurrency).collect()
    }
}
