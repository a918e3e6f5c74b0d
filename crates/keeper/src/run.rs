//! The life of a keeper: start the node, watch, clean up, start it again. What follows from the end of a node
//! is decided in [`crate::decide`]; this file carries it out.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::ops::ControlFlow::{self, Break, Continue};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitOptions, getpid, kill_process, set_child_subreaper, setsid, wait};

use crate::decide::Past;
use crate::news::{News, listen};
use crate::process::{Sweep, pid_of, sweep};
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

/// Runs a keeper until its node is done or its owner is gone; returns its exit code. Takes over the signals,
/// the stdin and the children of the whole process, so nothing else may run in it.
pub fn run(config: KeeperConfig) -> i32 {
    Keeper::begin(config).map_or_else(
        |reason| {
            say(format_args!("{reason}"));
            EXIT_COULD_NOT_START
        },
        Keeper::watch,
    )
}

/// Why the keeper ends, and its exit code.
type Exit = (&'static str, i32);

enum Phase {
    /// The child is held for the write end of its stdin. It is reaped by its pid, like all the others.
    Up(Child),
    Resting,
}

struct Keeper {
    config: KeeperConfig,
    news: Receiver<News>,
    journal: Journal,
    past: Past,
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// When the keeper itself ends the phase: starts the node, or kills one that was asked to stop.
    due: Option<Instant>,
    /// Released by the kernel when this process ends, however it ends.
    _lock: File,
}

impl Keeper {
    fn begin(mut config: KeeperConfig) -> Result<Self, String> {
        let (lock, news, journal) = take_over(&config)?;
        config.node.stdin(Stdio::piped()).process_group(0);
        let (past, phase, since) = (Past::default(), Phase::Resting, Instant::now());
        let keeper = Self { config, news, journal, past, phase, since, due: Some(since), _lock: lock };
        // Children that were here before us are not ours to end.
        let cleaned = keeper.clean_up(Sweep::default());
        if cleaned.healed != HealReport::default() {
            say(format_args!("an earlier run left faults behind, {cleaned}"));
        }
        Ok(keeper)
    }

    fn watch(mut self) -> i32 {
        loop {
            if let Break((why, code)) = self.turn() {
                return self.finish(why, code);
            }
        }
    }

    /// One turn per news or tick.
    fn turn(&mut self) -> ControlFlow<Exit> {
        self.reap()?;
        self.act_when_due()?;
        match self.news.recv_timeout(self.nap()) {
            Ok(News::StopRequested) => self.stop_node(),
            Ok(News::OwnerGone) => Break(("owner is gone", 0)),
            Ok(News::LookAround) | Err(_) => Continue(()),
        }
    }

    fn reap(&mut self) -> ControlFlow<Exit> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if matches!(&self.phase, Phase::Up(node) if pid_of(node.id()) == Some(pid)) {
                self.node_ended(ExitStatus::from_raw(status.as_raw()))?;
            }
        }
        Continue(())
    }

    fn node_ended(&mut self, end: ExitStatus) -> ControlFlow<Exit> {
        self.past.ever_ready |= self.config.state_dir.join(READY_FILE).exists();
        let pause = self.past.on_end(end, self.since.elapsed()).map_break(|code| ("node is done", code))?;
        let cleaned = self.clean_up(sweep(SWEEP_LIMIT));
        (self.phase, self.since) = (Phase::Resting, Instant::now());
        self.due = Some(self.since + pause);
        let signal = end.signal().unwrap_or(0);
        let (how, number) = end.code().map_or(("signal", signal), |code| ("exit code", code));
        let when = if pause.is_zero() { String::new() } else { format!(" in {} ms", pause.as_millis()) };
        say(format_args!("node died ({how} {number}), {cleaned}, starting it again{when}"));
        Continue(())
    }

    fn stop_node(&mut self) -> ControlFlow<Exit> {
        let Phase::Up(node) = &self.phase else { return Break(("asked to stop", 0)) };
        let _gone_already = pid_of(node.id()).map(|pid| kill_process(pid, Signal::TERM));
        self.past.stop_requested = true;
        self.due.get_or_insert(Instant::now() + self.config.drain_limit);
        Continue(())
    }

    fn act_when_due(&mut self) -> ControlFlow<Exit> {
        match self.phase {
            _ if self.due.is_none_or(|due| due > Instant::now()) => Continue(()),
            Phase::Up(_) => Break(("node did not stop in time", EXIT_KILLED)),
            Phase::Resting => self.start_node(),
        }
    }

    fn start_node(&mut self) -> ControlFlow<Exit> {
        self.since = Instant::now();
        match self.config.node.spawn() {
            Ok(node) => (self.phase, self.due) = (Phase::Up(node), None),
            Err(error) => {
                let program = self.config.node.get_program().display();
                say(format_args!("cannot start the node {program}: {error}"));
                self.node_ended(ExitStatus::from_raw(EXIT_COULD_NOT_START << 8))?;
            }
        }
        Continue(())
    }

    /// Enforces deadlines; returns the time until the next thing to do.
    fn nap(&self) -> Duration {
        // A journal that cannot be read now is read again at the next tick.
        let next_deadline = enforce_deadlines(&self.journal).ok().flatten();
        let left = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        [left, next_deadline].into_iter().flatten().fold(TICK, Duration::min)
    }

    /// Ends everything and returns the exit code: `code`, unless that would call an unclean end a good one.
    fn finish(&self, why: &str, code: i32) -> i32 {
        let cleaned = self.clean_up(sweep(SWEEP_LIMIT));
        if cleaned.swept.ended > 0 || cleaned.healed != HealReport::default() {
            say(format_args!("{why}, {cleaned}"));
        }
        let is_unclean = cleaned.swept.is_incomplete || cleaned.healed.failed > 0;
        if code == 0 && is_unclean { EXIT_NOT_CLEAN } else { code }
    }

    /// Undoes all faults, after no process is left: in this order, because a node may apply one more fault in
    /// its last instant.
    fn clean_up(&self, swept: Sweep) -> Cleaned {
        let _absent_already = fs::remove_file(self.config.state_dir.join(READY_FILE));
        let healed =
            heal(&self.config.state_dir).unwrap_or(HealReport { failed: 1, ..HealReport::default() });
        // Nobody else is alive to write now. A journal that stays is merely longer.
        let _stays_as_it_is = self.journal.empty_if_closed();
        Cleaned { swept, healed }
    }
}

