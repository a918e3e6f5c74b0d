//! Keys of `idempotency`.

use super::table::{Shape, Table, alias, key};

/// Idempotency of an edge.
pub(crate) static IDEMPOTENCY: Table = Table {
    what: "`idempotency`",
    keys: &[&[
        key(
            "key",
            Shape::Word(&["required", "optional"]),
            "Whether every write carries an `Idempotency-Key`.",
        )
        .required(),
        key(
            "backend",
            Shape::Word(&["honours", "unaware"]),
            "Whether the backend executes one key only once. Only then a write is sent again after an unknown outcome.",
        )
        .required(),
        key(
            "keep",
            Shape::DurationOrOff,
            "At least how long answers are kept under their key, on disk, to be given again instead of executing a write twice. Off by default where every write has a key and the backend honours it.",
        )
        .or("24h"),
        key(
            "in_flight",
            Shape::Word(&["refuse", "wait"]),
            "What a request gets whose key is in flight: a 409, or the answer of the first.",
        )
        .or("refuse"),
        key("max_answer", Shape::Size, "Answers with a larger body are not given again.").or("1MiB"),
        key(
            "dialect",
            Shape::Word(&["draft", "stripe"]),
            "Whose clients are served: `draft` (IETF) answers 422 to a key that belongs to another request; `stripe` answers 400, and gives failures of the backend again.",
        )
        .or("draft"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("header", "the header is always `Idempotency-Key`"),
        alias("retention", "write `keep: {time}`"),
        alias("ttl", "write `keep: {time}`"),
        alias("expiry", "write `keep: {time}`"),
        alias("stripe_compat", "write `dialect: stripe`"),
        alias("on_conflict", "write `in_flight: wait` or `in_flight: refuse`"),
        alias("max_body", "write `max_answer: {}`"),
        alias("required", "write `key: required`"),
    ],
};
