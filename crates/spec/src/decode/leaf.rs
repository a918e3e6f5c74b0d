//! One scalar, read as its shape asks.

use super::forms::{self, Problem, Unreadable};
use super::http::{self, Refusal};
use super::push;
use super::size::size;
use super::value::Data;
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, quoted};
use crate::keys::Shape;
use crate::source::Span;
use crate::yaml::{Scalar, ScalarKind, old_boolean};

use super::hints::nearest;

/// The longest name.
const NAME_LENGTH_MAX: usize = 63;

/// Reads a scalar; the error is the whole diagnostic but for its path.
pub(super) fn leaf(shape: Shape, scalar: &Scalar, span: Span) -> Result<Data, Diagnostic> {
    let reader = Leaf { shape, scalar, span };
    reader.refuse_wrong_kind()?;
    let text = scalar.text.as_str();
    match shape {
        Shape::Text | Shape::Verbatim | Shape::File => Ok(Data::Text(text.to_owned())),
        Shape::Name => reader.name(),
        Shape::Word(words) => reader.word(words, &[]),
        Shape::WordOrLater(words, later) => reader.word(words, later),
        Shape::True => reader.truth(),
        Shape::DurationOrOff if text == "off" => Ok(Data::Word("off")),
        Shape::Duration | Shape::DurationOrOff => reader.duration(false),
        Shape::DurationOrZero => reader.duration(true),
        Shape::Ratio => reader.share(false),
        Shape::Share => reader.share(true),
        Shape::Rate => forms::rate(text).map(Data::Rate).map_err(|error| reader.unreadable("rate", error)),
        Shape::Size => size(text).map(Data::Count).map_err(|error| reader.unreadable("size", error)),
        Shape::Count(least, most) => reader.count(least, most),
        Shape::CountOr(least, most, words) => match scalar.kind() {
            ScalarKind::Text => reader.word(words, &[]),
            _ => reader.count(least, most),
        },
        Shape::Factor => reader.factor(),
        Shape::Status => reader.count(100, 599),
        Shape::Address => http::address(text).map(Data::Address).map_err(|error| reader.refused(error)),
        Shape::Endpoint => http::endpoint(text).map(Data::Address).map_err(|error| reader.refused(error)),
        Shape::UrlPath => {
            http::url_path(text).map(|()| Data::Text(text.to_owned())).map_err(|error| reader.refused(error))
        }
        Shape::Match => http::route_match(text).map(Data::Match).map_err(|error| reader.refused(error)),
        Shape::Request => http::request(text)
            .map(|(method, path)| Data::Request { method, path })
            .map_err(|error| reader.refused(error)),
        Shape::Delivery => push::delivery(text)
            .map(|(method, service, path)| Data::Delivery {
                method: method.to_owned(),
                service: service.to_owned(),
                path: path.to_owned(),
            })
            .map_err(|error| reader.refused(error)),
        Shape::Secret => push::secret(text).map(|()| Data::Text(text.to_owned())).ok_or_else(|| {
            // Neither the text nor its line: it may be the secret.
            Diagnostic::new(Code::Malformed, span, "a secret does not stand in the spec")
                .without_snippet()
                .label("not `env:NAME` or `file:PATH`")
                .help("write `env:NAME` or `file:PATH`, and change the secret if it was one")
        }),
        Shape::Ids => http::id_path(text).map(Data::Ids).map_err(|error| reader.refused(error)),
        Shape::Command => http::command(text).map(Data::Command).map_err(|error| reader.refused(error)),
        Shape::Json | Shape::Object(_) | Shape::Map(..) | Shape::List(_) | Shape::Either(_) => {
            Ok(Data::Invalid)
        }
    }
}

struct Leaf<'a> {
    shape: Shape,
    scalar: &'a Scalar,
    span: Span,
}

