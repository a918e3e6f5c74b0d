//! Walks the tree beside the table of keys.

use std::fmt::Write as _;

use super::hints;
use super::leaf::{bad_name, leaf, name_problem};
use super::value::{Data, Object, Value};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Location, quoted};
use crate::keys::{Key, Shape, Table};
use crate::source::Span;
use crate::yaml::{MERGE, Name, Node, NodeValue, Scalar, ScalarKind, old_boolean};

/// Decodes a whole spec that has these keys. What could not be read is in the diagnostics and counts as given.
pub(crate) fn decode(table: &'static Table, root: &Node) -> (Option<Object>, Vec<Diagnostic>) {
    let mut walk = Walk { path: Vec::new(), problems: Vec::new() };
    let value = walk.value(Shape::Object(table), root);
    let object = if let Data::Object(object) = value.data { Some(object) } else { None };
    (object, walk.problems)
}

struct Walk {
    path: Vec<String>,
    problems: Vec<Diagnostic>,
}

impl Walk {
    fn report(&mut self, mut diagnostic: Diagnostic) {
        let path = self.path.join(".");
        if diagnostic.location == Location::File {
            // What must not be shown has to be found all the same.
            let _ = write!(diagnostic.message, ": `{path}`");
        }
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
            (chosen, NodeValue::Scalar(scalar)) if is_leaf(chosen) => match leaf(chosen, scalar, node.span) {
                Ok(data) => data,
                Err(problem) => {
                    let is_one_of_several = matches!(shape, Shape::Either(_)) && problem.help.is_none();
                    self.report(if is_one_of_several {
                        problem.help(format!("write {}", shape.describe()))
                    } else {
                        problem
                    });
                    Data::Invalid
                }
            },
            (chosen, found) => {
                let message = format!("expected {}", chosen.describe());
                let mut problem = Diagnostic::new(Code::WrongType, node.span, message).label(describe(found));
                problem.help = as_mapping(chosen, found);
                self.report(problem);
                Data::Invalid
            }
        }
    }

    fn object(&mut self, table: &'static Table, given: &[(Name, Node)], span: Span) -> Data {
        let mut object = Object { span, table, entries: Vec::new(), rest: Vec::new() };
        let mut hints = Vec::new();
        for (name, node) in given.iter().filter(|(name, _)| name.text != MERGE) {
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
                None => hints.extend(self.other_key(table, name, node, &mut object)),
            }
            self.path.pop();
        }
        // A mapping of which a part was refused may have had everything it needs.
        if given.len() == object.entries.len() + object.rest.len() + hints.len() {
            self.require(table, &object, &hints);
        }
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

    /// A key that the table does not have: a name of the user's, or a mistake; then what the hint says.
    fn other_key(
        &mut self,
        table: &'static Table,
        name: &Name,
        node: &Node,
        object: &mut Object,
    ) -> Option<String> {
        // A scalar where a mapping belongs is a misspelt word rather than a name.
        if let (Some(rest), NodeValue::Mapping(_)) = (table.rest, &node.value) {
            let value = self.value(rest.shape, node);
            object.rest.push((name.clone(), value));
            return None;
        }
        let scalar =
            if let NodeValue::Scalar(scalar) = &node.value { Some(scalar.text.as_str()) } else { None };
        let hint = hints::unknown_key(table, &name.text, scalar);
        let message = format!("unknown key {} in {}", quoted(&name.text), table.what);
        self.report(
            Diagnostic::new(Code::UnknownKey, name.span, message).label("not a key here").help(hint.clone()),
        );
        Some(hint)
    }

    fn require(&mut self, table: &'static Table, object: &Object, hints: &[String]) {
        // What a hint about an unknown key names is not missing but misspelt.
        let is_hinted = |key: &str| {
            let named =
                |hint: &&String| hint.contains(&format!("`{key}`")) || hint.contains(&format!("`{key}:"));
            hints.iter().filter(|hint| !hint.starts_with(hints::KEYS_HERE)).any(|hint| named(&hint))
        };
        let missing = table.all().filter(|key| key.required && object.given(key.name).is_none());
        for key in missing.filter(|key| !is_hinted(key.name)) {
            let message = format!("{} needs the key `{}`", table.what, key.name);
            self.report(
                Diagnostic::new(Code::MissingKey, start_of(object.span), message)
                    .label(format!("`{}` is missing", key.name))
                    .help(what_is(key)),
            );
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
                [] if group.iter().any(|key| is_hinted(key)) => {}
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
        for (name, node) in given.iter().filter(|(name, _)| name.text != MERGE) {
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
        let mut writer = JsonWriter { text: String::new(), problems: Vec::new() };
        writer.value(node);
        let is_sound = writer.problems.is_empty();
        writer.problems.into_iter().for_each(|problem| self.report(problem));
        if is_sound { Data::Json(writer.text) } else { Data::Invalid }
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
    if let Shape::Either(shapes) = item {
        return shapes.iter().any(|shape| is_single(*shape, found));
    }
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

/// What to say about a key that is missing.
fn what_is(key: &Key) -> String {
    match key.shape {
        Shape::Text | Shape::Name | Shape::Map(..) => {
            format!("`{}`: {}", key.name, key.doc.trim_end_matches('.'))
        }
        shape => format!("`{}` is {}", key.name, shape.describe()),
    }
}

/// A scalar in place of a mapping that has one obvious key: `{ listen: 127.0.0.1:8080 }`.
fn as_mapping(shape: Shape, found: &NodeValue) -> Option<String> {
    /// A longer text would not fit into a sentence.
    const LENGTH_MAX: usize = 40;
    let (Shape::Object(table), NodeValue::Scalar(scalar)) = (shape, found) else { return None };
    let key = table.obvious_key()?;
    let is_given = scalar.kind() != ScalarKind::Null;
    let is_short = (1..LENGTH_MAX).contains(&scalar.text.len()) && !scalar.text.contains(char::is_control);
    (is_given && is_short).then(|| format!("write `{{ {key}: {} }}`", scalar.text))
}

/// Writes a tree as JSON text. Not by way of a JSON value: that would sort the keys.
struct JsonWriter {
    text: String,
    problems: Vec<Diagnostic>,
}

impl JsonWriter {
    fn value(&mut self, node: &Node) {
        match &node.value {
            NodeValue::Scalar(scalar) => self.scalar(scalar, node.span),
            NodeValue::Sequence(items) => {
                self.text.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.text.push_str(if index > 0 { "," } else { "" });
                    self.value(item);
                }
                self.text.push(']');
            }
            NodeValue::Mapping(entries) => {
                self.text.push('{');
                for (index, (name, value)) in entries.iter().enumerate() {
                    self.text.push_str(if index > 0 { "," } else { "" });
                    self.string(&name.text);
                    self.text.push(':');
                    self.value(value);
                }
                self.text.push('}');
            }
            NodeValue::Invalid => self.text.push_str("null"),
        }
    }

    fn scalar(&mut self, scalar: &Scalar, span: Span) {
        let written = scalar.text.as_str();
        match scalar.kind() {
            ScalarKind::Null => self.text.push_str("null"),
            ScalarKind::Boolean(value) => self.text.push_str(if value { "true" } else { "false" }),
            ScalarKind::OldBoolean => self.problems.push(old_boolean(written, span)),
            ScalarKind::Text => self.string(written),
            ScalarKind::Integer | ScalarKind::Float => match json_number(scalar) {
                Some(number) => self.text.push_str(&number),
                None => self.problems.push(
                    Diagnostic::new(
                        Code::Malformed,
                        span,
                        format!("{} is no number that JSON knows", quoted(written)),
                    )
                    .label("not a JSON number")
                    .help("put quotes around it to make it a text"),
                ),
            },
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push_str(&serde_json::Value::from(text).to_string());
    }
}

fn json_number(scalar: &Scalar) -> Option<String> {
    if scalar.kind() == ScalarKind::Float {
        return serde_json::Number::from_f64(scalar.text.parse().ok()?).map(|number| number.to_string());
    }
    let unsigned = scalar.text.strip_prefix('+').unwrap_or(&scalar.text);
    let number = match (unsigned.strip_prefix("0x"), unsigned.strip_prefix("0o")) {
        (Some(hex), _) => i128::from_str_radix(hex, 16),
        (_, Some(octal)) => i128::from_str_radix(octal, 8),
        _ => unsigned.parse(),
    };
    number.ok().map(|number| number.to_string())
}
