//! What a client connection costs while it is idle.

use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::proxy::{Body, Proxy, Stage, ask, connect};

/// Idle connections.
pub(crate) const CONNECTIONS: usize = 2000;
/// Requests before the first look, over one connection: what is set up once does not count.
const WARM_UP_REQUESTS: usize = 200;
/// Until all is quiet.
const SETTLE: Duration = Duration::from_millis(500);

/// KiB of a fresh proxy's memory per idle connection, each of which made one request before.
pub(crate) fn kib_per_connection(stage: &Stage, proxy: Proxy) -> Result<f64> {
    let running = stage.start(proxy)?;
    let mut first = connect(stage.listen())?;
    for _ in 0..WARM_UP_REQUESTS {
        ask(&mut first, Body::Small)?;
    }
    sleep(SETTLE);
    let before = running.pss_kib();
    let mut open: Vec<TcpStream> = Vec::with_capacity(CONNECTIONS);
    for index in 0..CONNECTIONS {
        let mut stream = connect(stage.listen()).with_context(|| format!("connection {index}"))?;
        ask(&mut stream, Body::Small).with_context(|| format!("connection {index}"))?;
        open.push(stream);
    }
    sleep(SETTLE);
    let after = running.pss_kib();
    // Still served: an idle connection that was closed would have been a cheap one.
    for index in [0, CONNECTIONS / 2, CONNECTIONS - 1] {
        ask(&mut open[index], Body::Small).context("asking again over an idle connection")?;
    }
    Ok(after.saturating_sub(before) as f64 / CONNECTIONS as f64)
}
