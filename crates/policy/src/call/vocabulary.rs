//! The words in which a call and its shell speak: events in, steps out, and what is remembered.

use std::time::Duration;

use crate::backoff::BackoffConfig;
use crate::deadline::WireFormat;
use crate::deadline::wire::MIN_REMAINING;
use crate::error::{ConfigError, require, require_positive};
use crate::pool::EndpointKey;
use crate::time::Time;

/// May this request be executed twice?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// The method is safe or idempotent by its definition (GET, HEAD, OPTIONS, TRACE, PUT, DELETE; RFC 9110 §9.2.2).
    Safe,
    /// The backend honours the idempotency key that this request carries, so sending it again does nothing twice.
    Keyed,
    /// Sent again only with proof that it was not executed.
    Unsafe,
}

/// What the shell knows about how far a failed attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// No byte of the request left us: certainly not executed.
    NotSent,
    /// The connection was refused: certainly not executed.
    Refused,
    /// At least a part of the head was written; it may have been executed.
    HeadSent,
    /// Head and body were written; it may have been executed.
    BodySent,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// connect(2) was refused or failed otherwise.
    Connect,
    /// The connection was not established within the connect timeout.
    ConnectTimeout,
    /// The connection ended before a whole response head.
    Reset,
    /// What came back was not HTTP.
    Protocol,
    /// The client's own request body failed; the endpoint is not to blame.
    RequestBody,
}

/// How policy sees a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 1xx to 3xx, and 4xx other than 429: the endpoint did its work.
    Answered,
    /// Any answer that carries a `Degraded` header: the service chose it, so it is neither a failure nor sent again.
    Degraded,
    /// 429: slow down.
    Throttled,
    /// 500 (and other 5xx not listed below).
    Error,
    /// 502 or 504: something behind the endpoint failed.
    BadGateway,
    /// 503.
    Unavailable,
}

impl Class {
    /// Classifies a status; `degraded` says whether the response carries a `Degraded` header.
    pub fn of(status: u16, degraded: bool) -> Self {
        match status {
            _ if degraded => Self::Degraded,
            429 => Self::Throttled,
            502 | 504 => Self::BadGateway,
            503 => Self::Unavailable,
            500.. => Self::Error,
            _ => Self::Answered,
        }
    }

    /// An answer as the service meant it.
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Answered | Self::Degraded)
    }

    /// Counts against the endpoint.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Error | Self::BadGateway | Self::Unavailable)
    }
}

/// What a server says about sending the request again, beyond `Retry-After`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pushback {
    /// Nothing.
    #[default]
    None,
    /// Again, but not before this long; spoken for the whole service, so another endpoint is no way around it.
    Wait(Duration),
    /// Not again, and no other attempt either.
    Never,
}

impl Pushback {
    /// Reads the value of `grpc-retry-pushback-ms`: a number of milliseconds, or "do not retry" when it is negative or cannot
    /// be read (gRPC A6).
    pub fn of_grpc(value: &[u8]) -> Self {
        WireFormat::Milliseconds.parse(value).map_or(Self::Never, Self::Wait)
    }
}

/// The number of an attempt within its call, from 0.
pub type AttemptId = u8;

/// The number of an attempt as people and attempt headers count: from 1.
pub fn attempt_number(attempt: AttemptId) -> u8 {
    attempt.saturating_add(1)
}

/// Why an attempt was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptKind {
    /// The first one.
    First,
    /// Sent again after a failure or a stall.
    Retry,
    /// Sent beside one that is still outstanding.
    Hedge,
}

/// What happened, as the shell tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Begin. Must be the first event.
    Start,
    /// A whole response head arrived.
    Head {
        /// Which attempt.
        attempt: AttemptId,
        /// How policy sees it.
        class: Class,
        /// The `Retry-After` of the answer, if it has one.
        retry_after: Option<Duration>,
        /// What else the answer says about sending it again.
        pushback: Pushback,
    },
    /// An attempt failed before a response head.
    Failed {
        /// Which attempt.
        attempt: AttemptId,
        /// How far it got.
        proof: Proof,
        /// Why.
        cause: Cause,
    },
    /// The body of the committed response ended well.
    BodyEnded,
    /// The body of the committed response broke off.
    BodyFailed,
    /// `next_deadline()` has passed, or a parked call was woken. Harmless when early.
    Timer,
    /// The client went away; nothing may be done any more. Must be the last event. (Dropping a call is an outcome.)
    Dropped,
}

/// What to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send the request to this endpoint.
    Attempt {
        /// The number to report its events under; [`attempt_number`] is what the endpoint may be told.
        attempt: AttemptId,
        /// Where to.
        endpoint: EndpointKey,
        /// Why.
        kind: AttemptKind,
    },
    /// Drop this attempt; no event of it is wanted any more.
    Cancel {
        /// Which.
        attempt: AttemptId,
    },
    /// Stream this attempt's response to the client; nothing is sent again after this.
    Commit {
        /// Which.
        attempt: AttemptId,
    },
    /// Give up.
    Fail(Failure),
}

/// Why a call gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The reason that decides status and wording.
    pub kind: FailureKind,
    /// When to try again, where we know.
    pub retry_after: Option<Duration>,
    /// The request may have been executed, and nobody knows: an unsafe or unkeyed one that was sent and not answered.
    pub outcome_unknown: bool,
}

