//! A stage for tests with the real program: the example's spec on free ports, in a folder of its own, and a way to see
//! every process that belongs to it.
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) const SEAWORTHY: &str = env!("CARGO_BIN_EXE_seaworthy");
/// The example that users see; tests only change its ports and where its binary is.
const EXAMPLE: &str = include_str!("../../../../examples/iticket/seaworthy.yaml");

pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) spec: PathBuf,
}

impl Stage {
    /// The example with `edit` applied to its text.
    pub(crate) fn new(edit: impl FnOnce(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = folder.path().join("seaworthy.yaml");
        fs::write(&spec, edit(example())).unwrap();
        Self { folder, spec }
    }

    /// Another spec.
    pub(crate) fn with(spec: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seaworthy.yaml");
        fs::write(&path, spec).unwrap();
        Self { folder, spec: path }
    }

    /// A command of the program, in the stage's folder and in a process group of its own.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(SEAWORTHY);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).process_group(0);
        command
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        let log = fs::File::create(self.folder.path().join("stderr.txt")).unwrap();
        let output = fs::File::create(self.folder.path().join("stdout.txt")).unwrap();
        let child = self.command(arguments).stdout(output).stderr(log).spawn().unwrap();
        Running { child }
    }

    /// What went to standard error of the last spawned command.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr.txt")).unwrap_or_default()
    }

    /// What went to standard output of the last spawned command.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout.txt")).unwrap_or_default()
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The node's own words about itself, as soon as there are any.
    pub(crate) fn node(&self, state: &str) -> Value {
        let path = self.state(state).join("node.json");
        eventually(Duration::from_mins(1), "node.json", || {
            serde_json::from_slice(&fs::read(&path).ok()?).ok()
        })
    }

    /// Pids of all processes that belong to this stage, except `except`.
    pub(crate) fn processes(&self, except: &[u32]) -> Vec<(u32, String)> {
        let mark = self.folder.path().display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).into_owned();
            let zombie = fs::read_to_string(entry.path().join("stat")).unwrap_or_default().contains(") Z ");
            if text.contains(&mark) && !zombie && pid != std::process::id() && !except.contains(&pid) {
                found.push((pid, text.replace('\0', " ").chars().take(120).collect()));
            }
        }
        found
    }

    /// Nothing of this stage is left: no process, no open port.
    pub(crate) fn assert_empty_within(&self, limit: Duration, ports: &[SocketAddr]) {
        let begin = Instant::now();
        loop {
            let processes = self.processes(&[]);
            let open: Vec<_> = ports.iter().filter(|port| TcpStream::connect(port).is_ok()).collect();
            if processes.is_empty() && open.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < limit,
                "after {limit:?} there are still {processes:?} and ports {open:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A failed test must not leave anything behind either. The keeper first, or it would start things anew.
        let mut left = self.processes(&[]);
        left.sort_by_key(|(_, text)| !text.contains("keeper"));
        for (pid, _) in left {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

/// A program under test that must not outlive its test.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        kill(self.pid(), name);
    }

    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < limit, "the program did not end within {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -{signal} {pid}");
}

/// The example on free ports with the binary that was built for tests.
fn example() -> String {
    let iticket = Path::new(SEAWORTHY).with_file_name("iticket");
    assert!(
        iticket.exists(),
        "{} is missing: run `cargo build -p iticket` (or `cargo xtask test`)",
        iticket.display()
    );
    let mut text = EXAMPLE.replace("../../target/release/iticket", &iticket.display().to_string());
    text = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("build:"))
        .fold(String::new(), |text, line| text + line + "\n");
    for port in [8080, 7101, 7102, 7103, 7104, 7105, 7106] {
        text = text.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    text.replace("zones: [a, b]", "admin: { listen: 127.0.0.1:0 }\nzones: [a, b]")
}

/// Waits for a condition; panics when it does not come.
pub(crate) fn eventually<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < limit, "no {what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One HTTP request on a connection of its own; status, head and body.
pub(crate) fn http(address: &str, request: &str) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.replace('\n', "\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok((status, head.to_owned(), body.to_owned()))
}

pub(crate) fn get(address: &str, path: &str) -> std::io::Result<(u16, String, String)> {
    http(address, &format!("GET {path} HTTP/1.1\nHost: test\nConnection: close\n\n"))
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Every address in `node.json`.
pub(crate) fn ports(node: &Value) -> Vec<SocketAddr> {
    let egress = node["egress"].as_object().into_iter().flatten().map(|(_, address)| address);
    let all = [&node["admin"], &node["gateway"]].into_iter().chain(egress);
    all.filter_map(|address| text(address).parse().ok()).collect()
}
