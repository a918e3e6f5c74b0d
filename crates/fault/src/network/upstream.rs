//! Where a fault proxy finds the real thing behind it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use seaworthy_observe::dial::DetourScope;
use seaworthy_observe::ports::Processes;

/// Finds real addresses anew for each connection, because a replica that restarts listens elsewhere.
pub(crate) struct Upstream {
    processes: Arc<dyn Processes>,
    scope: DetourScope,
    external: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Upstream {
    /// `external`: the endpoints of the scope's service, if it runs elsewhere.
    pub(crate) fn new(processes: Arc<dyn Processes>, scope: DetourScope, external: Vec<SocketAddr>) -> Self {
        Self { processes, scope, external, turn: AtomicUsize::new(0) }
    }

    /// Where to connect next; round robin over what is ready, or over everything when nothing is.
    pub(crate) fn next(&self) -> Option<SocketAddr> {
        let all = self.addresses();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (!all.is_empty()).then(|| all[turn % all.len()])
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let listed = self.processes.list();
        match &self.scope {
            DetourScope::Replica { service, replica } => {
                let own = listed
                    .iter()
                    .filter(|view| *view.id.service == **service && *view.id.replica == **replica);
                let process = own.max_by_key(|view| view.id.incarnation).map(|view| view.address);
                let number = replica.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                let external = || number.and_then(|index| self.external.get(index).copied());
                process.or_else(external).into_iter().collect()
            }
            DetourScope::Egress { service } => {
                let own = || listed.iter().filter(|view| *view.id.service == **service);
                let ready: Vec<_> = own().filter(|view| view.ready).map(|view| view.address).collect();
                if !ready.is_empty() {
                    return ready;
                }
                own().map(|view| view.address).chain(self.external.iter().copied()).collect()
            }
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Upstream").field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_observe::ports::{EndpointId, ProcessView};

    use super::*;

    struct Fixed(Vec<ProcessView>);

    impl Processes for Fixed {
        fn list(&self) -> Vec<ProcessView> {
            self.0.clone()
        }
    }

    fn view(service: &str, replica: &str, incarnation: u32, port: u16, ready: bool) -> ProcessView {
        let id = EndpointId { service: service.into(), replica: replica.into(), incarnation };
        ProcessView { id, pid: 1, zone: 0, address: address(port), ready }
    }

    fn address(port: u16) -> SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, port).into()
    }

    #[test]
    fn real_addresses_are_found_by_scope() {
        let processes: Arc<dyn Processes> = Arc::new(Fixed(vec![
            view("api", "a-1", 1, 11, false),
            view("api", "a-1", 2, 12, true),
            view("api", "a-2", 1, 13, true),
            view("mail", "a-1", 1, 14, false),
            view("mail", "a-2", 1, 15, false),
        ]));
        let replica = |service: &str, replica: &str| DetourScope::Replica {
            service: service.into(),
            replica: replica.into(),
        };
        let egress = |service: &str| DetourScope::Egress { service: service.into() };
        let rows: [(DetourScope, &[u16], &[u16]); 8] = [
            (replica("api", "a-1"), &[], &[12, 12]),
            (replica("api", "a-3"), &[], &[]),
            (replica("pay", "2"), &[21, 22], &[22, 22]),
            (replica("pay", "3"), &[21, 22], &[]),
            (replica("pay", "0"), &[21, 22], &[]),
            (egress("api"), &[], &[12, 13, 12]),
            (egress("mail"), &[], &[14, 15, 14]),
            (egress("pay"), &[21, 22], &[21, 22, 21]),
        ];
        for (scope, external, expected) in rows {
            let external = external.iter().copied().map(address).collect();
            let upstream = Upstream::new(Arc::clone(&processes), scope.clone(), external);
            let got: Vec<_> = (0..expected.len().max(1)).filter_map(|_| upstream.next()).collect();
            assert_eq!(got, expected.iter().copied().map(address).collect::<Vec<_>>(), "{scope:?}");
        }
    }
}
