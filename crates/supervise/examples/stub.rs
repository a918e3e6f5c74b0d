//! The service that the tests supervise: serves HTTP on `PORT` and misbehaves as it is told.
//!
//! ```text
//! stub [--print LINE] [--print-error LINE] [--flood BYTES] [--exit-after MS CODE] [--grandchild] [--no-listen]
//! ```
//!
//! Files in `SEAWORTHY_STATE_DIR` talk to the test while it runs: it writes its environment to `env` and the id of
//! its grandchild to `grandchild`, and one byte per request for `/PATH` to `answered-PATH`; it answers every request with the status in `status` (200 without), or not at all
//! while there is a file `hang`.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A process that does nothing lives no longer than this, whatever happens to the test.
const LIFE_MAX: Duration = Duration::from_mins(1);

fn main() -> io::Result<()> {
    thread::spawn(|| {
        thread::sleep(LIFE_MAX);
        end(99);
    });
    let state = PathBuf::from(env::var_os("SEAWORTHY_STATE_DIR").unwrap_or_else(|| ".".into()));
    let mut listens = true;
    let mut words = env::args().skip(1);
    let number = |word: Option<String>| word.and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--print" => writeln!(io::stdout(), "{}", words.next().unwrap_or_default())?,
            "--print-error" => writeln!(io::stderr(), "{}", words.next().unwrap_or_default())?,
            "--flood" => io::stdout().write_all(&vec![b'x'; number(words.next()) as usize])?,
            "--grandchild" => grandchild(&state)?,
            "--no-listen" => listens = false,
            "--exit-after" => {
                let (millis, code) = (number(words.next()), number(words.next()));
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(millis));
                    end(code as i32);
                });
            }
            _ => end(64),
        }
    }
    fs::write(state.join("env"), environment())?;
    if listens {
        return serve(&state);
    }
    loop {
        thread::park();
    }
}

fn environment() -> String {
    let lines: Vec<String> = env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    lines.join("\n")
}

fn grandchild(state: &Path) -> io::Result<()> {
    let child = Command::new(env::current_exe()?)
        .args(["--no-listen"])
        .env("SEAWORTHY_STATE_DIR", env::temp_dir())
        .stdin(Stdio::null())
        .spawn()?;
    fs::write(state.join("grandchild"), child.id().to_string())
}

fn serve(state: &Path) -> io::Result<()> {
    let port: u16 = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or_default();
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    for stream in listener.incoming() {
        let state = state.to_owned();
        thread::spawn(move || stream.and_then(|stream| answer(stream, &state)));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, state: &Path) -> io::Result<()> {
    let mut request = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    request.read_line(&mut first)?;
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    if state.join("hang").exists() {
        loop {
            thread::park();
        }
    }
    let status = fs::read_to_string(state.join("status")).unwrap_or_else(|_| "200".to_owned());
    let path = first.split(' ').nth(1).unwrap_or_default().replace('/', "-");
    let counter = state.join(format!("answered{path}"));
    OpenOptions::new().create(true).append(true).open(counter)?.write_all(b"x")?;
    write!(stream, "HTTP/1.1 {} Stub\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status.trim())
}

#[expect(clippy::exit, reason = "a service that exits is what the tests need")]
fn end(code: i32) -> ! {
    process::exit(code)
}
