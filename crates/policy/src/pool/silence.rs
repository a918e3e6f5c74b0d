//! The stall rule's memory of one endpoint: what it has left unanswered since its last byte.

use std::time::Duration;

use crate::time::Time;

/// So many of the attempts that were sent into a silence are remembered; where that is not enough to prove it, more would not be.
const REMEMBERED: usize = 16;

/// What an endpoint leaves unanswered since its last byte.
#[derive(Debug)]
pub(super) struct Silence {
    last_byte: Time,
    /// When the first attempts since then were sent, oldest first.
    sent: [Time; REMEMBERED],
    remembered: usize,
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
        Self {
            last_byte,
            sent: [Time::ZERO; REMEMBERED],
            remembered: 0,
            overtaken: 0,
            first_overtaken_sent: None,
            stalled: false,
        }
    }

    /// A sign of life ends it, and another one begins.
    pub(super) fn end(&mut self, now: Time) {
        self.last_byte = now;
        self.remembered = 0;
        self.overtaken = 0;
        self.first_overtaken_sent = None;
        self.stalled = false;
    }

    /// One more attempt was sent.
    pub(super) fn on_sent(&mut self, now: Time) {
        if let Some(free) = self.sent.get_mut(self.remembered) {
            *free = now;
            self.remembered += 1;
        }
    }

    /// An attempt that was sent at `started` ended in a way that silence has no part in.
    pub(super) fn on_ended(&mut self, started: Time) {
        let sent = &mut self.sent[..self.remembered];
        if let Some(index) = sent.iter().position(|sent| *sent == started) {
            sent[index..].rotate_left(1);
            self.remembered -= 1;
        }
    }

    /// Of those that were sent into it, so many are at least this old, and not answered. Those that have just been sent say nothing.
    pub(super) fn unanswered_for(&self, now: Time, least: Duration) -> u32 {
        let sent = &self.sent[..self.remembered];
        sent.iter().filter(|sent| now.saturating_since(**sent) >= least).count() as u32
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_just_been_sent_is_no_part_of_a_silence() {
        let at = Time::from_millis;
        let mut silence = Silence::since(at(0));
        for sent in [10, 20, 500, 505] {
            silence.on_sent(at(sent));
        }
        for (least, count) in [(0, 4), (20, 2), (490, 2), (500, 1), (501, 0)] {
            assert_eq!(silence.unanswered_for(at(510), Duration::from_millis(least)), count, "{least} ms");
        }
        silence.on_ended(at(10));
        silence.on_ended(at(11));
        assert_eq!(silence.unanswered_for(at(510), Duration::from_millis(20)), 1, "one was refused");
        (0..100).for_each(|sent| silence.on_sent(at(sent)));
        assert_eq!(silence.unanswered_for(at(9_999), Duration::ZERO) as usize, REMEMBERED);
    }
}
