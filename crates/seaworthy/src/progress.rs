//! What a drill shows while it runs: one line that is redrawn on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use seaworthy_drill::{Lines, Phase, Progress, Update};

/// Standard error, redrawn where that is possible.
pub(crate) struct Screen {
    lines: Lines<std::io::Stderr>,
    redraws: bool,
    /// A line is on the screen that the next one may overwrite.
    open: Mutex<bool>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            lines: Lines::new(std::io::stderr()),
            redraws: std::io::stderr().is_terminal(),
            open: Mutex::new(false),
        }
    }

    /// Says something outside of any failure.
    pub(crate) fn line(&self, text: &str) {
        self.show(&format!("{text} ..."), self.redraws);
    }

    /// Takes the last line away, so that the report stands alone.
    pub(crate) fn clear(&self) {
        if *self.open.lock().expect("no holder panics") {
            self.show("", true);
        }
    }

    fn show(&self, text: &str, may_be_overwritten: bool) {
        let mut open = self.open.lock().expect("no holder panics");
        let erase = if *open { "\r\x1b[K" } else { "" };
        let end = if may_be_overwritten { "" } else { "\n" };
        // Nobody is helped when progress that cannot be shown ends the drill.
        let _ = write!(std::io::stderr(), "{erase}{text}{end}");
        *open = may_be_overwritten && !text.is_empty();
    }
}

impl Progress for Screen {
    fn update(&self, update: &Update<'_>) {
        if !self.redraws {
            return self.lines.update(update);
        }
        let left =
            update.left.map(|left| format!(", {:.0} s", left.as_secs_f64().ceil())).unwrap_or_default();
        let detail = update.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        let text = format!(
            "[{}/{}] {}: {}{left}{detail}",
            update.number,
            update.of,
            update.failure,
            update.phase.as_str()
        );
        // The verdict of a failure stays; what led there is overwritten.
        self.show(&text, update.phase != Phase::Judged);
    }
}
