//! A keeper as a program of its own: `keeper STATE_DIR stdin|none DRAIN_MS NODE [ARGUMENT ...]`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use seaworthy_keeper::{EXIT_COULD_NOT_START, KeeperConfig, Owner, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(state_dir), Some(owner), Some(drain_ms)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return exit_code(EXIT_COULD_NOT_START);
    };
    let owner = match owner.to_str() {
        Some("stdin") => Owner::Stdin,
        Some("none") => Owner::None,
        _ => return exit_code(EXIT_COULD_NOT_START),
    };
    let Some(drain_ms) = drain_ms.to_str().and_then(|text| text.parse().ok()) else {
        return exit_code(EXIT_COULD_NOT_START);
    };
    let mut node = Command::new(arguments.next().unwrap_or_default());
    node.args(arguments);
    exit_code(run(KeeperConfig {
        node,
        state_dir: PathBuf::from(state_dir),
        owner,
        drain_limit: Duration::from_millis(drain_ms),
    }))
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
