//! Codes of policies that are right one by one and not together.

use super::code::{Code, Explanation};
use crate::diagnostic::Severity::{Error, Warning};

pub(super) const CODES: &[Explanation] = &[
    Explanation {
        code: Code::AttemptNotBelowTotal,
        severity: Warning,
        title: "an attempt may take as long as all of them",
        cause: "An attempt that hangs leaves no time for another one, so nothing is sent again when it matters \
            most.",
        example: "policy: { total_timeout: 2s, attempt_timeout: 2s }",
        remedy: "lower `attempt_timeout` until several attempts fit into `total_timeout`.",
    },
    Explanation {
        code: Code::WindowTooShort,
        severity: Warning,
        title: "a breaker that forgets too fast",
        cause: "Calls that hang end after the attempt timeout. When the breaker's window is not at least twice \
            as long, the last one is forgotten by the time the next one ends, and an outage of hanging calls \
            never adds up.",
        example: "policy: { attempt_timeout: 5s, total_timeout: 15s, circuit_breaker: { sliding_window_duration: 6s } }",
        remedy: "look back over at least two attempts, or lower `attempt_timeout`.",
    },
    Explanation {
        code: Code::AttemptsDoNotFit,
        severity: Warning,
        title: "attempts that do not fit with their waits",
        cause: "Every attempt may last until its timeout, and between attempts there are waits, of which some \
            jitters keep a part for certain. Together they exceed the total timeout, so the last attempts \
            never run.",
        example: "policy: { total_timeout: 2s, attempt_timeout: 650ms, retry: { jitter: none, initial_backoff: 100ms } }",
        remedy: "lower `attempt_timeout` or the waits, or allow fewer attempts.",
    },
    Explanation {
        code: Code::TimeoutOutsideBreaker,
        severity: Error,
        title: "a timeout that blinds the breaker",
        cause: "A call that the outer timeout gives up is dropped before the breaker hears how it ended. An \
            outage of hanging calls then never opens the circuit.",
        example: "policy: { total_timeout: 2s, attempt_timeout: 2s }      # and one endpoint",
        remedy: "put a shorter timeout inside the breaker (`attempt_timeout`), or count calls as slow in time \
            (`slow_call_duration_threshold`).",
    },
    Explanation {
        code: Code::BreakerOutsideRetry,
        severity: Warning,
        title: "a breaker around the retry",
        cause: "The breaker hears one outcome of several attempts: it opens late, and retries go on against a \
            backend that is down. Specs cannot say this; stacks of layers can.",
        example: "CircuitBreaker(Retry(service))",
        remedy: "put the breaker inside the retry.",
    },
    Explanation {
        code: Code::HedgeInsideBreaker,
        severity: Warning,
        title: "a breaker around the hedge",
        cause: "The breaker hears the best of several attempts, so an endpoint that hangs is never seen, and one \
            permit sends several requests. Specs cannot say this; stacks of layers can.",
        example: "CircuitBreaker(Hedge(service))",
        remedy: "put the breaker inside the hedge.",
    },
    Explanation {
        code: Code::NoBudget,
        severity: Error,
        title: "extra attempts without a budget",
        cause: "When everything fails, every call is sent several times: the load multiplies exactly when the \
            backend can bear least, and may keep it down after the cause is gone. Specs cannot say this; \
            stacks of layers can.",
        example: "Retry(service)      # without a budget",
        remedy: "give retries and hedges a budget that successes refill.",
    },
    Explanation {
        code: Code::NotIdempotent,
        severity: Error,
        title: "what must not be executed twice may be",
        cause: "Work that is not safe to repeat is sent again although it may have been executed. Specs cannot \
            say this; stacks of layers can.",
        example: "Retry(service)      # around POST, after any failure",
        remedy: "send it again only with proof that it was not executed, or under an idempotency key that the \
            backend honours.",
    },
    Explanation {
        code: Code::WaitOutsideDeadline,
        severity: Warning,
        title: "a wait that no deadline limits",
        cause: "Callers wait for a place before the total timeout begins, so they wait longer than it says. \
            Specs cannot say this; stacks of layers can.",
        example: "Bulkhead(TotalTimeout(service))",
        remedy: "put the total timeout around what makes callers wait.",
    },
    Explanation {
        code: Code::NestedRetries,
        severity: Error,
        title: "retries inside retries",
        cause: "Attempts multiply: three layers of three attempts make 27. Specs cannot say this; stacks of \
            layers can.",
        example: "Retry(Retry(service))",
        remedy: "retry in one layer only.",
    },
    Explanation {
        code: Code::TotalInsideRetry,
        severity: Error,
        title: "a total timeout that is not total",
        cause: "Inside the retry it begins anew with every attempt, so callers wait a multiple of it. Specs \
            cannot say this; stacks of layers can.",
        example: "Retry(TotalTimeout(service))",
        remedy: "put the total timeout around the retry.",
    },
];
