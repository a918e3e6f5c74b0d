//! A process that was looked up and pinned, so that nothing else is hit in its place.
//!
//! A process id alone names whoever has it now. We hold a pidfd, which names one process for ever, remember the start
//! time, for signals that can only be sent to a group by its number, and look at the supervisor's list once more
//! *after* opening the pidfd: an id that is still listed then cannot have been given to somebody else before.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use seaworthy_observe::ports::{ProcessView, Processes};

use super::stat::Stat;
use crate::error::FaultError;
use crate::request::FaultKind;

/// One pinned process, the leader of its process group.
#[derive(Debug)]
pub(crate) struct Victim {
    /// `api/a-1`.
    pub(crate) name: String,
    /// Its process id, and that of its group.
    pub(crate) pid: u32,
    /// See [`Stat::start_time`].
    pub(crate) start_time: u64,
    pub(crate) pidfd: OwnedFd,
}

impl Victim {
    /// Pins the process of `view`, which came from `processes`.
    pub(crate) fn open(
        view: &ProcessView,
        processes: &dyn Processes,
        kind: FaultKind,
    ) -> Result<Self, FaultError> {
        let (name, pid) = (view.id.to_string(), view.pid);
        let gone = |reason: String| FaultError::TargetGone { target: name.clone(), reason };
        let raw = raw_pid(pid).ok_or_else(|| gone(format!("{pid} is no process id")))?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(|errno| match errno {
            Errno::SRCH => gone(format!("process {pid} has ended")),
            errno => FaultError::Unsupported { kind, reason: format!("pidfd_open: {errno}") },
        })?;
        let stat = Stat::read(pid).filter(|stat| stat.is_alive());
        let stat = stat.ok_or_else(|| gone(format!("process {pid} has ended")))?;
        if stat.group != pid {
            return Err(gone(format!(
                "process {pid} does not lead a process group of its own; it is not ours"
            )));
        }
        if !processes.list().iter().any(|listed| listed.id == view.id && listed.pid == pid) {
            return Err(gone(format!("process {pid} was replaced meanwhile")));
        }
        Ok(Self { name, pid, start_time: stat.start_time, pidfd })
    }

    /// The process as it is now; `None` when it has ended, whoever may have its id.
    pub(crate) fn stat(&self) -> Option<Stat> {
        Stat::read(self.pid).filter(|stat| stat.is_alive() && stat.start_time == self.start_time)
    }

    /// Signals the whole group, if its leader is still there.
    pub(crate) fn signal_group(&self, signal: Signal) -> Result<(), FaultError> {
        let ended = || FaultError::TargetGone {
            target: self.name.clone(),
            reason: format!("process {} has ended", self.pid),
        };
        let raw = self.stat().and_then(|_| raw_pid(self.pid)).ok_or_else(ended)?;
        match kill_process_group(raw, signal) {
            Ok(()) => Ok(()),
            Err(Errno::SRCH) => Err(ended()),
            Err(errno) => Err(FaultError::system(format!(
                "signalling {} (process group {})",
                self.name, self.pid
            ))(errno.into())),
        }
    }

    /// Signals exactly the process that was pinned; nothing happens when it has ended.
    pub(crate) fn signal_leader(&self, signal: Signal) -> Result<(), FaultError> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(
                FaultError::system(format!("signalling {} (process {})", self.name, self.pid))(errno.into()),
            ),
        }
    }
}

pub(crate) fn raw_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Whether processes can be pinned and looked at on this host.
pub(crate) fn probe() -> Result<(), String> {
    let own = std::process::id();
    let raw = raw_pid(own).expect("our own process id is one");
    pidfd_open(raw, PidfdFlags::empty()).map_err(|errno| format!("pidfd_open: {errno}"))?;
    Stat::read(own).map(drop).ok_or_else(|| format!("/proc/{own}/stat cannot be read"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_id_that_was_given_to_somebody_else_is_left_alone() {
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().expect("sleep exists");
        let pid = child.id();
        let raw = raw_pid(pid).expect("a process id");
        let real = Stat::read(pid).expect("it runs").start_time;
        let victim = |start_time| {
            let pidfd = pidfd_open(raw, PidfdFlags::empty()).expect("it runs");
            Victim { name: "api/a-1".to_owned(), pid, start_time, pidfd }
        };
        let error = victim(real + 1).signal_group(Signal::KILL).expect_err("not the one that was pinned");
        assert!(matches!(error, FaultError::TargetGone { .. }), "{error}");
        assert_eq!(victim(real + 1).stat(), None);
        assert!(child.try_wait().expect("ours").is_none(), "it lives");
        victim(real).signal_group(Signal::KILL).expect("the right one");
        assert_eq!(child.wait().expect("ours").signal(), Some(9));
        let error = victim_after_its_end(raw, pid, real);
        assert!(error.contains("has ended"), "{error}");
    }

    fn victim_after_its_end(raw: Pid, pid: u32, start_time: u64) -> String {
        // Its own pidfd serves as any open one: the process is gone, so none can be opened any more.
        assert_eq!(pidfd_open(raw, PidfdFlags::empty()).expect_err("gone"), Errno::SRCH);
        let own =
            pidfd_open(raw_pid(std::process::id()).expect("ours"), PidfdFlags::empty()).expect("we run");
        let victim = Victim { name: "api/a-1".to_owned(), pid, start_time, pidfd: own };
        victim.signal_group(Signal::KILL).expect_err("gone").to_string()
    }
}
