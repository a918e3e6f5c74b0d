//! Refuse: a port that we hold and on which nobody listens.
//!
//! A listener that accepts and closes was rejected: the client could not tell whether its request was executed. The
//! kernel's refusal is the real thing, and as long as our socket is bound nobody else can take the port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the kernel may take to refuse us over loopback.
const REFUSE_PROOF_LIMIT: Duration = Duration::from_secs(1);

/// A bound TCP socket on a loopback port of the kernel's choice, and its address.
pub(crate) fn bound() -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
    Ok((socket, address))
}

/// Sees a connection of our own being refused, or says what happened instead.
pub(crate) async fn prove(address: SocketAddr) -> Result<String, String> {
    match timeout(REFUSE_PROOF_LIMIT, TcpStream::connect(address)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(format!("a connection to {address} was refused"))
        }
        Ok(Err(error)) => Err(format!("a connection to {address} failed otherwise: {error}")),
        Ok(Ok(_)) => Err(format!("a connection to {address} was accepted")),
        Err(_) => Err(format!("a connection to {address} was neither accepted nor refused")),
    }
}
