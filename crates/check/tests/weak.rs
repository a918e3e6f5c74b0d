//! A spec that is sound and weak: every rule has something to say about it, and says it well.

use std::collections::BTreeSet;

use seaworthy_check::check;
use seaworthy_spec::{Code, parse, render};

#[test]
fn every_rule_speaks() {
    let outcome = parse("weak.yaml", include_str!("weak.yaml"));
    let problems = render::human(outcome.source.as_ref(), &outcome.diagnostics, render::Style::Plain);
    let plan = outcome.plan.unwrap_or_else(|| panic!("{problems}"));
    let findings = check(&plan);
    let spoken: BTreeSet<Code> = findings.iter().map(|finding| finding.code).collect();
    // What is said about stacks has tests of its own: a spec can have only some of it.
    let of_rules = |code: &Code| (301..400).contains(&(*code as u16));
    let all: BTreeSet<Code> = Code::ALL.iter().copied().filter(of_rules).collect();
    assert_eq!(spoken.into_iter().filter(of_rules).collect::<BTreeSet<_>>(), all);
    let text = render::human(outcome.source.as_ref(), &findings, render::Style::Plain);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("weak", text);
    });
}

#[test]
fn the_template_has_nothing_to_say() {
    let plan = parse("seaworthy.yaml", seaworthy_spec::template()).plan.expect("the template is sound");
    assert_eq!(check(&plan), []);
}
