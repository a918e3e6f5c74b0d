//! The plan as people and programs read it: every effective value and who set it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::plan::{Origin, Plan, Setting};

/// A longer value does not push the origins of all the others to the right.
const VALUE_WIDTH_MAX: usize = 40;

/// An aligned table of path, value and origin, one line each.
pub fn plan_text(plan: &Plan) -> String {
    let width = |text: &str| text.chars().count();
    let path_width = plan.settings.iter().map(|setting| width(&setting.path)).max().unwrap_or(0);
    let fitting =
        plan.settings.iter().map(|setting| width(&setting.value)).filter(|width| *width <= VALUE_WIDTH_MAX);
    let value_width = fitting.max().unwrap_or(0);
    let mut text = String::new();
    for setting in &plan.settings {
        let Setting { path, value, .. } = setting;
        writeln!(text, "{path:path_width$}  {value:value_width$}  {}", origin(plan, setting))
            .expect("writing to a string cannot fail");
    }
    text
}

/// One object with everything [`plan_text`] shows.
pub fn plan_json(plan: &Plan) -> Value {
    let settings: Vec<Value> = plan.settings.iter().map(|setting| setting_json(plan, setting)).collect();
    let ablated: Vec<&str> = plan.ablated.iter().map(|mechanism| mechanism.as_str()).collect();
    json!({
        "schema": "seaworthy.plan/1",
        "spec": { "file": plan.file.display().to_string(), "sha256": plan.sha256 },
        "name": plan.name,
        "ablated": ablated,
        "settings": settings,
    })
}

fn origin(plan: &Plan, setting: &Setting) -> String {
    match &setting.origin {
        Origin::Spec(place) => {
            let file =
                plan.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            format!("{file}:{}", place.line)
        }
        Origin::Default => "default".to_owned(),
        Origin::Derived(from) => format!("follows from {from}"),
    }
}

fn setting_json(plan: &Plan, setting: &Setting) -> Value {
    let mut object = json!({ "path": setting.path, "value": setting.value });
    let (kind, detail) = match &setting.origin {
        Origin::Spec(place) => (
            "spec",
            json!({ "file": plan.file.display().to_string(), "line": place.line, "column": place.column }),
        ),
        Origin::Default => ("default", Value::Null),
        Origin::Derived(from) => ("derived", json!({ "from": from })),
    };
    object["origin"] = json!({ "kind": kind });
    if let (Value::Object(target), Value::Object(more)) = (&mut object["origin"], detail) {
        target.extend(more);
    }
    object
}
