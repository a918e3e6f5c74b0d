//! **A required service with one replica (SW302).** While it restarts, whatever requires it cannot work
//! either. Services that somebody else runs are not counted: one address often hides many servers.

use seaworthy_spec::plan::ServiceKind;
use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::{listed, place_of};

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for (index, service) in plan.services.iter().enumerate() {
        let ServiceKind::Supervised(process) = &service.kind else { continue };
        let requires = |other: &&seaworthy_spec::plan::ServicePlan| {
            other.needs.iter().any(|need| need.service == index && need.required)
        };
        let callers: Vec<&str> =
            plan.services.iter().filter(requires).map(|other| other.name.as_str()).collect();
        if process.replicas.len() != 1 || callers.is_empty() {
            continue;
        }
        let verb = if callers.len() == 1 { "requires" } else { "require" };
        let message = format!("`{}` has one replica, and {} {verb} it", service.name, listed(callers));
        let path = format!("services.{}.replicas", service.name);
        findings.push(
            Diagnostic::new(Code::SingleReplica, place_of(plan, &path, service.place), message)
                .label("one replica")
                .help("add a replica, or make the need `optional` and let the caller degrade")
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
    fn replicas() {
        let with = |replicas: &str, need: &str| {
            format!(
                "services:\n  api: {{ run: ./api, needs: {{ db: {need} }} }}\n  db: {{ run: ./db, egress: 127.0.0.1:0{replicas} }}"
            )
        };
        for (replicas, need, expected) in [
            ("", "required", vec!["3: `db` has one replica, and `api` requires it"]),
            (", replicas: 1", "required", vec!["3: `db` has one replica, and `api` requires it"]),
            (", replicas: 2", "required", vec![]),
            ("", "optional", vec![]),
        ] {
            check(rule, &with(replicas, need), &expected);
        }
        let external = "services:\n  api: { run: ./api, needs: { db: required } }\n  db: { endpoints: \"http://127.0.0.1:1\", egress: 127.0.0.1:0 }";
        check(rule, external, &[]);
    }
}