/// Makes this process the one keeper of its state folder, of its orphans and of its signals.
fn take_over(config: &KeeperConfig) -> Result<(File, Receiver<News>, Journal), String> {
    let dir = &config.state_dir;
    let cannot = |what| move |error| format!("cannot {what} in {}: {error}", dir.display());
    fs::create_dir_all(dir).map_err(cannot("create the state folder"))?;
    let lock = lock(dir).map_err(cannot("work"))?;
    if config.owner == Owner::Stdin {
        // Fails only for the leader of a process group, which Ctrl-C for other groups does not reach anyway.
        let _leads_a_group = setsid();
    }
    set_child_subreaper(Some(getpid())).map_err(|error| cannot("become a subreaper")(error.into()))?;
    let news = listen(config.owner).map_err(cannot("handle signals"))?;
    let journal = Journal::open(dir).map_err(cannot("open the journal"))?;
    Ok((lock, news, journal))
}

fn lock(dir: &Path) -> io::Result<File> {
    let mut options = File::options();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => file.set_len(0)?,
        Err(TryLockError::Error(error)) => return Err(error),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _unknown_holder = file.take(32).read_to_string(&mut holder);
            return Err(io::Error::other(format!("it is in use by another keeper, pid {holder}")));
        }
    }
    write!(file, "{}", getpid().as_raw_nonzero())?;
    Ok(file)
}

struct Cleaned {
    swept: Sweep,
    healed: HealReport,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { swept, healed: HealReport { undone, already_gone, failed } } = *self;
        write!(out, "cleaned up {} process{}", swept.ended, if swept.ended == 1 { "" } else { "es" })?;
        if swept.is_incomplete {
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

/// One line for people. The reader may be gone, which must not end the keeper.
fn say(line: fmt::Arguments<'_>) {
    let _reader_gone = writeln!(io::stderr(), "keeper: {line}");
}
