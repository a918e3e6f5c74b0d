//! What requests must pass before they are served: rate limits, limits of concurrency, the throttle.

use seaworthy_policy::admission::MAX_QUEUE_MAX;
use seaworthy_policy::limit::LIMIT_MAX;

use super::table::{Alias, Key, Shape, Table, alias, key};

/// The words of a route's priority, the lowest first.
pub(crate) const PRIORITIES: &[&str] = &["sheddable", "sheddable_plus", "critical", "critical_plus"];

/// Of a route, and of the gateway as a whole.
pub(crate) const RATE_LIMIT_KEY: Key =
    key("rate_limit", Shape::Object(&RATE_LIMIT), "How much one client may ask for.").or("none");

/// Of a route, of a service (for each way to it), and of the gateway as a whole.
pub(crate) const CONCURRENCY_KEY: Key = key(
    "concurrency",
    Shape::Object(&CONCURRENCY),
    "How many requests may be under way at once, and the queue in front of them.",
)
.or("none");

const THROTTLE_SHAPE: Shape = Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&ADAPTIVE_THROTTLE)]);

/// Of a service that others call through its egress.
pub(crate) const THROTTLE_KEY: Key = key(
    "adaptive_throttle",
    THROTTLE_SHAPE,
    "Calls through the egress that a service would refuse anyway are not sent.",
)
.or("off");

/// Of a route.
pub(crate) const PRIORITY_KEY: Key = key(
    "priority",
    Shape::Word(PRIORITIES),
    "How much its requests matter where not all can be served: the lowest are shed first.",
)
.or("critical");

static RATE_LIMIT: Table = Table {
    what: "a rate limit",
    keys: &[&[
        key("limit_for_period", Shape::Count(1, 1_000_000_000), "Requests per period, for each key.")
            .required(),
        key("limit_refresh_period", Shape::Duration, "The period.").or("1s"),
        key("burst", Shape::Count(1, 1_000_000_000), "Requests that may come at once after a rest.")
            .or("as many as in a period"),
        key(
            "key",
            Shape::Either(&[Shape::Word(&["client", "all"]), Shape::Object(&HEADER)]),
            "Who has a quota of their own: each client address, each value of a header, or nobody.",
        )
        .or("client"),
        key("max_keys", Shape::Count(1, 16_000_000), "Quotas that are kept apart; further keys share one.")
            .or("10000"),
        key(
            "max_wait",
            Shape::DurationOrZero,
            "A request that comes too early may wait so long for its turn; `0` refuses it.",
        )
        .or("0s"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("limitForPeriod", "write `limit_for_period: {}`"),
        alias("limitRefreshPeriod", "write `limit_refresh_period: {time}`"),
        alias("timeoutDuration", "write `max_wait: {time}`"),
        alias("timeout", "write `max_wait: {time}`"),
        alias(
            "requests_per_second",
            "write `limit_for_period: {}`; the period is 1s unless you say otherwise",
        ),
        alias("rps", "write `limit_for_period: {}`; the period is 1s unless you say otherwise"),
        alias("rate", "write `limit_for_period: 100, limit_refresh_period: 1s`"),
        alias("average", "write `limit_for_period: {}`"),
        alias("limit", "write `limit_for_period: {}`"),
        alias("requests", "write `limit_for_period: {}`"),
        alias("max_tokens", "write `burst: {}`"),
        alias("capacity", "write `burst: {}`"),
        alias("period", "write `limit_refresh_period: {time}`"),
        alias("window", "write `limit_refresh_period: {time}`"),
        alias("per", "write `limit_refresh_period: {time}`"),
        alias("interval", "write `limit_refresh_period: {time}`"),
        alias("by", "write `key: {}`"),
        alias("header", "write `key: { header: {} }`"),
    ],
};

static HEADER: Table = Table {
    what: "a header's value as the key",
    keys: &[&[key(
        "header",
        Shape::Verbatim,
        "Its name. A request without it counts as its client's. Clients can write what they like into it, unless somebody in front sees to it.",
    )
    .required()]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("name", "write `header: {}`")],
};

static CONCURRENCY: Table = Table {
    what: "a limit of concurrency",
    keys: &[&[
        key(
            "limit",
            Shape::CountOr(1, LIMIT_MAX as u64, &["adaptive"]),
            "Requests under way at once, bodies included; `adaptive` finds out how many the service bears.",
        )
        .required(),
        key("queue", Shape::Count(0, MAX_QUEUE_MAX as u64), "At most so many wait; `0` refuses at once.")
            .or("100"),
        key("max_wait", Shape::DurationOrZero, "Nobody waits longer, nor beyond the deadline.").or("1s"),
        key(
            "discipline",
            Shape::WordOrLater(&["fifo", "adaptive_lifo"], &["lifo"]),
            "Who goes first: the oldest, or the newest as long as the queue stands.",
        )
        .or("adaptive_lifo"),
        key(
            "fairness",
            Shape::Either(&[Shape::Word(&["client", "none"]), Shape::Object(&HEADER)]),
            "Who takes turns: client addresses, values of a header, or nobody.",
        )
        .or("none"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: CONCURRENCY_FOREIGN,
};

const CONCURRENCY_FOREIGN: &[Alias] = &[
    alias("max_concurrent_calls", "write `limit: {}`"),
    alias("maxConcurrentCalls", "write `limit: {}`"),
    alias("max_requests", "write `limit: {}`"),
    alias("max_in_flight", "write `limit: {}`"),
    alias("max", "write `limit: {}`"),
    alias("max_connections", "write `limit: {}`; requests are counted, not connections"),
    alias("max_queue", "write `queue: {}`"),
    alias("queue_size", "write `queue: {}`"),
    alias("max_pending_requests", "write `queue: {}`"),
    alias("maxWaitDuration", "write `max_wait: {time}`"),
    alias("queue_timeout", "write `max_wait: {time}`"),
    alias("timeout", "write `max_wait: {time}`"),
    alias("algorithm", "write `limit: adaptive`"),
    alias("adaptive", "write `limit: adaptive`"),
    alias("order", "write `discipline: fifo`"),
    alias("priority", "a priority belongs to a route: `routes: { NAME: { priority: {} } }`"),
];

static ADAPTIVE_THROTTLE: Table = Table {
    what: "an adaptive throttle",
    keys: &[&[
        key(
            "k",
            Shape::Factor,
            "Calls per accepted one that are still sent: the lower, the harder the brake.",
        )
        .or("2"),
        key("window", Shape::Duration, "How far back it looks.").or("30s"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("multiplier", "write `k: {}`"),
        alias("ratio", "write `k: 2`"),
        alias("interval", "write `window: {time}`"),
        alias("duration", "write `window: {time}`"),
    ],
};
