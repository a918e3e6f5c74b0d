//! Hang: a listener whose queue is full and never emptied, so that the kernel drops every further SYN.
//!
//! This is what a dead machine looks like to those who connect: no answer at all. Packet filters would need
//! privileges, and would outlive us.

use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::time::Duration;

use socket2::Socket;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::refuse::bound;

/// A loopback connection that is not open after this time hangs: a healthy one takes microseconds.
const HANG_PROOF: Duration = Duration::from_millis(200);

/// The queue holds one connection more than its backlog, which is 0; room for kernels that round it up.
const FILLERS_MAX: usize = 16;

/// Holds the full queue.
#[derive(Debug)]
pub(crate) struct Hang {
    _listener: Socket,
    _fillers: Vec<StdTcpStream>,
}

/// Fills a queue, and sees a connection of our own hang, or says what happened instead.
pub(crate) async fn hang() -> Result<(Hang, SocketAddr, String), String> {
    let (listener, address) = bound().map_err(|error| format!("binding a loopback port: {error}"))?;
    listener.listen(0).map_err(|error| format!("listening on {address}: {error}"))?;
    let mut fillers = Vec::new();
    while fillers.len() < FILLERS_MAX {
        match timeout(HANG_PROOF, TcpStream::connect(address)).await {
            Err(_) => {
                let proof =
                    format!("a connection to {address} was not open after {} ms", HANG_PROOF.as_millis());
                return Ok((Hang { _listener: listener, _fillers: fillers }, address, proof));
            }
            Ok(opened) => {
                let filler = opened.and_then(TcpStream::into_std);
                fillers.push(filler.map_err(|error| format!("a connection to {address} failed: {error}"))?);
            }
        }
    }
    Err(format!("the kernel accepted {FILLERS_MAX} connections to a queue of length 0"))
}
