//! What is refused, in words.

use super::read::DEPTH_MAX;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{Source, Span};

pub(super) fn not_text(source: &Source, bytes: &[u8]) -> Option<Diagnostic> {
    let (offset, what) = match std::str::from_utf8(bytes) {
        Err(error) => (error.valid_up_to(), "is not UTF-8"),
        Ok(text) => {
            let strange = |character: char| character.is_control() && !"\t\n\r\u{85}".contains(character);
            (text.find(strange)?, "is a control character")
        }
    };
    let byte = bytes[offset];
    let place = source.place(offset);
    let message =
        format!("this is not text: byte 0x{byte:02x} {what} (line {}, column {})", place.line, place.column);
    // No snippet either: control characters have no business on a terminal.
    Some(
        Diagnostic::new(Code::NotText, Span::new(offset, offset), message)
            .without_snippet()
            .help("a spec is UTF-8 text without control characters; check that this is the right file"),
    )
}

pub(super) fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::new(Code::TooDeep, span, format!("nested more than {DEPTH_MAX} levels deep"))
        .label("this level is one too many")
        .help("the deepest part of a spec needs about ten levels")
}

/// `yes`, `no`, `on` and `off` mean true and false to half of the YAML tools, and text to the others.
pub(crate) fn old_boolean(text: &str, span: Span) -> Diagnostic {
    let meant = if ["yes", "on"].contains(&text.to_lowercase().as_str()) { "true" } else { "false" };
    Diagnostic::new(Code::OldBoolean, span, format!("`{text}` is a boolean in YAML 1.1 and text in YAML 1.2"))
        .label("means different things to different tools")
        .help(format!("write `{meant}` for the boolean or `\"{text}\"` for the text"))
}

/// The library's reasons, said to somebody who does not know its inside.
pub(super) fn in_our_words(kind: &str) -> (String, &'static str) {
    let known = [
        ("quoted scalar", "a quote is not closed", "close the quote that was opened here or a line above"),
        (
            "flow mapping",
            "a `{` is not closed, or a comma is missing",
            "the entries after a `{` need commas between them and a `}`",
        ),
        (
            "flow sequence",
            "a `[` is not closed, or a comma is missing",
            "the items after a `[` need commas between them and a `]`",
        ),
        (
            "block mapping",
            "the indentation changes, or a colon is missing",
            "the keys of one mapping begin in the same column",
        ),
        (
            "block collection",
            "the indentation changes, or a dash is missing",
            "the items of one list begin in the same column",
        ),
    ];
    match known.into_iter().find(|(part, ..)| kind.contains(part)) {
        Some((_, message, help)) => (message.to_owned(), help),
        None => (
            format!("not YAML: {kind}"),
            "the cause often stands a line above: a missing colon, quote or bracket",
        ),
    }
}
