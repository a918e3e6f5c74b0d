//! The stall rule's memory of one endpoint: what it has left unanswered since its last byte.

use std::time::Duration;

use crate::time::Time;

/// What an endpoint leaves unanswered since its last byte.
#[derive(Debug)]
pub(super) struct Silence {
    last_byte: Time,
    /// Attempts since then that were dropped because their hedge was faster. Nobody waits for them, but they were not answered either:
    /// not counting them would let hedges hide the hang that they were sent for.
    overtaken: u32,
    first_overtaken_sent: Option<Time>,
    /// The stall rule was met. It stays met until the next byte: when attempts move elsewhere, the last ones must not be
    /// left behind because too few are left.
    stalled: bool,
}

/// When silence is a stall.
#[derive(Debug, Clone, Copy)]
pub(super) struct StallRule {
    pub(super) outstanding: u32,
    pub(super) limit: Duration,
}

impl Silence {
    pub(super) fn since(last_byte: Time) -> Self {
        Self { last_byte, overtaken: 0, first_overtaken_sent: None, stalled: false }
    }

    /// One more attempt, sent at `started`, was dropped because its hedge was faster.
    pub(super) fn on_overtaken(&mut self, started: Time) {
        self.overtaken = self.overtaken.saturating_add(1);
        self.first_overtaken_sent.get_or_insert(started);
    }

    /// How long it has lasted.
    pub(super) fn lasts(&self, now: Time) -> Duration {
        now.saturating_since(self.last_byte)
    }

    /// The rule's first half: enough is unanswered for long enough to move what waits, though not to condemn the endpoint.
    pub(super) fn is_suspicious(&self, now: Time, started: Time, waiting: u32, rule: StallRule) -> bool {
        let many = waiting.saturating_add(self.overtaken) >= rule.outstanding;
        many && now.saturating_since(started.max(self.last_byte)) >= rule.limit
    }

    /// The rule where nobody waits any more: those that were overtaken, since the first of them was sent.
    pub(super) fn is_stall_by_overtaken(&mut self, now: Time, rule: StallRule) -> bool {
        self.first_overtaken_sent.is_some_and(|sent| self.is_stall(now, sent, 0, rule))
    }

    /// The rule for an attempt that waits since `started`, as one of `waiting`.
    pub(super) fn is_stall(&mut self, now: Time, started: Time, waiting: u32, rule: StallRule) -> bool {
        let many = self.stalled || waiting.saturating_add(self.overtaken) >= rule.outstanding;
        let silent = now.saturating_since(started.max(self.last_byte)) >= rule.limit;
        self.stalled |= many && silent;
        many && silent
    }
}
