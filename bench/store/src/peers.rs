//! Other people's queues, if they are installed: what is absent is said, never guessed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Effort;

const PORT: &str = "54399";

pub(crate) fn all(folder: &Path, effort: Effort) -> Value {
    json!({ "postgres": postgres(folder, effort), "redis": redis() })
}

/// `redis-server` is not driven yet: there was none to try it with.
fn redis() -> Value {
    let version = Command::new("redis-server").arg("--version").output();
    match version {
        Ok(_) => json!({ "absent": "installed, but this bench cannot drive it yet" }),
        Err(_) => json!({ "absent": "redis-server is not installed" }),
    }
}

/// One INSERT per commit with default durability, driven by `pgbench`.
fn postgres(folder: &Path, effort: Effort) -> Value {
    match try_postgres(folder, effort) {
        Ok(rows) => rows,
        Err(reason) => json!({ "absent": reason }),
    }
}

fn try_postgres(folder: &Path, effort: Effort) -> Result<Value, String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let data = folder.join("pg");
    let (data, place) = (data.to_str().ok_or("a plain path")?, folder.to_str().ok_or("a plain path")?);
    own_folders(folder);
    run(&["initdb", "-D", data, "-A", "trust", "-U", "postgres"])?;
    let settings = format!(
        "-p {PORT} -c listen_addresses='' -c unix_socket_directories='{place}' -c max_connections=300"
    );
    run(&["pg_ctl", "-D", data, "-w", "-s", "-l", &format!("{place}/log"), "-o", &settings, "start"])?;
    let measured = inserts(place, effort);
    run(&["pg_ctl", "-D", data, "-w", "-s", "-m", "fast", "stop"])?;
    measured
}

fn inserts(place: &str, effort: Effort) -> Result<Value, String> {
    let table = "CREATE TABLE jobs (id bigserial PRIMARY KEY, queue int, due bigint, body bytea)";
    run(&["psql", "-h", place, "-p", PORT, "-U", "postgres", "-q", "-c", table])?;
    let script = format!("{place}/insert.sql");
    let insert = format!("INSERT INTO jobs (queue, due, body) VALUES (1, 0, '\\x{}');\n", "07".repeat(256));
    fs::write(&script, insert).map_err(|error| error.to_string())?;
    // Hundreds of sessions take a while to begin.
    let seconds = (2 * effort.lasts.as_secs()).max(2).to_string();
    let mut rows = Vec::new();
    for clients in ["1", "16", "256"] {
        let threads = if clients == "1" { "1" } else { "2" };
        let words =
            ["pgbench", "-h", place, "-p", PORT, "-U", "postgres", "-n", "-f", &script, "-M", "prepared"];
        let said = run(&[&words[..], &["-c", clients, "-j", threads, "-T", &seconds, "postgres"]].concat())?;
        let rate =
            said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
        rows.push(
            json!({ "what": "insert", "clients": clients.parse::<u64>().unwrap_or(0), "per_second": rate }),
        );
    }
    let version = run(&["postgres", "--version"])?;
    Ok(json!({ "version": version.trim(), "rows": rows }))
}

/// The server refuses to run as root, and then needs a folder that its user can reach.
fn own_folders(folder: &Path) {
    if !is_root() {
        return;
    }
    let _ = Command::new("chown").args(["-R", "postgres"]).arg(folder).status();
    for ancestor in folder.ancestors().skip(1).take(1) {
        let _ = Command::new("chmod").arg("a+x").arg(ancestor).status();
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

fn run(words: &[&str]) -> Result<String, String> {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).args(words);
        command
    } else {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    let output = command.stdin(Stdio::null()).current_dir("/").output();
    let output = output.map_err(|error| format!("{} cannot be started: {error}", words[0]))?;
    if !output.status.success() {
        return Err(format!("{}: {}", words[0], String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
