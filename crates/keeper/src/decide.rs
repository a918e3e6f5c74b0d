//! What follows from the end of a node: pure, so that every case is a row of a table.

use std::ops::ControlFlow::{self, Break, Continue};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::EXIT_COULD_NOT_START;

/// Shells report a death by signal N as this plus N.
const SIGNAL_EXIT_BASE: i32 = 128;

/// The pause before the second restart in a row; it doubles from there. The first restart is immediate.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause: a node that dies again and again must not keep the machine busy.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A node that was up this long starts the series of pauses anew.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// What had happened before a node ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Past {
    /// The keeper had been asked to stop.
    pub(crate) stop_requested: bool,
    /// This node or an earlier one of the same keeper became ready.
    pub(crate) ever_ready: bool,
    restarts_in_a_row: u32,
}

impl Past {
    /// What follows from the end of a node that was up for so long: the keeper's exit code, or the pause before
    /// the node is started again.
    ///
    /// A node that once was ready is always started again, even after "could not start": the cause may pass,
    /// and a backend that is down for good because a restart failed once is the worse outcome. A node that
    /// never was ready has an operator who is looking at its message.
    pub(crate) fn on_end(&mut self, end: ExitStatus, up: Duration) -> ControlFlow<i32, Duration> {
        let code = end.code().unwrap_or(SIGNAL_EXIT_BASE + end.signal().unwrap_or(0));
        let could_never_start = code == EXIT_COULD_NOT_START && !self.ever_ready;
        let is_over = self.stop_requested || code == 0 || could_never_start;
        if is_over { Break(code) } else { Continue(self.pause_after(up)) }
    }

    fn pause_after(&mut self, up: Duration) -> Duration {
        let earlier = if up < WELL_AFTER { self.restarts_in_a_row } else { 0 };
        self.restarts_in_a_row = earlier.saturating_add(1);
        let Some(doublings) = earlier.checked_sub(1) else { return Duration::ZERO };
        PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(PAUSE_MAX)
    }
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
        let again = Continue(Duration::ZERO);
        let rows = [
            // end, stop requested, ever ready, next
            (code(0), false, true, Break(0)),
            (code(0), false, false, Break(0)),
            (code(0), true, true, Break(0)),
            (code(1), false, true, again),
            (code(1), false, false, again),
            (code(1), true, true, Break(1)),
            (code(2), false, false, Break(2)),
            (code(2), false, true, again),
            (signal(9), false, true, again),
            (signal(9), false, false, again),
            (signal(9), true, true, Break(137)),
            (signal(15), true, false, Break(143)),
        ];
        for (end, stop_requested, ever_ready, expected) in rows {
            let mut past = Past { stop_requested, ever_ready, ..Past::default() };
            assert_eq!(past.on_end(end, Duration::ZERO), expected, "{end} {past:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_until_a_node_stays_up() {
        let short = Duration::from_millis(9_999);
        let long = Duration::from_secs(10);
        // how long the node was up, the pause in ms after it
        let rows = [
            (short, 0),
            (short, 50),
            (short, 100),
            (short, 200),
            (short, 400),
            (short, 800),
            (short, 1_000),
            (short, 1_000),
            (long, 0),
            (short, 50),
            (long, 0),
            (long, 0),
            (short, 50),
        ];
        let mut past = Past::default();
        for (row, (up, expected_ms)) in rows.into_iter().enumerate() {
            let expected = Continue(Duration::from_millis(expected_ms));
            assert_eq!(past.on_end(code(1), up), expected, "row {row}");
        }
        for restarts_in_a_row in [100, u32::MAX] {
            let mut past = Past { restarts_in_a_row, ..Past::default() };
            assert_eq!(past.pause_after(short), PAUSE_MAX, "after {restarts_in_a_row}");
        }
    }
}
