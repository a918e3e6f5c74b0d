//! Listening sockets: one per address and thread, so that the kernel spreads connections and no lock is shared.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 4096;

/// Where a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// From clients, by routes.
    Ingress,
    /// From our own services, to one service.
    Egress {
        /// Its place among the listeners.
        listener: usize,
        /// What it serves.
        target: usize,
    },
}

impl Entry {
    /// Its place among the listeners; the ingress is always the first.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Ingress => 0,
            Self::Egress { listener, .. } => listener,
        }
    }
}

/// Opens `count` sockets that listen on the same address. With port 0 the kernel picks one for all of them.
pub(crate) fn open(
    address: SocketAddr,
    count: usize,
) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let first = open_one(address)?;
    let real = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(open_one(real)?);
    }
    Ok((real, sockets))
}

fn open_one(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of its predecessor to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sockets_share_the_port_that_the_kernel_picked() {
        let (address, sockets) = open(([127, 0, 0, 1], 0).into(), 3).unwrap();
        assert_ne!(address.port(), 0);
        let ports: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(ports, [address; 3]);
    }
}
