//! What a drill says while it runs. The caller renders it; nothing here decides how it looks.

use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

/// Where a drill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Loads run; waiting for steady state.
    SteadyBefore,
    /// The fault is requested.
    Applying,
    /// The window is open.
    Window,
    /// The fault is being ended.
    Ending,
    /// Waiting for steady state after the fault.
    SteadyAfter,
    /// Waiting for a process to be ready again.
    Restarting,
    /// Looking for what was acknowledged.
    ReadBack,
    /// Making sure that nothing of the fault is left.
    CleanUp,
    /// The verdict is in.
    Judged,
}

impl Phase {
    /// The phase in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SteadyBefore => "waiting for steady state",
            Self::Applying => "applying the fault",
            Self::Window => "window open",
            Self::Ending => "ending the fault",
            Self::SteadyAfter => "waiting for steady state after the fault",
            Self::Restarting => "waiting for the process to be ready again",
            Self::ReadBack => "reading back what was acknowledged",
            Self::CleanUp => "proving that nothing of the fault is left",
            Self::Judged => "judged",
        }
    }
}

/// One piece of news.
#[derive(Debug, Clone, PartialEq)]
pub struct Update<'a> {
    /// The failure being drilled.
    pub failure: &'a str,
    /// Its number, from 1.
    pub number: usize,
    /// How many failures this drill has.
    pub of: usize,
    /// What happens now.
    pub phase: Phase,
    /// How long the phase lasts at most; `None` when nobody knows.
    pub left: Option<Duration>,
    /// Further words, such as the verdict.
    pub detail: Option<&'a str>,
}

/// Takes news of a drill. Called from the task that runs the drill: must not block for long.
pub trait Progress: Send + Sync {
    /// One piece of news; within a phase it comes again about once a second with less time left.
    fn update(&self, update: &Update<'_>);
}

/// Says nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn update(&self, _update: &Update<'_>) {}
}

/// One plain line for each change of phase: for logs and pipes, where nothing can be redrawn.
pub struct Lines<W> {
    state: Mutex<LinesState<W>>,
}

struct LinesState<W> {
    out: W,
    last: Option<(usize, Phase)>,
}

impl<W: Write + Send> Lines<W> {
    /// Writes to `out`; an error of `out` ends neither the drill nor later lines.
    pub fn new(out: W) -> Self {
        Self { state: Mutex::new(LinesState { out, last: None }) }
    }
}

impl<W: Write + Send> Progress for Lines<W> {
    fn update(&self, update: &Update<'_>) {
        let Ok(mut state) = self.state.lock() else { return };
        if state.last == Some((update.number, update.phase)) {
            return;
        }
        state.last = Some((update.number, update.phase));
        let left = match update.left {
            Some(left) => format!(" (at most {:.0} s)", left.as_secs_f64().ceil()),
            None => String::new(),
        };
        let detail = update.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        let _ = writeln!(
            state.out,
            "[{}/{}] {}: {}{left}{detail}",
            update.number,
            update.of,
            update.failure,
            update.phase.as_str()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_once_for_each_phase() {
        let lines = Lines::new(Vec::new());
        let mut update = Update {
            failure: "replica-crash",
            number: 1,
            of: 2,
            phase: Phase::Window,
            left: Some(Duration::from_millis(9_200)),
            detail: None,
        };
        lines.update(&update);
        update.left = Some(Duration::from_secs(8));
        lines.update(&update);
        update.phase = Phase::Judged;
        update.left = None;
        update.detail = Some("kept");
        lines.update(&update);
        let written = String::from_utf8(lines.state.into_inner().unwrap().out).unwrap();
        assert_eq!(
            written,
            "[1/2] replica-crash: window open (at most 10 s)\n[1/2] replica-crash: judged: kept\n"
        );
    }
}
