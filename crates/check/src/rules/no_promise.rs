//! **A failure without a promise (SW307).** It can be drilled and never judged: nothing would be proven.
//! Accepted failures need none.

use seaworthy_spec::plan::Response;
use seaworthy_spec::{Code, Diagnostic, Plan};

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let unpromised = plan
        .failures
        .iter()
        .filter(|failure| failure.promises.is_empty() && failure.response != Response::Accept);
    unpromised
        .map(|failure| {
            Diagnostic::new(Code::NoPromise, failure.place, format!("`{}` promises nothing", failure.id))
                .label("a drill could not judge it")
                .help("add `promise: { LOAD: { success: 100% } }`, or answer it with `response: accept`")
                .path(format!("failures.{}", failure.id))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    #[test]
    fn promises() {
        for (more, expected) in [
            ("", vec!["4: `f` promises nothing"]),
            (", response: { runbook: x.md }", vec!["4: `f` promises nothing"]),
            (", promise: {}", vec!["4: `f` promises nothing"]),
            (", response: accept", vec![]),
            (", promise: { restarted_within: 5s }", vec![]),
        ] {
            let spec = format!(
                "services:\n  api: {{ run: ./api }}\nfailures:\n  f: {{ required: x, fault: {{ kill: {{ replica: api }} }}{more} }}"
            );
            check(rule, &spec, &expected);
        }
    }
}
