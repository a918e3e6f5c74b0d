//! **Attempts that can never run (SW305).** No attempt starts that cannot finish before the deadline. When
//! every attempt lasts until its timeout, only `total_timeout / attempt_timeout` of them start; the others
//! help against quick failures only. Said only when the spec itself chose one of the three numbers: the
//! defaults fit.

use seaworthy_policy::call::CallConfig;
use seaworthy_spec::plan::Place;
use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::{is_written, place_of};

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let services = plan.services.iter().filter_map(|service| {
        finding(plan, &format!("services.{}.policy", service.name), &service.call, service.place)
    });
    let routes = plan.routes.iter().filter_map(|route| {
        finding(plan, &format!("routes.{}.policy", route.name), &route.call, route.place)
    });
    services.chain(routes).collect()
}

fn finding(plan: &Plan, path: &str, call: &CallConfig, owner: Place) -> Option<Diagnostic> {
    let keys = ["attempt_timeout", "total_timeout", "retry.max_attempts"].map(|key| format!("{path}.{key}"));
    let is_chosen = keys.iter().any(|key| is_written(plan, key));
    // An attempt above the total is an error of its own.
    let is_ordered = call.attempt_timeout <= call.total_timeout;
    let fitting = call.total_timeout.as_nanos() / call.attempt_timeout.as_nanos().max(1);
    let fits = fitting >= u128::from(call.max_attempts);
    if !call.retry || !is_chosen || !is_ordered || fits {
        return None;
    }
    let value = |key: &str| plan.setting(key).map_or("?", |setting| setting.value.as_str());
    let [attempt, total, attempts] = &keys;
    let message = format!(
        "only {fitting} of {} attempts can run when each takes its whole {}",
        call.max_attempts,
        value(attempt)
    );
    let chosen = keys.iter().find(|key| is_written(plan, key)).unwrap_or(attempt);
    let target = (call.total_timeout.as_millis() / u128::from(call.max_attempts.max(1))).max(1);
    Some(
        Diagnostic::new(Code::RetriesNeverRun, place_of(plan, chosen, owner), message)
            .label(format!("{} x {} is more than {}", value(attempts), value(attempt), value(total)))
            .help(format!("lower `attempt_timeout` to {target}ms or less, raise `total_timeout`, or allow fewer attempts"))
            .path(chosen.clone()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    #[test]
    fn attempts() {
        let two = vec!["2: only 1 of 3 attempts can run when each takes its whole 1500ms"];
        for (policy, expected) in [
            ("{ total_timeout: 2s, attempt_timeout: 1500ms }", two),
            (
                "{ retry: { max_attempts: 5 }, attempt_timeout: 5s }",
                vec!["2: only 3 of 5 attempts can run when each takes its whole 5s"],
            ),
            ("{ total_timeout: 2s, attempt_timeout: 600ms }", vec![]),
            ("{ total_timeout: 2s }", vec![]),
            ("{ total_timeout: 2s, attempt_timeout: 1500ms, retry: off }", vec![]),
            ("{ total_timeout: 2s, attempt_timeout: 3s }", vec![]),
            ("{}", vec![]),
        ] {
            check(rule, &format!("services:\n  api: {{ run: ./api, policy: {policy} }}"), &expected);
        }
    }
}
