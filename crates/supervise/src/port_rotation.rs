//! Which port a replica is told to listen on.
//!
//! Never one from the range that the operating system takes outgoing connections from (32768 and up by default): such
//! a port can be taken by anybody's connection between our choice and the service's `bind`, and a connection to it
//! while nobody listens can even connect to itself and look alive. And never soon again: whoever still holds an old
//! address must find nobody there rather than somebody else.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

/// The ports handed out; well below the ports of outgoing connections.
pub(crate) const PORTS: RangeInclusive<u16> = 20_000..=31_999;
/// A port is not handed out again for this many allocations.
pub(crate) const ALLOCATIONS_BEFORE_REUSE: usize = 1000;

/// Hands out ports in turn.
#[derive(Debug)]
pub(crate) struct PortRotation {
    next: u16,
    recent: VecDeque<u16>,
}

impl PortRotation {
    /// Begins anywhere, so that two nodes on one host do not compete for the same ports.
    pub(crate) fn new(random: u64) -> Self {
        let ports = u64::from(PORTS.end() - PORTS.start()) + 1;
        Self { next: PORTS.start() + (random % ports) as u16, recent: VecDeque::new() }
    }

    /// The next port that is free; `None` when there is none.
    pub(crate) fn allocate(&mut self, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        for _ in PORTS {
            let port = self.next;
            self.next = if port == *PORTS.end() { *PORTS.start() } else { port + 1 };
            if !self.recent.contains(&port) && is_free(port) {
                if self.recent.len() == ALLOCATIONS_BEFORE_REUSE {
                    self.recent.pop_front();
                }
                self.recent.push_back(port);
                return Some(port);
            }
        }
        None
    }
}

/// Whether a service could listen there now.
pub(crate) fn can_listen(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_go_round_and_skip_what_is_taken() {
        let mut rotation = PortRotation::new(11_998);
        let taken = |port: u16| port != 31_999 && port != 20_001;
        let drawn: Vec<Option<u16>> = (0..4).map(|_| rotation.allocate(taken)).collect();
        assert_eq!(drawn, [Some(31_998), Some(20_000), Some(20_002), Some(20_003)]);
        assert_eq!(rotation.allocate(|_| false), None);
    }

    #[test]
    fn a_port_is_not_reused_soon_even_when_few_are_free() {
        let few = |free: u16| move |port: u16| port < 20_000 + free;
        let mut rotation = PortRotation::new(0);
        let drawn: Vec<u16> = (0..1000).map(|_| rotation.allocate(few(1001)).unwrap()).collect();
        assert_eq!(drawn, (20_000..21_000).collect::<Vec<u16>>());
        assert_eq!(rotation.allocate(few(1000)), None, "better none than one just used");
        assert_eq!(rotation.allocate(few(1001)), Some(21_000));
        assert_eq!(rotation.allocate(few(1001)), Some(20_000));
    }

    #[test]
    fn every_start_lies_in_the_range_and_below_outgoing_connections() {
        for random in [0, 1, 11_999, 12_000, u64::MAX] {
            assert!(PORTS.contains(&PortRotation::new(random).allocate(|_| true).unwrap()));
        }
        assert!(*PORTS.end() < 32_768);
    }

    #[test]
    fn a_listener_makes_a_port_unusable() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!can_listen(port));
        drop(listener);
        assert!(can_listen(port));
    }
}
