//! Idempotency keys in the store of a real node: what a kill leaves behind, and a storm of repeated requests.
//!
//! `SEAWORTHY_KEYED` says how many requests the storm has (200 by default), `SEAWORTHY_SEED` repeats it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_policy::Rng;
use serde_json::Value;

use crate::stage::{Running, SEAWORTHY, Stage, eventually, get, http, kill, text};

/// A service that counts what it executes, by key, and may be told to keep its answers back.
struct Backend {
    address: SocketAddr,
    executed: Arc<Mutex<BTreeMap<String, u32>>>,
    silent: Arc<AtomicBool>,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            executed: Arc::default(),
            silent: Arc::default(),
        };
        let (executed, silent) = (Arc::clone(&backend.executed), Arc::clone(&backend.silent));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (executed, silent) = (Arc::clone(&executed), Arc::clone(&silent));
                std::thread::spawn(move || serve(&mut stream.unwrap(), &executed, &silent));
            }
        });
        backend
    }

    fn executed(&self, key: &str) -> u32 {
        self.executed.lock().unwrap().get(key).copied().unwrap_or(0)
    }

    /// A stage with it behind a route.
    fn stage(&self, keys: &str) -> Stage {
        let spec = format!(
            "seaworthy: v1\nname: keys\ngateway: {{ listen: 127.0.0.1:0 }}\nadmin: {{ listen: 127.0.0.1:0 }}\n\
             services:\n  api: {{ endpoints: [ \"http://{}\" ] }}\nroutes:\n  \
             buy: {{ match: POST /buy, to: api, idempotency: {{ {keys} }} }}\n",
            self.address
        );
        Stage::with(&spec)
    }

    /// A node in front of it.
    fn node(&self, keys: &str) -> (Stage, Running, String) {
        let stage = self.stage(keys);
        let run = stage.spawn(&["run", "seaworthy.yaml"]);
        let gateway = ready(&stage, None).1;
        (stage, run, gateway)
    }
}

/// The node that is not `before`: its pid and where it listens.
fn ready(stage: &Stage, before: Option<u64>) -> (u64, String) {
    eventually(Duration::from_secs(30), "readiness", || {
        let node: Value =
            serde_json::from_slice(&std::fs::read(stage.state(".seaworthy").join("node.json")).ok()?).ok()?;
        let pid = node["pid"].as_u64().filter(|pid| Some(*pid) != before)?;
        get(text(&node["admin"]), "/readyz").ok().filter(|answer| answer.0 == 200)?;
        Some((pid, text(&node["gateway"]).to_owned()))
    })
}

fn serve(stream: &mut TcpStream, executed: &Mutex<BTreeMap<String, u32>>, silent: &AtomicBool) {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let field = |name: &str| {
            let line = head.lines().find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            });
            line.unwrap_or_default()
        };
        let mut body = vec![0; field("content-length").parse().unwrap_or(0)];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let key = field("idempotency-key");
        let count = {
            let mut executed = executed.lock().unwrap();
            let count = executed.entry(key.clone()).or_default();
            *count += 1;
            *count
        };
        while silent.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let body = format!("{key} {count}");
        let answer = format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn post(key: &str) -> String {
    format!(
        "POST /buy HTTP/1.1\nHost: a\nConnection: close\nIdempotency-Key: {key}\nContent-Length: 3\n\none"
    )
}

fn buy(gateway: &str, key: &str) -> (u16, String, String) {
    http(gateway, &post(key)).unwrap()
}

#[test]
fn a_kill_between_sending_and_answering_leaves_an_unknown_outcome_and_answers_outlive_it() {
    let backend = Backend::start();
    let (stage, _run, gateway) = backend.node("key: required, backend: unaware");
    let (pid, _) = ready(&stage, None);
    assert_eq!(buy(&gateway, "before").0, 201);
    backend.silent.store(true, Ordering::SeqCst);
    let mut cut = TcpStream::connect(&gateway).unwrap();
    cut.write_all(post("cut").replace('\n', "\r\n").as_bytes()).unwrap();
    eventually(Duration::from_secs(10), "execution", || (backend.executed("cut") == 1).then_some(()));
    kill(u32::try_from(pid).unwrap(), "KILL");
    let (_, gateway) = ready(&stage, Some(pid));
    backend.silent.store(false, Ordering::SeqCst);
    let (status, head, body) = buy(&gateway, "cut");
    assert_eq!(status, 409, "{head}\n{body}");
    assert!(body.contains("urn:seaworthy:problem:outcome-unknown"), "{body}");
    let (status, head, body) = buy(&gateway, "before");
    assert_eq!((status, body.as_str()), (201, "before 1"), "{head}");
    assert!(head.to_lowercase().contains("idempotent-replayed: true"), "{head}");
    assert_eq!((backend.executed("cut"), backend.executed("before")), (1, 1));
}

