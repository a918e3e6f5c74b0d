//! How calls are protected.

use seaworthy_policy::breaker::{PROBES_MAX, SLIDING_WINDOW_SIZE_MAX};
use seaworthy_policy::call::MAX_ATTEMPTS;

use super::entrance::{CONCURRENCY_KEY, THROTTLE_KEY};
use super::idempotency::IDEMPOTENCY;
use super::table::{Alias, Key, Shape, Table, alias, key};
use super::traffic::TRAFFIC;

/// The policy of a service.
pub(crate) static POLICY: Table = Table {
    what: "a service's policy",
    keys: &[
        TIMEOUTS,
        TRAFFIC,
        &[
            key(
                "retry",
                Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&RETRY)]),
                "When a request is sent again.",
            ),
            key(
                "hedge",
                Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&HEDGE)]),
                "When a request is sent beside a slow one.",
            ),
            key("circuit_breaker", Shape::Object(&CIRCUIT_BREAKER), "Guards a service with one endpoint."),
            key("ejection", Shape::Object(&EJECTION), "Guards a service with several endpoints."),
            key(
                "parking",
                Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&PARKING)]),
                "Requests that wait while no endpoint is available. By default those of clients, where a route has no degrade step; given here, those through the egress too.",
            ),
            key(
                "idempotency",
                Shape::Object(&IDEMPOTENCY),
                "Whether writes may be sent again under their key.",
            ),
            CONCURRENCY_KEY,
            THROTTLE_KEY,
        ],
    ],
    rest: None,
    exactly_one: &[],
    aliases: FOREIGN,
};

/// The policy of a route: only what belongs to one call.
pub(crate) static ROUTE_POLICY: Table = Table {
    what: "a route's policy",
    keys: &[
        TIMEOUTS,
        &[
            key(
                "retry",
                Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&ROUTE_RETRY)]),
                "When a request is sent again.",
            ),
            key(
                "hedge",
                Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&ROUTE_HEDGE)]),
                "When a request is sent beside a slow one.",
            ),
            key(
                "idempotency",
                Shape::Object(&IDEMPOTENCY),
                "Whether writes may be sent again under their key.",
            ),
        ],
    ],
    rest: None,
    exactly_one: &[],
    aliases: FOREIGN,
};

const TIMEOUTS: &[Key] = &[
    key("total_timeout", Shape::Duration, "Deadline of all attempts together, up to the response head.")
        .or("15s"),
    key("attempt_timeout", Shape::Duration, "Limit of one attempt, up to its response head.").or("5s"),
    key("connect_timeout", Shape::Duration, "Limit of making a connection.")
        .or("1s, or the attempt timeout if shorter"),
];

const FOREIGN: &[Alias] = &[
    alias("timeout", "write `attempt_timeout: {time}` for one attempt, `total_timeout` for all of them"),
    alias("errorThresholdPercentage", "write `circuit_breaker: { failure_rate_threshold: {}% }`"),
    alias("resetTimeout", "write `circuit_breaker: { wait_duration_in_open_state: {}ms }`"),
    alias("volumeThreshold", "write `circuit_breaker: { minimum_number_of_calls: {} }`"),
    alias("rollingCountTimeout", "write `circuit_breaker: { sliding_window_duration: {}ms }`"),
    alias("per_try_timeout", "write `attempt_timeout: {time}`"),
    alias("perTryTimeout", "write `attempt_timeout: {time}`"),
    alias("deadline", "write `total_timeout: {time}`"),
    alias("retries", "write `retry: { max_attempts: {} }`; it counts the first attempt too"),
    alias("max_retries", "write `retry: { max_attempts: {} }`; it counts the first attempt too"),
    alias("max_attempts", "write `retry: { max_attempts: {} }`"),
    alias("breaker", "the word here is `circuit_breaker`"),
    alias("outlier_detection", "the word here is `ejection`"),
    alias("outlierDetection", "the word here is `ejection`"),
    alias("hedging", "the word here is `hedge`"),
    alias("rate_limit", "a rate limit belongs to a route, or to the `gateway` for everything that comes in"),
    alias("priority", "a priority belongs to a route"),
    alias("bulkhead", "the word here is `concurrency`"),
    alias("throttle", "the word here is `adaptive_throttle`"),
    alias("on_fail", "what is answered after a failure stands in a route's `degrade`"),
    alias("interval", "waits between attempts are `retry: { initial_backoff: {time} }`"),
];

