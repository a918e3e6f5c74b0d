//! Which gates there are, and who is asked first.

use crate::{AdmissionConfig, ConfigError, RateLimitConfig, ThrottleConfig};

/// What a gate does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GateConfig {
    /// So many requests per period and key.
    RateLimit(RateLimitConfig),
    /// Does not ask a service that refuses anyway.
    Throttle(ThrottleConfig),
    /// So many at once, and a queue in front.
    Concurrency(AdmissionConfig),
}

/// The kinds of gates, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`GateConfig::RateLimit`].
    RateLimit,
    /// [`GateConfig::Throttle`].
    Throttle,
    /// [`GateConfig::Concurrency`].
    Concurrency,
}

/// Whose gate it is; the narrowest is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One route.
    Route,
    /// One edge: all routes to a service, or its egress.
    Edge,
    /// Everything that comes in.
    Gateway,
}

/// Sorts gates into the order in which they are asked.
pub fn turn(kind: Kind, scope: Scope) -> impl Ord + Copy {
    (kind, scope)
}

impl GateConfig {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            GateConfig::RateLimit(_) => Kind::RateLimit,
            GateConfig::Throttle(_) => Kind::Throttle,
            GateConfig::Concurrency(_) => Kind::Concurrency,
        }
    }

    /// Whether somebody can pass; the error names the field of its own configuration.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            GateConfig::RateLimit(config) => config.validate(),
            GateConfig::Throttle(config) => config.validate(),
            GateConfig::Concurrency(config) => config.validate(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limits_come_first_and_the_narrowest_of_each_kind() {
        let mut gates = Vec::new();
        for scope in [Scope::Gateway, Scope::Edge, Scope::Route] {
            for kind in [Kind::Concurrency, Kind::Throttle, Kind::RateLimit] {
                gates.push((kind, scope));
            }
        }
        gates.sort_by_key(|(kind, scope)| turn(*kind, *scope));
        let kinds = [Kind::RateLimit, Kind::Throttle, Kind::Concurrency];
        let scopes = [Scope::Route, Scope::Edge, Scope::Gateway];
        let expected = kinds.iter().flat_map(|kind| scopes.iter().map(move |scope| (*kind, *scope)));
        assert_eq!(gates, expected.collect::<Vec<_>>());
    }
}