#[test]
fn after_a_kill_a_backend_that_honours_keys_is_asked_again() {
    let backend = Backend::start();
    let (stage, _run, gateway) = backend.node("key: required, backend: honours, keep: 1h");
    let (pid, _) = ready(&stage, None);
    backend.silent.store(true, Ordering::SeqCst);
    let mut cut = TcpStream::connect(&gateway).unwrap();
    cut.write_all(post("cut").replace('\n', "\r\n").as_bytes()).unwrap();
    eventually(Duration::from_secs(10), "execution", || (backend.executed("cut") >= 1).then_some(()));
    kill(u32::try_from(pid).unwrap(), "KILL");
    let (_, gateway) = ready(&stage, Some(pid));
    backend.silent.store(false, Ordering::SeqCst);
    let (status, _, first) = buy(&gateway, "cut");
    assert_eq!(status, 201, "{first}");
    assert_eq!(buy(&gateway, "cut").2, first);
}

#[test]
fn a_node_whose_store_breaks_says_so_and_ends() {
    use std::os::unix::process::CommandExt;
    let backend = Backend::start();
    let stage = backend.stage("key: required, backend: unaware");
    // No file may grow beyond this, as on a full disk; the signal that comes with it is ignored.
    let script = format!("trap '' XFSZ; ulimit -f 500; exec {SEAWORTHY} run seaworthy.yaml");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(stage.folder.path()).stdin(Stdio::null()).process_group(0);
    let _run = Running { child: command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap() };
    let (pid, gateway) = ready(&stage, None);
    let node = stage.node(".seaworthy");
    let admin = text(&node["admin"]);
    let (refused, executed) = (0..2_000)
        .find_map(|index| {
            let key = format!("key-{index}-{}", "x".repeat(200));
            let (status, _, body) = buy(&gateway, &key);
            (status != 201).then(|| (body, backend.executed(&key)))
        })
        .expect("the store breaks sooner or later");
    assert!(refused.contains("urn:seaworthy:problem:store-unavailable"), "{refused}");
    assert!(executed <= 1);
    let (status, _, health) = get(admin, "/healthz").unwrap();
    assert_eq!(status, 503, "{health}");
    assert!(health.contains("\"store\""), "{health}");
    assert!(get(admin, "/events").unwrap().2.contains("store_broken"));
    let next = "x".repeat(20);
    assert_eq!(buy(&gateway, &next).0, 503);
    assert_eq!(backend.executed(&next), 0, "nothing is sent any more");
    eventually(Duration::from_secs(5), "end of the node", || {
        (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}

#[test]
fn in_a_storm_of_repeated_requests_each_key_is_executed_once() {
    let requests: u64 =
        std::env::var("SEAWORTHY_KEYED").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let seed = std::env::var("SEAWORTHY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    println!("repeat with SEAWORTHY_SEED={seed}");
    let backend = Backend::start();
    let (_stage, _run, gateway) = backend.node("key: required, backend: unaware, in_flight: wait");
    let answers: Mutex<BTreeMap<String, Vec<String>>> = Mutex::default();
    std::thread::scope(|scope| {
        for lane in 0..8 {
            let (answers, gateway) = (&answers, &gateway);
            scope.spawn(move || {
                let mut rng = Rng::seeded(seed + lane);
                for index in (lane..requests).step_by(8) {
                    let cuts: Vec<bool> = (0..=rng.below(4)).map(|_| rng.below(3) == 0).collect();
                    ask_at_once(gateway, &format!("key-{index}"), &cuts, answers);
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap();
    for (key, count) in backend.executed.lock().unwrap().iter() {
        assert_eq!(*count, 1, "{key} was executed {count} times");
    }
    for (key, told) in &answers {
        assert!(told.iter().all(|answer| *answer == format!("{key} 1")), "{key}: {told:?}");
    }
    assert!(answers.len() as u64 > requests / 2, "most got an answer: {}", answers.len());
    // Whoever was cut off gets the same answer now.
    for index in 0..requests {
        let key = format!("key-{index}");
        let (status, _, body) = buy(&gateway, &key);
        assert_eq!((status, body), (201, format!("{key} 1")));
    }
}

/// Sends a request as often as there are `cuts`, all at the same time.
fn ask_at_once(gateway: &str, key: &str, cuts: &[bool], answers: &Mutex<BTreeMap<String, Vec<String>>>) {
    std::thread::scope(|copies| {
        for cut in cuts {
            copies.spawn(move || ask(gateway, key, *cut, answers));
        }
    });
}

/// Sends a request; with `cut`, its connection is gone right after.
fn ask(gateway: &str, key: &str, cut: bool, answers: &Mutex<BTreeMap<String, Vec<String>>>) {
    if cut {
        let mut stream = TcpStream::connect(gateway).unwrap();
        stream.write_all(post(key).replace('\n', "\r\n").as_bytes()).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Both);
        return;
    }
    let (status, head, body) = buy(gateway, key);
    assert_eq!(status, 201, "{head}\n{body}");
    answers.lock().unwrap().entry(key.to_owned()).or_default().push(body);
}
