//! When to stop asking a part of a page that does not answer.
//!
//! A part that is down must not slow down every page by its time limit. After a failure it counts as absent,
//! without being asked, for [`REST`]; then *one* page asks again while all others still assume the worst, so
//! that a part that hangs costs one page per second its time limit, and not every page. With 400 pages per
//! second and a limit of 50 ms, that is 1 page in 400 instead of, without the rule of one, 20 in 400.
//!
//! Rejected: a circuit breaker. The egress has one; this is only a page's manners.

use std::time::{Duration, Instant};

/// So long a failed part is left alone.
pub(super) const REST: Duration = Duration::from_secs(1);

/// The memory of one part. Time comes in as an argument.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    resting_until: Option<Instant>,
}

impl Cooldown {
    /// Whether to ask now. A `true` after a failure is given to one asker per rest.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        match self.resting_until {
            Some(until) if now < until => false,
            Some(_) => {
                self.failed(now);
                true
            }
            None => true,
        }
    }

    /// It answered.
    pub(super) fn answered(&mut self) {
        self.resting_until = None;
    }

    /// It did not.
    pub(super) fn failed(&mut self, now: Instant) {
        self.resting_until = Some(now + REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asker_per_rest_until_it_answers() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut part = Cooldown::default();
        assert!(part.may_ask(at(0)) && part.may_ask(at(0)), "healthy: everybody asks");
        part.failed(at(50));
        assert!(!part.may_ask(at(51)) && !part.may_ask(at(1049)), "resting");
        assert!(part.may_ask(at(1050)), "the one who tries");
        assert!(!part.may_ask(at(1050)) && !part.may_ask(at(2049)), "the others wait for its result");
        assert!(part.may_ask(at(2050)), "the one who tried never came back: the next tries");
        part.answered();
        assert!(part.may_ask(at(2051)) && part.may_ask(at(2051)), "healthy again");
    }
}
