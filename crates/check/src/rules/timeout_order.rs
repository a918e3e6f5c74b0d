//! **An inner limit above the outer one (SW303).** An attempt that may last longer than the whole call never
//! times out by itself, so a second attempt never starts.

use seaworthy_policy::call::CallConfig;
use seaworthy_spec::plan::Place;
use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::place_of;

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let services = plan.services.iter().filter_map(|service| {
        finding(plan, &format!("services.{}.policy", service.name), &service.call, service.place)
    });
    let routes = plan.routes.iter().filter_map(|route| {
        let path = format!("routes.{}.policy", route.name);
        // A route without a policy of its own would only repeat what is said about its service.
        plan.setting(&format!("{path}.attempt_timeout"))?;
        finding(plan, &path, &route.call, route.place)
    });
    services.chain(routes).collect()
}

fn finding(plan: &Plan, path: &str, call: &CallConfig, owner: Place) -> Option<Diagnostic> {
    if call.attempt_timeout <= call.total_timeout {
        return None;
    }
    let value =
        |key: &str| plan.setting(&format!("{path}.{key}")).map_or("?", |setting| setting.value.as_str());
    let (attempt, total) = (value("attempt_timeout"), value("total_timeout"));
    let total_place = place_of(plan, &format!("{path}.total_timeout"), owner);
    let attempt_path = format!("{path}.attempt_timeout");
    let message = format!("one attempt may take {attempt}, and all of them together {total}");
    Some(
        Diagnostic::new(Code::TimeoutOrder, place_of(plan, &attempt_path, total_place), message)
            .label(format!("longer than `total_timeout` ({total})"))
            .help(format!("lower `attempt_timeout` below {total}, or raise `total_timeout`"))
            .path(attempt_path),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    #[test]
    fn timeouts() {
        for (policy, expected) in [
            ("{ attempt_timeout: 20s }", vec!["2: one attempt may take 20s, and all of them together 15s"]),
            (
                "{ total_timeout: 2s, attempt_timeout: 3s }",
                vec!["2: one attempt may take 3s, and all of them together 2s"],
            ),
            ("{ total_timeout: 2s, attempt_timeout: 2s }", vec![]),
            ("{ total_timeout: 1s }", vec![]),
            ("{}", vec![]),
        ] {
            check(rule, &format!("services:\n  api: {{ run: ./api, policy: {policy} }}"), &expected);
        }
    }

    #[test]
    fn a_route_is_judged_by_what_it_changes() {
        let service = "services:\n  api: { run: ./api, policy: { attempt_timeout: 4s } }\nroutes:\n";
        for (route, expected) in [
            ("  r: { match: /**, to: api }", vec![]),
            ("  r: { match: /**, to: api, policy: { total_timeout: 2s } }", vec![]),
            (
                "  r: { match: /**, to: api, policy: { total_timeout: 2s, attempt_timeout: 5s } }",
                vec!["4: one attempt may take 5s, and all of them together 2s"],
            ),
        ] {
            check(rule, &format!("{service}{route}"), &expected);
        }
    }
}
