//! `Exchange`: one client request on the server side. May it be served, how safely, until when, and what is said instead.
//!
//! **Problem.** The same questions stand before every call: is sending it twice harmless, is the key there that makes it
//! so, how much time is left, and what does the client hear when the call failed. Answered in the proxy's code they
//! differ from route to route; answered here they are one table.
//!
//! **Model.** `admit` turns a request's head into a [`Safety`] and a deadline, or a refusal; `descend` walks the
//! degradation ladder, whose bottom is a typed problem: 502 when they failed, 503 when it is us, 504 when a timer fired.
//!
//! **The order.** Deadline and priority come with the head (`admit`); then the gates of the way in are asked, one after
//! the other (`enter`, see [`entrance`](crate::entrance)); then the call begins. A request that may not pass goes the
//! same ladder as a failed one when we are short of room (503), and hears the truth when it asked for more than its
//! share (429): a soothing answer would invite it to go on.
//!
//! **Deadlines on the wire** are relative, only ever shorten, and count only from trusted peers: a wall-clock deadline is
//! wrong wherever a clock is, and a client's header must not raise a limit.

use std::time::Duration;

use crate::Deadline;
use crate::admission::Priority;
use crate::call::{Failure, FailureKind, RETRY_AFTER_DEFAULT, Safety};
use crate::entrance::{Denied, Passage, Reason};
use crate::fallback::FailureClass;
use crate::ladder::{Fall, Ladder, Rung};
use crate::time::Time;

/// What the plan says about a route or an egress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeConfig {
    /// What idempotency keys mean here.
    pub keyed: KeyRule,
    /// The longest a response head of the service itself may take.
    pub total_timeout: Duration,
    /// How much its requests matter where not all can be served.
    pub priority: Priority,
    /// How many gates its requests must pass.
    pub gates: usize,
    /// How much longer a fallback service may take.
    pub time_kept: Duration,
    /// What may be answered instead when a call failed.
    pub degrade: Ladder,
}

/// What idempotency keys of unsafe requests mean on a route or an egress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyRule {
    /// Nothing.
    #[default]
    Ignored,
    /// They are kept here, or honoured by the backend, or both.
    Used {
        /// A request without one is refused.
        required: bool,
        /// The backend executes a key only once, so that sending again under it is harmless.
        honoured: bool,
    },
}

/// What RFC 9110 §9.2 says about a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// Safe or idempotent: GET, HEAD, OPTIONS, TRACE, PUT, DELETE.
    Idempotent,
    /// Everything else.
    Other,
}

impl MethodKind {
    /// Classifies a method by its name.
    pub fn of(method: &str) -> Self {
        match method {
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" => Self::Idempotent,
            _ => Self::Other,
        }
    }
}

/// The request's idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// There is none.
    Missing,
    /// There is one, and it is well-formed.
    Valid,
    /// There is one that cannot be used: empty, too long, several, or with odd characters.
    Invalid,
}

/// The longest idempotency key, in characters.
pub const MAX_KEY_CHARS: usize = 255;

impl Key {
    /// Judges a header's value, bare or as a quoted string.
    pub fn of(value: &[u8]) -> Self {
        let bare = match value {
            [b'"', inner @ .., b'"'] => inner,
            _ => value,
        };
        let visible = bare.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e));
        if bare.is_empty() || bare.len() > MAX_KEY_CHARS || !visible { Self::Invalid } else { Self::Valid }
    }
}

/// What the policy needs to know of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead {
    /// Its method.
    pub method: MethodKind,
    /// Its idempotency key.
    pub key: Key,
    /// The time left according to a trusted peer.
    pub time_left: Option<Duration>,
}

/// Whether a request is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Make a call.
    Call {
        /// How it may be sent again.
        safety: Safety,
        /// When the response head must be there.
        deadline: Time,
    },
    /// Say no.
    Refuse(Refusal),
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400: the route requires an idempotency key.
    KeyMissing,
    /// 400: the key cannot be used.
    KeyInvalid,
    /// 504: the peer's deadline has passed.
    DeadlinePassed,
}

/// What the client hears when the call failed and no rung of the ladder caught it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bottom {
    /// 400, 502, 503 or 504.
    pub status: u16,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// One client request.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    config: ExchangeConfig,
}

impl Exchange {
    /// An exchange on a route or egress with this configuration.
    pub fn new(config: ExchangeConfig) -> Self {
        Self { config }
    }

    /// Judges the request's head.
    pub fn admit(&self, now: Time, head: &RequestHead) -> Admission {
        let safety = match (head.method, self.config.keyed, head.key) {
            (MethodKind::Idempotent, ..) => Safety::Safe,
            (MethodKind::Other, KeyRule::Used { honoured: true, .. }, Key::Valid) => Safety::Keyed,
            // A key that the backend was not said to honour makes nothing safe.
            (MethodKind::Other, KeyRule::Ignored, _)
            | (MethodKind::Other, KeyRule::Used { .. }, Key::Valid)
            | (MethodKind::Other, KeyRule::Used { required: false, .. }, Key::Missing) => Safety::Unsafe,
            (MethodKind::Other, _, Key::Missing) => return Admission::Refuse(Refusal::KeyMissing),
            (MethodKind::Other, _, Key::Invalid) => return Admission::Refuse(Refusal::KeyInvalid),
        };
        let limit = self.config.total_timeout;
        let time_left = head.time_left.map_or(limit, |left| left.min(limit));
        if time_left.is_zero() {
            return Admission::Refuse(Refusal::DeadlinePassed);
        }
        Admission::Call { safety, deadline: now.after(time_left) }
    }

