//! One finding about a spec: what, where, why, and what to do. Says nothing about how it is shown.

use std::fmt::Write as _;

use crate::codes::Code;
use crate::plan::Place;
use crate::source::{Source, Span};

/// The longest piece of the user's text that a message repeats, in characters.
const QUOTE_MAX: usize = 60;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The spec cannot be used.
    Error,
    /// The spec can be used, and does not do what its author hopes.
    Warning,
}

impl Severity {
    /// The word for people and machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Where a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// Exactly these bytes.
    Bytes(Span),
    /// The word at this line and column; what rules about a plan know.
    At(Place),
    /// The file as a whole, or bytes that cannot be shown.
    File,
}

impl Location {
    /// The bytes to point at; `None` for the file as a whole.
    pub fn span(self, source: &Source) -> Option<Span> {
        match self {
            Self::Bytes(span) => Some(span),
            Self::At(place) => Some(source.token(place)),
            Self::File => None,
        }
    }
}

impl From<Span> for Location {
    fn from(span: Span) -> Self {
        Self::Bytes(span)
    }
}

impl From<Place> for Location {
    fn from(place: Place) -> Self {
        Self::At(place)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Which kind of finding; see [`crate::explain`].
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence that stands on its own.
    pub message: String,
    /// Where it stands.
    pub location: Location,
    /// What is said at that place; may be empty.
    pub label: String,
    /// Other places that matter, and what is said there.
    pub secondary: Vec<(Location, String)>,
    /// What to do about it.
    pub help: Option<String>,
    /// Dotted path of the value in the spec, where there is one.
    pub path: Option<String>,
}

impl Diagnostic {
    /// A finding with the usual severity of its code.
    pub fn new(code: Code, location: impl Into<Location>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.explanation().severity,
            message: message.into(),
            location: location.into(),
            label: String::new(),
            secondary: Vec::new(),
            help: None,
            path: None,
        }
    }

    /// What is said at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Another place that matters.
    #[must_use]
    pub fn also(mut self, location: impl Into<Location>, label: impl Into<String>) -> Self {
        self.secondary.push((location.into(), label.into()));
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Which value of the spec it is about.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// About the file, without showing its text.
    #[must_use]
    pub fn without_snippet(mut self) -> Self {
        self.location = Location::File;
        self
    }

    /// True for errors.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The user's own words inside a message: in backticks, without control characters, not endless.
pub(crate) fn quoted(text: &str) -> String {
    let mut result = String::from("`");
    for character in text.chars().take(QUOTE_MAX) {
        if character.is_control() {
            write!(result, "{}", character.escape_default()).expect("writing to a string cannot fail");
        } else {
            result.push(character);
        }
    }
    if text.chars().nth(QUOTE_MAX).is_some() {
        result.push('…');
    }
    result.push('`');
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_safe_to_print() {
        for (text, expected) in [("api", "`api`"), ("a\u{1b}[31mb", "`a\\u{1b}[31mb`"), ("", "``")] {
            assert_eq!(quoted(text), expected);
        }
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), QUOTE_MAX + 3);
    }
}
