//! **Services require each other in a circle (SW311).** After a full stop none of them may ever become ready,
//! because each waits for the other. Optional needs do not count.

use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::{listed, place_of};

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let mut findings: Vec<Diagnostic> = Vec::new();
    let mut told = vec![false; plan.services.len()];
    for start in 0..plan.services.len() {
        if told[start] {
            continue;
        }
        let Some(circle) = circle_through(plan, start) else { continue };
        for service in &circle {
            told[*service] = true;
        }
        let names = circle.iter().map(|service| plan.services[*service].name.as_str());
        let service = &plan.services[start];
        let next = &plan.services[*circle.get(1).unwrap_or(&start)].name;
        let path = format!("services.{}.needs.{next}", service.name);
        findings.push(
            Diagnostic::new(
                Code::NeedsCircle,
                place_of(plan, &path, service.place),
                format!("{} require each other", listed(names)),
            )
            .label("part of the circle")
            .help("make one of the needs `optional`")
            .path(path),
        );
    }
    findings
}

/// The shortest circle of required needs that leads from a service back to it.
fn circle_through(plan: &Plan, start: usize) -> Option<Vec<usize>> {
    let mut came_from: Vec<Option<usize>> = vec![None; plan.services.len()];
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(service) = queue.pop_front() {
        for need in plan.services[service].needs.iter().filter(|need| need.required) {
            if need.service == start {
                let mut circle = vec![service];
                while let Some(previous) = circle.last().and_then(|last| came_from[*last]) {
                    circle.push(previous);
                }
                circle.reverse();
                return Some(circle);
            }
            if came_from[need.service].is_none() {
                came_from[need.service] = Some(service);
                queue.push_back(need.service);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    #[test]
    fn circles() {
        let with = |a: &str, b: &str, c: &str| {
            let service = |name: &str, needs: &str| {
                format!("  {name}: {{ run: ./x, egress: 127.0.0.1:0, needs: {{ {needs} }} }}\n")
            };
            format!("services:\n{}{}{}", service("a", a), service("b", b), service("c", c))
        };
        check(rule, &with("b: required", "a: required", ""), &["2: `a` and `b` require each other"]);
        check(
            rule,
            &with("b: required", "c: required", "a: required"),
            &["2: `a`, `b` and `c` require each other"],
        );
        check(
            rule,
            &with("b: required", "c: required", "b: required"),
            &["3: `b` and `c` require each other"],
        );
        check(rule, &with("b: required", "a: optional", ""), &[]);
        check(rule, &with("b: required, c: required", "c: required", ""), &[]);
    }
}
