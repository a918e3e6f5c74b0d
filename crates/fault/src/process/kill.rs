//! Kill: SIGKILL to the process and its group, proven by the process being gone.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::victim::Victim;
use crate::error::FaultError;

/// How long a killed process may take to go: it first leaves the system call it is in.
const KILL_PROOF_LIMIT: Duration = Duration::from_secs(5);

/// Kills all victims at once: every signal is sent before the first wait.
pub(crate) async fn kill(victims: Vec<Victim>) -> Result<Vec<String>, FaultError> {
    // A victim that ended by itself since it was pinned would make a fault that did nothing.
    if let Some(ended) = victims.iter().find(|victim| victim.stat().is_none()) {
        let reason = format!("process {} ended before it was killed", ended.pid);
        return Err(FaultError::TargetGone { target: ended.name.clone(), reason });
    }
    let start = Instant::now();
    for victim in &victims {
        // The group first: once the leader is gone nothing vouches for the group's number.
        match victim.signal_group(Signal::KILL) {
            Ok(()) | Err(FaultError::TargetGone { .. }) => victim.signal_leader(Signal::KILL)?,
            Err(error) => return Err(error),
        }
    }
    let mut proofs = Vec::with_capacity(victims.len());
    for victim in victims {
        let (name, pid) = (victim.name, victim.pid);
        let pidfd = AsyncFd::with_interest(victim.pidfd, Interest::READABLE)
            .map_err(FaultError::system(format!("watching process {pid}")))?;
        match timeout_at(start + KILL_PROOF_LIMIT, pidfd.readable()).await {
            Ok(Ok(_)) => proofs.push(format!("{name} (process {pid}) is gone")),
            Ok(Err(error)) => return Err(FaultError::system(format!("watching process {pid}"))(error)),
            Err(_) => {
                let seen = format!("process {pid} is still there after {} s", KILL_PROOF_LIMIT.as_secs());
                return Err(FaultError::NotProven { what: format!("kill {name}"), seen });
            }
        }
    }
    Ok(proofs)
}
