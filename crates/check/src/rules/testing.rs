//! How rules are tested: a few lines of spec in, the findings out.

use seaworthy_spec::{Plan, parse, render};

use super::Rule;

/// A spec with a name, a gateway and these lines.
pub(crate) fn plan(lines: &str) -> Plan {
    let text = format!("seaworthy: v1\nname: test\ngateway: {{ listen: 127.0.0.1:0 }}\n{lines}");
    let outcome = parse("test.yaml", &text);
    let problems = render::human(outcome.source.as_ref(), &outcome.diagnostics, render::Style::Plain);
    outcome.plan.unwrap_or_else(|| panic!("the spec of a test must be sound:\n{problems}"))
}

/// Runs one rule; the findings are compared as `line: message`, where line 1 is the first of `lines`.
pub(crate) fn check(rule: Rule, lines: &str, expected: &[&str]) {
    /// Lines that `plan` puts before.
    const BEFORE: u32 = 3;
    let found: Vec<String> = rule(&plan(lines))
        .into_iter()
        .map(|finding| {
            let seaworthy_spec::Location::At(place) = finding.location else {
                panic!("a rule knows a place")
            };
            assert!(finding.help.is_some(), "{} says what to do", finding.code);
            format!("{}: {}", place.line - BEFORE, finding.message)
        })
        .collect();
    assert_eq!(found, expected, "for the spec\n{lines}");
}
