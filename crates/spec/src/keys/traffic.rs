//! How requests are spread over endpoints, and what callers and services tell each other about deadlines.

use super::service::REPLICAS_MAX;
use super::table::{Key, Shape, Table, alias, key};

/// The largest weight of an endpoint.
const WEIGHT_MAX: u64 = seaworthy_policy::pool::WEIGHT_MAX as u64;

/// Keys of a service's policy, beside those that protect a single call.
pub(crate) const TRAFFIC: &[Key] = &[
    key("load_balancing", Shape::Object(&LOAD_BALANCING), "How requests are spread over the endpoints."),
    key(
        "max_in_flight",
        Shape::Count(1, 1_000_000),
        "Requests in flight per endpoint, at most; when all have so many, further ones are refused.",
    )
    .or("none"),
    key(
        "deadline_header",
        Shape::Text,
        "In which a service we run is told how many milliseconds are left, and may say so itself when it calls.",
    )
    .or("seaworthy-deadline-ms"),
    key("deadline_margin", Shape::DurationOrZero, "So much less than is left is told, for the way back.")
        .or("5ms"),
    key("min_remaining", Shape::DurationOrZero, "With less than this left, nothing is begun.").or("1ms"),
];

static LOAD_BALANCING: Table = Table {
    what: "`load_balancing`",
    keys: &[&[
        key(
            "strategy",
            Shape::Word(&["p2c", "round_robin", "least_in_flight", "affinity"]),
            "Who is asked: the better of two at random, each in turn, whoever has least to do, or the one that a key belongs to.",
        )
        .or("p2c"),
        key(
            "affinity",
            Shape::Object(&AFFINITY),
            "Which part of a request is the key; requests without it are spread by the strategy.",
        ),
        key(
            "load_factor",
            Shape::Factor,
            "With a key: an endpoint with so many times its fair share in flight is passed over.",
        )
        .or("1.25"),
        key(
            "own_zone",
            Shape::Word(&["prefer", "ignore"]),
            "Whether a gateway that knows its zone (`SEAWORTHY_ZONE`) asks the endpoints there first.",
        )
        .or("prefer"),
        key(
            "healthy_share",
            Shape::Share,
            "While so much of the own zone is available, no request leaves it; below, they spill in proportion.",
        )
        .or("70%"),
        key(
            "slow_start",
            Shape::DurationOrZero,
            "An endpoint that is new or back reaches its full share after so long.",
        )
        .or("10s"),
        key(
            "standby_below",
            Shape::Ratio,
            "Standby endpoints join in when less than this share of the active ones is available.",
        )
        .or("50%"),
        key(
            "failback_delay",
            Shape::DurationOrZero,
            "Standby endpoints serve until the active ones have been well for so long.",
        )
        .or("30s"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("policy", "the word here is `strategy`"),
        alias("lb_policy", "the word here is `strategy`"),
        alias("algorithm", "the word here is `strategy`"),
        alias("sticky", "write `strategy: affinity, affinity: { cookie: NAME }`"),
        alias("session_affinity", "write `strategy: affinity, affinity: { cookie: NAME }`"),
        alias("hash_on", "write `strategy: affinity, affinity: { header: NAME }`"),
        alias("choice_count", "`p2c` compares two"),
        alias("zone_aware", "write `own_zone: prefer`"),
        alias("slow_start_window", "write `slow_start: {time}`"),
        alias("overprovisioning_factor", "write `healthy_share: 70%`; it is one divided by that factor"),
    ],
};

static AFFINITY: Table = Table {
    what: "`affinity`",
    keys: &[&[
        key("header", Shape::Text, "The value of this header is the key."),
        key("cookie", Shape::Text, "The value of this cookie is the key."),
    ]],
    rest: None,
    exactly_one: &[&["header", "cookie"]],
    aliases: &[
        alias("ip", "behind a proxy an address stands for everybody; use a header or a cookie"),
        alias("client_ip", "behind a proxy an address stands for everybody; use a header or a cookie"),
    ],
};

/// The replicas of one zone, where a number does not say enough.
pub(crate) static ZONE_REPLICAS: Table = Table {
    what: "the replicas of a zone",
    keys: &[&[
        key("active", Shape::Count(0, REPLICAS_MAX), "How many always serve.")
            .or("1, or none beside `standby`"),
        key("standby", Shape::Count(0, REPLICAS_MAX), "How many serve only while too few active ones can.")
            .or("0"),
        key("weight", Shape::Count(1, WEIGHT_MAX), "The share of requests of each, relative to others.")
            .or("1"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("count", "write `active: {}`"),
        alias("tier", "write `standby: 1` for a replica that waits"),
        alias("backup", "write `standby: {}`"),
    ],
};

/// An endpoint, where its address does not say enough.
pub(crate) static ENDPOINT: Table = Table {
    what: "an endpoint",
    keys: &[&[
        key("url", Shape::Endpoint, "Where it is.").required(),
        key("zone", Shape::Name, "The zone it is in."),
        key("tier", Shape::Word(&["active", "standby"]), "Serves always, or only while too few others can.")
            .or("active"),
        key("weight", Shape::Count(1, WEIGHT_MAX), "Its share of the requests, relative to others.").or("1"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("address", "write `url: http://{}`"),
        alias("host", "write `url: http://{}`"),
        alias("backup", "write `tier: standby`"),
        alias("priority", "write `tier: active` or `tier: standby`"),
    ],
};

/// A probe's `flap`.
pub(crate) static FLAP: Table = Table {
    what: "`flap`",
    keys: &[&[
        key(
            "changes",
            Shape::Count(2, seaworthy_policy::health::flap::FLAP_CHANGES_MAX as u64),
            "So many changes within the window make it harder to come back.",
        )
        .or("6"),
        key("window", Shape::Duration, "What counts as often, and how long a calm forgives.").or("1m"),
        key(
            "max_success_threshold",
            Shape::Count(1, 100),
            "Successes in a row that a return takes at most, however often it changed.",
        )
        .or("16"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("threshold", "write `changes: {}`")],
};
