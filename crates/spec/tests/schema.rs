//! The JSON Schema says the same as the decoder: checked with a small validator of the words it uses.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::path::Path;

use seaworthy_spec::{schema, template};
use serde_json::{Value, json};

/// Whether a value satisfies a schema. Knows every word that `schema()` uses except `pattern`, which the test
/// below counts as satisfied.
fn accepts(schema: &Value, value: &Value) -> bool {
    let Value::Object(words) = schema else { return schema != &Value::Bool(false) };
    words.iter().all(|(word, operand)| match word.as_str() {
        "$schema" | "title" | "description" | "pattern" | "required" if word != "required" => true,
        "type" => has_type(operand, value),
        "const" => operand == value,
        "enum" => operand.as_array().unwrap().contains(value),
        "minimum" => value.as_f64().is_none_or(|number| number >= operand.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= operand.as_f64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= operand.as_u64().unwrap()),
        "anyOf" => operand.as_array().unwrap().iter().any(|schema| accepts(schema, value)),
        "allOf" => operand.as_array().unwrap().iter().all(|schema| accepts(schema, value)),
        "oneOf" => operand.as_array().unwrap().iter().filter(|schema| accepts(schema, value)).count() == 1,
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| accepts(operand, item))),
        "required" => value.as_object().is_none_or(|object| {
            operand.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(key, value)| operand.get(key).is_none_or(|schema| accepts(schema, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = words.get("properties");
            let is_other = |key: &str| known.is_none_or(|known| known.get(key).is_none());
            object.iter().filter(|(key, _)| is_other(key)).all(|(_, value)| accepts(operand, value))
        }),
        "propertyNames" => true,
        other => panic!("the validator does not know `{other}`"),
    })
}

fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("type {other}"),
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

fn as_json(yaml: &str) -> Value {
    // Otherwise `off` would be a boolean.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(yaml, options).unwrap()
}

#[test]
fn good_specs_are_accepted() {
    let tickets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good/tickets.yaml");
    let schema = schema();
    for (name, text) in
        [("tickets", std::fs::read_to_string(tickets).unwrap()), ("template", template().to_owned())]
    {
        assert!(accepts(&schema, &as_json(&text)), "{name}");
    }
}

#[test]
fn an_unknown_key_is_rejected_wherever_keys_are_known() {
    let tickets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good/tickets.yaml");
    let good = as_json(&std::fs::read_to_string(tickets).unwrap());
    let schema = schema();
    let mut tried = 0;
    for pointer in [
        "",
        "/gateway",
        "/services/api",
        "/services/api/readiness",
        "/services/payments/policy",
        "/services/payments/policy/circuit_breaker",
        "/services/payments/policy/idempotency",
        "/data/tickets",
        "/routes/list-events",
        "/routes/list-events/policy",
        "/routes/show-event/degrade/0",
        "/load/buyers",
        "/load/buyers/read_back/0",
        "/failures/replica-crash",
        "/failures/replica-crash/fault",
        "/failures/replica-crash/fault/kill",
        "/failures/replica-crash/promise/buyers",
        "/failures/payments-down/promise/buyers/during",
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert("typo".into(), json!("x"));
        assert!(!accepts(&schema, &bad), "a typo at `{pointer}` is rejected");
        tried += 1;
    }
    assert_eq!(tried, 18);
    assert!(accepts(&schema, &good));
}

#[test]
fn wrong_values_are_rejected() {
    let schema = schema();
    let with = |service: Value| json!({ "seaworthy": "v1", "name": "s", "services": { "api": service } });
    for (service, accepted) in [
        (json!({ "run": "./api" }), true),
        (json!({ "run": ["./api", "x"], "replicas": { "a": 1 } }), true),
        (json!({ "endpoints": "http://127.0.0.1:1" }), true),
        (json!({ "run": "./api", "policy": { "retry": "off" } }), true),
        (json!({}), false),
        (json!({ "run": "./api", "endpoints": [] }), false),
        (json!({ "run": "./api", "replicas": 0 }), false),
        (json!({ "run": "./api", "policy": { "total_timeout": 5 } }), false),
        (json!({ "run": "./api", "policy": { "retry": "on" } }), false),
        (json!({ "run": "./api", "restart": { "mode": "sometimes" } }), false),
    ] {
        assert_eq!(accepts(&schema, &with(service.clone())), accepted, "{service}");
    }
    assert!(!accepts(&schema, &json!({ "seaworthy": "v2", "name": "s", "services": {} })));
    assert!(!accepts(&schema, &json!({ "seaworthy": "v1", "services": {} })));
}

#[test]
fn every_key_is_described() {
    fn descend(schema: &Value, path: &str) {
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (key, inner) in properties {
                let text = inner.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(text.len() > 4 && text.ends_with('.'), "{path}.{key} is described: {text:?}");
                descend(inner, &format!("{path}.{key}"));
            }
        }
        for word in ["items", "additionalProperties"] {
            schema.get(word).into_iter().for_each(|inner| descend(inner, path));
        }
        let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        alternatives.for_each(|inner| descend(inner, path));
    }
    descend(&schema(), "");
}
