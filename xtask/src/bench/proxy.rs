//! The upstream and the three proxies: how each is started, and where it listens.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::process::{Running, pinned};
use crate::run::root;

/// A program answers within this long after its start, or the bench gives up.
const READY_WAIT_MAX: Duration = Duration::from_secs(15);
const READY_POLL: Duration = Duration::from_millis(20);
/// Ports are looked for here: below those that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 18_000..19_000;

/// The size of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Small,
    Large,
}

impl Body {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => 1024,
            Self::Large => 64 * 1024,
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Small => "/1k",
            Self::Large => "/64k",
        }
    }
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxy {
    Seaworthy,
    Haproxy,
    Nginx,
}

impl Proxy {
    pub(crate) const ALL: [Self; 3] = [Self::Seaworthy, Self::Haproxy, Self::Nginx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Seaworthy => "seaworthy",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// What it does besides passing bytes on.
    pub(crate) fn features(self) -> &'static str {
        match self {
            Self::Seaworthy => {
                "readiness probes, ejection and stall rule, retry and hedge budget, metrics, \
                 access log to a file and to standard output (/dev/null)"
            }
            Self::Haproxy => "round robin, TCP checks, one header each way; no logging",
            Self::Nginx => "round robin, passive checks, one header each way; no logging",
        }
    }
}

/// Everything that a run of the bench shares: its scratch folder, ports, and the upstream. Dropping it ends both.
pub(crate) struct Stage {
    folder: PathBuf,
    ports: [u16; 4],
    seaworthy: PathBuf,
    pub(crate) core: usize,
    upstream: Option<Running>,
}

impl Stage {
    /// Starts the upstream on `core`, where the proxies will run, too.
    pub(crate) fn set(core: usize, seaworthy: PathBuf) -> Result<Self> {
        let folder = root().join("target/bench").join(format!("gateway-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut stage = Self { folder, ports: free_ports()?, seaworthy, core, upstream: None };
        fs::write(stage.folder.join("64k"), "x".repeat(Body::Large.bytes()))
            .context("writing the large body")?;
        let config = stage.configure("upstream.nginx.conf")?;
        stage.upstream = Some(stage.nginx("upstream", &config)?);
        let upstream = stage.upstream.as_mut().context("just started")?;
        for port in [stage.ports[1], stage.ports[2]] {
            wait_for_answer(upstream, address(port), &stage.folder.join("upstream.log"))?;
        }
        Ok(stage)
    }

    /// Starts a proxy and waits for its first good answer.
    pub(crate) fn start(&self, proxy: Proxy) -> Result<Running> {
        let complaints = self.folder.join(format!("{}.log", proxy.name()));
        let mut running = match proxy {
            Proxy::Nginx => self.nginx("nginx", &self.configure("nginx.conf")?)?,
            Proxy::Haproxy => {
                let mut command = pinned(self.core, "haproxy");
                command.arg("-db").arg("-f").arg(self.configure("haproxy.cfg")?);
                Running::start(proxy.name(), command, &complaints)?
            }
            Proxy::Seaworthy => {
                let mut command = pinned(self.core, &self.seaworthy);
                command.args(["run", "--format", "json", "--state-dir"]).arg(self.state_dir());
                command.arg(self.configure("seaworthy.yaml")?);
                Running::start(proxy.name(), command, &complaints)?
            }
        };
        wait_for_answer(&mut running, self.listen(), &complaints)?;
        Ok(running)
    }

    /// Where the proxy listens.
    pub(crate) fn listen(&self) -> SocketAddr {
        address(self.ports[0])
    }

    pub(crate) fn upstream(&self) -> &Running {
        self.upstream.as_ref().expect("a stage is set with its upstream")
    }

    /// Access-log lines that Seaworthy says it dropped because their writer could not keep up; forgets its log.
    pub(crate) fn take_dropped_log_lines(&self) -> Result<u64> {
        let mut dropped = 0;
        for name in ["log.jsonl", "log.jsonl.old"] {
            let path = self.state_dir().join(name);
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for line in text.lines().filter(|line| line.contains("\"log lines dropped\"")) {
                let line: serde_json::Value = serde_json::from_str(line).context("reading our own log")?;
                dropped += line["dropped"].as_u64().unwrap_or(0);
            }
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(dropped)
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn nginx(&self, name: &'static str, config: &Path) -> Result<Running> {
        let complaints = self.folder.join(format!("{name}.log"));
        let mut command = pinned(self.core, "nginx");
        command.arg("-p").arg(&self.folder).arg("-e").arg(self.folder.join(format!("{name}.err")));
        command.arg("-c").arg(config);
        Running::start(name, command, &complaints)
    }

    /// Fills a template of `bench/gateway` in.
    fn configure(&self, name: &str) -> Result<PathBuf> {
        let template = root().join("bench/gateway").join(name);
        let mut text =
            fs::read_to_string(&template).with_context(|| format!("reading {}", template.display()))?;
        let [listen, upstream_a, upstream_b, admin] = self.ports.map(|port| port.to_string());
        let words = [
            ("@RUN@", self.folder.display().to_string()),
            ("@LISTEN@", listen),
            ("@UPSTREAM_A@", upstream_a),
            ("@UPSTREAM_B@", upstream_b),
            ("@ADMIN@", admin),
            ("@BODY_1K@", "x".repeat(Body::Small.bytes())),
        ];
        for (word, value) in words {
            text = text.replace(word, &value);
        }
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.upstream.take());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Asks over a connection that stays open, and reads the whole answer.
pub(crate) fn ask(stream: &mut TcpStream, body: Body) -> Result<()> {
    let request = format!("GET {} HTTP/1.1\r\nHost: bench\r\n\r\n", body.path());
    stream.write_all(request.as_bytes()).context("sending a request")?;
    let (mut seen, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let length = stream.read(&mut buffer).context("reading an answer")?;
        if length == 0 {
            bail!("the connection was closed within an answer");
        }
        seen.extend_from_slice(&buffer[..length]);
        let head = seen.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some_and(|head| seen.len() >= head + 4 + body.bytes()) {
            break;
        }
    }
    if !seen.starts_with(b"HTTP/1.1 200 ") {
        bail!("not a good answer: {}", String::from_utf8_lossy(&seen[..seen.len().min(200)]));
    }
    Ok(())
}

/// Connects with limits on every wait.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let limit = Duration::from_secs(5);
    let stream = TcpStream::connect_timeout(&address, limit).context("connecting")?;
    stream.set_read_timeout(Some(limit)).context("setting a limit")?;
    stream.set_write_timeout(Some(limit)).context("setting a limit")?;
    Ok(stream)
}

fn wait_for_answer(running: &mut Running, address: SocketAddr, complaints: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        let answered = connect(address).and_then(|mut stream| ask(&mut stream, Body::Small));
        let Err(error) = answered else { return Ok(()) };
        let ended = running.ended();
        if ended.is_some() || started.elapsed() > READY_WAIT_MAX {
            let said = fs::read_to_string(complaints).unwrap_or_default();
            bail!("{}; {error:#}; it said: {}", ended.unwrap_or_else(|| "not ready".to_owned()), said.trim());
        }
        sleep(READY_POLL);
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn free_ports() -> Result<[u16; 4]> {
    let free: Vec<u16> = PORTS.filter(|port| TcpListener::bind(address(*port)).is_ok()).take(4).collect();
    free.try_into().ok().context("no free ports")
}