const RETRY_KEYS: &[Key] = &[
    key(
        "max_attempts",
        Shape::Count(1, MAX_ATTEMPTS as u64),
        "Attempts in all, the first one and hedges included.",
    )
    .or("3"),
    key(
        "initial_backoff",
        Shape::Duration,
        "The wait before the first retry when no other endpoint is healthy.",
    )
    .or("25ms"),
    key("max_backoff", Shape::Duration, "No wait is longer, jitter included.").or("250ms"),
    key(
        "jitter",
        Shape::Word(&["full", "equal", "additive", "decorrelated", "none"]),
        "How waits are spread.",
    )
    .or("full"),
    key("max_retry_after", Shape::DurationOrZero, "An answer that asks for a longer pause is passed on.")
        .or("10s"),
];

const BUDGET_KEYS: &[Key] = &[
    key("retry_ratio", Shape::Ratio, "Retries allowed per success, shared with hedges.").or("10%"),
    key("min_retries_per_second", Shape::Count(0, 10_000), "Retries allowed per second without any success.")
        .or("1"),
];

const RETRY_FOREIGN: &[Alias] = &[
    alias("attempts", "write `max_attempts: {}`"),
    alias("retries", "write `max_attempts: {}`; it counts the first attempt too"),
    alias("max_retries", "write `max_attempts: {}`; it counts the first attempt too"),
    alias("maxRetries", "write `max_attempts: {}`; it counts the first attempt too"),
    alias("interval", "write `initial_backoff: {time}`"),
    alias("delay", "write `initial_backoff: {time}`"),
    alias("backoff", "write `initial_backoff` and `max_backoff`"),
    alias("per_try_timeout", "write `attempt_timeout: {time}` beside `retry`"),
    alias("timeout", "write `attempt_timeout: {time}` beside `retry`"),
    alias("budget", "write `retry_ratio: 10%`"),
];

static RETRY: Table = Table {
    what: "`retry`",
    keys: &[RETRY_KEYS, BUDGET_KEYS],
    rest: None,
    exactly_one: &[],
    aliases: RETRY_FOREIGN,
};

/// Without the budget, which belongs to the service: routes that lead to it share it.
static ROUTE_RETRY: Table = Table {
    what: "a route's `retry`",
    keys: &[RETRY_KEYS],
    rest: None,
    exactly_one: &[],
    aliases: RETRY_FOREIGN,
};

const HEDGE_KEYS: &[Key] = &[
    key("delay", Shape::Duration, "Hedge after exactly this long, instead of a percentile.").or("none"),
    key("percentile", Shape::Share, "Hedge after this percentile of the observed latency.").or("95%"),
    key("min_delay", Shape::Duration, "After a percentile: never earlier than this.").or("10ms"),
    key("max_hedged_attempts", Shape::Count(1, MAX_ATTEMPTS as u64 - 1), "Hedges per request, at most.")
        .or("1"),
];

const HEDGE_FOREIGN: &[Alias] =
    &[alias("max_attempts", "write `max_hedged_attempts: {}`"), alias("budget", "write `max_share: 2%`")];

static HEDGE: Table = Table {
    what: "`hedge`",
    keys: &[
        HEDGE_KEYS,
        &[key("max_share", Shape::Ratio, "At most this share of requests is hedged.").or("2%")],
    ],
    rest: None,
    exactly_one: &[],
    aliases: HEDGE_FOREIGN,
};

static ROUTE_HEDGE: Table = Table {
    what: "a route's `hedge`",
    keys: &[HEDGE_KEYS],
    rest: None,
    exactly_one: &[],
    aliases: HEDGE_FOREIGN,
};

