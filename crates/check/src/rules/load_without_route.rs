//! **A load that no route takes (SW308).** The gateway would answer each of its requests with 404.

use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::{listed, place_of};

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let lost = plan.loads.iter().filter(|load| plan.route(&load.method, &load.path).is_none());
    lost.map(|load| {
        let path = format!("load.{}.send", load.name);
        let clean = load.path.split('?').next().unwrap_or_default();
        let others = plan.routes.iter().filter(|route| {
            route.matcher.method.as_deref().is_some_and(|method| route.matcher.takes(method, clean))
        });
        let others = listed(others.map(|route| route.name.as_str()));
        let help = if others.is_empty() {
            "add a route that matches it, or correct the path".to_owned()
        } else {
            format!("{others} matches the path with another method")
        };
        let message = format!("no route takes `{} {}`", load.method, load.path);
        Diagnostic::new(Code::LoadWithoutRoute, place_of(plan, &path, load.place), message)
            .label("would be answered 404")
            .help(help)
            .path(path)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    #[test]
    fn loads() {
        let with = |matcher: &str, send: &str| {
            format!(
                "services:\n  api: {{ run: ./api }}\nroutes:\n  r: {{ match: {matcher}, to: api }}\n\
                 load:\n  l: {{ rate: 1/s, send: {send} }}"
            )
        };
        for (matcher, send, expected) in [
            ("/**", "GET /", vec![]),
            ("GET /a/**", "GET /a?x=1", vec![]),
            ("GET /a/**", "GET /a/b/c", vec![]),
            ("GET /a/**", "GET /ab", vec!["6: no route takes `GET /ab`"]),
            ("GET /a", "GET /a/b", vec!["6: no route takes `GET /a/b`"]),
            ("GET /a", "POST /a", vec!["6: no route takes `POST /a`"]),
        ] {
            check(rule, &with(matcher, send), &expected);
        }
    }
}
