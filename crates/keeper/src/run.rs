//! The life of a keeper: start the node, watch, clean up, start it again. What follows from the end of a node
//! is decided in [`crate::decide`]; this file carries it out.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, getpid, kill_process, set_child_subreaper, setsid, wait};

use crate::decide::{Next, Past, after_end, restart_pause};
use crate::process::{Sweep, pid_of, sweep};
use crate::signals::Signals;
use crate::undo::enforce_deadlines;
use crate::{HealReport, Journal, KeeperConfig, Owner, heal};

/// Exit code of a keeper, and of a node, that could not start.
pub const EXIT_COULD_NOT_START: i32 = 2;

/// Exit code of a keeper that would have ended well, but could not end a process or undo a fault.
pub const EXIT_NOT_CLEAN: i32 = 3;

/// Exit code when the node did not stop in time and was killed.
const EXIT_KILLED: i32 = 128 + Signal::KILL.as_raw();

/// The file in the state folder that a node writes when it is ready. The keeper removes it when the node is
/// gone.
pub const READY_FILE: &str = "node.json";

/// The longest nap between two looks: how late a change of the journal may be noticed.
const TICK: Duration = Duration::from_millis(250);

/// How long a sweep may take; even with an unkillable process it must end within the two seconds promised.
const SWEEP_LIMIT: Duration = Duration::from_secs(1);

/// Runs a keeper until its node is done or its owner is gone; returns its exit code. Takes over the signals
/// and the children of the whole process, so nothing else may run in it.
pub fn run(config: KeeperConfig) -> i32 {
    match Keeper::begin(config) {
        Ok(keeper) => keeper.watch(),
        Err(reason) => {
            say(format_args!("{reason}"));
            EXIT_COULD_NOT_START
        }
    }
}

enum Phase {
    /// The child is held for the write end of its stdin. It is reaped by its pid, like all the others.
    Up {
        node: Child,
        since: Instant,
    },
    Resting {
        until: Instant,
    },
}

struct Keeper {
    config: KeeperConfig,
    signals: Signals,
    journal: Journal,
    phase: Phase,
    restarts_in_a_row: u32,
    ever_ready: bool,
    /// Set when the node was asked to stop: how long it may take.
    kill_at: Option<Instant>,
    /// Released by the kernel when this process ends, however it ends.
    _lock: File,
}

impl Keeper {
    fn begin(config: KeeperConfig) -> Result<Self, String> {
        let dir = &config.state_dir;
        let cannot = |what: &str, error: io::Error| format!("cannot {what} in {}: {error}", dir.display());
        fs::create_dir_all(dir).map_err(|error| cannot("create the state folder", error))?;
        let lock = lock(dir)?;
        if config.owner == Owner::Stdin {
            // Fails only for the leader of a process group, which Ctrl-C for other groups does not reach
            // anyway.
            let _leads_a_group = setsid();
        }
        set_child_subreaper(Some(getpid())).map_err(|error| format!("cannot become a subreaper: {error}"))?;
        let signals = Signals::install().map_err(|error| format!("cannot handle signals: {error}"))?;
        let journal = Journal::open(dir).map_err(|error| cannot("open the journal", error))?;
        let phase = Phase::Resting { until: Instant::now() };
        let (restarts_in_a_row, ever_ready, kill_at) = (0, false, None);
        let keeper =
            Self { config, signals, journal, phase, restarts_in_a_row, ever_ready, kill_at, _lock: lock };
        // Children that were here before us are not ours to end.
        let cleaned = keeper.put_back(Sweep { ended: 0, complete: true });
        if cleaned.healed != HealReport::default() {
            say(format_args!("an earlier run left faults behind, {cleaned}"));
        }
        Ok(keeper)
    }

    /// One turn per event or tick, until there is an exit code.
    fn watch(mut self) -> i32 {
        loop {
            if let Some(code) = self.reap().or_else(|| self.obey_signals()).or_else(|| self.start_when_due())
            {
                return code;
            }
            // A journal that cannot be read now is read again at the next tick.
            let next_deadline = enforce_deadlines(&self.journal).ok().flatten();
            self.wait_for_news(next_deadline);
            if self.owner_is_gone() {
                return self.finish("owner is gone", 0);
            }
        }
    }

