//! Codes of parts that refer to or contradict each other.

use super::code::{Code, Explanation};
use crate::diagnostic::Severity::Error;

pub(super) const CODES: &[Explanation] = &[
    Explanation {
        code: Code::UnknownName,
        severity: Error,
        title: "a name that nothing has",
        cause: "A service, zone or load is named that the spec does not define.",
        example: r"routes:
  api: { match: /api/**, to: ap }",
        remedy: "correct the name, or define what is missing.",
    },
    Explanation {
        code: Code::RouteTie,
        severity: Error,
        title: "two routes match the same requests",
        cause: "Routes are chosen by the longest literal path, exact before `/**`, with a method before \
            without. These two are equal in all of that, so the choice would be arbitrary.",
        example: r"routes:
  a: { match: GET /x, to: api }
  b: { match: GET /x, to: web }",
        remedy: "make one of them more specific, or remove one.",
    },
    Explanation {
        code: Code::NeedWithoutEgress,
        severity: Error,
        title: "a needed service has no egress",
        cause: "Calls from one service to another go through an egress listener, where timeouts, retries and \
            the breaker protect them. The called service must say where that listener is.",
        example: r"services:
  api: { run: ./api, needs: { ledger: required } }
  ledger: { run: ./ledger }",
        remedy: "give the called service an `egress: 127.0.0.1:0` (0 picks a free port; the caller gets the \
            address in its environment).",
    },
    Explanation {
        code: Code::WrongGuard,
        severity: Error,
        title: "a guard that does not apply",
        cause: "A service with one endpoint is guarded by a circuit breaker, one with several by ejection. \
            Never both: the breaker would cut off healthy endpoints, and ejection never removes the last \
            one.",
        example: "ledger: { run: ./ledger, replicas: 1, policy: { ejection: { consecutive_failures: 3 } } }",
        remedy: "use `circuit_breaker` with one endpoint and `ejection` with several.",
    },
    Explanation {
        code: Code::FaultTarget,
        severity: Error,
        title: "a fault that does not fit its target",
        cause: "Processes can be killed and paused, network edges can refuse, delay and lose. A fault on the \
            wrong kind of thing could not be carried out.",
        example: "fault: { kill: { egress: payments } }",
        remedy: "choose a target that the message names.",
    },
    Explanation {
        code: Code::Contradiction,
        severity: Error,
        title: "two values contradict each other",
        cause: "Both cannot hold at once, so one of them is a mistake.",
        example: "promise: { buyers: { p50: 1s, p99: 250ms } }",
        remedy: "change one of the two.",
    },
    Explanation {
        code: Code::Unmeasured,
        severity: Error,
        title: "a promise that nothing measures",
        cause: "A promise needs something to measure it with: lost and duplicated writes need a load with \
            `read_back`, restarts need a `kill`, stale answers and latencies need a load.",
        example: "promise: { rpo: 0 }",
        remedy: "add what the message asks for, or drop the promise.",
    },
    Explanation {
        code: Code::Idempotency,
        severity: Error,
        title: "this idempotency setting protects nothing",
        cause: "Sending a write again after an unknown outcome is only safe when every write carries a key \
            and the backend executes a key once. Where that is not so, keys that are kept here prevent double \
            execution; with `keep: off` nothing does.",
        example: "idempotency: { key: optional, backend: honours, keep: off }",
        remedy: "leave `keep` out, or write `{ key: required, backend: honours }` when that is true.",
    },
    Explanation {
        code: Code::AddressTaken,
        severity: Error,
        title: "one address for two listeners",
        cause: "Two listeners cannot share a port.",
        example: r"gateway: { listen: 127.0.0.1:8080 }
admin: { listen: 127.0.0.1:8080 }",
        remedy: "give one of them another port; port 0 picks a free one.",
    },
];
