//! What follows from the end of a node: pure, so that every case is a row of a table.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::{EXIT_COULD_NOT_START, RestartBackoff};

/// Shells report a death by signal N as this plus N.
const SIGNAL_EXIT_BASE: i32 = 128;

/// What had happened before the node ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    /// The keeper had been asked to stop.
    pub(crate) stop_requested: bool,
    /// This node or an earlier one of the same keeper became ready.
    pub(crate) ever_ready: bool,
}

/// What to do about a node that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Exit(i32),
    Restart,
}

/// A node that once was ready is always started again, even after "could not start": the cause may pass, and
/// a backend that is down for good because a restart failed once is the worse outcome. A node that never was
/// ready has an operator who is looking at its message.
pub(crate) fn after_end(end: ExitStatus, past: Past) -> Next {
    match end.code() {
        _ if past.stop_requested => Next::Exit(exit_code(end)),
        Some(0) => Next::Exit(0),
        Some(EXIT_COULD_NOT_START) if !past.ever_ready => Next::Exit(EXIT_COULD_NOT_START),
        Some(_) | None => Next::Restart,
    }
}

/// The exit code of a process that ends as `end` did.
pub(crate) fn exit_code(end: ExitStatus) -> i32 {
    end.code().or(end.signal().map(|signal| SIGNAL_EXIT_BASE + signal)).unwrap_or(SIGNAL_EXIT_BASE)
}

/// The pause before a node is started again, after `earlier` restarts in a row.
pub(crate) fn restart_pause(backoff: RestartBackoff, earlier: u32) -> Duration {
    let Some(doublings) = earlier.checked_sub(1) else { return Duration::ZERO };
    backoff.first.saturating_mul(2_u32.saturating_pow(doublings)).min(backoff.longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    fn signal(signal: i32) -> ExitStatus {
        ExitStatus::from_raw(signal)
    }

    #[test]
    fn each_end_has_one_consequence() {
        let rows = [
            // end, stop requested, ever ready, next
            (code(0), false, true, Next::Exit(0)),
            (code(0), false, false, Next::Exit(0)),
            (code(0), true, true, Next::Exit(0)),
            (code(1), false, true, Next::Restart),
            (code(1), false, false, Next::Restart),
            (code(1), true, true, Next::Exit(1)),
            (code(2), false, false, Next::Exit(2)),
            (code(2), false, true, Next::Restart),
            (signal(9), false, true, Next::Restart),
            (signal(9), false, false, Next::Restart),
            (signal(9), true, true, Next::Exit(137)),
            (signal(15), true, false, Next::Exit(143)),
        ];
        for (end, stop_requested, ever_ready, expected) in rows {
            let past = Past { stop_requested, ever_ready };
            assert_eq!(after_end(end, past), expected, "{end} {past:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let rows = [
            (0, 0),
            (1, 50),
            (2, 100),
            (3, 200),
            (5, 800),
            (6, 1_000),
            (7, 1_000),
            (100, 1_000),
            (u32::MAX, 1_000),
        ];
        for (earlier, expected_ms) in rows {
            let pause = restart_pause(RestartBackoff::default(), earlier);
            assert_eq!(pause, Duration::from_millis(expected_ms), "after {earlier}");
        }
    }
}