pub(super) static CIRCUIT_BREAKER: Table = Table {
    what: "a circuit breaker",
    keys: &[&[
        key(
            "consecutive_failures",
            Shape::Count(1, 10_000),
            "Opens after so many failures in a row, when there was no success for 500 ms.",
        )
        .or("5"),
        key("failure_rate_threshold", Shape::Share, "Opens when this share of calls fails.").or("50%"),
        key("minimum_number_of_calls", Shape::Count(1, 1_000_000), "The rates count from so many calls on.")
            .or("20"),
        key(
            "sliding_window_type",
            Shape::Word(&["time_based", "count_based"]),
            "The rates are those of a time, or of a number of calls.",
        )
        .or("time_based"),
        key("sliding_window_duration", Shape::Duration, "The rates are those of the last so long.").or("10s"),
        key(
            "sliding_window_size",
            Shape::Count(1, SLIDING_WINDOW_SIZE_MAX as u64),
            "When `count_based`: the rates are those of the last so many calls.",
        )
        .or("100"),
        key("slow_call_duration_threshold", Shape::Duration, "A call that takes longer is slow.").or("none"),
        key("slow_call_rate_threshold", Shape::Share, "Opens when this share of calls is slow.").or("80%"),
        key(
            "wait_duration_in_open_state",
            Shape::Duration,
            "How long it stays open the first time; doubles.",
        )
        .or("1s"),
        key("max_wait_duration_in_open_state", Shape::Duration, "It never stays open longer.").or("1m"),
        key(
            "permitted_number_of_calls_in_half_open_state",
            Shape::Count(1, PROBES_MAX as u64),
            "Probes; it closes on a majority.",
        )
        .or("3"),
        key(
            "mode",
            Shape::Word(&["automatic", "force_open", "force_closed", "disabled", "metrics_only"]),
            "Who decides: the breaker, or this word.",
        )
        .or("automatic"),
        key("recovery_ramp", Shape::DurationOrZero, "Traffic grows back to all of it over so long.")
            .or("10s"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("errorThresholdPercentage", "write `failure_rate_threshold: {}%`"),
        alias("resetTimeout", "write `wait_duration_in_open_state: {}ms`"),
        alias("volumeThreshold", "write `minimum_number_of_calls: {}`"),
        alias("rollingCountTimeout", "write `sliding_window_duration: {}ms`"),
        alias("timeout", "an attempt's limit is `attempt_timeout: {time}` beside `circuit_breaker`"),
        alias("threshold", "write `failure_rate_threshold: 50%` or `consecutive_failures: 5`"),
        alias("reset_timeout", "write `wait_duration_in_open_state: {time}`"),
        alias("break_duration", "write `wait_duration_in_open_state: {time}`"),
        alias("interval", "write `sliding_window_duration: {time}`"),
        alias("slidingWindowType", "write `sliding_window_type: time_based` or `count_based`"),
        alias("slidingWindowSize", "write `sliding_window_type: count_based, sliding_window_size: {}`"),
        alias("enabled", "write `mode: disabled` to let everything pass"),
        alias("state", "write `mode: force_open` or `mode: force_closed`"),
    ],
};

static EJECTION: Table = Table {
    what: "`ejection`",
    keys: &[&[
        key(
            "consecutive_failures",
            Shape::Count(1, 10_000),
            "Ejects an endpoint after so many failures in a row.",
        )
        .or("5"),
        key("base_ejection_time", Shape::Duration, "How long the first time; the n-th time n times as long.")
            .or("30s"),
        key("max_ejection_time", Shape::Duration, "Never longer than this.").or("5m"),
        key(
            "peer_latency",
            Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&PEER_LATENCY)]),
            "Whether an endpoint that is much slower than its peers is ejected, or put on probation where too many are.",
        ),
        key(
            "peer_failures",
            Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&PEER_FAILURES)]),
            "Whether an endpoint that fails more often than its peers is ejected, or put on probation where too many are.",
        ),
        key("sweep_interval", Shape::Duration, "Endpoints are compared with their peers this often.")
            .or("500ms"),
        key("persistence", Shape::Count(1, 1_000), "So many comparisons in a row decide.").or("3"),
        key("readmission_successes", Shape::Count(1, 100), "Good requests in a row that take it back.")
            .or("3"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("consecutive5xx", "write `consecutive_failures: {}`"),
        alias("consecutive_5xx", "write `consecutive_failures: {}`"),
        alias("consecutive5xxErrors", "write `consecutive_failures: {}`"),
        alias("interval", "endpoints are judged on every answer; there is no interval"),
        alias("maxEjectionPercent", "at most max(1, half of the others) is ejected, and never the last one"),
        alias(
            "max_ejection_percent",
            "at most max(1, half of the others) is ejected, and never the last one",
        ),
    ],
};

static PEER_LATENCY: Table = Table {
    what: "`peer_latency`",
    keys: &[&[key("slow_factor", Shape::Factor, "So many times the peers' median latency is slow.").or("4")]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("factor", "write `slow_factor: {}`"), alias("threshold", "write `slow_factor: 4`")],
};

static PEER_FAILURES: Table = Table {
    what: "`peer_failures`",
    keys: &[&[
        key("excess", Shape::Share, "A share of failures this much above the peers' median is too much.")
            .or("10%"),
        key("minimum_number_of_calls", Shape::Count(1, 1_000_000), "A share counts from so many calls on.")
            .or("20"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("threshold", "write `excess: 10%`"),
        alias("request_volume", "write `minimum_number_of_calls: {}`"),
    ],
};

static PARKING: Table = Table {
    what: "`parking`",
    keys: &[&[key(
        "max_requests",
        Shape::Count(1, 1_000_000),
        "At most so many wait; the others are refused at once.",
    )
    .or("10000")]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("max_queue", "write `max_requests: {}`"), alias("limit", "write `max_requests: {}`")],
};
