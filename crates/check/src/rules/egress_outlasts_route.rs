//! **A callee may take longer than its caller waits (SW304).** The route gives up before a call behind it
//! does: the inner call works for nobody, and its late or degraded answer reaches no one. One finding per
//! route, about the slowest of the services that the route's service needs.

use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::place_of;

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for route in &plan.routes {
        let service = &plan.services[route.to];
        let needed = service.needs.iter().map(|need| &plan.services[need.service]);
        let Some(slowest) = needed.max_by_key(|needed| needed.call.total_timeout) else { continue };
        if slowest.call.total_timeout <= route.call.total_timeout {
            continue;
        }
        let of = |path: &str| plan.setting(path).map_or("?", |setting| setting.value.as_str());
        let own = format!("routes.{}.policy.total_timeout", route.name);
        let inherited = format!("services.{}.policy.total_timeout", service.name);
        let inner = format!("services.{}.policy.total_timeout", slowest.name);
        let outer = if plan.setting(&own).is_some() { own } else { inherited };
        let message = format!(
            "calls to `{}` may take {}, and `{}` waits only {}",
            slowest.name,
            of(&inner),
            route.name,
            of(&outer)
        );
        findings.push(
            Diagnostic::new(Code::EgressOutlastsRoute, place_of(plan, &outer, route.place), message)
                .label(format!("gives up after {}", of(&outer)))
                .also(place_of(plan, &inner, slowest.place), format!("goes on for {}", of(&inner)))
                .help(format!("give `{}` a `total_timeout` below {}", slowest.name, of(&outer)))
                .path(outer),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    #[test]
    fn totals() {
        let with = |route: &str, payments: &str| {
            format!(
                "services:\n  api: {{ run: ./api, needs: {{ payments: optional }} }}\n  \
                 payments: {{ run: ./pay, egress: 127.0.0.1:0, policy: {{ total_timeout: {payments} }} }}\n\
                 routes:\n  buy: {{ match: /**, to: api, policy: {{ total_timeout: {route} }} }}"
            )
        };
        check(rule, &with("1s", "10s"), &["5: calls to `payments` may take 10s, and `buy` waits only 1s"]);
        check(rule, &with("10s", "10s"), &[]);
        check(rule, &with("10s", "1s"), &[]);
    }
}
