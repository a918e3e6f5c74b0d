//! No text makes reading a spec panic, and every error it finds can be shown.

use proptest::prelude::*;
use seaworthy_spec::{parse, plan_json, plan_text, render};

const GOOD: &str = include_str!("good/tickets.yaml");

/// Reads, shows and, if it came to a plan, prints; the result is only that it ends.
fn survive(bytes: &[u8]) {
    let outcome = parse("seaworthy.yaml", bytes);
    let source = outcome.source.as_ref();
    for style in [render::Style::Plain, render::Style::Colour] {
        render::human(source, &outcome.diagnostics, style);
    }
    render::json("seaworthy.yaml", source, &outcome.diagnostics);
    render::sarif("seaworthy.yaml", source, &outcome.diagnostics);
    assert_eq!(outcome.plan.is_none(), outcome.has_errors(), "a plan exactly when there is no error");
    if let Some(plan) = &outcome.plan {
        plan_text(plan);
        plan_json(plan);
    }
}

/// One change to a text.
#[derive(Debug, Clone)]
enum Change {
    Delete(usize, usize),
    Insert(usize, String),
    Copy(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let pieces = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\n",
            "  ",
            "\t",
            "&a ",
            "*a",
            "<<: ",
            "!!str ",
            "- ",
            "#",
            "\"",
            "'",
            "|\n",
            "0s",
            "-1",
            "99999999999999999999",
            "1e999",
            ".nan",
            "null",
            "~",
            "yes",
            "${x}",
            "---\n",
            "⛵",
            "\u{feff}",
            "api",
            "off",
            "100%",
            "101%",
            "/**",
            "\u{0}",
            "\r",
            "? ",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    let length = GOOD.len();
    prop_oneof![
        (0..length, 0..60_usize).prop_map(|(at, count)| Change::Delete(at, count)),
        (0..length, pieces).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (0..length, 0..length, 0..80_usize).prop_map(|(from, to, count)| Change::Copy(from, to, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let length = bytes.len();
    match change {
        Change::Delete(at, count) => {
            let start = (*at).min(length);
            bytes.drain(start..(start + count).min(length));
        }
        Change::Insert(at, piece) => {
            let at = (*at).min(length);
            bytes.splice(at..at, piece.bytes());
        }
        Change::Copy(from, to, count) => {
            let start = (*from).min(length);
            let piece = bytes[start..(start + count).min(length)].to_vec();
            let at = (*to).min(length);
            bytes.splice(at..at, piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survive(&bytes);
    }

    #[test]
    fn arbitrary_text(text in "[ -~\\n\u{80}-\u{ffff}]{0,200}") {
        survive(text.as_bytes());
    }

    #[test]
    fn a_good_spec_with_changes(changes in prop::collection::vec(change(), 1..6)) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for change in &changes {
            apply(&mut bytes, change);
        }
        survive(&bytes);
    }

    #[test]
    fn a_good_spec_with_a_line_moved(from in 0..60_usize, to in 0..60_usize, indent in 0..6_usize) {
        let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
        let line = lines.remove(from % lines.len());
        lines.insert(to % (lines.len() + 1), format!("{}{}", " ".repeat(indent), line.trim_start()));
        survive(lines.join("\n").as_bytes());
    }
}

#[test]
fn hostile_texts() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(50_000),
        "- ".repeat(50_000),
        "? ".repeat(20_000),
        format!("a: {}", "&x ".repeat(1_000)),
        format!("{}: 1", "k".repeat(100_000)),
        "\"\\".to_owned(),
        "a: |\n".repeat(2_000),
        "%YAML 9.9\n---\na: 1".to_owned(),
        (0..20_000).fold(String::new(), |text, number| text + &format!("k{number}: 1\n")),
    ] {
        survive(text.as_bytes());
    }
}