    fn reap(&mut self) -> Option<i32> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Phase::Up { node, since } = &self.phase
                && pid_of(node.id()) == Some(pid)
            {
                let up = since.elapsed();
                return self.node_ended(ExitStatus::from_raw(status.as_raw()), up);
            }
        }
        None
    }

    fn node_ended(&mut self, end: ExitStatus, up: Duration) -> Option<i32> {
        self.ever_ready |= self.config.state_dir.join(READY_FILE).exists();
        let past = Past { stop_requested: self.kill_at.is_some(), ever_ready: self.ever_ready };
        if let Next::Exit(code) = after_end(end, past) {
            return Some(self.finish("node is done", code));
        }
        let cleaned = self.clean_up();
        if up >= self.config.restart_backoff.reset_after {
            self.restarts_in_a_row = 0;
        }
        let pause = restart_pause(self.config.restart_backoff, self.restarts_in_a_row);
        self.restarts_in_a_row = self.restarts_in_a_row.saturating_add(1);
        self.phase = Phase::Resting { until: Instant::now() + pause };
        let how = end
            .signal()
            .map_or(format!("exit code {}", end.into_raw() >> 8), |signal| format!("signal {signal}"));
        let when = if pause.is_zero() { String::new() } else { format!(" in {} ms", pause.as_millis()) };
        say(format_args!("node died ({how}), {cleaned}, starting it again{when}"));
        None
    }

    fn obey_signals(&mut self) -> Option<i32> {
        if self.signals.take_stop_request() && self.config.owner == Owner::None {
            let Phase::Up { node, .. } = &self.phase else { return Some(self.finish("asked to stop", 0)) };
            let _gone_already = pid_of(node.id()).map(|pid| kill_process(pid, Signal::TERM));
            self.kill_at.get_or_insert(Instant::now() + self.config.drain_limit);
        }
        let too_late = self.kill_at.is_some_and(|at| Instant::now() >= at);
        too_late.then(|| self.finish("node did not stop in time", EXIT_KILLED))
    }

    fn start_when_due(&mut self) -> Option<i32> {
        if !matches!(self.phase, Phase::Resting { until } if until <= Instant::now()) {
            return None;
        }
        let (program, arguments) = self.config.node_command.split_first().unzip();
        let mut command = Command::new(program.map_or_else(Default::default, Clone::clone));
        command.args(arguments.unwrap_or_default()).stdin(Stdio::piped()).process_group(0);
        match command.spawn() {
            Ok(node) => {
                self.phase = Phase::Up { node, since: Instant::now() };
                None
            }
            Err(error) => {
                say(format_args!("cannot start the node {}: {error}", command.get_program().display()));
                self.node_ended(ExitStatus::from_raw(EXIT_COULD_NOT_START << 8), Duration::ZERO)
            }
        }
    }

    /// Sleeps until a signal, news from the owner, or the next thing to do.
    fn wait_for_news(&self, next_deadline: Option<Duration>) {
        let until = if let Phase::Resting { until } = self.phase { Some(until) } else { self.kill_at };
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let nap = [left, next_deadline].into_iter().flatten().fold(TICK, Duration::min);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(nap.subsec_nanos()) };
        let stdin = io::stdin();
        let mut watched = vec![PollFd::new(&self.signals.wake, PollFlags::IN)];
        if self.config.owner == Owner::Stdin {
            watched.push(PollFd::new(&stdin, PollFlags::IN));
        }
        let _timeout_or_interrupted = poll(&mut watched, Some(&timeout));
        self.signals.clear();
    }

    /// Words of the owner are read and dropped; only the end of them means something.
    fn owner_is_gone(&self) -> bool {
        let stdin = io::stdin();
        let mut news = [PollFd::new(&stdin, PollFlags::IN)];
        if self.config.owner == Owner::None || poll(&mut news, Some(&Timespec::default())) != Ok(1) {
            return false;
        }
        !matches!(rustix::io::read(&stdin, &mut [0; 256]), Ok(1..) | Err(Errno::INTR | Errno::AGAIN))
    }

    /// Ends everything and returns the exit code: `code`, unless that would call an unclean end a good one.
    fn finish(&self, why: &str, code: i32) -> i32 {
        let cleaned = self.clean_up();
        if cleaned.swept.ended > 0 || cleaned.healed != HealReport::default() {
            say(format_args!("{why}, {cleaned}"));
        }
        let is_clean = cleaned.swept.complete && cleaned.healed.failed == 0;
        if code == 0 && !is_clean { EXIT_NOT_CLEAN } else { code }
    }

    /// Leaves no process behind, then undoes all faults: in this order, because a node may apply one more
    /// fault in its last instant.
    fn clean_up(&self) -> Cleaned {
        self.put_back(sweep(SWEEP_LIMIT))
    }

    fn put_back(&self, swept: Sweep) -> Cleaned {
        let _absent_already = fs::remove_file(self.config.state_dir.join(READY_FILE));
        let healed =
            heal(&self.config.state_dir).unwrap_or(HealReport { failed: 1, ..HealReport::default() });
        // Nobody else is alive to write now. A journal that stays is merely longer.
        let _stays_as_it_is = self.journal.empty_if_closed();
        Cleaned { swept, healed }
    }
}

struct Cleaned {
    swept: Sweep,
    healed: HealReport,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { swept: Sweep { ended, complete }, healed: HealReport { undone, already_gone, failed } } =
            *self;
        write!(out, "cleaned up {ended} process{}", if ended == 1 { "" } else { "es" })?;
        if !complete {
            write!(out, " (not all of them)")?;
        }
        for (count, what) in [(undone, "undone"), (already_gone, "already gone"), (failed, "NOT undone")] {
            if count > 0 {
                write!(out, ", {count} fault{} {what}", if count == 1 { "" } else { "s" })?;
            }
        }
        Ok(())
    }
}

fn lock(dir: &Path) -> Result<File, String> {
    let path = dir.join("lock");
    let cannot = |error: io::Error| format!("cannot lock {}: {error}", path.display());
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    if locked == Err(Errno::WOULDBLOCK) {
        let mut holder = String::new();
        let _unknown_holder = file.take(32).read_to_string(&mut holder);
        return Err(format!("{} is in use by another keeper, pid {holder}", dir.display()));
    }
    locked.map_err(|error| cannot(error.into()))?;
    file.set_len(0).and_then(|()| write!(file, "{}", getpid().as_raw_nonzero())).map_err(cannot)?;
    Ok(file)
}

/// One line for people. The reader may be gone, which must not end the keeper.
fn say(line: fmt::Arguments<'_>) {
    let _reader_gone = writeln!(io::stderr(), "keeper: {line}");
}
