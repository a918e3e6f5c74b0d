//! Diagnostics for programs: the same findings at the same places as for people.

use seaworthy_spec::{Code, explain, parse, render};
use serde_json::Value;

const SPEC: &str =
    "seaworthy: v1\nname: shop\nservices:\n  \"api\": { run: ./größe, replcias: 2 }\n  api: { run: ./b }\n";

#[test]
fn json_names_places_in_characters() {
    let outcome = parse("my specs/shop.yaml", SPEC);
    let json = render::json("my specs/shop.yaml", outcome.source.as_ref(), &outcome.diagnostics);
    assert_eq!((&json["errors"], &json["warnings"]), (&Value::from(2), &Value::from(0)));
    let [unknown, duplicate] = json["diagnostics"].as_array().unwrap().as_slice() else { panic!("{json:#}") };
    assert_eq!(unknown["code"], "SW101");
    assert_eq!(unknown["path"], "services.api.replcias");
    assert_eq!(unknown["file"], "my specs/shop.yaml");
    assert_eq!(unknown["help"], "did you mean `replicas`?");
    let place =
        |found: &Value| ["line", "column", "end_line", "end_column"].map(|key| found[key].as_u64().unwrap());
    assert_eq!(place(unknown), [4, 26, 4, 34]);
    assert_eq!(place(duplicate), [5, 3, 5, 6]);
    assert_eq!(place(&duplicate["related"][0]), [4, 3, 4, 8]);
}

#[test]
fn sarif_has_a_rule_for_every_result() {
    let outcome = parse("my specs/shop.yaml", SPEC);
    let sarif = render::sarif("my specs/shop.yaml", outcome.source.as_ref(), &outcome.diagnostics);
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(explain(result["ruleId"].as_str().unwrap()).is_some());
        assert_eq!(result["level"], "error");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "my%20specs/shop.yaml");
        assert!(place["region"]["startLine"].as_u64().unwrap() > 0);
        assert!(result["partialFingerprints"].is_object());
    }
    assert_eq!(results[1]["relatedLocations"][0]["message"]["text"], "first here");
}

#[test]
fn findings_without_a_source_can_be_shown() {
    let outcome = seaworthy_spec::unreadable("no/such.yaml", "No such file or directory");
    let text = render::human(None, &outcome.diagnostics, render::Style::Plain);
    assert!(text.starts_with("error[SW001]: cannot read `no/such.yaml`"), "{text}");
    let json = render::json("no/such.yaml", None, &outcome.diagnostics);
    assert_eq!(json["diagnostics"][0]["line"], Value::Null);
    let sarif = render::sarif("no/such.yaml", None, &outcome.diagnostics);
    assert!(sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"].is_null());
}

#[test]
fn colour_adds_no_words() {
    let outcome = parse("x.yaml", SPEC);
    let show = |style| render::human(outcome.source.as_ref(), &outcome.diagnostics, style);
    let (plain, colour) = (show(render::Style::Plain), show(render::Style::Colour));
    assert!(colour.contains('\u{1b}') && !plain.contains('\u{1b}'));
    let mut stripped = String::new();
    let mut rest = colour.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        stripped.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

#[test]
fn explanations_are_whole_pages() {
    let page = explain("sw305").unwrap().to_string();
    assert!(page.starts_with("SW305 (warning): attempts that can never run\n\n"), "{page}");
    assert!(page.contains("Example:") && page.contains("What to do: "), "{page}");
    for code in Code::ALL {
        assert!(code.explanation().to_string().lines().count() > 6, "{code}");
    }
}
