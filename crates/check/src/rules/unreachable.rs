//! **A service that nothing reaches (SW312).** No route leads to it, no service needs it, it has no egress
//! and no load reads it: it runs without being used, usually because a route was forgotten.

use seaworthy_spec::{Code, Diagnostic, Plan};

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let is_used = |index: usize| {
        plan.services[index].egress.is_some()
            || plan.routes.iter().any(|route| route.to == index)
            || plan.services.iter().any(|other| other.needs.iter().any(|need| need.service == index))
            || plan.loads.iter().any(|load| load.read_back.iter().any(|read_back| read_back.from == index))
    };
    (0..plan.services.len())
        .filter(|index| !is_used(*index))
        .map(|index| {
            let service = &plan.services[index];
            Diagnostic::new(Code::Unreachable, service.place, format!("nothing reaches `{}`", service.name))
                .label("no route, no need, no egress")
                .help(format!("add a route with `to: {}`, or let another service need it", service.name))
                .path(format!("services.{}", service.name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    #[test]
    fn services() {
        check(rule, "services:\n  a: { run: ./a }", &["2: nothing reaches `a`"]);
        check(rule, "services:\n  a: { run: ./a, egress: 127.0.0.1:0 }", &[]);
        check(rule, "services:\n  a: { run: ./a }\nroutes:\n  r: { match: /**, to: a }", &[]);
    }
}
