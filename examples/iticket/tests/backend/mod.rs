//! Starts the services as processes of their own, on free ports, without anything between them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No wait in these tests is longer; each ends with its event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running service. Killed when dropped.
pub(crate) struct Service {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Service {
    /// Starts `iticket NAME` on `port` (0 = any free one) and waits until it says that it listens.
    pub(crate) fn start(name: &str, port: u16, state_dir: &Path, environment: &[(&str, String)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_iticket"))
            .arg(name)
            .env_clear()
            .env("PORT", port.to_string())
            .env("SEAWORTHY_STATE_DIR", state_dir)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().unwrap_or_else(|| panic!("{name} ended early")).unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                break u16::try_from(line["port"].as_u64().unwrap()).unwrap();
            }
            assert_ne!(line["level"], "error", "{line}");
        };
        // Goes on reading, so that the service never writes into a full pipe; ends with the process.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    /// How others reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// SIGKILL, as from nowhere.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.terminate();
        self.exit_code()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// SIGSTOP: connections are still accepted, and nobody ever answers.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let mut code = None;
        until("the process ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }

    /// What it answers to GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        request(self.port, &format!("GET {path} HTTP/1.0\r\n\r\n")).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Perhaps it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 200, 503 ...
    pub(crate) status: u16,
    head: String,
    /// The JSON body, or null.
    pub(crate) body: Value,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Buys a ticket through the API at `port`. `None`: the connection broke.
pub(crate) fn buy(port: u16, key: &str, body: &str) -> Option<Answer> {
    let length = body.len();
    request(
        port,
        &format!(
            "POST /tickets HTTP/1.0\r\nidempotency-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
        ),
    )
}

/// Sends a request; `None`: the connection broke. HTTP/1.0, so that the answer ends with the connection.
pub(crate) fn request(port: u16, text: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    })
}

/// Asks again and again, in small steps, until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
