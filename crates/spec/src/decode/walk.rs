//! Walks the tree beside the table of keys.

use std::fmt::Write as _;

use super::hints;
use super::leaf::{bad_name, leaf, name_problem};
use super::value::{Data, Object, Value};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, quoted};
use crate::keys::{Key, SPEC, Shape, Table};
use crate::source::Span;
use crate::yaml::{Name, Node, NodeValue, Scalar, ScalarKind, old_boolean};

/// Decodes a whole spec. What could not be read is in the diagnostics and counts as given.
pub(crate) fn decode(root: &Node) -> (Option<Object>, Vec<Diagnostic>) {
    let mut walk = Walk { path: Vec::new(), problems: Vec::new() };
    let value = walk.value(Shape::Object(&SPEC), root);
    let object = if let Data::Object(object) = value.data { Some(object) } else { None };
    (object, walk.problems)
}

struct Walk {
    path: Vec<String>,
    problems: Vec<Diagnostic>,
}

impl Walk {
    fn report(&mut self, diagnostic: Diagnostic) {
        let path = self.path.join(".");
        self.problems.push(if path.is_empty() { diagnostic } else { diagnostic.path(path) });
    }

    fn value(&mut self, shape: Shape, node: &Node) -> Value {
        let data = self.data(shape, node);
        Value { span: node.span, data }
    }

    fn data(&mut self, shape: Shape, node: &Node) -> Data {
        match (choose(shape, &node.value), &node.value) {
            (_, NodeValue::Invalid) => Data::Invalid,
            (Shape::Json, _) => self.json(node),
            (Shape::Object(table), NodeValue::Mapping(entries)) => self.object(table, entries, node.span),
            (Shape::Map(inner, what), NodeValue::Mapping(entries)) => self.map(*inner, what, entries),
            (Shape::List(item), NodeValue::Sequence(items)) => self.list(*item, items),
            (Shape::List(item), _) if is_single(*item, &node.value) => {
                Data::List(vec![self.value(*item, node)])
            }
            (shape, NodeValue::Scalar(scalar)) if is_leaf(shape) => match leaf(shape, scalar, node.span) {
                Ok(data) => data,
                Err(problem) => {
                    self.report(problem);
                    Data::Invalid
                }
            },
            (_, found) => {
                let expected =
                    Diagnostic::new(Code::WrongType, node.span, format!("expected {}", shape.describe()));
                self.report(expected.label(describe(found)));
                Data::Invalid
            }
        }
    }

    fn object(&mut self, table: &'static Table, given: &[(Name, Node)], span: Span) -> Data {
        let mut object = Object { span, table, entries: Vec::new(), rest: Vec::new() };
        for (name, node) in given {
            self.path.push(name.text.clone());
            match table.find(&name.text) {
                Some(key) if key.later => {
                    self.not_yet(key, name);
                    object.entries.push((key, name.clone(), Value { span: node.span, data: Data::Invalid }));
                }
                Some(key) => {
                    let value = self.value(key.shape, node);
                    object.entries.push((key, name.clone(), value));
                }
                None => self.other_key(table, name, node, &mut object),
            }
            self.path.pop();
        }
        self.require(table, &object);
        Data::Object(object)
    }

    fn not_yet(&mut self, key: &Key, name: &Name) {
        let message = format!("`{}` is not supported yet", key.name);
        self.report(
            Diagnostic::new(Code::NotYet, name.span, message)
                .label("would have no effect")
                .help("leave it out for now, so that nobody relies on it"),
        );
    }

