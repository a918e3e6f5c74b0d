//! Stored answers, and what is answered instead of a failed one.

use super::table::{Key, Shape, Table, alias, key};

/// The cache of a route.
pub(super) static ROUTE_CACHE: Table = Table {
    what: "the cache of a route",
    keys: &[&[
        key("ttl", Shape::Duration, "How long an answer to GET is given again; the service may shorten it.")
            .required(),
        key(
            "stale_while_revalidate",
            Shape::DurationOrZero,
            "How long after `ttl` it is still given while it is fetched again in the background.",
        )
        .or("0s"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("max_age", "the word here is `ttl`"),
        alias("max-age", "the word here is `ttl`"),
        alias("expires", "the word here is `ttl`"),
        alias("swr", "the word here is `stale_while_revalidate`"),
        alias("stale_if_error", "write `degrade: [ { stale: {time} } ]` on the route"),
        alias("stale", "write `degrade: [ { stale: {time} } ]` on the route"),
        alias("use_stale", "write `degrade: [ { stale: 10m } ]` on the route"),
        alias("max_size", "write `cache: { max_bytes: 64MiB }` under `gateway`"),
        alias("vary", "the answer's own `Vary` is obeyed"),
        alias("methods", "only GET is stored; HEAD is answered from it"),
    ],
};

/// The bounds of all caches together.
pub(super) static GATEWAY_CACHE: Table = Table {
    what: "the bounds of stored answers",
    keys: &[&[
        key(
            "max_bytes",
            Shape::Size,
            "Memory for stored answers of all routes; the least recently used go first.",
        )
        .or("64MiB"),
        key("max_entries", Shape::Count(1, 10_000_000), "Stored answers of all routes.").or("10000"),
        key("max_answer_bytes", Shape::Size, "A longer body is not stored.").or("1MiB"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("size", "the word here is `max_bytes`"),
        alias("max_size", "the word here is `max_bytes`"),
        alias("entries", "the word here is `max_entries`"),
        alias("ttl", "write `cache: { ttl: {time} }` on a route"),
    ],
};

/// A rung of the ladder.
pub(super) static DEGRADE: Table = Table {
    what: "a degradation step",
    keys: &[DEGRADE_STEPS],
    rest: None,
    exactly_one: &[&["static", "stale", "service", "queue", "read_only"]],
    aliases: &[
        alias("fallback", "write `service: {}`"),
        alias("stale_if_error", "write `stale: {time}`"),
        alias("cache", "write `stale: 10m` for the last good answer"),
        alias("json", "write `static: { json: ... }`"),
        alias("status", "write `static: { status: {} }`"),
    ],
};

const DEGRADE_STEPS: &[Key] = &[
    key("static", Shape::Object(&STATIC_ANSWER), "A fixed answer, marked `Degraded: static`."),
    key(
        "stale",
        Shape::Duration,
        "The last good answer to the same GET, so long after it was fresh; marked `Degraded: stale`, with its `Age`.",
    ),
    key("service", Shape::Name, "The answer of another service, marked `Degraded: fallback`."),
    key(
        "max_concurrent_calls",
        Shape::Count(1, 1_000_000),
        "Calls to the other service at once; a third of the route's total timeout is kept for them.",
    )
    .or("100"),
    key("queue", Shape::Json, "Take the request now and deliver it later.").later(),
    key("read_only", Shape::Json, "Refuse writes, serve reads.").later(),
];

static STATIC_ANSWER: Table = Table {
    what: "a fixed answer",
    keys: &[&[
        key("status", Shape::Status, "Its status.").or("503"),
        key("json", Shape::Json, "Its body.").or("{}"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("body", "the word here is `json`"), alias("code", "the word here is `status`")],
};
