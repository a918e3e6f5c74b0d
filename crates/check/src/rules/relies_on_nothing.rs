//! **A failure relies on what nothing provides (SW306).** `relies_on` is what the control run of a drill
//! switches off. A mechanism that the plan does not have for the target cannot carry a promise, and switching
//! it off would prove nothing. Generous where the plan cannot know: a mechanism counts as provided when any
//! edge on the way to the target has it.

use std::collections::BTreeSet;

use seaworthy_policy::pool::Guard;
use seaworthy_policy::restart::Mode;
use seaworthy_spec::plan::{FailurePlan, Mechanism, Response, ServiceKind, ServicePlan, Word};
use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::{calls_to, listed, services_hit, survivors, with_dependents};

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for failure in plan.failures.iter().filter(|failure| failure.response != Response::Accept) {
        let view = View::new(plan, failure);
        for (mechanism, place) in &failure.relies_on {
            if let Some(reason) = view.missing(*mechanism) {
                let message = format!("`{}` relies on `{mechanism}`, but {reason}", failure.id);
                findings.push(
                    Diagnostic::new(Code::ReliesOnNothing, *place, message)
                        .label("nothing provides it")
                        .help(format!("provide it, or take `{mechanism}` off the list"))
                        .path(format!("failures.{}.relies_on", failure.id)),
                );
            }
        }
        let restarted = failure.promises.iter().find(|promise| promise.word == Word::RestartedWithin);
        if let (Some(promise), Some(reason)) = (restarted, view.missing(Mechanism::Restart)) {
            let message = format!("`{}` promises a restart, but {reason}", failure.id);
            findings.push(
                Diagnostic::new(Code::ReliesOnNothing, promise.place, message)
                    .label("never happens")
                    .help("let the service be restarted, or leave the promise out")
                    .path(format!("failures.{}.promise.restarted_within", failure.id)),
            );
        }
    }
    findings
}

/// A failure, the services it hits, and those that feel it.
struct View<'a> {
    plan: &'a Plan,
    failure: &'a FailurePlan,
    hit: BTreeSet<usize>,
    path: BTreeSet<usize>,
}

impl<'a> View<'a> {
    fn new(plan: &'a Plan, failure: &'a FailurePlan) -> Self {
        let hit = services_hit(plan, failure);
        let path = with_dependents(plan, &hit);
        Self { plan, failure, hit, path }
    }

