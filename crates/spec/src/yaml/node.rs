//! The tree that a text becomes.

use crate::source::Span;

/// The merge key, which is refused. In the tree it stands for any entry that was reported and left out.
pub(crate) const MERGE: &str = "<<";

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: NodeValue,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NodeValue {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<(Name, Node)>),
    /// Something that was reported already, such as an alias.
    Invalid,
}

/// A key, or any other word of the user's, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// A scalar's text and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes, so its kind follows from its text.
    pub(crate) plain: bool,
}

/// The kinds of scalars of the YAML 1.2 core schema, and the booleans that only YAML 1.1 knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Null,
    Boolean(bool),
    Integer,
    Float,
    OldBoolean,
    Text,
}

impl Scalar {
    pub(crate) fn kind(&self) -> ScalarKind {
        if !self.plain {
            return ScalarKind::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
            "true" | "True" | "TRUE" => ScalarKind::Boolean(true),
            "false" | "False" | "FALSE" => ScalarKind::Boolean(false),
            "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => {
                ScalarKind::OldBoolean
            }
            text if is_integer(text) => ScalarKind::Integer,
            text if is_float(text) => ScalarKind::Float,
            _ => ScalarKind::Text,
        }
    }
}

fn is_integer(text: &str) -> bool {
    let digits_of =
        |digits: &str, radix| !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    if let Some(octal) = text.strip_prefix("0o") {
        return digits_of(octal, 8);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return digits_of(hex, 16);
    }
    digits_of(text.strip_prefix(['+', '-']).unwrap_or(text), 10)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let special = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(&unsigned);
    let numeric = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.contains(|character: char| character.is_ascii_digit())
        && unsigned.chars().all(|character| character.is_ascii_digit() || ".eE+-".contains(character));
    special || (numeric && unsigned.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_of_yaml_1_2() {
        for (text, expected) in [
            ("", ScalarKind::Null),
            ("~", ScalarKind::Null),
            ("true", ScalarKind::Boolean(true)),
            ("False", ScalarKind::Boolean(false)),
            ("yes", ScalarKind::OldBoolean),
            ("OFF", ScalarKind::OldBoolean),
            ("yEs", ScalarKind::Text),
            ("0", ScalarKind::Integer),
            ("-17", ScalarKind::Integer),
            ("0x1F", ScalarKind::Integer),
            ("0o17", ScalarKind::Integer),
            ("0x", ScalarKind::Text),
            ("017", ScalarKind::Integer),
            ("1_000", ScalarKind::Text),
            ("1.5", ScalarKind::Float),
            ("-.5e3", ScalarKind::Float),
            (".inf", ScalarKind::Float),
            (".NaN", ScalarKind::Float),
            ("inf", ScalarKind::Text),
            ("1.2.3", ScalarKind::Text),
            ("127.0.0.1", ScalarKind::Text),
            ("1:30", ScalarKind::Text),
            ("e5", ScalarKind::Text),
            ("15s", ScalarKind::Text),
        ] {
            assert_eq!(Scalar { text: text.into(), plain: true }.kind(), expected, "{text:?}");
            assert_eq!(Scalar { text: text.into(), plain: false }.kind(), ScalarKind::Text, "\"{text}\"");
        }
    }
}
