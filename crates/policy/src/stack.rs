//! Whether policies that are right one by one are right together.
//!
//! **Problem.** Every layer of a stack can be configured well and the stack still do the opposite of what it is for: a
//! timeout around a breaker blinds it, a retry inside a retry multiplies, an attempt timeout above the total one never
//! fires. Nothing fails until the day it is needed. **Model.** A [`Stack`] lists its layers from the outside in, as they
//! are composed, with the numbers that matter between layers and no others; each rule looks at pairs of layers and says
//! in one sentence, with those numbers, what will happen. A single value that means nothing is the business of that
//! layer's own `validate`.
//!
//! **Limits.** A rule speaks only when it is sure from the description alone: it uses the shortest waits and the whole
//! timeouts, so "never runs" means never. **Rejected:** one order that everybody has to use; there are good stacks without
//! half of the layers, and a rule that names the harm also teaches.
//!
//! The order that pleases every rule: total timeout, bulkhead, retry, hedge, breaker, attempt timeout.
//!
//! Worked number: total 2 s, three attempts of 1 s, equal jitter from 100 ms. Two attempts take 2 s and a wait of at least
//! 50 ms, so the second one is cut off and the third never begins: `SP03`, 1 of 3.

use std::fmt;
use std::time::Duration;

use crate::breaker::WindowType;
use crate::call::{CallConfig, Safety};
use crate::{BackoffConfig, BreakerConfig};

mod rules;

/// The most layers of one stack; those beyond are not looked at.
pub const LAYERS_MAX: usize = 32;

/// What may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// Only what was surely not executed: refused connections, requests that were never written.
    OnlyWithProof,
    /// Whatever failed.
    AfterAnyFailure,
}

/// What limits extra attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraLimit {
    /// A budget that is refilled by traffic.
    Budget,
    /// Nothing but the number of attempts.
    Nothing,
}

/// One layer, with the numbers that matter to others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    /// Limits everything inside together.
    TotalTimeout(Duration),
    /// Limits one attempt.
    AttemptTimeout(Duration),
    /// Lets so many through at once; others wait.
    Bulkhead {
        /// How long they wait at most.
        max_wait: Duration,
    },
    /// Lets so many through per time; others wait.
    RateLimit {
        /// How long they wait at most.
        max_wait: Duration,
    },
    /// Sends again what failed.
    Retry {
        /// Attempts in all, the first one included.
        max_attempts: u32,
        /// The waits between them.
        backoff: BackoffConfig,
        /// What limits them.
        limit: ExtraLimit,
        /// What may be sent again.
        resend: Resend,
    },
    /// Sends beside what is slow.
    Hedge {
        /// Hedges per call.
        max_hedged_attempts: u32,
        /// What limits them.
        limit: ExtraLimit,
    },
    /// Answers at once while the backend is down.
    Breaker {
        /// How far back its rates look; `None` for a window by count.
        window: Option<Duration>,
        /// From when on a call that was given up counts as slow; `None` = it never counts.
        slow_call_duration: Option<Duration>,
    },
}

impl Layer {
    /// The layer as people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Layer::TotalTimeout(_) => "total timeout",
            Layer::AttemptTimeout(_) => "attempt timeout",
            Layer::Bulkhead { .. } => "bulkhead",
            Layer::RateLimit { .. } => "rate limit",
            Layer::Retry { .. } => "retry",
            Layer::Hedge { .. } => "hedge",
            Layer::Breaker { .. } => "breaker",
        }
    }
}

/// A composition of policies around one kind of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// The layers, the outermost first.
    pub layers: Vec<Layer>,
    /// May the work be executed twice?
    pub safety: Safety,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but less well than it reads.
    Warning,
    /// It fails in the situation it is there for, or does harm.
    Error,
}

/// What was found; the codes never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// `SP01`: an attempt may take as long as all of them.
    AttemptNotBelowTotal,
    /// `SP02`: the breaker's window is too short to see two attempts that time out.
    WindowTooShort,
    /// `SP03`: some attempts can never run.
    RetriesNeverRun,
    /// `SP04`: a timeout around the breaker hides from it what hangs.
    TimeoutOutsideBreaker,
    /// `SP05`: the breaker sees one outcome where there were several attempts.
    BreakerOutsideRetry,
    /// `SP06`: the breaker sees one outcome where there were several attempts at once.
    HedgeInsideBreaker,
    /// `SP07`: nothing limits extra attempts when everything fails.
    NoBudget,
    /// `SP08`: what must not be executed twice may be.
    NotIdempotent,
    /// `SP09`: waiting for a place is not limited by the total timeout.
    WaitOutsideDeadline,
    /// `SP10`: retries multiply.
    NestedRetries,
    /// `SP11`: the total timeout begins anew with every attempt.
    TotalInsideRetry,
}

impl Code {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::AttemptNotBelowTotal => "SP01",
            Code::WindowTooShort => "SP02",
            Code::RetriesNeverRun => "SP03",
            Code::TimeoutOutsideBreaker => "SP04",
            Code::BreakerOutsideRetry => "SP05",
            Code::HedgeInsideBreaker => "SP06",
            Code::NoBudget => "SP07",
            Code::NotIdempotent => "SP08",
            Code::WaitOutsideDeadline => "SP09",
            Code::NestedRetries => "SP10",
            Code::TotalInsideRetry => "SP11",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One thing that is wrong with a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The layer to change, by its place in the stack.
    pub layer: usize,
    /// What will happen, with numbers, and what to do.
    pub sentence: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.sentence)
    }
}

impl Stack {
    /// What a [`Call`](crate::call::Call) with this configuration does, in the order in which it does it. A call shares one
    /// budget between retries and hedges, and sends unsafe work again only with proof.
    pub fn of_call(call: &CallConfig, breaker: Option<&BreakerConfig>, safety: Safety) -> Self {
        let mut layers = vec![Layer::TotalTimeout(call.total_timeout)];
        let resend = if safety == Safety::Unsafe { Resend::OnlyWithProof } else { Resend::AfterAnyFailure };
        if call.retry && call.max_attempts > 1 {
            let max_attempts = u32::from(call.max_attempts);
            let limit = ExtraLimit::Budget;
            layers.push(Layer::Retry { max_attempts, backoff: call.backoff, limit, resend });
        }
        if call.retry && call.hedges() && safety != Safety::Unsafe {
            let max_hedged_attempts = u32::from(call.max_hedged_attempts);
            layers.push(Layer::Hedge { max_hedged_attempts, limit: ExtraLimit::Budget });
        }
        layers.extend(breaker.map(|breaker| Layer::Breaker {
            window: (breaker.sliding_window_type == WindowType::TimeBased).then_some(breaker.sliding_window),
            slow_call_duration: breaker.slow_call_duration,
        }));
        layers.push(Layer::AttemptTimeout(call.attempt_timeout));
        Stack { layers, safety }
    }

    /// Everything that is wrong with it, by code and place; nothing, when it is good.
    pub fn findings(&self) -> Vec<Finding> {
        let layers = &self.layers[..self.layers.len().min(LAYERS_MAX)];
        let mut findings: Vec<Finding> =
            rules::ALL.iter().flat_map(|rule| rule(layers, self.safety)).collect();
        findings.sort_by_key(|finding| (finding.code, finding.layer));
        findings
    }
}
