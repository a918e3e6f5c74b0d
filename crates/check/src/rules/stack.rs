//! **Policies that do not fit together (SP01 to SP04).** Each value is right, and the stack still does the opposite of
//! what it is for. What is found here is what [`seaworthy_policy::stack`] says about any composition; a spec can only
//! compose in the right order, so the rules about orders have nothing to say.

use seaworthy_policy::BreakerConfig;
use seaworthy_policy::call::{CallConfig, Safety};
use seaworthy_policy::pool::Guard;
use seaworthy_policy::stack::{self, Stack};
use seaworthy_spec::plan::{Place, Plan, ServicePlan};
use seaworthy_spec::{Code, Diagnostic};

use crate::path::{is_written, place_of};

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for service in &plan.services {
        let subject = Subject {
            plan,
            path: format!("services.{}.policy", service.name),
            breaker_path: format!("services.{}.policy.circuit_breaker", service.name),
            owner: service.place,
        };
        subject.look(&service.call, breaker_of(service), &mut findings);
    }
    for route in &plan.routes {
        let service = &plan.services[route.to];
        let subject = Subject {
            plan,
            path: format!("routes.{}.policy", route.name),
            breaker_path: format!("services.{}.policy.circuit_breaker", service.name),
            owner: route.place,
        };
        // A route that changes nothing would only repeat what is said about its service.
        let keys = ["total_timeout", "attempt_timeout", "retry.max_attempts", "retry.jitter"];
        if keys.iter().any(|key| is_written(plan, &format!("{}.{key}", subject.path))) {
            subject.look(&route.call, breaker_of(service), &mut findings);
        }
    }
    findings
}

fn breaker_of(service: &ServicePlan) -> Option<&BreakerConfig> {
    if let Guard::Breaker(breaker) = &service.pool.guard { Some(breaker) } else { None }
}

/// Whose policy is looked at.
struct Subject<'a> {
    plan: &'a Plan,
    path: String,
    breaker_path: String,
    owner: Place,
}

impl Subject<'_> {
    fn look(&self, call: &CallConfig, breaker: Option<&BreakerConfig>, findings: &mut Vec<Diagnostic>) {
        let stack = Stack::of_call(call, breaker, Safety::Keyed);
        for finding in stack.findings() {
            let attempt_outlasts = call.attempt_timeout > call.total_timeout;
            let whole = call.total_timeout.as_nanos() / call.attempt_timeout.as_nanos().max(1);
            let is_said = match finding.code {
                // SW303 says that one is above the other.
                stack::Code::AttemptNotBelowTotal | stack::Code::TimeoutOutsideBreaker => attempt_outlasts,
                // SW305 says so already where it takes no waits to see it.
                stack::Code::RetriesNeverRun => whole < u128::from(call.max_attempts),
                _ => false,
            };
            if let Some(code) = code_of(finding.code).filter(|_| !is_said) {
                findings.push(self.diagnostic(code, &finding.sentence));
            }
        }
    }

    fn diagnostic(&self, code: Code, sentence: &str) -> Diagnostic {
        let window = format!("{}.sliding_window_duration", self.breaker_path);
        let own = |key: &str| format!("{}.{key}", self.path);
        let keys = match code {
            Code::WindowTooShort => [window, own("attempt_timeout"), own("total_timeout")],
            _ => [own("attempt_timeout"), own("total_timeout"), own("retry.max_attempts")],
        };
        let key = keys.iter().find(|key| is_written(self.plan, key)).unwrap_or(&keys[0]);
        // What will happen, and what to do about it.
        let (what, remedy) = sentence.rsplit_once("; ").unwrap_or((sentence, ""));
        Diagnostic::new(code, place_of(self.plan, key, self.owner), what)
            .label("does not fit the rest")
            .help(remedy)
            .path(key.clone())
    }
}

/// What a spec can be told; the other rules are about orders that it cannot express.
fn code_of(code: stack::Code) -> Option<Code> {
    match code {
        stack::Code::AttemptNotBelowTotal => Some(Code::AttemptNotBelowTotal),
        stack::Code::WindowTooShort => Some(Code::WindowTooShort),
        stack::Code::RetriesNeverRun => Some(Code::AttemptsDoNotFit),
        stack::Code::TimeoutOutsideBreaker => Some(Code::TimeoutOutsideBreaker),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    const WINDOW: &str = "2: the breaker looks back over 6s, and calls that hang end after 5s: by the next one the last is forgotten";

    #[test]
    fn stacks() {
        for (policy, expected) in [
            ("{}", vec![]),
            ("{ total_timeout: 2s, attempt_timeout: 600ms }", vec![]),
            ("{ circuit_breaker: { sliding_window_duration: 6s } }", vec![WINDOW]),
            // A window by count forgets nothing.
            ("{ circuit_breaker: { sliding_window_type: count_based } }", vec![]),
            (
                "{ total_timeout: 2s, attempt_timeout: 650ms, retry: { jitter: none, initial_backoff: 100ms } }",
                vec![
                    "2: only 2 of 3 attempts fit when each takes its whole 650ms: with the shortest waits the next would end after 2.25s of 2s",
                ],
            ),
            (
                "{ total_timeout: 2s, attempt_timeout: 2s, retry: off, hedge: off }",
                vec![
                    "2: one attempt may take 2s and all together 2s, so an attempt that hangs leaves no time for another",
                    "2: the total timeout of 2s drops what hangs before the breaker inside it hears of it, so an outage of hanging calls never opens the circuit",
                ],
            ),
            // SW303 and SW305 speak here.
            ("{ total_timeout: 2s, attempt_timeout: 3s }", vec![]),
            ("{ total_timeout: 2s, attempt_timeout: 1s }", vec![]),
        ] {
            check(rule, &format!("services:\n  api: {{ run: ./api, policy: {policy} }}"), &expected);
        }
    }
}
