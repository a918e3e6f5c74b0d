//! Codes of plans that are not what their authors hope.

use super::code::{Code, Explanation};
use crate::diagnostic::Severity::{Error, Warning};

pub(super) const CODES: &[Explanation] = &[
    Explanation {
        code: Code::SingleCopy,
        severity: Warning,
        title: "a dataset with one copy",
        cause: "The only copy of the data is lost with its disk, and unavailable with its zone. No retry \
            helps against that.",
        example: r"data:
  tickets: { in: ledger, copies: [a] }",
        remedy: "add a copy in another zone, or accept the loss in a failure entry with `response: accept`.",
    },
    Explanation {
        code: Code::SingleReplica,
        severity: Warning,
        title: "a required service with one replica",
        cause: "While its only replica restarts, whatever requires it cannot work either.",
        example: r"services:
  api: { run: ./api, needs: { ledger: required } }
  ledger: { run: ./ledger, egress: 127.0.0.1:0 }",
        remedy: "add a replica, in another zone if there are zones, or make the need optional and let the \
            caller degrade.",
    },
    Explanation {
        code: Code::TimeoutOrder,
        severity: Error,
        title: "an inner limit above the outer one",
        cause: "An attempt that may last longer than the whole call never times out by itself, so a second \
            attempt never starts.",
        example: "policy: { total_timeout: 1s, attempt_timeout: 5s }",
        remedy: "lower `attempt_timeout`, or raise `total_timeout`.",
    },
    Explanation {
        code: Code::EgressOutlastsRoute,
        severity: Warning,
        title: "a callee may take longer than its caller waits",
        cause: "The route gives up before the call behind it does. The inner call keeps working for nobody, \
            and its late answer, degraded or not, reaches no one.",
        example: r#"routes:
  buy: { match: POST /buy, to: api, policy: { total_timeout: 1s } }
services:
  payments: { endpoints: ["http://127.0.0.1:9000"], egress: 127.0.0.1:0, policy: { total_timeout: 10s } }"#,
        remedy: "keep the total timeout of what is called below that of the route which leads to it.",
    },
    Explanation {
        code: Code::RetriesNeverRun,
        severity: Warning,
        title: "attempts that can never run",
        cause: "No attempt is started that cannot finish before the deadline. When every attempt lasts until \
            its timeout, the later ones never start.",
        example: "policy: { total_timeout: 2s, attempt_timeout: 1500ms, retry: { max_attempts: 3 } }",
        remedy: "lower `attempt_timeout` until all attempts fit into `total_timeout`, or lower \
            `max_attempts`.",
    },
    Explanation {
        code: Code::ReliesOnNothing,
        severity: Warning,
        title: "a failure relies on what nothing provides",
        cause: "The entry says that its promise rests on a mechanism, but the plan does not have it for the \
            target: it is switched off, or cannot apply. A drill of the failure is likely to be broken.",
        example: r"fault: { kill: { replica: ledger } }
relies_on: [ replicas ]        # ledger has one replica",
        remedy: "provide it, or take it off the list.",
    },
    Explanation {
        code: Code::NoPromise,
        severity: Warning,
        title: "a failure without a promise",
        cause: "A failure without a promise can be drilled but never judged: nothing would be proven.",
        example: r"failures:
  crash: { required: Nobody notices., fault: { kill: { replica: api } } }",
        remedy: "add at least one measurable promise, such as `buyers: { success: 100% }`, or answer it with \
            `response: accept`.",
    },
    Explanation {
        code: Code::LoadWithoutRoute,
        severity: Error,
        title: "a load that no route takes",
        cause: "The gateway would answer every one of its requests with 404, so the load measures nothing.",
        example: r"load:
  buyers: { rate: 10/s, send: POST /nowhere }",
        remedy: "correct the path or the method, or add a route.",
    },
    Explanation {
        code: Code::LatencyAboveTimeout,
        severity: Warning,
        title: "a latency that cannot be exceeded",
        cause: "An answer that takes longer than the load's `timeout` counts as failed and not as slow. A \
            latency promised above it is kept by everything that is served at all.",
        example: r"load: { buyers: { rate: 10/s, send: GET /x, timeout: 1s } }
# promise: { buyers: { p99: 2s } }",
        remedy: "promise less than the timeout, or raise the load's `timeout`.",
    },
    Explanation {
        code: Code::CannotBeJudged,
        severity: Warning,
        title: "a promise that a drill cannot judge",
        cause: "A percentile needs enough answers in the window: 3/(1-q), which is 300 for p99. A time limit \
            needs requests often enough: at least five in its span. With less the verdict is \
            inconclusive.",
        example: r"load: { buyers: { rate: 1/s, send: GET /x } }
# promise: { buyers: { p99: 250ms } }   and a window of 10 s",
        remedy: "raise the load's `rate`, lengthen `hold`, or promise a lower percentile.",
    },
    Explanation {
        code: Code::NeedsCircle,
        severity: Warning,
        title: "services require each other in a circle",
        cause: "None of them can work until the other does: after a full stop none may ever become ready.",
        example: r"services:
  a: { run: ./a, egress: 127.0.0.1:0, needs: { b: required } }
  b: { run: ./b, egress: 127.0.0.1:0, needs: { a: required } }",
        remedy: "make one of the needs optional.",
    },
    Explanation {
        code: Code::Unreachable,
        severity: Warning,
        title: "a service that nothing reaches",
        cause: "No route leads to it and no service needs it, so it runs without being used.",
        example: r"services:
  report: { run: ./report }        # and no route to it",
        remedy: "add a route or a need, or remove it.",
    },
    Explanation {
        code: Code::AttemptOutlastsPromise,
        severity: Warning,
        title: "a hung attempt outlasts the promised latency",
        cause: "The fault makes attempts hang, and an attempt is given up only after `attempt_timeout`. That \
            is longer than the slowest answer that is promised, and nothing faster steps in.",
        example: r"policy: { attempt_timeout: 5s }
# fault: { blackhole: { egress: payments } }   promise: { buyers: { max: 1s } }",
        remedy: "lower the `attempt_timeout` of the service that the fault hits below the promised `max`.",
    },
];
