//! Pause: SIGSTOP to the process group, written to the journal first, because a stopped process outlives us.

use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

use super::stat::{Stat, members};
use super::victim::{Victim, raw_pid};
use crate::error::FaultError;
use crate::journal::{Journal, PauseIntent};

/// How long a process may take to stop or to go on.
const PAUSE_PROOF_LIMIT: Duration = Duration::from_secs(2);

/// Between two looks at a process that is about to stop: the kernel announces it to the parent only.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// By how much whoever heals waits longer than we do: as long as we live, we end our faults ourselves.
const HEALER_MARGIN: Duration = Duration::from_secs(1);

/// Stopped processes; they go on when this is dropped.
pub(crate) struct Paused {
    journal: Arc<dyn Journal>,
    stopped: Vec<Stopped>,
    continued: bool,
}

struct Stopped {
    victim: Victim,
    entry: u64,
    /// Process id and start time of each member of the group, to be continued one by one when the leader is gone and
    /// nothing vouches for the group's number any more.
    members: Vec<(u32, u64)>,
}

/// Stops all victims, or none. Also returns the proofs.
pub(crate) async fn pause(
    victims: Vec<Victim>,
    limit: Duration,
    journal: Arc<dyn Journal>,
) -> Result<(Paused, Vec<String>), FaultError> {
    let mut paused = intend(victims, limit, journal).await?;
    for stopped in &paused.stopped {
        stopped.victim.signal_group(Signal::STOP)?;
    }
    let groups: Vec<u32> = paused.stopped.iter().map(|stopped| stopped.victim.pid).collect();
    let found = members(&groups);
    for stopped in &mut paused.stopped {
        let own = found.iter().filter(|(group, ..)| *group == stopped.victim.pid);
        stopped.members = own.map(|(_, pid, start_time)| (*pid, *start_time)).collect();
    }
    let proofs = paused.prove_stopped().await?;
    for stopped in &paused.stopped {
        paused.journal.applied(stopped.entry).map_err(FaultError::Journal)?;
    }
    Ok((paused, proofs))
}

/// Writes all intents, before the first signal. The journal blocks, so a thread made for that does it.
async fn intend(
    victims: Vec<Victim>,
    limit: Duration,
    journal: Arc<dyn Journal>,
) -> Result<Paused, FaultError> {
    let write = move || {
        let mut paused = Paused { journal, stopped: Vec::with_capacity(victims.len()), continued: false };
        for victim in victims {
            let intent = PauseIntent {
                pid: victim.pid,
                start_time: victim.start_time,
                limit: limit + HEALER_MARGIN,
                label: victim.name.clone(),
            };
            // An error drops what was intended so far, which reverts it.
            let entry = paused.journal.intend(&intent).map_err(FaultError::Journal)?;
            paused.stopped.push(Stopped { victim, entry, members: Vec::new() });
        }
        Ok(paused)
    };
    tokio::task::spawn_blocking(write).await.map_err(|_| FaultError::Stopped)?
}

impl Paused {
    async fn prove_stopped(&self) -> Result<Vec<String>, FaultError> {
        let deadline = Instant::now() + PAUSE_PROOF_LIMIT;
        let mut proofs = Vec::with_capacity(self.stopped.len());
        for Stopped { victim, .. } in &self.stopped {
            let (name, pid) = (&victim.name, victim.pid);
            loop {
                let Some(stat) = victim.stat() else {
                    let reason = format!("process {pid} ended while it was being stopped");
                    return Err(FaultError::TargetGone { target: name.clone(), reason });
                };
                if stat.is_stopped() {
                    proofs.push(format!("{name} (process {pid}) is in state T"));
                    break;
                }
                if Instant::now() >= deadline {
                    let seen = format!("process {pid} is still in state {}", stat.state);
                    return Err(FaultError::NotProven { what: format!("pause {name}"), seen });
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(proofs)
    }

    /// Lets the processes go on, and proves it. One that has ended is fine. Can be repeated after an error.
    pub(crate) async fn end(&mut self) -> Result<(), FaultError> {
        self.go_on();
        let deadline = Instant::now() + PAUSE_PROOF_LIMIT;
        for Stopped { victim, .. } in &self.stopped {
            while victim.stat().is_some_and(Stat::is_stopped) {
                if Instant::now() >= deadline {
                    self.continued = false;
                    let seen = format!("process {} is still in state T", victim.pid);
                    return Err(FaultError::NotEnded { what: format!("pause {}", victim.name), seen });
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    fn go_on(&mut self) {
        if std::mem::replace(&mut self.continued, true) {
            return;
        }
        for stopped in &self.stopped {
            if stopped.victim.signal_group(Signal::CONT).is_err() {
                for (pid, start_time) in &stopped.members {
                    go_on_alone(*pid, *start_time);
                }
            }
            // Undone either way; an entry that stays open is undone once more, which does no harm.
            let _ = self.journal.reverted(stopped.entry);
        }
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.go_on();
    }
}

/// Continues one process if it still is the one that was stopped.
fn go_on_alone(pid: u32, start_time: u64) {
    let pinned = raw_pid(pid).ok_or(Errno::SRCH).and_then(|raw| pidfd_open(raw, PidfdFlags::empty()));
    if let Ok(pidfd) = pinned
        && Stat::read(pid).is_some_and(|stat| stat.start_time == start_time)
    {
        // It may end at any moment, which is as good.
        let _ = pidfd_send_signal(&pidfd, Signal::CONT);
    }
}