    /// How much a request matters: what a trusted peer has `told`, or what the plan says.
    pub fn priority(&self, told: Option<Priority>) -> Priority {
        told.unwrap_or(self.config.priority)
    }

    /// Whether the key of a request means something here: a write that may not be repeated without one.
    pub fn uses_key(&self, head: &RequestHead) -> bool {
        let is_write = head.method == MethodKind::Other && head.key == Key::Valid;
        is_write && self.config.keyed != KeyRule::Ignored
    }

    /// The way in of a request that was admitted. Time spent on it counts.
    pub fn enter(&self, deadline: Time, priority: Priority) -> Passage {
        Passage::new(self.config.gates, priority, Deadline::at(deadline))
    }

    /// What to say when a gate said no and nothing caught it, and what that is to the ladder. Whoever asks for more
    /// than is allowed gets nothing instead.
    pub fn on_denied(&self, denied: &Denied) -> (Bottom, FailureClass) {
        let limited = denied.reason == Reason::RateLimited;
        let class = if limited { FailureClass::CallerError } else { FailureClass::Rejected };
        (Bottom { status: denied.reason.status(), retry_after: Some(denied.retry_after) }, class)
    }

    /// The next rung of the degradation ladder to be tried, from this place on; `None` = the failure stands.
    pub fn descend(&self, from: usize, fall: &Fall) -> Option<(usize, Rung)> {
        self.config.degrade.next(from, fall)
    }

    /// When the client must have an answer, if that is when the service's own had to be there.
    pub fn until(&self, deadline: Time) -> Time {
        deadline.after(self.config.time_kept)
    }

    /// How a request may be sent again to the service that stands in: its key counts there only if that service
    /// honours keys too.
    pub fn fallback_safety(&self, safety: Safety, keyed: bool) -> Safety {
        if safety == Safety::Keyed && !keyed { Safety::Unsafe } else { safety }
    }

    /// What the answer of a service is to the ladder: an error, unless it is `marked` as
    /// degraded by the service itself, which is asked about errors only.
    pub fn on_answer(&self, status: u16, marked: impl FnOnce() -> bool) -> Option<FailureClass> {
        let class = FailureClass::of_status(status).filter(|class| *class == FailureClass::Error);
        class.filter(|_| !self.config.degrade.is_empty() && !marked())
    }

    /// What the answer of the service that stands in is to the ladder: an error that a lower rung may catch if the
    /// request only reads. A write may have been executed there, and whatever that service says of it stands.
    pub fn on_other_answer(&self, status: u16, fall: &Fall) -> Option<FailureClass> {
        FailureClass::of_status(status).filter(|class| *class == FailureClass::Error && fall.reads)
    }

    /// Whether the failure of a call to that service stands: it may have executed a write. What was known before, that
    /// nothing was sent, is true no longer.
    pub fn on_other_failure(&self, maybe_executed: bool, fall: &Fall) -> bool {
        maybe_executed && !fall.reads
    }

    /// What to say when the call failed and nothing caught it.
    pub fn on_failure(&self, failure: &Failure) -> Bottom {
        let retry_after = match failure.kind {
            FailureKind::NoEndpoint | FailureKind::BreakerOpen => {
                failure.retry_after.or(Some(RETRY_AFTER_DEFAULT))
            }
            _ => failure.retry_after,
        };
        Bottom { status: failure.kind.status(), retry_after }
    }
}

