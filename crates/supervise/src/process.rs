//! One running process, with the process group that it leads.
//!
//! The kernel tells us about its end through a pidfd. Until we have reaped the leader, its id and that of its group
//! cannot be given to anybody else, so signals always reach whom they are meant for.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use seaworthy_policy::restart::Exit;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::output::{OutputTag, Readers};

/// How long a process may take to vanish after SIGKILL; longer than that, and it hangs inside the kernel.
const KILL_WAIT_MAX: Duration = Duration::from_secs(5);

/// A process that we started. Dropping it kills its whole group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    exit: Option<Exit>,
    readers: Readers,
}

impl Process {
    /// Starts a command whose outputs are piped and that leads a process group.
    pub(crate) fn start(mut command: Command, tag: &OutputTag) -> io::Result<Self> {
        let mut child = Unwatched(Some(command.spawn()?));
        let started = child.0.as_mut().expect("nothing took it yet");
        let pid = Pid::from_child(started);
        let pidfd = watch(pidfd_open(pid, PidfdFlags::empty())?)?;
        let mut readers = Readers::default();
        let outputs = [started.stdout.take().map(OwnedFd::from), started.stderr.take().map(OwnedFd::from)];
        for pipe in outputs.into_iter().flatten() {
            readers.add(pipe, tag.clone())?;
        }
        let child = child.0.take().expect("nothing took it yet");
        Ok(Self { child, pid, pidfd, exit: None, readers })
    }

    /// Its id, which is also that of its group.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, kills what is left of its group, and reaps it. May be given up and asked again.
    pub(crate) async fn exited(&mut self) -> Exit {
        loop {
            if let Some(exit) = self.exit {
                return exit;
            }
            match self.pidfd.readable().await {
                // Left ready on purpose: a process ends once.
                Ok(_ready) => self.reap(),
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Sends a signal to everybody in its group; nobody is there after the end.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit.is_none() {
            // The only failure is that nobody is left.
            let _gone = kill_process_group(self.pid, signal);
        }
    }

    /// Asks it to end, and makes it when it takes longer than `grace`. `None`: not even SIGKILL ended it in time.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Option<Exit> {
        self.signal(Signal::TERM);
        // A paused process could not even hear that.
        self.signal(Signal::CONT);
        if let Ok(exit) = timeout(grace, self.exited()).await {
            return Some(exit);
        }
        self.signal(Signal::KILL);
        timeout(KILL_WAIT_MAX, self.exited()).await.ok()
    }

    /// The readers of its output, to be waited for after its end.
    pub(crate) fn take_readers(&mut self) -> Readers {
        std::mem::take(&mut self.readers)
    }

    fn reap(&mut self) {
        // Before reaping: until then nobody else can own the group's id.
        self.signal(Signal::KILL);
        self.exit = match self.child.try_wait() {
            Ok(status) => status.map(exit_of),
            // Somebody else reaped it; how it ended is lost.
            Err(_) => Some(Exit::Code(-1)),
        };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.is_none() {
            kill_and_reap(&mut self.child, self.pid, self.pidfd.get_ref());
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types whose descriptor may change; an `OwnedFd` always keeps its own"
)]
fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// A process that could not be watched must not stay behind.
struct Unwatched(Option<Child>);

impl Drop for Unwatched {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _gone = kill_process_group(Pid::from_child(child), Signal::KILL);
            let _reaped = child.wait();
        }
    }
}

fn kill_and_reap(child: &mut Child, pid: Pid, pidfd: &OwnedFd) {
    let _gone = kill_process_group(pid, Signal::KILL);
    let limit = Timespec { tv_sec: 1, tv_nsec: 0 };
    let _ended = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit));
    let _reaped = child.try_wait();
}

/// How a process ended, as policy sees it.
pub(crate) fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}
