//! Codes of text that is not the YAML we read.

use super::code::{Code, Explanation};
use crate::diagnostic::Severity::Error;

pub(super) const CODES: &[Explanation] = &[
    Explanation {
        code: Code::Unreadable,
        severity: Error,
        title: "the spec cannot be opened",
        cause: "The file does not exist, is a folder, or may not be read by this user.",
        example: "seaworthy check no-such-file.yaml",
        remedy: "check the path and the permissions; `seaworthy init` writes a new spec.",
    },
    Explanation {
        code: Code::NotText,
        severity: Error,
        title: "the spec is not text",
        cause: "A spec is UTF-8. Bytes that are not UTF-8, NUL and other control characters mean that this \
            is some other file, or that it was damaged.",
        example: "seaworthy check target/debug/api",
        remedy: "check that this is the right file, and save it as UTF-8.",
    },
    Explanation {
        code: Code::Empty,
        severity: Error,
        title: "the spec is empty",
        cause: "There is nothing in the file but white space and comments, so there is nothing to keep.",
        example: "# to be done",
        remedy: "write at least `seaworthy: v1` and a `name`; `seaworthy init` writes a spec to start from.",
    },
    Explanation {
        code: Code::TooLarge,
        severity: Error,
        title: "the spec is too large",
        cause: "Specs are written and read by people, so reading stops at 1 MiB: what is larger is some \
            other file.",
        example: "seaworthy check access.log",
        remedy: "check that this is the right file.",
    },
    Explanation {
        code: Code::Syntax,
        severity: Error,
        title: "the spec is not YAML",
        cause: "The text breaks the rules of YAML. Everything after that place may mean anything, so nothing \
            after it is checked.",
        example: r"services:
  api: { run: ./api",
        remedy: "look at the place and at the line above it: a missing colon, quote or bracket, or an \
            indentation that changes, is the usual cause.",
    },
    Explanation {
        code: Code::Tab,
        severity: Error,
        title: "a tab in the indentation",
        cause: "YAML indents with spaces only, because the width of a tab depends on the editor.",
        example: "services:\n\tapi:",
        remedy: "replace tabs by spaces; most editors do so on request.",
    },
    Explanation {
        code: Code::TooDeep,
        severity: Error,
        title: "nested too deeply",
        cause: "Lists and mappings may be nested 64 levels deep. No spec needs more than about ten.",
        example: "[[[[[[[[[[[[ ... ]]]]]]]]]]]]",
        remedy: "remove the superfluous brackets or indentation.",
    },
    Explanation {
        code: Code::DuplicateKey,
        severity: Error,
        title: "a key is given twice",
        cause: "YAML tools disagree which of two equal keys counts. Here neither does.",
        example: r"name: shop
name: shop-2",
        remedy: "keep one of them.",
    },
    Explanation {
        code: Code::Anchor,
        severity: Error,
        title: "anchors, aliases and merge keys are not allowed",
        cause: "They make a value depend on a place far away, and `<<` hides which keys are set. A spec says \
            what it means where it says it.",
        example: r"a: &limits { total_timeout: 2s }
b: *limits",
        remedy: "write the value out in both places.",
    },
    Explanation {
        code: Code::Tag,
        severity: Error,
        title: "tags are not allowed",
        cause: "A tag such as `!!str` changes what a value means, differently from tool to tool.",
        example: "name: !!str shop",
        remedy: "leave it out; use quotes where text must not be read as a number.",
    },
    Explanation {
        code: Code::OldBoolean,
        severity: Error,
        title: "a boolean of YAML 1.1",
        cause: "`yes`, `no`, `on` and `off` without quotes are booleans in YAML 1.1 and text in YAML 1.2; \
            your editor and Seaworthy could disagree. Where `off` is one of the choices (`retry: off`) \
            it is fine.",
        example: "environment: { DEBUG: no }",
        remedy: "write `true` or `false` for the boolean, or put quotes around the text.",
    },
    Explanation {
        code: Code::ManyDocuments,
        severity: Error,
        title: "more than one document",
        cause: "A line with `---` starts a further document. Only the first would count.",
        example: r"seaworthy: v1
---
seaworthy: v1",
        remedy: "keep one spec per file.",
    },
    Explanation {
        code: Code::KeyNotText,
        severity: Error,
        title: "a key that is not a word",
        cause: "A key is a list, a mapping or nothing at all. Usually a colon or a brace stands in the wrong \
            place.",
        example: "{ a: 1 }: 2",
        remedy: "give the key a name.",
    },
];
