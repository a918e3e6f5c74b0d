//! Decisions as counters of the `metrics` facade.

use metrics::counter;

use crate::observe::{Decision, Event, Observer};

/// Counts every decision in `seaworthy_decisions_total`, by `policy`, `decision` and `detail`. All three labels come from
/// fixed sets and the names you gave, so that no request can add a series.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToMetrics;

impl Observer for ToMetrics {
    fn on_event(&self, event: &Event<'_>) {
        let detail = match event.decision {
            Decision::NoRetry { why, .. } => why.as_str(),
            Decision::Rejected(rejection) => rejection.by.as_str(),
            Decision::Timeout(timeout) => timeout.which.as_str(),
            Decision::Transition(transition) => state(&transition.to),
            Decision::Retry { .. }
            | Decision::Hedge { .. }
            | Decision::HedgeWon
            | Decision::Fallback
            | Decision::FallbackFailed
            | Decision::FallbackBusy => "",
        };
        let (policy, decision) = (event.policy.to_owned(), event.decision.name());
        counter!("seaworthy_decisions_total", "policy" => policy, "decision" => decision, "detail" => detail)
            .increment(1);
    }
}

fn state(state: &seaworthy_policy::breaker::State) -> &'static str {
    use seaworthy_policy::breaker::State;
    match state {
        State::Closed => "closed",
        State::Open { .. } => "open",
        State::ForcedOpen => "forced_open",
        State::HalfOpen => "half_open",
        State::Ramp { .. } => "ramp",
    }
}
