//! Queues and topics.

use seaworthy_policy::delivery::{ATTEMPTS_MAX, CONCURRENCY_MAX};

use super::entrance::PRIORITY_KEY;
use super::policy::CIRCUIT_BREAKER;
use super::table::{Alias, Key, Shape, Table, alias, key};

/// Whether `queues` and `topics` do anything. While they do not, they are errors that say so.
pub(crate) const IN_EFFECT: bool = false;

/// The most jobs that a queue may hold.
const CAPACITY_MAX: u64 = 100_000_000;
/// The most dead letters that a queue may keep.
const DEAD_LETTERS_MAX: u64 = 10_000_000;

/// The keys at the top of a spec.
pub(super) static TOP_KEYS: &[Key] = if IN_EFFECT { ACCEPTED } else { REFUSED };
/// As when they are in effect.
pub(super) static ACCEPTED: &[Key] = &[QUEUES, TOPICS];
/// As before that.
pub(super) static REFUSED: &[Key] = &[QUEUES.later(), TOPICS.later()];

static QUEUE_SHAPE: Shape = Shape::Object(&QUEUE);
static TOPIC_SHAPE: Shape = Shape::Object(&TOPIC);

const QUEUES: Key = key(
    "queues",
    Shape::Map(&QUEUE_SHAPE, "queue names"),
    "Durable work: accepted once it is on disk, delivered until it is done or a dead letter.",
);
const TOPICS: Key = key(
    "topics",
    Shape::Map(&TOPIC_SHAPE, "topic names"),
    "Durable events: kept until each subscriber has acknowledged them.",
);

static QUEUE: Table = Table {
    what: "a queue",
    keys: &[TARGET, DELIVERY, JOBS],
    rest: None,
    exactly_one: &[&["deliver", "pull"]],
    aliases: FOREIGN,
};

static TOPIC: Table = Table {
    what: "a topic",
    keys: &[&[
        key("retention", Shape::Object(&RETENTION), "What is kept after every subscriber has it."),
        key("max_body", Shape::Size, "A larger event is refused.").or("256KiB"),
        key(
            "subscribers",
            Shape::Map(&Shape::Object(&SUBSCRIBER), "subscriber names"),
            "Who gets each event; whoever is stuck delays nobody else.",
        )
        .required(),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("deliver", "write `subscribers: { NAME: { deliver: {} } }`"),
        alias("subscriptions", "the word here is `subscribers`"),
        alias("consumers", "the word here is `subscribers`"),
        alias("ttl", "write `retention: { age: {time} }`"),
        alias("partitions", "a topic has no partitions; jobs with the same `order_by` key keep their order"),
    ],
};

static SUBSCRIBER: Table = Table {
    what: "a subscriber",
    keys: &[
        TARGET,
        DELIVERY,
        &[key("start", Shape::Word(&["now", "oldest"]), "With which event a new subscriber begins.")
            .or("now")],
    ],
    rest: None,
    exactly_one: &[&["deliver", "pull"]],
    aliases: FOREIGN,
};

static TARGET: &[Key] = &[
    key("deliver", Shape::Delivery, "Where each job is sent: method, service and path."),
    key("pull", Shape::True, "Nothing is sent: workers claim jobs and acknowledge them."),
];

static DELIVERY: &[Key] = &[
    key("attempts", Shape::Count(1, ATTEMPTS_MAX as u64), "Then it is a dead letter.")
        .or("as many as the schedule has waits"),
    key(
        "schedule",
        Shape::List(&Shape::DurationOrZero),
        "The wait before each attempt, the first one included.",
    )
    .or("[0s, 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 1d]"),
    key("jitter", Shape::Ratio, "Waits are spread by this share to either side.").or("20%"),
    key("max_retry_after", Shape::Duration, "A receiver that asks for a longer pause gets this one.")
        .or("1d"),
    key("timeout", Shape::Duration, "An attempt that is not answered by then has failed.").or("30s"),
    key("lease", Shape::Duration, "How long a claim lasts unless it is extended.").or("1m"),
    key("concurrency", Shape::Count(1, CONCURRENCY_MAX as u64), "Attempts under way at once.").or("10"),
    key("rate", Shape::Rate, "No more attempts than this.").or("none"),
    key(
        "circuit_breaker",
        Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&CIRCUIT_BREAKER)]),
        "Spares a receiver that is down; what it holds up costs no attempt.",
    ),
    key(
        "final",
        Shape::List(&Shape::Status),
        "Answers that no later attempt would mend: a dead letter at once.",
    )
    .or("[400, 413, 414, 415, 422, 431]"),
    key(
        "guarantee",
        Shape::Word(&["at_least_once", "at_most_once"]),
        "What happens when nobody knows whether an attempt was executed: another one, or a dead letter.",
    )
    .or("at_least_once"),
    key("order_by", Shape::Object(&ORDER_BY), "Jobs with the same key go one at a time, in order.")
        .or("none"),
    key("signing", Shape::Object(&SIGNING), "Attempts are signed as Standard Webhooks says.").or("none"),
    key("dead_letters", Shape::Object(&DEAD_LETTERS), "How long dead letters are kept, and how many."),
];

