//! The JSON Schema (draft 2020-12) of a spec, made from the table of keys, for editors.

use serde_json::{Map, Value, json};

use crate::keys::{Key, SPEC, Shape, Table};

/// Patterns of texts with units. The decoder is stricter about ranges and kinder about reasons.
const DURATION: &str = "^[0-9]+(ms|s|m|h|d)$";
const SHARE: &str = "^(100(\\.0+)?|[0-9]{1,2}(\\.[0-9]+)?)%$";
const RATE: &str = "^[0-9]+(\\.[0-9]+)?/(s|m|h)$";
const NAME: &str = "^[A-Za-z][A-Za-z0-9_-]{0,62}$";
const MATCH: &str = "^([A-Z]+ +)?/[^ ?#]*$";

/// The schema that `seaworthy schema` prints.
pub fn schema() -> Value {
    schema_of(&SPEC)
}

/// The schema of a spec with these keys.
pub(crate) fn schema_of(table: &'static Table) -> Value {
    let mut schema = object(table);
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), "Seaworthy spec".into());
    if let Some(version) = schema.get_mut("properties").and_then(|keys| keys.get_mut("seaworthy")) {
        *version = json!({ "const": "v1", "description": "Version of the language." });
    }
    Value::Object(schema)
}

fn object(table: &Table) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in table.all().filter(|key| !key.later) {
        properties.insert(key.name.into(), property(key));
        if key.required {
            required.push(Value::from(key.name));
        }
    }
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("description".into(), table.what.into());
    schema.insert("properties".into(), Value::Object(properties));
    schema.insert(
        "additionalProperties".into(),
        table.rest.map_or(Value::Bool(false), |rest| shape(rest.shape)),
    );
    if !required.is_empty() {
        schema.insert("required".into(), Value::Array(required));
    }
    let groups: Vec<Value> = table.exactly_one.iter().map(|group| one_of(table, group)).collect();
    if !groups.is_empty() {
        schema.insert("allOf".into(), Value::Array(groups));
    }
    schema
}

/// Exactly one of these keys.
fn one_of(table: &Table, group: &[&str]) -> Value {
    let known = group.iter().filter(|key| table.find(key).is_some_and(|key| !key.later));
    let choices: Vec<Value> = known.map(|key| json!({ "required": [key] })).collect();
    json!({ "oneOf": choices })
}

fn property(key: &Key) -> Value {
    let mut schema = shape(key.shape);
    if let Value::Object(schema) = &mut schema {
        let default = key.default.map(|default| format!(" Default: {default}.")).unwrap_or_default();
        schema.insert("description".into(), format!("{}{default}", key.doc).into());
    }
    schema
}

fn shape(shape_: Shape) -> Value {
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match shape_ {
        Shape::Text | Shape::File | Shape::Command => json!({ "type": "string", "minLength": 1 }),
        Shape::Verbatim => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Name => pattern(NAME),
        Shape::Word(words) | Shape::WordOrLater(words, _) => json!({ "enum": words }),
        Shape::True => json!({ "const": true }),
        Shape::Duration => pattern(DURATION),
        Shape::DurationOrOff => json!({ "anyOf": [pattern(DURATION), { "const": "off" }] }),
        Shape::DurationOrZero => json!({ "anyOf": [pattern(DURATION), { "const": 0 }] }),
        Shape::Ratio | Shape::Share => pattern(SHARE),
        Shape::Rate => pattern(RATE),
        Shape::Size => pattern("^[0-9]+(B|KiB|MiB|GiB)$"),
        Shape::Count(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::CountOr(least, most, words) => {
            json!({ "anyOf": [{ "type": "integer", "minimum": least, "maximum": most }, { "enum": words }] })
        }
        Shape::Factor => json!({ "type": "number", "exclusiveMinimum": 1, "maximum": 1000 }),
        Shape::Status => json!({ "type": "integer", "minimum": 100, "maximum": 599 }),
        Shape::Address => pattern("^.+:[0-9]{1,5}$"),
        Shape::Endpoint => pattern("^http://[^/]+/?$"),
        Shape::UrlPath => pattern("^/"),
        Shape::Match => pattern(MATCH),
        Shape::Request => pattern("^[A-Z]+ +/[^ #]*$"),
        Shape::Delivery => pattern("^(POST|PUT|PATCH) +[A-Za-z][A-Za-z0-9_-]*/[^ #]*$"),
        Shape::Secret => pattern("^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"),
        Shape::Ids => pattern("\\[\\]"),
        Shape::Json => json!({}),
        Shape::Object(table) => Value::Object(object(table)),
        Shape::Map(inner, what) => {
            let names = if matches!(inner, Shape::Verbatim) { "^[A-Za-z0-9_-]+$" } else { NAME };
            json!({
                "type": "object",
                "description": format!("Keys are {what}."),
                "propertyNames": { "pattern": names },
                "additionalProperties": shape(*inner),
            })
        }
        // A single value stands for the list that has only it.
        Shape::List(item) => json!({ "anyOf": [{ "type": "array", "items": shape(*item) }, shape(*item)] }),
        Shape::Either(shapes) => {
            json!({ "anyOf": shapes.iter().map(|alternative| shape(*alternative)).collect::<Vec<_>>() })
        }
    }
}
