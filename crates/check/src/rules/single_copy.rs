//! **A dataset with one copy (SW301).** The only copy is lost with its disk and unavailable with its zone; no
//! retry helps against that. Several copies in one zone of several are lost together, too.

use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::place_of;

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for data in &plan.data {
        let zones: std::collections::BTreeSet<u16> = data.copies.iter().copied().collect();
        let message = match (data.copies.len(), zones.len()) {
            (0 | 1, _) => format!("`{}` has only one copy", data.name),
            (_, 1) if plan.zones.len() > 1 => format!("all copies of `{}` are in one zone", data.name),
            _ => continue,
        };
        let path = format!("data.{}.copies", data.name);
        findings.push(
            Diagnostic::new(Code::SingleCopy, place_of(plan, &path, data.place), message)
                .label("lost with its disk or its zone")
                .help("add a copy in another zone, or say in a failure with `response: accept` that this is accepted")
                .path(path),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    #[test]
    fn copies() {
        let services = "zones: [a, b]\nservices:\n  db: { run: ./db, replicas: { a: 1, b: 1 } }\ndata:\n";
        for (data, expected) in [
            ("  t: { in: db, copies: [a] }", vec!["5: `t` has only one copy"]),
            ("  t: { in: db, copies: [a, a] }", vec!["5: all copies of `t` are in one zone"]),
            ("  t: { in: db, copies: [a, b] }", vec![]),
            ("  t: { in: db }", vec![]),
        ] {
            check(rule, &format!("{services}{data}"), &expected);
        }
        check(rule, "services:\n  db: { run: ./db }\ndata:\n  t: { in: db }", &["4: `t` has only one copy"]);
    }
}