    fn services(&self) -> impl Iterator<Item = &'a ServicePlan> {
        self.hit.iter().map(|index| &self.plan.services[*index])
    }

    fn names(&self) -> String {
        listed(self.services().map(|service| service.name.as_str()))
    }

    /// Why nothing provides the mechanism; `None` when something does.
    fn missing(&self, mechanism: Mechanism) -> Option<String> {
        let names = self.names();
        let (provided, reason) = match mechanism {
            Mechanism::Replicas => {
                (self.has_survivors(), format!("no replica of {names} is left while the fault holds"))
            }
            Mechanism::Retry => (
                calls_to(self.plan, &self.path).any(|call| call.retry),
                format!("every way to {names} has `retry: off`"),
            ),
            Mechanism::Hedge => {
                let hedged = calls_to(self.plan, &self.path)
                    .any(|call| call.hedge_percentile.is_some() || call.hedge_delay.is_some());
                (hedged, format!("every way to {names} has `hedge: off`"))
            }
            Mechanism::Ejection => {
                let guarded = self.services().any(|service| matches!(service.pool.guard, Guard::Ejection(_)));
                (guarded, format!("{names} has one endpoint and is guarded by a circuit breaker"))
            }
            Mechanism::Breaker => {
                let guarded = self.services().any(|service| matches!(service.pool.guard, Guard::Breaker(_)));
                (guarded, format!("{names} has several endpoints and is guarded by ejection"))
            }
            Mechanism::Readiness => {
                (self.services().any(|service| service.pool.readiness), format!("nobody probes {names}"))
            }
            Mechanism::Restart => return self.no_restart(),
            Mechanism::Parking => {
                (self.parks(), format!("no call to {names} waits: parking is for routes without `degrade`"))
            }
            Mechanism::AttemptTimeout => {
                let limited =
                    calls_to(self.plan, &self.path).any(|call| call.attempt_timeout < call.total_timeout);
                (limited, format!("no way to {names} has an `attempt_timeout` below its `total_timeout`"))
            }
            Mechanism::Degrade => (
                self.degrades(),
                format!("no route has a `degrade` step, and nothing needs {names} only optionally"),
            ),
            Mechanism::Idempotency => (self.is_keyed(), format!("no way to {names} has `idempotency`")),
        };
        (!provided).then_some(reason)
    }

    fn has_survivors(&self) -> bool {
        self.failure.faults.iter().any(|fault| {
            let hit = self.plan.services_hit(&fault.target);
            hit.iter().any(|index| survivors(&self.plan.services[*index], &fault.target) > 0)
        })
    }

    fn no_restart(&self) -> Option<String> {
        let kills = self.failure.faults.iter().any(|fault| fault.kind.is_point());
        let mut reason = None;
        for service in self.services() {
            reason = Some(match &service.kind {
                ServiceKind::External { .. } => format!("`{}` runs elsewhere", service.name),
                ServiceKind::Supervised(process) if process.restart.mode == Mode::Never => {
                    format!("`{}` has `restart: {{ mode: never }}`", service.name)
                }
                ServiceKind::Supervised(process) if !kills && process.liveness.is_none() => {
                    format!("the fault ends no process, and `{}` has no `liveness` probe", service.name)
                }
                ServiceKind::Supervised(_) => return None,
            });
        }
        reason
    }

    fn parks(&self) -> bool {
        let egress =
            self.services().any(|service| service.call.park && service.pool.parking.max_requests > 0);
        let routes = self.plan.routes.iter().any(|route| self.hit.contains(&route.to) && route.call.park);
        egress || routes
    }

    fn degrades(&self) -> bool {
        let by_route =
            self.plan.routes.iter().any(|route| self.path.contains(&route.to) && !route.degrade.is_empty());
        let by_service = self.plan.services.iter().any(|service| {
            service.needs.iter().any(|need| !need.required && self.path.contains(&need.service))
        });
        by_route || by_service
    }

    fn is_keyed(&self) -> bool {
        let routes =
            self.plan.routes.iter().any(|route| self.path.contains(&route.to) && route.keys.is_some());
        routes || self.path.iter().any(|index| self.plan.services[*index].keys.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    fn spec(api: &str, fault: &str, relies_on: &str) -> String {
        format!(
            "services:\n  api: {{ run: ./api, needs: {{ db: required }}{api} }}\n  db: {{ run: ./db, egress: 127.0.0.1:0 }}\n\
             routes:\n  r: {{ match: /**, to: api }}\nfailures:\n  \
             f: {{ required: x, fault: {{ {fault} }}, relies_on: [{relies_on}] }}"
        )
    }

    fn check_all(cases: &[(&str, &str, &str, Option<&str>)]) {
        for (api, fault, relies_on, expected) in cases {
            let expected: Vec<String> = expected
                .map(|reason| format!("7: `f` relies on `{relies_on}`, but {reason}"))
                .into_iter()
                .collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check(rule, &spec(api, fault, relies_on), &expected);
        }
    }

    #[test]
    fn what_endpoints_provide() {
        let (kill, two) = ("kill: { replica: api }", ", replicas: 2");
        let all = "replicas, retry, hedge, ejection, readiness, restart, parking, attempt_timeout";
        let alone = "no replica of `api` is left while the fault holds";
        let single = "`api` has one endpoint and is guarded by a circuit breaker";
        let several = "`api` has several endpoints and is guarded by ejection";
        check_all(&[
            (two, kill, all, None),
            ("", kill, "replicas", Some(alone)),
            (two, "kill: { service: api }", "replicas", Some(alone)),
            ("", kill, "ejection", Some(single)),
            (two, kill, "breaker", Some(several)),
            ("", kill, "breaker", None),
        ]);
    }

    #[test]
    fn what_restarts() {
        let never = "`api` has `restart: { mode: never }`";
        let no_probe = "the fault ends no process, and `api` has no `liveness` probe";
        check_all(&[
            (", restart: { mode: never }", "kill: { replica: api }", "restart", Some(never)),
            ("", "pause: { replica: api }", "restart", Some(no_probe)),
            (", liveness: { tcp: true }", "pause: { replica: api }", "restart", None),
        ]);
    }

    #[test]
    fn what_policies_provide() {
        let (kill, refuse) = ("kill: { replica: api }", "refuse: { egress: db }");
        let keyed = ", policy: { idempotency: { key: required, backend: honours } }";
        let equal = ", policy: { total_timeout: 2s, attempt_timeout: 2s }";
        let endless = "no way to `api` has an `attempt_timeout` below its `total_timeout`";
        let waits = "no call to `db` waits: parking is for routes without `degrade`";
        let degrades = "no route has a `degrade` step, and nothing needs `db` only optionally";
        check_all(&[
            (", policy: { retry: off }", kill, "retry", Some("every way to `api` has `retry: off`")),
            (", policy: { hedge: off }", kill, "hedge", Some("every way to `api` has `hedge: off`")),
            (equal, "pause: { replica: api }", "attempt_timeout", Some(endless)),
            ("", refuse, "parking", Some(waits)),
            ("", refuse, "degrade", Some(degrades)),
            ("", refuse, "idempotency", Some("no way to `db` has `idempotency`")),
            (keyed, refuse, "idempotency", None),
        ]);
    }

    #[test]
    fn an_optional_need_degrades() {
        let optional = spec("", "refuse: { egress: db }", "degrade").replace("db: required", "db: optional");
        check(rule, &optional, &[]);
    }

    #[test]
    fn a_promised_restart_needs_a_restart() {
        let promised = "services:\n  api: { run: ./api, restart: { mode: never } }\nfailures:\n  \
                        f: { required: x, fault: { kill: { replica: api } }, promise: { restarted_within: 5s } }";
        check(rule, promised, &["4: `f` promises a restart, but `api` has `restart: { mode: never }`"]);
    }

    #[test]
    fn a_zone_leaves_the_others() {
        let zones = |replicas: &str| {
            format!(
                "zones: [a, b]\nservices:\n  api: {{ run: ./api, replicas: {replicas} }}\nfailures:\n  \
                 f: {{ required: x, fault: {{ lose: {{ zone: a }} }}, relies_on: [replicas] }}"
            )
        };
        check(rule, &zones("{ a: 2, b: 1 }"), &[]);
        let message = "5: `f` relies on `replicas`, but no replica of `api` is left while the fault holds";
        check(rule, &zones("{ a: 3 }"), &[message]);
    }
}
