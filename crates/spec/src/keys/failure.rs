//! Failures: faults and promises.

use super::table::{Key, Rest, Shape, Table, alias, key};

pub(crate) static FAILURE: Table = Table {
    what: "a failure",
    keys: &[&[
        key("required", Shape::Text, "What must hold, in prose.").required(),
        key("acceptable", Shape::Text, "What users may notice meanwhile, in prose."),
        key("fault", Shape::List(&Shape::Object(&FAULT)), "What is done to the system, all of it at once.")
            .required(),
        key("likelihood", Shape::Text, "How often it is expected, such as `weekly`."),
        key("impact", Shape::Word(&["low", "medium", "high"]), "How bad it is without an answer."),
        key(
            "response",
            Shape::Either(&[Shape::Word(&["automatic", "accept"]), Shape::Object(&RESPONSE)]),
            "Who answers it: Seaworthy, a person, or nobody.",
        )
        .or("automatic"),
        key("relies_on", Shape::List(&Shape::Word(MECHANISMS)), "What the promise rests on."),
        key("every", Shape::Duration, "How often it should be drilled."),
        key("hold", Shape::Duration, "How long the window stays open.")
            .or("10s, or longer: 2 x rto, for_at_most + 5s"),
        key("settle", Shape::DurationOrZero, "How long after steady state a write may still turn up.")
            .or("10s"),
        key("promise", Shape::Object(&PROMISE), "What users may notice, measurably."),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("description", "the word here is `required`"),
        alias("title", "the word here is `required`"),
        alias("faults", "the word here is `fault`; it may be a list"),
        alias("expect", "the word here is `promise`"),
        alias("promises", "the word here is `promise`"),
        alias("slo", "the word here is `promise`"),
        alias("duration", "write `hold: {time}`"),
        alias("interval", "write `every: {time}`"),
        alias("probability", "the word here is `likelihood`"),
        alias("severity", "the word here is `impact`"),
        alias("on_fail", "who answers a failure stands in `response`"),
    ],
};

/// The words of `relies_on`; a test compares them with the plan's.
pub(crate) const MECHANISMS: &[&str] = &[
    "replicas",
    "retry",
    "hedge",
    "ejection",
    "readiness",
    "restart",
    "parking",
    "breaker",
    "attempt_timeout",
    "degrade",
    "idempotency",
];

static RESPONSE: Table = Table {
    what: "`response`",
    keys: &[&[key("runbook", Shape::File, "The document that a person follows.").required()]],
    rest: None,
    exactly_one: &[],
    aliases: &[],
};

pub(crate) static FAULT: Table = Table {
    what: "a fault",
    keys: &[&[
        key("kill", Shape::Object(&TARGET), "SIGKILL."),
        key("pause", Shape::Object(&TARGET), "Stopped, not ended, until the window closes."),
        key("refuse", Shape::Object(&TARGET), "Connections are refused."),
        key("blackhole", Shape::Object(&SHARED_TARGET), "Bytes vanish."),
        key("latency", Shape::Object(&LATENCY), "Answers come later."),
        key("errors", Shape::Object(&ERRORS), "Requests are answered with an error and not executed."),
        key("lose", Shape::Object(&TARGET), "A whole zone ends at once."),
        key("disk_full", Shape::Json, "No space left.").later(),
        key("partition", Shape::Json, "Groups that cannot reach each other.").later(),
    ]],
    rest: None,
    exactly_one: &[&[
        "kill",
        "pause",
        "refuse",
        "blackhole",
        "latency",
        "errors",
        "lose",
        "disk_full",
        "partition",
    ]],
    aliases: &[
        alias("crash", "write `kill: { replica: NAME }`"),
        alias("stop", "write `kill` (ends the process) or `pause` (stops it for a while)"),
        alias("delay", "write `latency: { egress: NAME, add: 200ms }`"),
        alias("slow", "write `latency: { egress: NAME, add: 200ms }`"),
        alias("error", "the word here is `errors`"),
        alias("abort", "write `errors: { egress: NAME, status: 503 }`"),
        alias("down", "write `refuse: { egress: NAME }`"),
        alias("timeout", "write `blackhole: { egress: NAME }`"),
    ],
};

const TARGETS: &[Key] = &[
    key("replica", Shape::Text, "One replica: `service` (picked by the seed) or `service/id`."),
    key("service", Shape::Name, "Every replica of a service."),
    key("egress", Shape::Name, "The way to a service: between our listener and its endpoints."),
    key("zone", Shape::Name, "Every replica in a zone, at once."),
];

const ONE_TARGET: &[&[&str]] = &[&["replica", "service", "egress", "zone"]];

static TARGET: Table = Table {
    what: "the target of a fault",
    keys: &[TARGETS],
    rest: None,
    exactly_one: ONE_TARGET,
    aliases: &[],
};

const SHARE: &[Key] = &[key("share", Shape::Share, "Which share of requests it hits.").or("100%")];

static SHARED_TARGET: Table = Table {
    what: "the target of a fault",
    keys: &[TARGETS, SHARE],
    rest: None,
    exactly_one: ONE_TARGET,
    aliases: &[],
};

static LATENCY: Table = Table {
    what: "a latency fault",
    keys: &[TARGETS, &[key("add", Shape::Duration, "By how much answers are delayed.").required()], SHARE],
    rest: None,
    exactly_one: ONE_TARGET,
    aliases: &[
        alias("delay", "write `add: {time}`"),
        alias("latency", "write `add: {time}`"),
        alias("by", "write `add: {time}`"),
    ],
};

static ERRORS: Table = Table {
    what: "an error fault",
    keys: &[TARGETS, &[key("status", Shape::Status, "The status that is answered.").or("503")], SHARE],
    rest: None,
    exactly_one: ONE_TARGET,
    aliases: &[alias("code", "write `status: {}`"), alias("rate", "write `share: 10%`")],
};

static PROMISE: Table = Table {
    what: "a promise",
    keys: &[&[
        key("rto", Shape::Duration, "First bad answer to the start of the first steady stretch."),
        key("recover_within", Shape::Duration, "End of the fault to steady state."),
        key("restarted_within", Shape::Duration, "A process is gone to its successor is ready."),
        key(
            "rpo",
            Shape::DurationOrZero,
            "Age of the oldest acknowledged write that is lost; 0 = none lost.",
        ),
        key("duplicates", Shape::Count(0, 1_000_000_000), "Writes with more than one effect."),
    ]],
    rest: Some(Rest { shape: Shape::Object(&LOAD_PROMISE) }),
    exactly_one: &[],
    aliases: &[
        alias("success", "how many answers are good is promised per load: `LOAD: { success: {} }`"),
        alias("served", "how many requests are served is promised per load: `LOAD: { served: {} }`"),
        alias("p50", "latencies are promised per load: `LOAD: { p50: {} }`"),
        alias("p95", "latencies are promised per load: `LOAD: { p95: {} }`"),
        alias("p99", "latencies are promised per load: `LOAD: { p99: {} }`"),
        alias("p999", "latencies are promised per load: `LOAD: { p999: {} }`"),
        alias("max", "latencies are promised per load: `LOAD: { max: {} }`"),
        alias("stale_at_most", "stale answers are promised per load: `LOAD: { stale_at_most: {} }`"),
        alias(
            "during",
            "the first moments are promised per load: `LOAD: { during: { for_at_most: 2s, p99: 2s } }`",
        ),
        alias("lost", "write `rpo: 0`"),
    ],
};

const LOAD_WORDS: &[Key] = &[
    key("success", Shape::Ratio, "Least share of good answers."),
    key("served", Shape::Ratio, "Least share of good and degraded answers."),
    key("p50", Shape::Duration, "Median latency of served answers."),
    key("p95", Shape::Duration, "95th percentile of the latency of served answers."),
    key("p99", Shape::Duration, "99th percentile of the latency of served answers."),
    key("p999", Shape::Duration, "99.9th percentile of the latency of served answers."),
    key("max", Shape::Duration, "The slowest served answer."),
    key("stale_at_most", Shape::Duration, "Largest age of an answer marked stale."),
];

static LOAD_PROMISE: Table = Table {
    what: "a promise about a load",
    keys: &[LOAD_WORDS, &[key("during", Shape::Object(&DURING), "Relaxed words for the first moments.")]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("availability", "write `success: {}` (good answers) or `served: {}` (good and degraded)"),
        alias("latency", "write `p99: {}`"),
        alias("p90", "the words are `p50`, `p95`, `p99`, `p999` and `max`"),
        alias("rto", "times to recover are promised beside the loads, not inside one"),
        alias("rpo", "losses are promised beside the loads, not inside one"),
        alias("duplicates", "duplicates are promised beside the loads, not inside one"),
        alias("recover_within", "times to recover are promised beside the loads, not inside one"),
        alias("restarted_within", "restarts are promised beside the loads, not inside one"),
    ],
};

static DURING: Table = Table {
    what: "`during`",
    keys: &[&[key("for_at_most", Shape::Duration, "How long they hold.").required()], LOAD_WORDS],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("duration", "write `for_at_most: {time}`"), alias("for", "write `for_at_most: {time}`")],
};
