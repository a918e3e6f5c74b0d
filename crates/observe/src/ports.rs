//! The small ports by which shells reach each other. The binary wires them; shells never name one another.

use std::net::SocketAddr;
use std::sync::Arc;

/// One running copy of a service, or one external address.
///
/// A restarted process has another incarnation, and is therefore another endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId {
    /// The service's name.
    pub service: Arc<str>,
    /// The replica's id, such as `a-1`.
    pub replica: Arc<str>,
    /// Counts starts of this replica, from 1.
    pub incarnation: u32,
}

impl std::fmt::Display for EndpointId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.service, self.replica)
    }
}

/// What whoever runs and probes endpoints tells whoever sends traffic to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointChange {
    /// It exists; not ready yet.
    Added {
        /// Which.
        id: EndpointId,
        /// Where it listens.
        address: SocketAddr,
        /// Index into the plan's zones.
        zone: u16,
    },
    /// Its probes' verdict changed.
    Health {
        /// Which.
        id: EndpointId,
        /// Route to it?
        ready: bool,
        /// Why, in words.
        reason: &'static str,
    },
    /// It is gone for good.
    Removed {
        /// Which.
        id: EndpointId,
        /// Why, in words.
        reason: &'static str,
    },
}

/// Takes changes of endpoints. Implemented by the gateway; must not block.
pub trait EndpointSink: Send + Sync {
    /// Applies one change, in order.
    fn apply(&self, change: EndpointChange);
}

/// Takes suspicions that live traffic raised. Implemented by whoever probes; must not block.
pub trait SuspicionSink: Send + Sync {
    /// Probe this endpoint fast until decided.
    fn suspect(&self, id: &EndpointId, reason: &'static str);
}

/// A supervised process, as faults and status see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessView {
    /// Which endpoint it serves.
    pub id: EndpointId,
    /// Its process id and process group.
    pub pid: u32,
    /// Index into the plan's zones.
    pub zone: u16,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its probes say ready.
    pub ready: bool,
}

/// Lists running processes. Implemented by the supervisor.
pub trait Processes: Send + Sync {
    /// The processes that run now.
    fn list(&self) -> Vec<ProcessView>;
}
