//! Prepares what is bad, proves it, and then leads traffic there.

use std::sync::Arc;

use seaworthy_observe::dial::{Detour, DetourScope, DialTable};
use socket2::Socket;

use super::hang::{Hang, hang};
use super::proxy::Proxy;
use super::refuse;
use super::upstream::Upstream;
use crate::error::FaultError;
use crate::request::FaultKind;
use crate::resolve::{NetworkFault, NetworkPart};
use crate::victims::scope_name;

/// Something bad that stands ready and was proven, but catches no traffic yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    scope: DetourScope,
    detour: Detour,
    bad: Bad,
    /// How we know that it works.
    pub(crate) proof: String,
}

/// What is kept open for the time of a fault. Only the proxy is ever looked at; the others just have to live.
#[derive(Debug)]
#[expect(dead_code, reason = "sockets are held, not used")]
enum Bad {
    Refuse(Socket),
    Hang(Hang),
    Proxy(Proxy),
}

/// Stands the bad thing up and proves it.
pub(crate) async fn prepare(part: NetworkPart, upstream: Upstream) -> Result<Prepared, FaultError> {
    let name = scope_name(&part.scope);
    // A dead network swallows probes too; a gray failure hides behind a healthy one.
    let (address, probes, bad, proof) = match part.how {
        NetworkFault::Refuse => {
            let (socket, address) = refuse::bound().map_err(FaultError::system("binding a loopback port"))?;
            let proven = refuse::prove(address).await;
            let proof =
                proven.map_err(|seen| FaultError::NotProven { what: format!("refuse {name}"), seen })?;
            (address, true, Bad::Refuse(socket), proof)
        }
        NetworkFault::Hang => {
            let hanging = hang().await;
            let (hang, address, proof) =
                hanging.map_err(|reason| FaultError::Unsupported { kind: FaultKind::Blackhole, reason })?;
            (address, true, Bad::Hang(hang), proof)
        }
        NetworkFault::Mix(mix, seed) => {
            let started = Proxy::start(mix, seed, upstream).await;
            let proxy = started.map_err(FaultError::system("opening a proxy on a loopback port"))?;
            let proven = proxy.prove().await;
            let proof = proven
                .map_err(|seen| FaultError::NotProven { what: format!("a fault proxy for {name}"), seen })?;
            (proxy.address(), false, Bad::Proxy(proxy), proof)
        }
    };
    let proof = format!("{name}: {proof}");
    Ok(Prepared { scope: part.scope, detour: Detour { address, probes }, bad, proof })
}

/// Traffic that is led astray, until this is dropped.
#[derive(Debug)]
pub(crate) struct Detoured {
    dial: Arc<DialTable>,
    scope: DetourScope,
    bad: Bad,
}

impl Detoured {
    /// Leads the scope's traffic to what was prepared.
    pub(crate) fn set(dial: &Arc<DialTable>, prepared: Prepared) -> Self {
        let Prepared { scope, detour, bad, proof: _ } = prepared;
        dial.set(scope.clone(), detour);
        Self { dial: Arc::clone(dial), scope, bad }
    }

    /// How many client requests met it: those that a proxy touched, or the attempts that were led to a dead end.
    pub(crate) fn met(&self) -> u64 {
        match &self.bad {
            Bad::Proxy(proxy) => proxy.met(),
            Bad::Refuse(_) | Bad::Hang(_) => self.dial.met(&self.scope),
        }
    }
}

impl Drop for Detoured {
    fn drop(&mut self) {
        // Before the sockets close, so that nobody is sent to a port that may be somebody else's by then.
        self.dial.clear(&self.scope);
    }
}

/// Whether a fault on traffic works on this host.
pub(crate) async fn probe(kind: FaultKind) -> Result<(), String> {
    let (_socket, address) = refuse::bound().map_err(|error| format!("binding a loopback port: {error}"))?;
    match kind {
        FaultKind::Refuse => refuse::prove(address).await.map(drop),
        FaultKind::Blackhole => hang().await.map(drop),
        FaultKind::Latency | FaultKind::Errors | FaultKind::Kill | FaultKind::Pause => Ok(()),
    }
}
