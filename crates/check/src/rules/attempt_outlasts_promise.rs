//! **A hung attempt outlasts the promised latency (SW313).** A fault that makes attempts hang costs each of
//! them its `attempt_timeout`. With several endpoints the stall rule and hedges step in long before; with a
//! single one nothing does, so the slowest answer takes at least that long. Only loads that reach the target
//! count.

use std::time::Duration;

use seaworthy_policy::pool::Guard;
use seaworthy_spec::plan::{FailurePlan, FaultKind, FaultPlan, Limit, Promise, Response, Word};
use seaworthy_spec::{Code, Diagnostic, Plan};

use crate::path::{place_of, services_of_load};

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let drilled = plan.failures.iter().filter(|failure| failure.response != Response::Accept);
    drilled
        .flat_map(|failure| slowest(failure).filter_map(|promise| finding(plan, failure, promise)))
        .collect()
}

/// The promises about the slowest answer that hold from the first moment.
fn slowest(failure: &FailurePlan) -> impl Iterator<Item = &Promise> {
    failure.promises.iter().filter(|promise| {
        let is_relaxed = failure
            .promises
            .iter()
            .any(|other| other.during && other.load == promise.load && other.word == Word::Max);
        promise.word == Word::Max && (promise.during || !is_relaxed)
    })
}

fn finding(plan: &Plan, failure: &FailurePlan, promise: &Promise) -> Option<Diagnostic> {
    let Limit::AtMost(limit) = promise.limit else { return None };
    let reached = services_of_load(plan, &plan.loads[promise.load?]);
    let hangs = failure.faults.iter().flat_map(|fault| {
        plan.services_hit(&fault.target).into_iter().filter_map(|index| {
            let is_single = matches!(plan.services[index].pool.guard, Guard::Breaker(_));
            let hang = hang(fault, plan.services[index].call.attempt_timeout)?;
            (is_single && reached.contains(&index) && hang > limit).then_some((index, hang))
        })
    });
    let (index, hang) = hangs.max_by_key(|(_, hang)| *hang)?;
    let service = &plan.services[index];
    let path = format!("services.{}.policy.attempt_timeout", service.name);
    let timeout = plan.setting(&path).map_or("?", |setting| setting.value.as_str());
    let message = format!(
        "an attempt on `{}` may hang for {hang:?}, longer than `{}` allows",
        service.name, promise.name
    );
    Some(
        Diagnostic::new(Code::AttemptOutlastsPromise, promise.place, message)
            .label("shorter than a hung attempt")
            .also(place_of(plan, &path, service.place), format!("its attempts may take {timeout}"))
            .help(format!("lower the `attempt_timeout` of `{}` below the promise", service.name))
            .path(format!("failures.{}.promise.{}", failure.id, promise.name)),
    )
}

/// How long an attempt hangs; `None` when the fault ends it at once.
fn hang(fault: &FaultPlan, attempt_timeout: Duration) -> Option<Duration> {
    match fault.kind {
        FaultKind::Pause | FaultKind::BlackHole { .. } => Some(attempt_timeout),
        FaultKind::Latency { add, .. } => Some(add.min(attempt_timeout)),
        FaultKind::Kill | FaultKind::Refuse | FaultKind::Errors { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    fn spec(db: &str, fault: &str, words: &str) -> String {
        format!(
            "services:\n  api: {{ run: ./api, needs: {{ db: optional }} }}\n  \
             db: {{ run: ./db, egress: 127.0.0.1:0{db} }}\n  other: {{ run: ./x, egress: 127.0.0.1:0 }}\n\
             routes:\n  r: {{ match: /**, to: api }}\nload:\n  l: {{ rate: 100/s, send: GET / }}\n\
             failures:\n  f: {{ required: x, fault: {{ {fault} }}, promise: {{ l: {{ {words} }} }} }}"
        )
    }

    #[test]
    fn hangs() {
        let broken = "10: an attempt on `db` may hang for 5s, longer than `l.max` allows";
        let late = "10: an attempt on `db` may hang for 3s, longer than `l.max` allows";
        let short = ", policy: { attempt_timeout: 500ms }";
        for (db, fault, words, expected) in [
            ("", "blackhole: { egress: db }", "max: 1s", vec![broken]),
            ("", "pause: { replica: db }", "max: 1s", vec![broken]),
            ("", "latency: { egress: db, add: 3s }", "max: 1s", vec![late]),
            ("", "latency: { egress: db, add: 500ms }", "max: 1s", vec![]),
            ("", "refuse: { egress: db }", "max: 1s", vec![]),
            ("", "pause: { replica: other }", "max: 1s", vec![]),
            ("", "pause: { replica: db }", "p99: 1s", vec![]),
            (short, "pause: { replica: db }", "max: 1s", vec![]),
            (", replicas: 2", "pause: { replica: db }", "max: 1s", vec![]),
            ("", "pause: { replica: db }", "max: 1s, during: { for_at_most: 2s, max: 10s }", vec![]),
        ] {
            check(rule, &spec(db, fault, words), &expected);
        }
    }
}
