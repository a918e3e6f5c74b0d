//! The top of a spec, routes, data and loads.

use super::cache::{DEGRADE, GATEWAY_CACHE, ROUTE_CACHE};
use super::entrance::{CONCURRENCY_KEY, PRIORITY_KEY, RATE_LIMIT_KEY};
use super::failure::FAILURE;
use super::idempotency::IDEMPOTENCY;
use super::policy::ROUTE_POLICY;
use super::queues;
use super::service::SERVICE;
use super::table::{Alias, Key, Shape, Table, alias, key};

/// The whole spec.
pub(crate) static SPEC: Table = spec(&[TOP, queues::TOP_KEYS]);

/// As when queues and topics are in effect.
#[cfg(test)]
pub(crate) static SPEC_ACCEPTING_QUEUES: Table = spec(&[TOP, queues::ACCEPTED]);
/// As before that.
#[cfg(test)]
pub(crate) static SPEC_REFUSING_QUEUES: Table = spec(&[TOP, queues::REFUSED]);

const fn spec(keys: &'static [&'static [Key]]) -> Table {
    Table { what: "a spec", keys, rest: None, exactly_one: &[], aliases: FOREIGN }
}

static TOP: &[Key] = &[
    key("seaworthy", Shape::Text, "Version of the language; must be `v1`.").required(),
    key("name", Shape::Name, "Name of the system.").required(),
    key("gateway", Shape::Object(&GATEWAY), "The door that clients come through."),
    key("admin", Shape::Object(&ADMIN), "Admin API, metrics and health."),
    key(
        "zones",
        Shape::List(&Shape::Name),
        "Failure domains: what can fail together. Replicas are spread over them.",
    ),
    key("services", Shape::Map(&Shape::Object(&SERVICE), "service names"), "What serves requests.")
        .required(),
    key(
        "data",
        Shape::Map(&Shape::Object(&DATASET), "dataset names"),
        "Datasets, and where their copies are.",
    ),
    key("routes", Shape::Map(&Shape::Object(&ROUTE), "route names"), "Which service gets which requests."),
    key(
        "load",
        Shape::Map(&Shape::Object(&LOAD), "load names"),
        "What a drill sends, and how it reads back what was acknowledged.",
    ),
    key(
        "failures",
        Shape::Map(&Shape::Object(&FAILURE), "failure names"),
        "What the system must survive, and what its users may notice meanwhile.",
    ),
    key("store", Shape::Text, "Where durable work is kept.").later(),
    key("slos", Shape::Json, "Service level objectives.").later(),
    key("roles", Shape::Json, "Primary and standby.").later(),
];

const FOREIGN: &[Alias] = &[
    alias("version", "write `seaworthy: v1`"),
    alias("listen", "write `gateway: { listen: {} }`"),
    alias("backends", "the word here is `services`"),
    alias("upstreams", "the word here is `services`, with `endpoints`"),
    alias("clusters", "the word here is `services`, with `endpoints`"),
    alias("loads", "the word here is `load`"),
    alias("faults", "the word here is `failures`; each has a `fault`"),
    alias("experiments", "the word here is `failures`"),
];