static JOBS: &[Key] = &[
    key(
        "dedupe",
        Shape::Either(&[Shape::Word(&["off"]), Shape::Object(&DEDUPE)]),
        "A job with a key that was there within the window is not taken again.",
    ),
    key("deadline", Shape::Duration, "A job this old is not attempted any more: a dead letter.").or("none"),
    key("delay", Shape::DurationOrZero, "Every job waits this long before its first attempt.").or("0s"),
    PRIORITY_KEY,
    key("max_body", Shape::Size, "A larger job is refused.").or("256KiB"),
    key("capacity", Shape::Count(1, CAPACITY_MAX), "With so many waiting, further jobs are refused.")
        .or("1000000"),
];

const FOREIGN: &[Alias] = &[
    alias("url", "write `deliver: POST SERVICE/path`; the receiver is one of the `services`"),
    alias("endpoint", "write `deliver: POST SERVICE/path`; the receiver is one of the `services`"),
    alias("target", "the word here is `deliver`"),
    alias("to", "the word here is `deliver`"),
    alias("push", "the word here is `deliver`"),
    alias("retries", "write `attempts: {}`; it counts the first attempt too"),
    alias("max_retries", "write `attempts: {}`; it counts the first attempt too"),
    alias("max_attempts", "the word here is `attempts`"),
    alias("maxReceiveCount", "the word here is `attempts`"),
    alias("backoff", "list the wait before each attempt: `schedule: [0, 5s, 5m]`"),
    alias("retry", "write `attempts: 10` and `schedule: [0, 5s, 5m]`"),
    alias("visibility_timeout", "write `lease: {time}`"),
    alias("visibilityTimeout", "write `lease: {time}`"),
    alias("ack_wait", "write `lease: {time}`"),
    alias("ack_deadline", "write `lease: {time}`"),
    alias("workers", "the word here is `concurrency`"),
    alias("parallelism", "the word here is `concurrency`"),
    alias("maxConcurrentDispatches", "the word here is `concurrency`"),
    alias("rate_limit", "write `rate: 100/s`"),
    alias("maxDispatchesPerSecond", "write `rate: {}/s`"),
    alias("breaker", "the word here is `circuit_breaker`"),
    alias("ttl", "write `deadline: {time}`"),
    alias("expires", "write `deadline: {time}`"),
    alias("dedup", "the word here is `dedupe`"),
    alias("unique", "the word here is `dedupe`"),
    alias("deduplication", "the word here is `dedupe`"),
    alias("fifo", "write `order_by: { header: X-Customer }`"),
    alias("partition_key", "write `order_by: { header: {} }`"),
    alias("message_group", "write `order_by: { header: {} }`"),
    alias("secret", "write `signing: { secret: env:NAME }`"),
    alias("dlq", "dead letters are always kept; how long says `dead_letters`"),
    alias("dead_letter", "the word here is `dead_letters`"),
    alias("dead_letter_queue", "dead letters are always kept; how long says `dead_letters`"),
    alias("retention", "how long dead letters are kept says `dead_letters: { age: 30d }`"),
    alias("max_size", "write `max_body: 256KiB` for one job, `capacity: 1000000` for how many"),
];

static ORDER_BY: Table = Table {
    what: "`order_by`",
    keys: &[&[
        key("header", Shape::Text, "The header with the key; a job without it has no order.").required()
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("key", "the key stands in a header of the job: `header: X-Customer`")],
};

static SIGNING: Table = Table {
    what: "`signing`",
    keys: &[&[key(
        "secret",
        Shape::List(&Shape::Secret),
        "Where the secret is: `env:NAME` or `file:PATH`. With several, each signs; the newest stands first.",
    )
    .required()]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("secrets", "the word here is `secret`; it takes a list"),
        alias("key", "the word here is `secret`"),
    ],
};

static DEAD_LETTERS: Table = Table {
    what: "`dead_letters`",
    keys: &[&[
        key("age", Shape::Duration, "Older ones are dropped.").or("30d"),
        key("count", Shape::Count(1, DEAD_LETTERS_MAX), "Of more than this many, the oldest are dropped.")
            .or("100000"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("retention", "the word here is `age`"), alias("max", "the word here is `count`")],
};

static DEDUPE: Table = Table {
    what: "`dedupe`",
    keys: &[&[
        key("window", Shape::Duration, "How long a key is remembered, whether or not its job is done.")
            .or("1d"),
        key("header", Shape::Text, "The header with the key; a job without it is always taken.")
            .or("idempotency-key"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[
        alias("ttl", "the word here is `window`"),
        alias("key", "the key stands in a header: `header: {}`"),
    ],
};

static RETENTION: Table = Table {
    what: "`retention`",
    keys: &[&[
        key("age", Shape::Duration, "How long events can be replayed.").or("7d"),
        key(
            "size",
            Shape::Size,
            "What the topic holds at most. When subscribers that are stuck fill it, publishing is refused.",
        )
        .or("1GiB"),
    ]],
    rest: None,
    exactly_one: &[],
    aliases: &[alias("time", "the word here is `age`"), alias("bytes", "the word here is `size`")],
};
