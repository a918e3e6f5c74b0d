//! Codes of keys and values that have the wrong shape.

use super::code::{Code, Explanation};
use crate::diagnostic::Severity::Error;

pub(super) const CODES: &[Explanation] = &[
    Explanation {
        code: Code::UnknownKey,
        severity: Error,
        title: "a key that does not exist here",
        cause: "Unknown keys are errors, because a key with a typing error would otherwise protect nothing, \
            silently.",
        example: "policy: { attempt_timout: 2s }",
        remedy: "correct the key as the help suggests; `seaworthy schema` gives editors the list.",
    },
    Explanation {
        code: Code::MissingKey,
        severity: Error,
        title: "a key is missing",
        cause: "Without this key the rest of the mapping means nothing.",
        example: r"routes:
  api: { match: /api/** }",
        remedy: "add the key.",
    },
    Explanation {
        code: Code::WrongType,
        severity: Error,
        title: "a value of the wrong kind",
        cause: "A list, a mapping, a text or a number stands where another of them belongs.",
        example: "zones: a",
        remedy: "write what the message asks for.",
    },
    Explanation {
        code: Code::Unit,
        severity: Error,
        title: "a number without its unit",
        cause: "A bare `30` may mean seconds or milliseconds, `5` five percent or the factor five. Every \
            number that has a unit is written with it.",
        example: "policy: { total_timeout: 15 }",
        remedy: "write durations as `250ms`, `2s`, `5m`, `1h` or `14d`, shares as `99.9%`, and rates as \
            `200/s` or `10/m`.",
    },
    Explanation {
        code: Code::Malformed,
        severity: Error,
        title: "a value that cannot be read",
        cause: "The value has the right kind but not the form of an address, a path, a match, or whatever \
            belongs there.",
        example: "gateway: { listen: 8080 }",
        remedy: "write it in the form that the message shows.",
    },
    Explanation {
        code: Code::OutOfRange,
        severity: Error,
        title: "a value outside its bounds",
        cause: "The value can be read, but no such value makes sense here. Everything in Seaworthy is \
            bounded.",
        example: "policy: { retry: { max_attempts: 1000 } }",
        remedy: "choose a value within the bounds that the message names.",
    },
    Explanation {
        code: Code::UnknownWord,
        severity: Error,
        title: "not one of the choices",
        cause: "Only the listed words are known here.",
        example: "impact: huge",
        remedy: "choose one of the words in the message.",
    },
    Explanation {
        code: Code::NotYet,
        severity: Error,
        title: "not supported yet",
        cause: "The word belongs to the language, but this version does nothing with it. It is an error, so \
            that nobody believes to be protected by it.",
        example: "store: embedded",
        remedy: "leave it out for now.",
    },
    Explanation {
        code: Code::ExactlyOne,
        severity: Error,
        title: "exactly one of these keys belongs here",
        cause: "The keys are alternatives: giving none or several of them leaves open what is meant.",
        example: r#"payments: { run: ./pay, endpoints: ["http://127.0.0.1:9000"] }"#,
        remedy: "keep exactly one of them.",
    },
    Explanation {
        code: Code::BadName,
        severity: Error,
        title: "not a name",
        cause: "Names appear in events, metrics, headers and environment variables: letters, digits, `-` and \
            `_`, beginning with a letter, at most 63 characters. Some words are taken because they mean \
            something else at that place.",
        example: r#"services:
  "my api": { run: ./api }"#,
        remedy: "choose another name.",
    },
    Explanation {
        code: Code::Version,
        severity: Error,
        title: "another version of the language",
        cause: "This program reads specs of version `v1`.",
        example: "seaworthy: v2",
        remedy: "write `seaworthy: v1`, or use the version of Seaworthy that this spec was written for.",
    },
];