impl FailureKind {
    /// 502: they failed; 503: we did not send it; 504: a timer of ours fired; 400: the client's body failed.
    pub fn status(self) -> u16 {
        match self {
            Self::NoEndpoint | Self::Full | Self::BreakerOpen => 503,
            Self::Connect | Self::Reset | Self::Protocol => 502,
            Self::ConnectTimeout | Self::AttemptTimeout | Self::TotalTimeout | Self::DeadlineInsufficient => {
                504
            }
            Self::RequestBody => 400,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: ExchangeConfig = ExchangeConfig {
        keyed: KeyRule::Used { required: true, honoured: true },
        total_timeout: Duration::from_secs(15),
        priority: Priority::Critical,
        gates: 0,
        time_kept: Duration::ZERO,
        degrade: Ladder::NONE,
    };

    fn admit(config: ExchangeConfig, method: &str, key: Key, time_left: Option<Duration>) -> Admission {
        let head = RequestHead { method: MethodKind::of(method), key, time_left };
        Exchange::new(config).admit(Time::from_millis(1000), &head)
    }

    #[test]
    fn safety_follows_from_method_route_and_key() {
        let unkeyed = ExchangeConfig { keyed: KeyRule::Ignored, ..CONFIG };
        let used =
            |required, honoured| ExchangeConfig { keyed: KeyRule::Used { required, honoured }, ..CONFIG };
        let safety = |config, method, key| match admit(config, method, key, None) {
            Admission::Call { safety, .. } => Ok(safety),
            Admission::Refuse(refusal) => Err(refusal),
        };
        let cases = [
            (CONFIG, "GET", Key::Missing, Ok(Safety::Safe)),
            (CONFIG, "DELETE", Key::Invalid, Ok(Safety::Safe)),
            (CONFIG, "POST", Key::Valid, Ok(Safety::Keyed)),
            (CONFIG, "POST", Key::Missing, Err(Refusal::KeyMissing)),
            (CONFIG, "PATCH", Key::Invalid, Err(Refusal::KeyInvalid)),
            (unkeyed, "POST", Key::Valid, Ok(Safety::Unsafe)),
            (unkeyed, "LOCK", Key::Missing, Ok(Safety::Unsafe)),
            (used(true, false), "POST", Key::Valid, Ok(Safety::Unsafe)),
            (used(true, false), "POST", Key::Missing, Err(Refusal::KeyMissing)),
            (used(false, true), "POST", Key::Valid, Ok(Safety::Keyed)),
            (used(false, true), "POST", Key::Missing, Ok(Safety::Unsafe)),
            (used(false, false), "POST", Key::Invalid, Err(Refusal::KeyInvalid)),
        ];
        for (config, method, key, expected) in cases {
            assert_eq!(safety(config, method, key), expected, "{method} {key:?}");
        }
    }

    #[test]
    fn a_wire_deadline_only_shortens() {
        let deadline = |left| match admit(CONFIG, "GET", Key::Missing, left) {
            Admission::Call { deadline, .. } => Some(deadline.as_nanos() / 1_000_000),
            Admission::Refuse(_) => None,
        };
        assert_eq!(deadline(None), Some(16_000));
        assert_eq!(deadline(Some(Duration::from_secs(99))), Some(16_000));
        assert_eq!(deadline(Some(Duration::from_millis(250))), Some(1_250));
        assert_eq!(deadline(Some(Duration::ZERO)), None);
    }

    #[test]
    fn keys_are_judged_bare_and_quoted() {
        let long = [b'a'; MAX_KEY_CHARS + 1];
        let cases: [(&[u8], Key); 7] = [
            (b"abc-1", Key::Valid),
            (b"\"abc-1\"", Key::Valid),
            (b"", Key::Invalid),
            (b"\"\"", Key::Invalid),
            (b"a b", Key::Invalid),
            (b"\xff", Key::Invalid),
            (&long, Key::Invalid),
        ];
        for (value, expected) in cases {
            assert_eq!(Key::of(value), expected, "{value:?}");
        }
    }

    #[test]
    fn an_unknown_outcome_is_never_degraded() {
        let exchange = Exchange::new(ExchangeConfig { degrade: Ladder::of(&[Rung::Fixed]), ..CONFIG });
        let failure =
            |outcome_unknown| Failure { kind: FailureKind::Reset, retry_after: None, outcome_unknown };
        let descend = |outcome_unknown| {
            let class = FailureClass::of(&failure(outcome_unknown));
            let fall = Fall { class, reads: false, maybe_executed: true, replayable: true, answered: false };
            exchange.descend(0, &fall)
        };
        assert_eq!(descend(false), Some((0, Rung::Fixed)));
        assert_eq!(descend(true), None);
        assert_eq!(exchange.on_failure(&failure(true)), Bottom { status: 502, retry_after: None });
    }

    #[test]
    fn a_write_stays_with_the_service_that_stood_in() {
        let exchange = Exchange::new(CONFIG);
        let class = FailureClass::Rejected;
        let fall = |reads| Fall { class, reads, maybe_executed: false, replayable: true, answered: false };
        for (status, of_read) in [(200, None), (404, None), (503, Some(FailureClass::Error))] {
            assert_eq!(exchange.on_other_answer(status, &fall(true)), of_read, "{status}");
            assert_eq!(exchange.on_other_answer(status, &fall(false)), None, "{status}");
        }
        for (maybe_executed, reads, stands) in
            [(true, false, true), (true, true, false), (false, false, false), (false, true, false)]
        {
            assert_eq!(exchange.on_other_failure(maybe_executed, &fall(reads)), stands);
        }
    }

    #[test]
    fn only_errors_of_the_service_fall() {
        let ladder = |rungs| Exchange::new(ExchangeConfig { degrade: Ladder::of(rungs), ..CONFIG });
        let stale = ladder(&[Rung::Stale]);
        for (status, marked, falls) in [
            (200, false, false),
            (404, false, false),
            (500, false, true),
            (503, false, true),
            (503, true, false),
        ] {
            assert_eq!(stale.on_answer(status, || marked).is_some(), falls, "{status}");
            assert_eq!(ladder(&[]).on_answer(status, || marked), None, "{status}");
        }
    }
}