impl Leaf<'_> {
    /// Nothing, booleans, and numbers where a text belongs.
    fn refuse_wrong_kind(&self) -> Result<(), Diagnostic> {
        let kind = self.scalar.kind();
        let is_word = matches!(self.shape, Shape::Word(_) | Shape::WordOrLater(..))
            || (matches!(self.shape, Shape::DurationOrOff) && self.scalar.text == "off");
        let wants_text = matches!(self.shape, Shape::Text | Shape::Name | Shape::File);
        match kind {
            ScalarKind::Null => Err(self.wrong_type("there is nothing here")),
            ScalarKind::OldBoolean if !is_word => Err(old_boolean(&self.scalar.text, self.span)),
            ScalarKind::Boolean(_) if !matches!(self.shape, Shape::True | Shape::Verbatim) => {
                Err(self.wrong_type("a boolean"))
            }
            ScalarKind::Integer | ScalarKind::Float if wants_text => Err(self
                .wrong_type("a number")
                .help(format!("put quotes around it to make it a text: `\"{}\"`", self.scalar.text))),
            _ => Ok(()),
        }
    }

    fn wrong_type(&self, found: &str) -> Diagnostic {
        let message = format!("expected {}", self.shape.describe());
        Diagnostic::new(Code::WrongType, self.span, message).label(found)
    }

    fn malformed(&self, label: impl Into<String>) -> Diagnostic {
        let text =
            if self.scalar.text.is_empty() { "an empty text".to_owned() } else { quoted(&self.scalar.text) };
        let message = format!("{text} is not {}", self.shape.describe());
        Diagnostic::new(Code::Malformed, self.span, message).label(label)
    }

    fn out_of_range(&self, label: impl Into<String>) -> Diagnostic {
        let message = format!("{} is out of range", quoted(&self.scalar.text));
        Diagnostic::new(Code::OutOfRange, self.span, message).label(label)
    }

    fn refused(&self, (code, label, help): Refusal) -> Diagnostic {
        let mut diagnostic = self.malformed("");
        if code == Code::NotYet {
            diagnostic = Diagnostic::new(code, self.span, label.as_str());
        } else {
            diagnostic = diagnostic.label(label);
        }
        diagnostic.help = help;
        diagnostic
    }

    fn unreadable(&self, what: &str, error: Unreadable) -> Diagnostic {
        let text = quoted(&self.scalar.text);
        let mut diagnostic = match error.problem {
            Problem::Unit => {
                Diagnostic::new(Code::Unit, self.span, format!("{text} has no unit that a {what} can have"))
                    .label("which unit?")
            }
            Problem::Form => self.malformed(format!("not a {what}")),
            Problem::Range => self.out_of_range(format!("not a {what} that makes sense here")),
        };
        if error.problem == Problem::Unit && self.scalar.kind() != ScalarKind::Text {
            diagnostic.message = format!("{text} has no unit");
        }
        diagnostic.help = error.help.or(Some(format!("write {}", self.shape.describe())));
        diagnostic
    }

    fn name(&self) -> Result<Data, Diagnostic> {
        bad_name(&self.scalar.text).map_or_else(
            || Ok(Data::Text(self.scalar.text.clone())),
            |why| Err(name_problem(&self.scalar.text, self.span, why)),
        )
    }

    fn word(&self, words: &'static [&'static str], later: &[&str]) -> Result<Data, Diagnostic> {
        let text = self.scalar.text.as_str();
        if let Some(word) = words.iter().find(|word| **word == text) {
            return Ok(Data::Word(word));
        }
        if later.contains(&text) {
            let message = format!("`{text}` is not supported yet");
            return Err(Diagnostic::new(Code::NotYet, self.span, message)
                .label("would have no effect")
                .help(format!("for now there is {}", self.shape.describe())));
        }
        let message = format!("{} is not {}", quoted(text), self.shape.describe());
        let diagnostic =
            Diagnostic::new(Code::UnknownWord, self.span, message).label("not one of the choices");
        Err(match nearest(text, words.iter().copied()) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic,
        })
    }

    fn truth(&self) -> Result<Data, Diagnostic> {
        match self.scalar.kind() {
            ScalarKind::Boolean(true) => Ok(Data::True),
            ScalarKind::Boolean(false) => {
                Err(self.out_of_range("has no meaning here").help("leave the key out, or write `true`"))
            }
            _ => Err(self.wrong_type("not a boolean")),
        }
    }

    fn duration(&self, zero: bool) -> Result<Data, Diagnostic> {
        if zero && self.scalar.text == "0" {
            return Ok(Data::Duration(std::time::Duration::ZERO));
        }
        let duration =
            forms::duration(&self.scalar.text).map_err(|error| self.unreadable("duration", error))?;
        if duration.is_zero() && !zero {
            return Err(self.out_of_range("must be longer than nothing"));
        }
        Ok(Data::Duration(duration))
    }

    fn share(&self, positive: bool) -> Result<Data, Diagnostic> {
        let share = forms::share(&self.scalar.text).map_err(|error| self.unreadable("share", error))?;
        if positive && share <= 0.0 {
            return Err(self.out_of_range("must be more than `0%`"));
        }
        Ok(Data::Ratio(share))
    }

    fn factor(&self) -> Result<Data, Diagnostic> {
        if !matches!(self.scalar.kind(), ScalarKind::Integer | ScalarKind::Float) {
            return Err(self.wrong_type("not a number"));
        }
        match self.scalar.text.parse::<f64>() {
            Ok(factor) if factor > 1.0 && factor <= 1000.0 => Ok(Data::Factor(factor)),
            _ => Err(self.out_of_range("must be above 1, and at most 1000")),
        }
    }

    fn count(&self, least: u64, most: u64) -> Result<Data, Diagnostic> {
        let kind = self.scalar.kind();
        if kind != ScalarKind::Integer {
            let found = if self.scalar.plain { "not a whole number" } else { "a text; leave out the quotes" };
            return Err(self.wrong_type(found));
        }
        match self.scalar.text.parse::<u64>() {
            Ok(count) if (least..=most).contains(&count) => Ok(Data::Count(count)),
            _ => Err(self.out_of_range(format!("must be from {least} to {most}"))),
        }
    }
}

/// Why a text cannot be a name; `None` when it can.
pub(super) fn bad_name(text: &str) -> Option<&'static str> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if !text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        Some("a name begins with a letter")
    } else if !text.chars().all(allowed) {
        Some("a name has letters, digits, `-` and `_` only")
    } else if text.len() > NAME_LENGTH_MAX {
        Some("a name has at most 63 characters")
    } else {
        None
    }
}

pub(super) fn name_problem(text: &str, span: Span, why: &str) -> Diagnostic {
    let diagnostic =
        Diagnostic::new(Code::BadName, span, format!("{} is not a name", quoted(text))).label(why);
    // Only blanks and punctuation can be repaired without guessing.
    let parts: Vec<&str> = text.split(|character: char| !character.is_ascii_alphanumeric()).collect();
    let better =
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-").to_lowercase();
    if text.is_ascii() && bad_name(&better).is_none() {
        diagnostic.help(format!("write `{better}`"))
    } else {
        diagnostic
    }
}