    fn other_key(&mut self, table: &'static Table, name: &Name, node: &Node, object: &mut Object) {
        let scalar =
            if let NodeValue::Scalar(scalar) = &node.value { Some(scalar.text.as_str()) } else { None };
        match table.rest {
            // A scalar where a mapping belongs is a misspelt word rather than a name.
            Some(rest) if matches!(node.value, NodeValue::Mapping(_)) => {
                let value = self.value(rest.shape, node);
                object.rest.push((name.clone(), value));
            }
            rest => {
                let mut message = format!("unknown key {} in {}", quoted(&name.text), table.what);
                if let Some(rest) = rest {
                    write!(message, " (and not a mapping, as {} would have)", rest.what)
                        .expect("writing to a string cannot fail");
                }
                let mut diagnostic =
                    Diagnostic::new(Code::UnknownKey, name.span, message).label("not a key here");
                diagnostic.help = hints::unknown_key(table, &name.text, scalar);
                self.report(diagnostic);
            }
        }
    }

    fn require(&mut self, table: &'static Table, object: &Object) {
        for key in table.all().filter(|key| key.required) {
            if object.given(key.name).is_none() {
                let message = format!("{} needs the key `{}`", table.what, key.name);
                self.report(
                    Diagnostic::new(Code::MissingKey, start_of(object.span), message)
                        .label(format!("`{}` is missing", key.name))
                        .help(format!("{} It is {}", key.doc, key.shape.describe())),
                );
            }
        }
        for group in table.exactly_one {
            let given: Vec<&Name> =
                group.iter().filter_map(|key| object.given(key)).map(|(name, _)| name).collect();
            let choices: Vec<String> = group
                .iter()
                .filter(|key| table.find(key).is_some_and(|key| !key.later))
                .map(|key| format!("`{key}`"))
                .collect();
            let choices = choices.join(", ");
            match given.as_slice() {
                [_] => {}
                [] => self.report(
                    Diagnostic::new(
                        Code::ExactlyOne,
                        start_of(object.span),
                        format!("{} needs one of {choices}", table.what),
                    )
                    .label("none of them is given"),
                ),
                [first, second, ..] => self.report(
                    Diagnostic::new(
                        Code::ExactlyOne,
                        second.span,
                        format!("{} takes only one of {choices}", table.what),
                    )
                    .label(format!("`{}` as well", second.text))
                    .also(first.span, format!("`{}` is given", first.text))
                    .help("keep one of them"),
                ),
            }
        }
    }

    fn map(&mut self, inner: Shape, what: &str, given: &[(Name, Node)]) -> Data {
        let mut entries = Vec::new();
        // Variables and headers have rules of their own; everything else is a name of ours.
        let is_free = matches!(inner, Shape::Verbatim);
        for (name, node) in given {
            self.path.push(name.text.clone());
            let problem = if is_free { None } else { bad_name(&name.text) };
            if let Some(why) = problem {
                self.report(name_problem(&name.text, name.span, why));
            } else if is_free && !is_variable(&name.text) {
                let message = format!("{} cannot be among the {what}", quoted(&name.text));
                self.report(
                    Diagnostic::new(Code::BadName, name.span, message)
                        .label("letters, digits, `-` and `_` only"),
                );
            }
            let value = self.value(inner, node);
            entries.push((name.clone(), value));
            self.path.pop();
        }
        Data::Map(entries)
    }

    fn list(&mut self, item: Shape, items: &[Node]) -> Data {
        let mut values = Vec::new();
        for (index, node) in items.iter().enumerate() {
            self.path.push(index.to_string());
            values.push(self.value(item, node));
            self.path.pop();
        }
        Data::List(values)
    }

    fn json(&mut self, node: &Node) -> Data {
        let mut text = String::new();
        match write_json(node, &mut text) {
            Ok(()) => Data::Json(text),
            Err(problem) => {
                self.report(*problem);
                Data::Invalid
            }
        }
    }
}