/// The typed reasons of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Ours (503): no endpoint is ready, or all are ejected.
    NoEndpoint,
    /// Ours (503): every endpoint that could serve has as much in flight as it may.
    Full,
    /// Ours (503): the circuit breaker is open.
    BreakerOpen,
    /// Theirs (502): the connection was refused or could not be made.
    Connect,
    /// A timer (504): connect timeout.
    ConnectTimeout,
    /// Theirs (502): the connection ended before a response.
    Reset,
    /// Theirs (502): the response was not HTTP.
    Protocol,
    /// A timer (504): attempt timeout.
    AttemptTimeout,
    /// A timer (504): total deadline.
    TotalTimeout,
    /// Ours (504): so little was left of the deadline that nothing was sent (`DeadlineInsufficient`).
    DeadlineInsufficient,
    /// The client's body failed (400).
    RequestBody,
}

impl FailureKind {
    /// Decided here, without asking anybody: it says nothing about the backend and must never count against it.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::NoEndpoint | Self::Full | Self::BreakerOpen | Self::DeadlineInsufficient)
    }
}

/// The most attempts of one call, whatever its configuration says: free ones and hedges included.
pub const MAX_ATTEMPTS: u8 = 5;

/// How a call is protected; from the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct CallConfig {
    /// Deadline of all attempts together, up to the response head.
    pub total_timeout: Duration,
    /// Limit of one attempt, from its start to its response head.
    pub attempt_timeout: Duration,
    /// Limit of establishing a connection, inside `attempt_timeout`.
    pub connect_timeout: Duration,
    /// Attempts in all, the first one and hedges included; 1 to [`MAX_ATTEMPTS`].
    pub max_attempts: u8,
    /// Waits between attempts when no other endpoint is healthy.
    pub backoff: BackoffConfig,
    /// Retries on failures and stalls; off = the control run.
    pub retry: bool,
    /// Hedge after this percentile of the lane's observed latency, and not before `min_hedge_delay`; `None` = not so.
    pub hedge_percentile: Option<f64>,
    /// The earliest moment of a hedge after a percentile.
    pub min_hedge_delay: Duration,
    /// Hedge after exactly this long instead, whatever was observed; `None` and no percentile = never hedge.
    pub hedge_delay: Option<Duration>,
    /// Hedges per call, at most; those that were surely not executed do not count. They are attempts as well.
    pub max_hedged_attempts: u8,
    /// The edge's cap on attempts in flight, where it has one: above 70 % of it nothing is hedged.
    pub in_flight_cap: Option<u32>,
    /// An answer that asks for a longer pause is passed on at once, so that the client hears of it.
    pub max_retry_after: Duration,
    /// With less than this left of the deadline no attempt begins.
    pub min_remaining: Duration,
    /// Whether calls wait for an endpoint when there is none.
    pub park: bool,
}

impl Default for CallConfig {
    fn default() -> Self {
        Self {
            total_timeout: Duration::from_secs(15),
            attempt_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            max_attempts: 3,
            backoff: BackoffConfig::default(),
            retry: true,
            hedge_percentile: Some(0.95),
            min_hedge_delay: Duration::from_millis(10),
            hedge_delay: None,
            max_hedged_attempts: 1,
            in_flight_cap: None,
            max_retry_after: Duration::from_secs(10),
            min_remaining: MIN_REMAINING,
            park: true,
        }
    }
}

impl CallConfig {
    /// Whether an attempt fits into the call, and every number means something.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_positive(self.total_timeout, "total_timeout")?;
        require_positive(self.attempt_timeout, "attempt_timeout")?;
        let fits = self.attempt_timeout <= self.total_timeout;
        require(fits, "attempt_timeout", "be at most `total_timeout`")?;
        require_positive(self.connect_timeout, "connect_timeout")?;
        let fits = self.connect_timeout <= self.attempt_timeout;
        require(fits, "connect_timeout", "be at most `attempt_timeout`")?;
        require((1..=MAX_ATTEMPTS).contains(&self.max_attempts), "max_attempts", "be from 1 to 5")?;
        self.backoff.validate()?;
        let percentile = self.hedge_percentile.unwrap_or(0.5);
        require(percentile > 0.0 && percentile < 1.0, "hedge_percentile", "be above 0 and below 1")?;
        require(self.max_hedged_attempts < MAX_ATTEMPTS, "max_hedged_attempts", "be at most 4")?;
        require(self.in_flight_cap != Some(0), "in_flight_cap", "be at least 1")?;
        require(self.min_remaining <= self.total_timeout, "min_remaining", "be at most `total_timeout`")
    }

    /// Whether anything says when to hedge, and something may be.
    pub(crate) fn hedges(&self) -> bool {
        let timed = self.hedge_delay.is_some() || self.hedge_percentile.is_some();
        timed && self.max_hedged_attempts > 0
    }

    /// Whether so much is in flight that a hedge would add to an overload.
    pub(crate) fn is_crowded(&self, in_flight: u32) -> bool {
        self.in_flight_cap.is_some_and(|cap| u64::from(in_flight) * 10 > u64::from(cap) * 7)
    }
}

/// What the trail remembers of an attempt; one entry each, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Where it went.
    pub endpoint: EndpointKey,
    /// Why it was begun.
    pub kind: AttemptKind,
    /// When it was begun.
    pub started: Time,
    /// How and when it ended; `None` while outstanding.
    pub ended: Option<(Time, Ended)>,
}

impl Trace {
    /// It failed, and surely nothing was executed.
    pub fn is_proven_unexecuted(&self) -> bool {
        matches!(self.ended, Some((_, Ended::Failed(Proof::NotSent | Proof::Refused, _))))
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its response was streamed to the client.
    Committed(Class),
    /// It answered, and was sent again instead.
    Rejected(Class),
    /// It failed before a response head.
    Failed(Proof, Cause),
    /// The attempt timeout passed.
    TimedOut,
    /// The stall rule gave it up.
    Stalled,
    /// Another attempt was faster, or the client went away.
    Cancelled,
}
