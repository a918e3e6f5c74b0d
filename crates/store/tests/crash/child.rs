//! Starting the child, with or without the recorder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Where the child works.
pub(crate) const FOLDER: &str = "SEAWORTHY_STORE_LOAD";
/// For how many milliseconds.
pub(crate) const LASTS: &str = "SEAWORTHY_STORE_LASTS";

pub(crate) fn start(folder: &Path, lasts: Duration) -> Child {
    command(folder, lasts).spawn().unwrap()
}

/// A child whose writes and syncs go through the recorder: into a trace, or into a fault.
pub(crate) fn recorded(folder: &Path, lasts: Duration, setting: (&str, &str)) -> Child {
    command(folder, lasts)
        .env("LD_PRELOAD", recorder())
        .env("RECORDER_FOLDER", folder)
        .env(setting.0, setting.1)
        .spawn()
        .unwrap()
}

fn command(folder: &Path, lasts: Duration) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "load::load", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .env(LASTS, lasts.as_millis().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Compiled with the C compiler that SQLite was compiled with.
fn recorder() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/recorder.c");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        // Several test processes may build it at once.
        let (mine, library) =
            (folder.join(format!("recorder-{}.so", std::process::id())), folder.join("recorder.so"));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&mine)
            .args([source, "-ldl", "-lpthread"])
            .status()
            .expect("a C compiler (`cc`) is needed: the bundled SQLite needs one as well");
        assert!(compiled.success());
        std::fs::rename(mine, &library).unwrap();
        library
    });
    built.clone()
}

/// How often something is done: `few` in tests, `many` when a soak asks for everything.
pub(crate) fn rounds(few: usize, many: usize) -> usize {
    if std::env::var_os("SEAWORTHY_CRASH_SOAK").is_some() { many } else { few }
}

/// From the environment, or new each time; printed, so that it can be repeated.
pub(crate) fn seed() -> u64 {
    let asked = std::env::var("SEAWORTHY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = asked.unwrap_or_else(|| {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        since.as_nanos() as u64
    });
    println!("SEAWORTHY_SEED={seed}");
    seed
}
