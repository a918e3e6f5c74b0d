//! **A promise that a drill cannot judge (SW310).** A percentile needs 3/(1−q) answers in the window: 6 for
//! p50, 60 for p95, 300 for p99, 3 000 for p99.9. A time limit needs at least five requests of the slowest
//! promised load in its span. With less, the verdict is inconclusive, however the system behaves.

use std::time::Duration;

use seaworthy_spec::plan::{FailurePlan, Limit, Promise, Response, Word};
use seaworthy_spec::{Code, Diagnostic, Plan};

/// Answers beyond the percentile that make it more than chance.
const ANSWERS_BEYOND: f64 = 3.0;
/// Requests within a time limit that make it more than chance.
const REQUESTS_WITHIN: f64 = 5.0;

pub(super) fn rule(plan: &Plan) -> Vec<Diagnostic> {
    let drilled = plan.failures.iter().filter(|failure| failure.response != Response::Accept);
    drilled
        .flat_map(|failure| failure.promises.iter().filter_map(|promise| finding(plan, failure, promise)))
        .collect()
}

fn finding(plan: &Plan, failure: &FailurePlan, promise: &Promise) -> Option<Diagnostic> {
    let message = match (promise.word.quantile(), promise.load) {
        (Some(quantile), Some(load)) => {
            let span = population_span(failure, promise, load);
            let expected = (plan.loads[load].rate * span.as_secs_f64()).floor();
            let needed = (ANSWERS_BEYOND / (1.0 - quantile)).round();
            if expected >= needed {
                return None;
            }
            format!("`{}` needs {needed} answers, and about {expected} come", promise.name)
        }
        _ => time_limit(plan, failure, promise)?,
    };
    Some(
        Diagnostic::new(Code::CannotBeJudged, promise.place, message)
            .label("a drill could not judge it")
            .help("raise the load's `rate`, lengthen `hold`, or promise something coarser")
            .path(format!("failures.{}.promise.{}", failure.id, promise.name)),
    )
}

/// How long requests are sent that this word is about.
fn population_span(failure: &FailurePlan, promise: &Promise, load: usize) -> Duration {
    let relaxed = failure.during.iter().find(|during| during.load == load).map(|during| during.for_at_most);
    let is_relaxed = failure
        .promises
        .iter()
        .any(|other| other.during && other.load == Some(load) && other.word == promise.word);
    match relaxed {
        Some(first) if promise.during => first,
        Some(first) if is_relaxed => failure.hold.saturating_sub(first),
        _ => failure.hold,
    }
}

fn time_limit(plan: &Plan, failure: &FailurePlan, promise: &Promise) -> Option<String> {
    let Limit::AtMost(limit) = promise.limit else { return None };
    if !matches!(promise.word, Word::Rto | Word::RecoverWithin) {
        return None;
    }
    let promised = failure.promises.iter().filter_map(|promise| promise.load);
    let slowest =
        promised.map(|load| &plan.loads[load]).min_by(|left, right| left.rate.total_cmp(&right.rate))?;
    let requests = slowest.rate * limit.as_secs_f64();
    (requests < REQUESTS_WITHIN).then(|| {
        format!("`{}` spans fewer than {REQUESTS_WITHIN} requests of `{}`", promise.name, slowest.name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::rule;

    fn spec(rate: &str, promise: &str) -> String {
        format!(
            "services:\n  api: {{ run: ./api }}\nroutes:\n  r: {{ match: /**, to: api }}\n\
             load:\n  l: {{ rate: {rate}, send: GET / }}\n\
             failures:\n  f: {{ required: x, fault: {{ kill: {{ replica: api }} }}, {promise} }}"
        )
    }

    #[test]
    fn percentiles_need_answers() {
        for (rate, promise, expected) in [
            ("30/s", "promise: { l: { p99: 1s } }", vec![]),
            ("29/s", "promise: { l: { p99: 1s } }", vec!["8: `l.p99` needs 300 answers, and about 290 come"]),
            ("10/s", "hold: 30s, promise: { l: { p99: 1s } }", vec![]),
            (
                "100/s",
                "promise: { l: { p999: 1s } }",
                vec!["8: `l.p999` needs 3000 answers, and about 1000 come"],
            ),
            ("1/s", "promise: { l: { success: 99%, p50: 1s, max: 2s } }", vec![]),
            ("1/s", "response: accept, promise: { l: { p99: 1s } }", vec![]),
        ] {
            check(rule, &spec(rate, promise), &expected);
        }
    }

    #[test]
    fn the_first_moments_have_their_own_population() {
        let promise = "promise: { l: { p99: 1s, during: { for_at_most: 2s, p99: 2s } } }";
        check(rule, &spec("150/s", promise), &[]);
        check(rule, &spec("149/s", promise), &["8: `l.during.p99` needs 300 answers, and about 298 come"]);
    }

    #[test]
    fn time_limits_need_requests() {
        for (rate, promise, expected) in [
            ("10/s", "promise: { l: { success: 99% }, rto: 500ms }", vec![]),
            (
                "9/s",
                "promise: { l: { success: 99% }, rto: 500ms }",
                vec!["8: `rto` spans fewer than 5 requests of `l`"],
            ),
            ("1/s", "promise: { l: { success: 99% }, restarted_within: 1s }", vec![]),
        ] {
            check(rule, &spec(rate, promise), &expected);
        }
    }
}