/// The alternative that fits the YAML kind of the value; the first one when none does.
fn choose(shape: Shape, found: &NodeValue) -> Shape {
    let Shape::Either(shapes) = shape else { return shape };
    let fits = |shape: &&Shape| match found {
        NodeValue::Scalar(_) => is_leaf(**shape),
        NodeValue::Mapping(_) => matches!(shape, Shape::Object(_) | Shape::Map(..)),
        NodeValue::Sequence(_) => matches!(shape, Shape::List(_)),
        NodeValue::Invalid => true,
    };
    // A shape that nothing fits stays whole, so that its description names all alternatives.
    shapes.iter().find(fits).copied().unwrap_or(shape)
}

fn is_leaf(shape: Shape) -> bool {
    !matches!(shape, Shape::Object(_) | Shape::Map(..) | Shape::List(_) | Shape::Either(_) | Shape::Json)
}

/// True when a value may stand for the list that has only it.
fn is_single(item: Shape, found: &NodeValue) -> bool {
    match found {
        NodeValue::Scalar(scalar) => is_leaf(item) && scalar.kind() != ScalarKind::Null,
        NodeValue::Mapping(_) => matches!(item, Shape::Object(_) | Shape::Map(..)),
        NodeValue::Sequence(_) | NodeValue::Invalid => false,
    }
}

fn describe(found: &NodeValue) -> &'static str {
    match found {
        NodeValue::Scalar(scalar) => match scalar.kind() {
            ScalarKind::Null => "there is nothing here",
            ScalarKind::Boolean(_) => "a boolean",
            ScalarKind::Integer | ScalarKind::Float => "a number",
            ScalarKind::Text | ScalarKind::OldBoolean => "a text",
        },
        NodeValue::Sequence(_) => "a list",
        NodeValue::Mapping(_) => "a mapping",
        NodeValue::Invalid => "",
    }
}

/// A mapping is pointed at by its first character: underlining all of it would say nothing.
fn start_of(span: Span) -> Span {
    Span::new(span.start, (span.start + 1).min(span.end))
}

fn is_variable(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character))
}

fn write_json(node: &Node, text: &mut String) -> Result<(), Box<Diagnostic>> {
    match &node.value {
        NodeValue::Scalar(scalar) => write_json_scalar(scalar, node.span, text)?,
        NodeValue::Sequence(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                write_json(item, text)?;
            }
            text.push(']');
        }
        NodeValue::Mapping(entries) => {
            text.push('{');
            for (index, (name, value)) in entries.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                text.push_str(&json_string(&name.text));
                text.push(':');
                write_json(value, text)?;
            }
            text.push('}');
        }
        NodeValue::Invalid => text.push_str("null"),
    }
    Ok(())
}

fn write_json_scalar(scalar: &Scalar, span: Span, text: &mut String) -> Result<(), Box<Diagnostic>> {
    let written = scalar.text.as_str();
    let no_number = || {
        let message = format!("{} is no number that JSON knows", quoted(written));
        Box::new(
            Diagnostic::new(Code::Malformed, span, message)
                .label("not a JSON number")
                .help("put quotes around it to make it a text"),
        )
    };
    match scalar.kind() {
        ScalarKind::Null => text.push_str("null"),
        ScalarKind::Boolean(value) => text.push_str(if value { "true" } else { "false" }),
        ScalarKind::Integer => {
            let unsigned = written.strip_prefix('+').unwrap_or(written);
            let number = match (unsigned.strip_prefix("0x"), unsigned.strip_prefix("0o")) {
                (Some(hex), _) => i128::from_str_radix(hex, 16),
                (_, Some(octal)) => i128::from_str_radix(octal, 8),
                _ => unsigned.parse(),
            };
            text.push_str(&number.map_err(|_| no_number())?.to_string());
        }
        ScalarKind::Float => {
            let number: f64 = written.parse().map_err(|_| no_number())?;
            let number = serde_json::Number::from_f64(number).ok_or_else(no_number)?;
            text.push_str(&number.to_string());
        }
        ScalarKind::OldBoolean => return Err(Box::new(old_boolean(written, span))),
        ScalarKind::Text => text.push_str(&json_string(written)),
    }
    Ok(())
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
