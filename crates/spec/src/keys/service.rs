//! Services: processes, probes, restarts.

use super::policy::POLICY;
use super::table::{Key, Shape, Table, alias, key};
use super::traffic::{ENDPOINT, FLAP, ZONE_REPLICAS};

/// The most replicas of one service, over all zones.
pub(crate) const REPLICAS_MAX: u64 = 1_000;

pub(crate) static SERVICE: Table = Table {
    what: "a service",
    keys: &[&[
        key("build", COMMAND, "Run once, in the spec's folder, before the first replica starts."),
        key("run", COMMAND, "Program and arguments of a replica, run in the spec's folder."),
        key("endpoints", Shape::List(&ENDPOINTS), "Where it is served when somebody else runs it."),
        key("environment", Shape::Map(&Shape::Verbatim, "variable names"), "Further environment variables."),
        key(
            "replicas",
            Shape::Either(&[Shape::Count(1, REPLICAS_MAX), Shape::Map(&ZONE, "zone names")]),
            "How many copies run: a number, or a number per zone, or who of a zone serves and who stands by.",
        )
        .or("1"),
        key("readiness", Shape::Object(&PROBE), "Decides whether a replica gets traffic.")
            .or("a TCP connection"),
        key("liveness", Shape::Object(&PROBE), "Restarts a replica that fails it.").or("none"),
        key("restart", Shape::Object(&RESTART), "When and how fast a replica that ended is started again."),
        key("stop_grace", Shape::DurationOrZero, "How long a replica may take to stop before it is killed.")
            .or("10s"),
        key(
            "needs",
            Shape::Map(&Shape::Word(&["required", "optional"]), "service names"),
            "The services it calls, and whether it can work without them.",
        ),
        key(
            "egress",
            Shape::Address,
            "Where other services reach this one, through its policy; port 0 picks a free one.",
        ),
        key("policy", Shape::Object(&POLICY), "How calls to this service are protected."),
        key("role", Shape::Json, "Primary and standby.").later(),
        key("scale", Shape::Json, "Replicas by demand.").later(),
    ]],
    rest: None,
    exactly_one: &[&["run", "endpoints"]],
    aliases: &[
        alias("command", "the word here is `run`"),
        alias("cmd", "the word here is `run`"),
        alias("args", "arguments stand in `run`, after the program"),
        alias("image", "Seaworthy runs programs, not images: `run: ./program`"),
        alias("env", "the word here is `environment`"),
        alias("depends_on", "the word here is `needs`: `needs: { ledger: required }`"),
        alias("dependencies", "the word here is `needs`: `needs: { ledger: required }`"),
        alias("instances", "the word here is `replicas`"),
        alias("count", "the word here is `replicas`"),
        alias("url", "write `endpoints: [\"{}\"]`"),
        alias("hosts", "the word here is `endpoints`"),
        alias("servers", "the word here is `endpoints`"),
        alias(
            "port",
            "a replica gets its port in the environment variable `PORT`; others reach it by `egress: 127.0.0.1:{}`",
        ),
        alias("healthcheck", "the word here is `readiness` (gets traffic) or `liveness` (is restarted)"),
        alias("health_check", "the word here is `readiness` (gets traffic) or `liveness` (is restarted)"),
        alias("readinessProbe", "the word here is `readiness`"),
        alias("livenessProbe", "the word here is `liveness`"),
        alias(
            "startupProbe",
            "readiness probes are fast and forgiving until a replica is first ready; a probe for the start is not needed",
        ),
        alias("restartPolicy", "write `restart: { mode: always }`"),
        alias("terminationGracePeriodSeconds", "write `stop_grace: {}s`"),
        alias(
            "timeout",
            "write `policy: { attempt_timeout: {time} }` for one attempt, `total_timeout` for all of them",
        ),
        alias("retries", "write `policy: { retry: { max_attempts: {} } }`; it counts the first attempt too"),
        alias(
            "on_fail",
            "what happens after a failure stands in `restart` (processes) and in a route's `degrade` (answers)",
        ),
    ],
};

const COMMAND: Shape = Shape::Either(&[Shape::Command, Shape::List(&Shape::Verbatim)]);

/// One item of `endpoints`.
const ENDPOINTS: Shape = Shape::Either(&[Shape::Endpoint, Shape::Object(&ENDPOINT)]);
/// One value of `replicas`.
const ZONE: Shape = Shape::Either(&[Shape::Count(0, REPLICAS_MAX), Shape::Object(&ZONE_REPLICAS)]);

pub(crate) static PROBE: Table = Table {
    what: "a probe",
    keys: &[PROBE_KEYS],
    rest: None,
    exactly_one: &[&["http_get", "tcp"]],
    aliases: &[
        alias("httpGet", "write `http_get: /path`"),
        alias("path", "write `http_get: {}`"),
        alias("test", "write `http_get: /path`"),
        alias("tcpSocket", "write `tcp: true`"),
        alias("initialDelaySeconds", "write `initial_delay: {}s`"),
        alias("start_period", "write `initial_delay: {time}`"),
        alias("periodSeconds", "write `period: {}s`"),
        alias("interval", "write `period: {time}`"),
        alias("timeoutSeconds", "write `timeout: {}s`"),
        alias("failureThreshold", "write `failure_threshold: {}`"),
        alias("retries", "write `failure_threshold: {}`"),
        alias("fall", "write `failure_threshold: {}`"),
        alias("successThreshold", "write `success_threshold: {}`"),
        alias("rise", "write `success_threshold: {}`"),
        alias(
            "on_fail",
            "a failing `readiness` takes the replica out of traffic, a failing `liveness` restarts it",
        ),
    ],
};

const FLAPPING: Shape = Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&FLAP)]);

const PROBE_KEYS: &[Key] = &[
    key("http_get", Shape::UrlPath, "GET this path; 2xx and 3xx pass."),
    key("tcp", Shape::True, "A TCP connection that opens passes."),
    key("initial_delay", Shape::DurationOrZero, "No probe before this long after a start.").or("0s"),
    key("period", Shape::Duration, "Time between probes of a replica whose state is known.").or("2s"),
    key("timeout", Shape::Duration, "A probe that takes longer has failed.").or("1s"),
    key("failure_threshold", Shape::Count(1, 100), "So many failures in a row take a replica out.").or("3"),
    key("success_threshold", Shape::Count(1, 100), "So many successes in a row take it back in.").or("2"),
    key("flap", FLAPPING, "Whoever comes and goes has to stay well for longer."),
];

pub(crate) static RESTART: Table = Table {
    what: "`restart`",
    keys: &[&[
        key(
            "mode",
            Shape::Word(&["always", "on_failure", "never"]),
            "After which ends a replica is started again.",
        )
        .or("always"),
        key(
            "initial_backoff",
            Shape::Duration,
            "The wait before the second restart in a row; the first one is immediate.",
        )
        .or("200ms"),
        key("max_backoff", Shape::Duration, "No wait is longer.").or("30s"),
        key("reset_after", Shape::Duration, "After running this long, waits start over.").or("1m"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("policy", "write `mode: {}`"),
        alias("delay", "write `initial_backoff: {time}`"),
        alias("max_attempts", "a replica is never given up; waits grow up to `max_backoff`"),
        alias("retries", "a replica is never given up; waits grow up to `max_backoff`"),
        alias("on_fail", "write `mode: on_failure`"),
    ],
};