static GATEWAY: Table = Table {
    what: "the gateway",
    keys: &[&[
        key("listen", Shape::Address, "Where clients connect; port 0 picks a free one.").required(),
        key("drain", Shape::DurationOrZero, "How long requests in flight may take when the gateway stops.")
            .or("30s"),
        key(
            "client_body_timeout",
            Shape::Duration,
            "How long a client may send nothing of a request's body.",
        )
        .or("30s"),
        RATE_LIMIT_KEY,
        CONCURRENCY_KEY,
        key("cache", Shape::Object(&GATEWAY_CACHE), "What stored answers may take."),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("port", "write `listen: 127.0.0.1:{}`"),
        alias("address", "the word here is `listen`"),
        alias("bind", "the word here is `listen`"),
        alias("grace", "the word here is `drain`"),
        alias("timeout_client", "the word here is `client_body_timeout`"),
        alias("body_timeout", "the word here is `client_body_timeout`"),
        alias(
            "requestTimeout",
            "the word here is `client_body_timeout`; for answers, `policy: { total_timeout: {} }`",
        ),
        alias("rateLimit", "the word here is `rate_limit`"),
        alias("max_connections", "write `concurrency: { limit: {} }`; requests are counted, not connections"),
    ],
};

static ADMIN: Table = Table {
    what: "the admin API",
    keys: &[&[key("listen", Shape::Address, "Where the admin API listens; port 0 picks a free one.")
        .or("127.0.0.1:9180")]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("port", "write `listen: 127.0.0.1:{}`"), alias("address", "the word here is `listen`")],
};

static DATASET: Table = Table {
    what: "a dataset",
    keys: &[&[
        key("in", Shape::Name, "The service that keeps it.").required(),
        key("copies", Shape::List(&Shape::Name), "The zone of each copy."),
        key(
            "consistency",
            Shape::WordOrLater(&["strong"], &["eventual", "async", "quorum"]),
            "What a reader of another copy may see.",
        )
        .or("strong"),
        key("backup", Shape::Json, "How it is backed up, restored and verified.").later(),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("service", "the word here is `in`"),
        alias("replicas", "list the zone of each copy: `copies: [a, b]`"),
        alias("zones", "the word here is `copies`"),
    ],
};

static ROUTE: Table = Table {
    what: "a route",
    keys: &[&[
        key(
            "match",
            Shape::Match,
            "Which requests it takes: an optional method, and a path or `/prefix/**`.",
        )
        .required(),
        key("to", Shape::Name, "The service that answers.").required(),
        key(
            "policy",
            Shape::Object(&ROUTE_POLICY),
            "How calls on this route are protected, where that differs from the service's policy.",
        ),
        key("idempotency", Shape::Object(&IDEMPOTENCY), "Whether writes may be sent again under their key."),
        key(
            "degrade",
            Shape::List(&Shape::Object(&DEGRADE)),
            "What is answered instead when the call failed; the first step that can.",
        ),
        key("cache", Shape::Object(&ROUTE_CACHE), "Answers to GET that are kept for a while and shared."),
        PRIORITY_KEY,
        RATE_LIMIT_KEY,
        CONCURRENCY_KEY,
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("path", "the word here is `match`: `match: {}`"),
        alias("prefix", "write `match: {}/**`"),
        alias("method", "the method stands in `match`: `match: {} /path`"),
        alias("service", "the word here is `to`"),
        alias("backend", "the word here is `to`"),
        alias("upstream", "the word here is `to`"),
        alias("timeout", "write `policy: { total_timeout: {time} }`"),
        alias("retries", "write `policy: { retry: { max_attempts: {} } }`; it counts the first attempt too"),
        alias("fallback", "the word here is `degrade`"),
        alias("rateLimit", "the word here is `rate_limit`"),
        alias("throttle", "write `rate_limit: { limit_for_period: 100 }`"),
        alias("bulkhead", "the word here is `concurrency`"),
        alias("criticality", "the word here is `priority`"),
        alias("on_fail", "the word here is `degrade`"),
    ],
};

static LOAD: Table = Table {
    what: "a load",
    keys: &[&[
        key("rate", Shape::Rate, "How many requests, sent on time whether or not answers come.").required(),
        key("send", Shape::Request, "Method and path; `$id` becomes the request's own id.").required(),
        key("json", Shape::Json, "The body; `$id` inside texts becomes the request's own id."),
        key(
            "headers",
            Shape::Map(&Shape::Verbatim, "header names"),
            "Further headers; `$id` becomes the request's own id.",
        ),
        key(
            "idempotency_key",
            Shape::Text,
            "The `Idempotency-Key` header; `$id` becomes the request's own id.",
        ),
        key("expect", Shape::List(&Shape::Status), "Statuses of a good answer.").or("any 2xx"),
        key(
            "degraded",
            Shape::List(&Shape::Status),
            "Statuses that are an acceptable degraded answer when marked `Degraded`.",
        ),
        key("timeout", Shape::Duration, "An answer that takes longer counts as failed.")
            .or("the route's total timeout + 1s"),
        key(
            "read_back",
            Shape::List(&Shape::Object(&READ_BACK)),
            "Where the effects of acknowledged writes can be seen. Makes the load one of writes.",
        ),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("rps", "write `rate: {}/s`"),
        alias("url", "write `send: GET /path`"),
        alias("path", "write `send: GET {}`"),
        alias("method", "the method stands in `send`: `send: {} /path`"),
        alias("body", "the word here is `json`"),
        alias("status", "the word here is `expect`"),
    ],
};

static READ_BACK: Table = Table {
    what: "a read-back",
    keys: &[&[
        key("from", Shape::Name, "The service that is asked, directly.").required(),
        key("get", Shape::UrlPath, "The path that lists the effects.").required(),
        key("ids", Shape::Ids, "Where the ids stand in the answer.").required(),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("service", "the word here is `from`"), alias("path", "the word here is `get`")],
};
