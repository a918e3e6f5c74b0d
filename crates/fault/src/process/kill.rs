//! Kill: SIGKILL to the process and its group, proven by the process being gone.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

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
    for victim in &victims {
        // The group first: once the leader is gone nothing vouches for the group's number.
        match victim.signal_group(Signal::KILL) {
            Ok(()) | Err(FaultError::TargetGone { .. }) => victim.signal_leader(Signal::KILL)?,
            Err(error) => return Err(error),
        }
    }
    // A blocking wait on a thread made for that: it ends with the processes, or after the limit.
    let waited =
        tokio::task::spawn_blocking(move || wait_for_all(victims, Instant::now() + KILL_PROOF_LIMIT));
    waited.await.map_err(|_| FaultError::Stopped)?
}

fn wait_for_all(victims: Vec<Victim>, deadline: Instant) -> Result<Vec<String>, FaultError> {
    let mut proofs = Vec::with_capacity(victims.len());
    for Victim { name, pid, pidfd, .. } in victims {
        if !is_readable(&pidfd, deadline).map_err(FaultError::system(format!("waiting for process {pid}")))? {
            let seen = format!("process {pid} is still there after {} s", KILL_PROOF_LIMIT.as_secs());
            return Err(FaultError::NotProven { what: format!("kill {name}"), seen });
        }
        proofs.push(format!("{name} (process {pid}) is gone"));
    }
    Ok(proofs)
}

/// A pidfd becomes readable when its process has ended.
fn is_readable(pidfd: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
