//! **A latency that cannot be exceeded (SW309).** An answer that takes longer than the load's `timeout` counts
//! as failed and not as slow, so a latency promised above it says nothing.

use seaworthy_spec::plan::{Limit, Word};
use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::place_of;

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for failure in &plan.failures {
        for promise in &failure.promises {
            let (Some(load), Limit::AtMost(limit)) = (promise.load, promise.limit) else { continue };
            let load = &plan.loads[load];
            let is_latency = promise.word.quantile().is_some() || promise.word == Word::Max;
            if !is_latency || limit <= load.timeout {
                continue;
            }
            let path = format!("failures.{}.promise.{}", failure.id, promise.name);
            let timeout = format!("load.{}.timeout", load.name);
            let value = plan.setting(&timeout).map_or("?", |setting| setting.value.as_str());
            let message = format!("`{}` cannot be broken: later answers count as failed", promise.name);
            findings.push(
                Diagnostic::new(Code::LatencyAboveTimeout, promise.place, message)
                    .label("above the load's timeout")
                    .also(place_of(plan, &timeout, load.place), format!("its timeout is {value}"))
                    .help(format!("promise at most {value}, or raise the load's `timeout`"))
                    .path(path),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    #[test]
    fn latencies() {
        let with = |words: &str| {
            format!(
                "services:\n  api: {{ run: ./api }}\nroutes:\n  r: {{ match: /**, to: api }}\n\
                 load:\n  l: {{ rate: 100/s, send: GET /, timeout: 1s }}\n\
                 failures:\n  f: {{ required: x, fault: {{ kill: {{ replica: api }} }}, promise: {{ l: {{ {words} }} }} }}"
            )
        };
        check(rule, &with("p99: 2s"), &["8: `l.p99` cannot be broken: later answers count as failed"]);
        check(rule, &with("p99: 1s, max: 1s, success: 99%"), &[]);
        let during = "p99: 1s, during: { for_at_most: 2s, max: 1100ms }";
        check(rule, &with(during), &["8: `l.during.max` cannot be broken: later answers count as failed"]);
    }
}
