//! A keeper in a process of its own, with a shell script for a node.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use seaworthy_keeper::process_start_time;

/// How long anything may take before a test fails; far more than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Shell functions for nodes: each one that runs for long writes its pid down, so that tests can look for it.
const PRELUDE: &str = r#"
# waits for the end of stdin, as a node does that stops when its keeper dies
serve() { while read -r _; do :; done; }
ready() { echo "{}" > "$STATE/node.json"; }
started() { echo "$1" >> "$STATE/$2"; }
# a process in the node's group
worker() { sh -c 'echo $$ >> "$STATE/pids"; exec sleep 600' & }
# a daemon: session of its own, forked twice, so that its parent is gone
daemon() { (setsid sh -c 'echo $$ >> "$STATE/pids"; sleep 600 & echo $! >> "$STATE/pids"; exec sleep 600' &) }
await_pids() { while [ "$(cat "$STATE/pids" 2>/dev/null | wc -l)" -lt "$1" ]; do sleep 0.01; done; }
started $$ nodes
"#;

pub(crate) struct Keeper {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    dir: PathBuf,
}

impl Keeper {
    /// Starts a keeper on `dir` whose node runs `script`.
    pub(crate) fn start(dir: &Path, owner: &str, script: &str) -> Self {
        Self::start_command(dir, owner, &["/bin/sh", "-c", &with_prelude(script)])
    }

    /// Starts one that is owned by whoever holds the other end of `stdin`.
    pub(crate) fn start_on(dir: &Path, stdin: Stdio, script: &str) -> Self {
        Self::spawn(dir, ("stdin", stdin), &["/bin/sh", "-c", &with_prelude(script)])
    }

    pub(crate) fn start_command(dir: &Path, owner: &str, node: &[&str]) -> Self {
        Self::spawn(dir, (owner, Stdio::piped()), node)
    }

    fn spawn(dir: &Path, (owner, stdin): (&str, Stdio), node: &[&str]) -> Self {
        let mut child = Command::new(program())
            .arg(dir)
            .args([owner, "700"])
            .args(node)
            .env("STATE", dir)
            .stdin(stdin)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the keeper starts");
        let stdin = child.stdin.take();
        Self { child, stdin, dir: dir.to_owned() }
    }

    /// Waits for the keeper's end; returns its exit code and what it said.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let code = poll("the keeper ends", || self.child.try_wait().expect("it is our child")).code();
        let mut said = String::new();
        if let Some(stderr) = self.child.stderr.as_mut() {
            stderr.read_to_string(&mut said).expect("the keeper says text");
        }
        (code, said)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Pids of all nodes so far, oldest first.
    pub(crate) fn nodes(&self) -> Vec<u32> {
        pids(&self.dir, "nodes")
    }

    pub(crate) fn await_nodes(&self, count: usize) -> u32 {
        poll("nodes", || self.nodes().get(count - 1).copied())
    }

    /// Waits until the processes below the node are `count`; returns their pids.
    pub(crate) fn await_pids(&self, count: usize) -> Vec<u32> {
        poll("pids", || Some(pids(&self.dir, "pids")).filter(|pids| pids.len() >= count))
    }

    pub(crate) fn await_ready(&self) {
        poll("ready", || self.dir.join("node.json").exists().then_some(()));
    }
}

impl Drop for Keeper {
    /// Leaves nothing behind, even when the test has failed: all that the keeper started knows its folder.
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let mark = format!("STATE={}\0", self.dir.display());
        // A process in the middle of exec shows no environment: one look that finds nothing is not enough.
        let mut looks_in_vain = 0;
        let deadline = Instant::now() + PATIENCE;
        while looks_in_vain < 5 && Instant::now() < deadline {
            looks_in_vain = if kill_all_with(mark.as_bytes()) == 0 { looks_in_vain + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn with_prelude(script: &str) -> String {
    format!("{PRELUDE}\n{script}")
}

/// Kills every process with `mark` in its environment; returns how many there were.
fn kill_all_with(mark: &[u8]) -> usize {
    let folders = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    let has_mark = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark)
    };
    pids.filter(has_mark).map(|pid| send(pid, Signal::KILL)).count()
}

/// A process that no keeper started; killed when the test is over.
pub(crate) struct Target(Child);

impl Target {
    pub(crate) fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("sleep exists"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Stops it and waits until somebody has continued it, however soon that is.
    pub(crate) fn pause_until_continued(&self) {
        send(self.pid(), Signal::STOP);
        self.await_continued();
    }

    pub(crate) fn await_continued(&self) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        let options = WaitOptions::NOHANG | WaitOptions::CONTINUED;
        poll("continued", || {
            let (_, status) = waitpid(pid, options).expect("it is our child")?;
            assert!(status.continued(), "continued, not killed");
            Some(())
        });
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Looks until there is something; fails when there is nothing in time.
pub(crate) fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The state letter of a process, or `None` when it is gone; a zombie counts as gone.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let letter = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
    (letter != 'Z').then_some(letter)
}

/// The process group of a process.
pub(crate) fn group(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let fields = stat.rsplit_once(')').expect("a stat has a name").1;
    fields.split_ascii_whitespace().nth(2).and_then(|field| field.parse().ok()).expect("a stat has a group")
}

pub(crate) fn all_gone(pids: &[u32]) -> bool {
    pids.iter().all(|pid| state(*pid).is_none())
}

pub(crate) fn send(pid: u32, signal: Signal) {
    let _ended_already = kill_process(Pid::from_raw(pid.cast_signed()).expect("a pid is positive"), signal);
}

/// Stops a process and waits until it is stopped.
pub(crate) fn pause(pid: u32) {
    assert!(process_start_time(pid).is_some(), "the target lives");
    send(pid, Signal::STOP);
    poll("stopped", || (state(pid) == Some('T')).then_some(()));
}

fn pids(dir: &Path, file: &str) -> Vec<u32> {
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    // The last line may still be in the making.
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect()
}

/// The example that wraps the keeper, which Cargo builds together with the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let target = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let program = target.join("examples/keeper");
    assert!(program.exists(), "{} is missing: build the examples", program.display());
    program
}
