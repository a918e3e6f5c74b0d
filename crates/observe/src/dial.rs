//! Where endpoints are really dialled: at their own address, unless a network fault put a detour in between.
//!
//! Detours redirect dialling instead of standing in the way for ever, because a proxy that is always there would turn
//! "connection refused" into "accepted, then closed" and so destroy the proof that nothing was executed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ports::EndpointId;

/// Which traffic a detour catches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DetourScope {
    /// All traffic to one replica of a service, whatever its incarnation.
    Replica {
        /// The service's name.
        service: String,
        /// The replica's id.
        replica: String,
    },
    /// Traffic that leaves through the egress listener of this service; ingress routes to it are not touched.
    Egress {
        /// The service's name.
        service: String,
    },
}

/// Where to go instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detour {
    /// Dial this address.
    pub address: SocketAddr,
    /// Probes take the detour too (a dead network), or do not (a gray failure behind a healthy probe).
    pub probes: bool,
}

/// Who asks for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A route of the ingress.
    Ingress,
    /// The egress listener of the endpoint's service.
    Egress,
    /// A probe.
    Probe,
}

/// The table of detours; empty unless a fault is applied. Shared by whoever dials and whoever breaks things.
#[derive(Debug, Default)]
pub struct DialTable {
    version: AtomicU64,
    detours: RwLock<BTreeMap<DetourScope, Entry>>,
}

#[derive(Debug)]
struct Entry {
    detour: Detour,
    /// Attempts that were sent this way; probes are not among them.
    met: AtomicU64,
}

impl DialTable {
    /// Changes with every change of the table, from 0: whoever caches an answer compares it.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Sends the scope's traffic elsewhere until [`DialTable::clear`]; returns the detour it replaced.
    pub fn set(&self, scope: DetourScope, detour: Detour) -> Option<Detour> {
        let entry = Entry { detour, met: AtomicU64::new(0) };
        let replaced = self.detours.write().expect("no holder panics").insert(scope, entry);
        self.version.fetch_add(1, Ordering::AcqRel);
        replaced.map(|entry| entry.detour)
    }

    /// Ends a detour; harmless when there is none.
    pub fn clear(&self, scope: &DetourScope) {
        self.detours.write().expect("no holder panics").remove(scope);
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// How many attempts took the scope's detour so far: proof that a fault behind it was met by somebody.
    pub fn met(&self, scope: &DetourScope) -> u64 {
        let detours = self.detours.read().expect("no holder panics");
        detours.get(scope).map_or(0, |entry| entry.met.load(Ordering::Relaxed))
    }

    /// Where to dial for this endpoint, whose own address is `own`.
    pub fn address(&self, id: &EndpointId, via: Via, own: SocketAddr) -> SocketAddr {
        if self.version() == 0 {
            return own;
        }
        let detours = self.detours.read().expect("no holder panics");
        let replica =
            DetourScope::Replica { service: id.service.to_string(), replica: id.replica.to_string() };
        let edge = DetourScope::Egress { service: id.service.to_string() };
        let found = match via {
            Via::Ingress => detours.get(&replica),
            Via::Egress => detours.get(&replica).or_else(|| detours.get(&edge)),
            Via::Probe => detours.get(&replica).filter(|entry| entry.detour.probes),
        };
        let Some(entry) = found else { return own };
        if via != Via::Probe {
            entry.met.fetch_add(1, Ordering::Relaxed);
        }
        entry.detour.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> EndpointId {
        EndpointId { service: "api".into(), replica: "a-1".into(), incarnation: 1 }
    }

    #[test]
    fn a_detour_catches_its_scope_only() {
        let own: SocketAddr = ([127, 0, 0, 1], 1).into();
        let other: SocketAddr = ([127, 0, 0, 1], 2).into();
        let table = DialTable::default();
        let check = |via, expected| assert_eq!(table.address(&endpoint(), via, own), expected, "{via:?}");
        check(Via::Ingress, own);
        let edge = DetourScope::Egress { service: "api".into() };
        table.set(edge.clone(), Detour { address: other, probes: true });
        check(Via::Ingress, own);
        check(Via::Egress, other);
        check(Via::Probe, own);
        table.clear(&edge);
        check(Via::Egress, own);
        let replica = DetourScope::Replica { service: "api".into(), replica: "a-1".into() };
        table.set(replica.clone(), Detour { address: other, probes: false });
        check(Via::Ingress, other);
        check(Via::Probe, own);
        table.set(replica.clone(), Detour { address: other, probes: true });
        check(Via::Probe, other);
        assert_eq!(table.met(&replica), 0, "probes do not count, and a new detour starts anew");
        check(Via::Ingress, other);
        assert_eq!(table.met(&replica), 1);
    }
}
